//! Clients of every kind, good and bad.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::*;

/// A server whose loop answers each call with its method and parameters, but refuses
/// `org.vipd.Announce`, drops `org.vipd.StepDown` and lets `org.vipd.Events` follow.
struct Echo {
    control: Option<Arc<Control>>,
    directory: tempfile::TempDir,
    daemon: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/vipd.sock");
        let (control, mut requests) = Control::bind(&path, Access::own()).unwrap();
        let control = Arc::new(control);
        let its_control = Arc::downgrade(&control);
        let daemon = thread::spawn(move || {
            while let Some(Request {
                method,
                parameters,
                peer,
                reply,
            }) = requests.blocking_recv()
            {
                assert_eq!(peer.pid.cast_unsigned(), std::process::id());
                let answer = match method.as_str() {
                    "org.vipd.StepDown" => continue,
                    "org.vipd.Announce" => Err((
                        "org.vipd.NotFound".to_owned(),
                        json!({ "group": "eth0-42" }),
                    )),
                    "org.vipd.Events" => {
                        let Some(control) = its_control.upgrade() else {
                            continue;
                        };
                        let group = parameters["group"].as_str().map(str::to_owned);
                        Ok(Answer::Follow {
                            first: json!({ "event": "first" }),
                            then: control.subscribe(group),
                        })
                    }
                    _ => Ok(json!({ "method": method, "parameters": parameters }).into()),
                };
                let _ = reply.send(answer);
            }
        });
        Self {
            control: Some(control),
            directory,
            daemon: Some(daemon),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("run/vipd.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn control(&self) -> &Control {
        self.control.as_ref().unwrap()
    }

    fn works(&self) {
        let answer = call(&self.path(), "org.vipd.Status", json!({ "group": "a" })).unwrap();
        assert_eq!(
            answer,
            json!({ "method": "org.vipd.Status", "parameters": { "group": "a" } })
        );
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.control.take());
        // The loop ends with the last sender, which the server held.
        self.daemon.take().unwrap().join().unwrap();
        assert!(!self.path().exists(), "the socket is still there");
    }
}

