//! The control socket as others see it: by the Varlink library `zlink`, which knows
//! nothing of vipd, and by clients that mean ill.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vipd::io::control;
use vipd_tests::lab::{Host, Lab, Prober, Vipd, wait_until};
use zlink::idl::{Field, Interface, Type};
use zlink::varlink_service::Proxy as _;
use zlink::{Call, Connection};

use crate::scene::{SOON, VIP, pair, vipd};

#[derive(Debug, Serialize)]
struct Method {
    method: &'static str,
    parameters: Value,
}

/// An error of `org.vipd`, whatever it is.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

type Client = Connection<zlink::tokio::unix::Stream>;

async fn connect(host: &Host) -> Client {
    let socket = host.directory().join("vipd.sock");
    let connected = zlink::tokio::unix::connect(socket).await;
    connected.expect("the daemon answers")
}

async fn send(client: &mut Client, method: &'static str, parameters: Value, more: bool) {
    let call = Call::new(Method { method, parameters }).set_more(more);
    let sent = client.send_call(&call, Vec::new()).await;
    sent.expect("the daemon reads");
}

/// The parameters of the next answer, and whether more follow.
async fn receive(client: &mut Client) -> (Value, bool) {
    let (reply, _) = client
        .receive_reply::<Value, Refusal>()
        .await
        .expect("zlink understands it");
    let reply = reply.unwrap_or_else(|refusal| panic!("{}", refusal.error));
    let continues = reply.continues() == Some(true);
    (reply.into_parameters().expect("it has some"), continues)
}

/// An object that has these fields and no others, all that must be there.
fn check_object<'a, 'i: 'a>(
    object: &Value,
    fields: impl Iterator<Item = &'a Field<'i>>,
    interface: &Interface<'_>,
    at: &str,
) {
    let object = object
        .as_object()
        .unwrap_or_else(|| panic!("{at} is no object: {object}"));
    let mut known = Vec::new();
    for field in fields {
        let name = field.name().to_string();
        let value = object.get(&name).unwrap_or(&Value::Null);
        check(value, field.ty(), interface, &format!("{at}.{name}"));
        known.push(name);
    }
    for name in object.keys() {
        let what = format!("{at}.{name} is not in org.vipd.varlink");
        assert!(known.contains(name), "{what}");
    }
}

/// That a value is what the interface says of it.
fn check(value: &Value, ty: &Type<'_>, interface: &Interface<'_>, at: &str) {
    let is = |right: bool| assert!(right, "{at} is {value}, and by org.vipd.varlink it is {ty}");
    match ty {
        Type::Bool => is(value.is_boolean()),
        Type::Int => is(value.is_i64() || value.is_u64()),
        Type::Float => is(value.is_number()),
        Type::String => is(value.is_string()),
        Type::ForeignObject => is(value.is_object()),
        Type::Any => {}
        Type::Optional(inner) => {
            if !value.is_null() {
                check(value, inner, interface, at);
            }
        }
        Type::Array(inner) => {
            is(value.is_array());
            for value in value.as_array().into_iter().flatten() {
                check(value, inner, interface, &format!("{at}[]"));
            }
        }
        Type::Map(inner) => {
            is(value.is_object());
            for value in value.as_object().into_iter().flat_map(|map| map.values()) {
                check(value, inner, interface, &format!("{at}[]"));
            }
        }
        Type::Custom(name) => {
            let mut types = interface.custom_types();
            let object = types.find(|known| known.name() == name);
            let object = object.and_then(|known| known.as_object());
            let object = object.unwrap_or_else(|| panic!("{at}: there is no type {name}"));
            check_object(value, object.fields(), interface, at);
        }
        Type::Enum(_) => is(value.is_string()),
        Type::Object(fields) => check_object(value, fields.iter(), interface, at),
    }
}

fn check_reply(reply: &Value, method: &str, interface: &Interface<'_>) {
    let mut methods = interface.methods();
    let method = methods.find(|known| *known.name() == *method);
    let method = method.expect("the method is described");
    check_object(reply, method.outputs(), interface, "the reply");
}

