//! Clients of every kind, good and bad.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::*;

/// A server whose loop answers each call with its method and parameters, but
/// refuses `org.vipd.Refuse` and drops `org.vipd.Drop`.
struct Echo {
    control: Option<Control>,
    directory: tempfile::TempDir,
    daemon: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (control, mut requests) =
            Control::bind(&directory.path().join("run/vipd.sock")).unwrap();
        let daemon = thread::spawn(move || {
            while let Some(Request {
                method,
                parameters,
                reply,
            }) = requests.blocking_recv()
            {
                let answer = match method.as_str() {
                    "org.vipd.Drop" => continue,
                    "org.vipd.Refuse" => Err((
                        "org.vipd.NotFound".to_owned(),
                        json!({ "group": "eth0-42" }),
                    )),
                    _ => Ok(json!({ "method": method, "parameters": parameters })),
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
        .write_all(b"{\"method\":\"a\"}\0{\"method\":\"b\",\"parameters\":{\"x\":1}}\0")
        .unwrap();
    writer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        answer_to(stream, b""),
        "{\"parameters\":{\"method\":\"a\",\"parameters\":{}}}\0{\"parameters\":{\"method\":\"b\",\"parameters\":{\"x\":1}}}\0"
    );
}

#[test]
fn an_error_keeps_its_name_and_parameters() {
    let echo = Echo::start();
    let error = call(&echo.path(), "org.vipd.Refuse", json!({})).unwrap_err();
    assert!(matches!(error, ClientError::Failed { error, parameters }
        if error == "org.vipd.NotFound" && parameters == json!({ "group": "eth0-42" })));
    let error = call(&echo.path(), "org.vipd.Drop", json!({})).unwrap_err();
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
    let empty = "{\"method\":\"\"}".len();

    let mut fits = format!("{{\"method\":\"{}\"}}", "m".repeat(limit - empty)).into_bytes();
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
    let flood = b"{\"method\":\"flood\"}\0".repeat(4096);
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
    let error = Control::bind(&echo.path()).unwrap_err();
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
    let (control, _requests) = Control::bind(&path).unwrap();
    drop(control);
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vipd.sock");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Control::bind(&path), Err(Error::NoSocket { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn only_the_own_socket_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vipd.sock");
    let (first, _requests) = Control::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (second, _requests) = Control::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}