fn answer_to(mut stream: UnixStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    // A server that hangs up on unread bytes resets the connection.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_call_is_answered() {
    let echo = Echo::start();
    echo.works();
    let mode = fs::metadata(echo.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn several_calls_share_a_connection_and_parameters_may_be_left_out() {
    let echo = Echo::start();
    let stream = echo.connect();
    let mut writer = stream.try_clone().unwrap();
    writer
        .write_all(b"{\"method\":\"org.vipd.Status\"}\0{\"method\":\"org.vipd.Demote\",\"parameters\":{\"x\":1}}\0")
        .unwrap();
    writer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        answer_to(stream, b""),
        "{\"parameters\":{\"method\":\"org.vipd.Status\",\"parameters\":{}}}\0{\"parameters\":{\"method\":\"org.vipd.Demote\",\"parameters\":{\"x\":1}}}\0"
    );
}

#[test]
fn an_error_keeps_its_name_and_parameters() {
    let echo = Echo::start();
    let error = call(&echo.path(), "org.vipd.Announce", json!({})).unwrap_err();
    assert!(matches!(error, ClientError::Failed { error, parameters }
        if error == "org.vipd.NotFound" && parameters == json!({ "group": "eth0-42" })));
    let error = call(&echo.path(), "org.vipd.StepDown", json!({})).unwrap_err();
    assert!(matches!(error, ClientError::Failed { error, .. } if error == "org.vipd.Failed"));
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let echo = Echo::start();
    for garbage in [
        &b"\0"[..],
        b"hello\0",
        b"{\"method\":7}\0",
        b"[1,2]\0",
        b"\xff\xfe\0",
        b"{\"method\":\"a\"\0",
    ] {
        let answer = answer_to(echo.connect(), garbage);
        assert!(
            answer.contains("org.vipd.InvalidRequest"),
            "{garbage:?}: {answer}"
        );
    }
    let deep = format!("{{\"method\":\"a\",\"parameters\":{}\0", "[".repeat(60_000));
    assert!(answer_to(echo.connect(), deep.as_bytes()).contains("org.vipd.InvalidRequest"));
    echo.works();
}

#[test]
fn a_call_over_the_limit_is_refused() {
    let echo = Echo::start();
    let limit = usize::try_from(server::MESSAGE_LIMIT).unwrap();
    let call = |length| {
        let method = "m".repeat(length);
        format!("{{\"method\":\"{method}\"}}").into_bytes()
    };
    let mut fits = call(limit - call(0).len());
    fits.push(0);
    let stream = echo.connect();
    let reader = stream.try_clone().unwrap();
    (&stream).write_all(&fits).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(answer_to(reader, b"").contains("mmmm"));

    let long = "m".repeat(limit + 1);
    assert!(answer_to(echo.connect(), long.as_bytes()).contains("longer than 65536 bytes"));
    echo.works();
}

#[test]
fn clients_that_flood_without_reading_do_not_hold_up_others() {
    let echo = Echo::start();
    let flood = b"{\"method\":\"org.vipd.Status\"}\0".repeat(4096);
    let flooders: Vec<UnixStream> = (0..8)
        .map(|_| {
            let stream = echo.connect();
            stream.set_nonblocking(true).unwrap();
            while (&stream).write(&flood).is_ok() {}
            stream
        })
        .collect();
    echo.works();
    drop(flooders);
    echo.works();
}

#[test]
fn idle_clients_in_every_place_only_delay_others() {
    let echo = Echo::start();
    let idle: Vec<UnixStream> = (0..server::CLIENTS).map(|_| echo.connect()).collect();
    echo.works();
    drop(idle);
}

#[test]
fn a_second_daemon_is_refused_and_the_first_keeps_its_socket() {
    let echo = Echo::start();
    let error = Control::bind(&echo.path(), Access::own()).unwrap_err();
    assert!(matches!(&error, Error::InUse { path } if *path == echo.path()));
    assert!(error.to_string().contains("vipd.sock"));
    echo.works();
}

#[test]
fn a_stale_socket_is_replaced_and_no_daemon_is_reported_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vipd.sock");
    assert!(matches!(
        call(&path, "a", json!({})),
        Err(ClientError::NoDaemon { .. })
    ));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(
        call(&path, "a", json!({})),
        Err(ClientError::NoDaemon { .. })
    ));
    let (control, _requests) = Control::bind(&path, Access::own()).unwrap();
    drop(control);
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vipd.sock");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Control::bind(&path, Access::own()),
        Err(Error::NoSocket { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn only_the_own_socket_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vipd.sock");
    let (first, _requests) = Control::bind(&path, Access::own()).unwrap();
    fs::remove_file(&path).unwrap();
    let (second, _requests) = Control::bind(&path, Access::own()).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

/// Calls `org.vipd.Events` and reads nothing yet.
fn follower(echo: &Echo) -> UnixStream {
    let stream = echo.connect();
    (&stream)
        .write_all(b"{\"method\":\"org.vipd.Events\",\"more\":true}\0")
        .unwrap();
    stream
}

/// One message, without its NUL.
fn message(stream: &UnixStream) -> Value {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        (&*stream).read_exact(&mut byte).unwrap();
        if byte == [0] {
            return serde_json::from_slice(&bytes).unwrap();
        }
        bytes.extend(byte);
    }
}

#[test]
fn a_follower_is_told_what_happens_in_its_order_and_no_more_than_it_asked_for() {
    let echo = Echo::start();
    let path = echo.path();
    let mut all = follow(&path, "org.vipd.Events", json!({})).unwrap();
    let mut one = follow(&path, "org.vipd.Events", json!({ "group": "web" })).unwrap();
    for follower in [&mut all, &mut one] {
        assert_eq!(
            follower.next().unwrap().unwrap(),
            json!({ "event": "first" })
        );
    }
    let raw = follower(&echo);
    let first = json!({ "continues": true, "parameters": { "event": "first" } });
    assert_eq!(message(&raw), first);

    for (number, group) in (0..).zip([Some("web"), Some("mail"), None, Some("web")]) {
        echo.control()
            .publish(group, || json!({ "number": number }));
    }
    let numbers = |followed: &mut Follower, count| -> Vec<u64> {
        let events = followed.take(count).map(|event| event.unwrap());
        events
            .map(|event| event["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(&mut all, 4), [0, 1, 2, 3]);
    assert_eq!(numbers(&mut one, 3), [0, 2, 3]);
    let told = json!({ "continues": true, "parameters": { "number": 0 } });
    assert_eq!(message(&raw), told);
    echo.works();

    // What happens last is told before the socket is closed.
    echo.control().publish(None, || json!({ "number": 4 }));
    drop(echo);
    assert_eq!(numbers(&mut all, 1), [4]);
    assert!(all.next().is_none());
}

#[test]
fn who_does_not_ask_for_more_does_not_follow() {
    let echo = Echo::start();
    let error = call(&echo.path(), "org.vipd.Events", json!({})).unwrap_err();
    assert!(matches!(error, ClientError::Failed { error, .. }
        if error == "org.varlink.service.ExpectedMore"));
}

#[test]
fn a_follower_that_does_not_read_is_cut_off_and_holds_nobody_up() {
    let echo = Echo::start();
    let (idle, reads) = (follower(&echo), follower(&echo));
    assert_eq!(message(&idle)["parameters"]["event"], "first");
    assert_eq!(message(&reads)["parameters"]["event"], "first");
    // More than the kernel and the queue keep for it, and no faster than the other
    // one reads.
    let long = "x".repeat(16 * 1024);
    for number in 0..follow::QUEUE + 64 {
        let event = json!({ "number": number, "long": long });
        echo.control().publish(None, || event);
        assert_eq!(message(&reads)["parameters"]["number"], number);
    }
    echo.works();
    // The connection ends; what was on the way may still be read.
    let mut rest = Vec::new();
    let _ = (&idle).read_to_end(&mut rest);
    assert!(rest.len() < 100 * long.len());
}

#[test]
fn followers_leave_places_for_others_and_theirs_when_they_die() {
    let echo = Echo::start();
    let mut followers: Vec<UnixStream> = (0..server::FOLLOWERS)
        .map(|_| {
            let stream = follower(&echo);
            assert_eq!(message(&stream)["parameters"]["event"], "first");
            stream
        })
        .collect();
    assert_eq!(message(&follower(&echo))["error"], "org.vipd.Busy");
    echo.works();
    // Nothing happens that it could be told; its place is free all the same.
    drop(followers.pop());
    let is_let_in = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        message(&follower(&echo)).get("error").is_none()
    });
    assert!(is_let_in, "its place is not free");
}

#[test]
fn what_is_called_oneway_is_not_answered() {
    let echo = Echo::start();
    let answers = answer_to(
        echo.connect(),
        b"{\"method\":\"org.vipd.Demote\",\"oneway\":true}\0{\"method\":\"org.vipd.Status\"}\0{}\0",
    );
    let answers: Vec<&str> = answers.split_terminator('\0').collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[0].contains("org.vipd.Status"), "{answers:?}");
}

#[test]
fn the_daemon_hears_of_no_call_that_is_unknown() {
    let echo = Echo::start();
    for method in ["org.vipd.Fly", "Status", "org.vipd", ""] {
        let error = call(&echo.path(), method, json!({})).unwrap_err();
        assert!(
            matches!(&error, ClientError::Failed { error, parameters }
                if error == "org.varlink.service.MethodNotFound" && parameters["method"] == method),
            "{error}"
        );
    }
}

#[test]
fn every_method_is_described_and_the_other_way_round() {
    let lines = DESCRIPTION.lines();
    let described = lines.filter_map(|line| line.strip_prefix("method ")?.split('(').next());
    let described: Vec<String> = described.map(|name| format!("org.vipd.{name}")).collect();
    let mut called = interface::METHODS.map(|method| method.name).to_vec();
    called.sort_unstable();
    let mut sorted = described.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, called);
    let streams = interface::METHODS.iter().filter(|method| method.streams);
    assert!(streams.map(|method| method.name).eq(["org.vipd.Events"]));
}

#[test]
fn one_user_who_may_only_read_leaves_places_for_others() {
    let (requests, _requests) = mpsc::channel(1);
    let (_access, access) = watch::channel(Access::own());
    let service = server::Service::new(requests, access);
    let peer = |uid| Peer {
        uid,
        gids: vec![uid],
        pid: 1,
    };
    let own = rustix::process::geteuid().as_raw();
    let (one, other) = (own + 1001, own + 1002);
    let mut seats: Vec<_> = (0..server::READERS)
        .map(|_| service.seat(&peer(one)).expect("there is a place"))
        .collect();
    assert!(service.seat(&peer(one)).is_none());
    assert!(service.seat(&peer(other)).is_some());
    let own: Vec<_> = (0..server::CLIENTS)
        .map(|_| service.seat(&peer(own)))
        .collect();
    assert!(own.iter().all(Option::is_some));
    drop(seats.pop());
    assert!(service.seat(&peer(one)).is_some());
}