#[test]
fn it_tells_a_varlink_client_what_it_offers_and_keeps_to_it() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    second.wait_for_role("backup", SOON);

    n2.run_in_async(async || {
        let mut client = connect(&n2).await;
        let info = client.get_info().await.expect("zlink understands it");
        let info = info.expect("it is no error");
        assert_eq!(info.product, "vipd");
        let interfaces: Vec<String> = info.interfaces.iter().map(ToString::to_string).collect();
        assert_eq!(interfaces, ["org.varlink.service", "org.vipd"]);
        for name in interfaces {
            let asked = client.get_interface_description(name.as_str().try_into().expect("a name"));
            let description = asked.await.expect("zlink understands it");
            let description = description.expect("it is no error");
            let interface = description.parse().expect("zlink can read it");
            assert_eq!(interface.name().to_string(), name);
            assert!(interface.methods().count() > 1);
        }

        let asked = client.get_interface_description("org.vipd".try_into().expect("a name"));
        let description = asked.await.expect("it answers").expect("it is no error");
        let interface = description.parse().expect("zlink can read it");

        send(&mut client, "org.vipd.Status", json!({}), false).await;
        let (status, continues) = receive(&mut client).await;
        assert!(!continues);
        check_reply(&status, "Status", &interface);

        let mut follower = connect(&n2).await;
        send(&mut follower, "org.vipd.Events", json!({}), true).await;
        let (event, continues) = receive(&mut follower).await;
        assert!(continues && event["event"] == "roles", "{event}");
        check_reply(&event, "Events", &interface);

        for (method, parameters) in [
            ("org.vipd.Demote", json!({ "group": "eth0-42" })),
            ("org.vipd.Maintenance", json!({ "on": true })),
            ("org.vipd.Maintenance", json!({ "on": false })),
            ("org.vipd.Promote", json!({ "group": "eth0-42" })),
            ("org.vipd.StepDown", json!({})),
        ] {
            send(&mut client, method, parameters, false).await;
            let (answer, _) = receive(&mut client).await;
            let name = method.trim_start_matches("org.vipd.");
            check_reply(&answer, name, &interface);
            // One event at least for each order: the order itself.
            let mut said = Value::Null;
            while said["event"] != "operator" {
                (said, _) = receive(&mut follower).await;
                check_reply(&said, "Events", &interface);
            }
        }
        send(
            &mut client,
            "org.vipd.Status",
            json!({ "group": "no" }),
            false,
        )
        .await;
        let refused = client.receive_reply::<Value, Refusal>().await;
        let (refused, _) = refused.expect("zlink understands it");
        let refused = refused.expect_err("there is no such group");
        assert_eq!(refused.error, "org.vipd.NotFound");
        let errors: Vec<String> = interface.errors().map(|e| e.name().to_string()).collect();
        assert!(errors.contains(&"NotFound".to_owned()), "{errors:?}");
    });
}

#[test]
fn a_client_needs_no_library() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let _vipd = Vipd::start(&n1, &vipd(0));
    let mut stream = UnixStream::connect(n1.directory().join("vipd.sock")).expect("it listens");
    stream
        .write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0{\"method\":\"org.vipd.Fly\"}\0")
        .expect("it reads");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("it answers");
    let answers: Vec<Value> = answers
        .split_terminator('\0')
        .map(|answer| serde_json::from_str(answer).expect("JSON"))
        .collect();
    let interfaces = json!(["org.varlink.service", "org.vipd"]);
    assert_eq!(answers[0]["parameters"]["interfaces"], interfaces);
    let unknown = json!({
        "error": "org.varlink.service.MethodNotFound",
        "parameters": { "method": "org.vipd.Fly" },
    });
    assert_eq!(answers[1], unknown);
}

/// Clients that flood, follow without reading, and die.
#[test]
fn bad_clients_harm_nobody() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    second.wait_for_role("backup", SOON);
    let prober = Prober::start(&client, VIP, 50);
    let socket = n1.directory().join("vipd.sock");
    let connect = || UnixStream::connect(&socket).expect("it listens");

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Ends the threads also when something below panics.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        for _ in 0..2 {
            // Sends calls and reads no answer.
            scope.spawn(|| {
                let flood = b"{\"method\":\"org.vipd.Status\"}\0".repeat(1024);
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = connect();
                    let timeout = Some(Duration::from_millis(500));
                    stream.set_write_timeout(timeout).expect("it is not zero");
                    while !stop.load(Ordering::Relaxed) {
                        if stream.write_all(&flood).is_err() {
                            break;
                        }
                    }
                }
            });
        }
        // Follow, and read nothing.
        let follow = b"{\"method\":\"org.vipd.Events\",\"more\":true}\0";
        let deaf: Vec<UnixStream> = (0..4)
            .map(|_| {
                let mut stream = connect();
                stream.write_all(follow).expect("it reads");
                stream
            })
            .collect();
        // Follow, and die.
        for _ in 0..4 {
            let mut dies = first.command(&["events"]);
            let mut dies = dies
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("it starts");
            let mut line = [0];
            let out = dies.stdout.as_mut().expect("it is piped");
            out.read_exact(&mut line).expect("it follows");
            dies.kill().expect("it runs");
            dies.wait().expect("it was killed");
        }
        // One who reads is told of each order meanwhile, and each is answered.
        let mut events =
            control::follow(&socket, "org.vipd.Events", json!({})).expect("it answers");
        assert_eq!(
            events.next().expect("one").expect("no error")["event"],
            "roles"
        );
        let sent = first.counter("adverts_sent");
        for _ in 0..10 {
            let announced =
                control::call(&socket, "org.vipd.Announce", json!({ "group": "eth0-42" }));
            announced.unwrap_or_else(|error| panic!("{error}"));
            let event = events.next().expect("it goes on").expect("no error");
            assert_eq!(event["action"], "announce", "{event}");
        }
        wait_until("adverts in the flood", SOON, || {
            (first.counter("adverts_sent") >= sent + 5).then_some(())
        });
        drop(deaf);
    });
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert_eq!(second.counter("transitions"), 1, "its start");
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    assert_eq!(prober.finish().changes().len(), 1);
    // And it ends as soon as ever.
    first.signal(Signal::TERM);
    assert!(first.wait_for_exit(SOON).success());
}
