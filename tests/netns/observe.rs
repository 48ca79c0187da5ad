//! What the outside sees of a daemon besides its status: metrics, state files, the
//! journal.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use vipd_tests::lab::{Host, Lab, Vipd, VipdOptions, now, wait_until};

use crate::scene::{SOON, pair, vipd, wait_for_master};

/// A daemon that is told something more.
fn start(host: &Host, options: &VipdOptions, more: &[&str]) -> Vipd {
    let arguments = options.arguments(host);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let vipd = Vipd::spawn(host, &[&arguments, more].concat());
    vipd.wait_for_log("ready", SOON);
    vipd
}

/// What a host's port says to a request for `path`; an error where nobody listens.
fn ask(host: &Host, path: &str) -> std::io::Result<String> {
    host.run_in(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9843")?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// Whether any TCP port of a host is listened at.
fn listens(host: &Host) -> bool {
    host.run_in(|| {
        let is_open = |line: &str| line.split_whitespace().nth(3) == Some("0A");
        ["tcp", "tcp6"].into_iter().any(|kind| {
            let sockets = fs::read_to_string(format!("/proc/thread-self/net/{kind}"));
            sockets.is_ok_and(|sockets| sockets.lines().any(is_open))
        })
    })
}

/// Prometheus' own opinion of a text.
fn judge(text: &str) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin/promtool");
    let promtool = if ours.exists() {
        ours
    } else {
        PathBuf::from("promtool")
    };
    let mut judge = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is no promtool here; `cargo xtask setup --test` fetches it");
    let mut stdin = judge.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let verdict = judge.wait_with_output().expect("promtool ends");
    let said = [verdict.stdout, verdict.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(verdict.status.success() && said.is_empty(), "{said}{text}");
}

#[test]
fn metrics_are_served_where_asked_for_and_promtool_finds_no_fault() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = start(&n1, &vipd(0), &["--metrics=127.0.0.1:9843"]);
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_for_master(&second, n1.address());

    let answer = ask(&n1, "/metrics").expect("it listens");
    let (head, text) = answer.split_once("\r\n\r\n").expect("HTTP has a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let labels = "group=\"eth0-42\",interface=\"eth0\",vhid=\"42\"";
    for line in [
        format!("vipd_group_state{{{labels},state=\"master\"}} 1\n"),
        format!("vipd_group_state{{{labels},state=\"backup\"}} 0\n"),
        format!("vipd_group_transitions_total{{{labels}}} 2\n"),
        format!("vipd_group_answers{{{labels}}} 1\n"),
        "vipd_interface_xdp_mode{interface=\"eth0\",mode=\"generic\"} 1\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{text} lacks {line}");
    }
    judge(text);
    assert!(
        ask(&n1, "/")
            .expect("it listens")
            .starts_with("HTTP/1.1 404 ")
    );

    // Without a port there is the same, by the control socket.
    assert!(!listens(&n2), "nobody asked for a listener");
    let output = second.command(&["metrics"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("metrics are text");
    assert!(
        text.contains(&format!(
            "vipd_group_state{{{labels},state=\"backup\"}} 1\n"
        )),
        "{text}"
    );
    judge(&text);
}

#[test]
fn those_who_ask_for_metrics_and_stall_disturb_no_election() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let first = start(&n1, &vipd(0), &["--metrics=127.0.0.1:9843"]);
    first.wait_for_lease(SOON);
    let connect = || TcpStream::connect("127.0.0.1:9843").expect("it listens");
    let stalled: Vec<TcpStream> = n1.run_in(|| (0..64).map(|_| connect()).collect());
    let sent = first.counter("adverts_sent");
    wait_until("adverts meanwhile", SOON, || {
        (first.counter("adverts_sent") >= sent + 4).then_some(())
    });
    assert_eq!(first.counter("transitions"), 2);
    drop(stalled);
    assert!(
        ask(&n1, "/metrics")
            .expect("it listens")
            .starts_with("HTTP/1.1 200 ")
    );
}

fn state_file(host: &Host) -> PathBuf {
    host.directory().join("state/eth0-42")
}

fn wait_for_state(host: &Host, role: &str) -> Value {
    wait_until(
        &format!("{} is {role} by its file", host.name()),
        SOON,
        || {
            let text = fs::read_to_string(state_file(host)).ok()?;
            let state: Value = serde_json::from_str(&text).expect("it is whole");
            (state["role"] == role).then_some(state)
        },
    )
}

#[test]
fn a_state_file_follows_the_role_and_is_whole_at_every_moment() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(1));
    wait_for_state(&n1, "master");
    let mut second = Vipd::start(&n2, &vipd(50));
    wait_for_master(&second, n1.address());
    wait_for_state(&n2, "backup");

    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Also if what the others wait for does not come.
            let limit = now() + 8 * SOON;
            while !stop.load(Ordering::Relaxed) && now() < limit {
                let text = fs::read_to_string(state_file(&n2)).expect("it is there");
                let state: Value = serde_json::from_str(&text).expect("it is whole");
                assert_eq!(state["name"], "eth0-42");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            first.signal(Signal::USR2);
            let state = wait_for_state(&n2, "master");
            assert_eq!(state["reason"], "master_resigned");
            wait_until("the file says that it answers", SOON, || {
                (!wait_for_state(&n2, "master")["owner_mac"].is_null()).then_some(())
            });
            wait_for_state(&n1, "backup");
            second.signal(Signal::USR2);
            wait_for_state(&n1, "master");
            let state = wait_for_state(&n2, "backup");
            assert_eq!(state["owner_mac"], Value::Null);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 100);
    let mode = fs::metadata(state_file(&n1))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);

    // A killed daemon leaves its file; the next one begins anew, and a stop takes it
    // away.
    first.kill();
    assert!(state_file(&n1).exists());
    fs::write(n1.directory().join("state/gone"), "{\"name\":\"gone\"}\n").expect("it is ours");
    wait_for_state(&n2, "master");
    let mut third = Vipd::start(&n1, &vipd(1));
    wait_for_state(&n1, "backup");
    assert!(!n1.directory().join("state/gone").exists(), "a stale state");
    assert_eq!(third.terminate(SOON).code(), Some(0));
    assert!(!state_file(&n1).exists());
}

/// A vipd whose standard error is the journal's, as the environment has it; the
/// journal's socket is in `directory`.
fn under_the_journal(host: &Host, directory: &Path, more: &[&str]) -> Vipd {
    const SCRIPT: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run \
        && mkdir -p /run/systemd/journal && mount --bind \"$1\" /run/systemd/journal && shift \
        && JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM && exec \"$@\"";
    let arguments = vipd(0).arguments(host);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let command = Vipd::command_on(host, &[&arguments, more].concat());
    let mut wrapped = host.command("unshare");
    wrapped
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(directory);
    // The lab's words come first: those after "--" are the program and its own.
    wrapped.args(command.get_args().skip_while(|word| *word != "--").skip(1));
    Vipd::from_command(host, &mut wrapped)
}

fn journal(host: &Host) -> (PathBuf, UnixDatagram) {
    let directory = host.directory().join("journal");
    fs::create_dir(&directory).expect("it is ours");
    let socket = UnixDatagram::bind(directory.join("socket")).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("it is ours");
    (directory, socket)
}

#[test]
fn the_journal_is_told_of_a_change_of_role_in_fields_and_in_one_line() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let (directory, journal) = journal(&n1);
    let mut daemon = under_the_journal(&n1, &directory, &[]);
    let mut buffer = vec![0; 65_536];
    let entry = loop {
        let length = match journal.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("entries come: {error}"),
        };
        let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if entry.contains("ROLE=master\n") {
            break entry;
        }
    };
    for field in [
        "GROUP=eth0-42\n",
        "REASON=master_timeout\n",
        "WAS=backup\n",
        "INTERFACE=eth0\n",
        "PRIORITY=6\n",
        "SYSLOG_IDENTIFIER=vipd\n",
        "MESSAGE_ID=157f2d2224c143a1ba43d967d72f48dc\n",
        "MESSAGE=eth0-42: became master (was backup): no master was heard any more reason=master_timeout ",
    ] {
        assert!(entry.contains(field), "{entry} lacks {field}");
    }
    daemon.terminate(SOON);
    assert!(!daemon.log().contains("became"), "{}", daemon.log());
}

#[test]
fn a_journal_that_does_not_read_holds_up_nothing() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let (directory, unread) = journal(&n1);
    let mut daemon = under_the_journal(&n1, &directory, &["--log=trace"]);
    daemon.wait_for_lease(SOON);
    let sent = daemon.counter("adverts_sent");
    wait_until("adverts go on", SOON, || {
        (daemon.counter("adverts_sent") >= sent + 5).then_some(())
    });
    assert_eq!(daemon.counter("transitions"), 2);
    assert_eq!(daemon.terminate(SOON).code(), Some(0), "not the end either");
    drop(unread);
}

#[test]
fn without_the_journal_a_change_of_role_is_one_line_on_standard_error() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_log("became master", SOON);
    let log = first.log();
    let line = log.lines().find(|line| line.contains("became master"));
    let line = line.expect("it was there");
    let words = "eth0-42: became master (was backup): no master was heard any more reason=master_timeout group=eth0-42 role=master was=backup interface=eth0";
    assert!(line.contains(words), "{line}");
}

#[test]
fn the_table_says_for_how_long_and_why() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let output = first.command(&["status"]).output().expect("it runs");
    let table = String::from_utf8(output.stdout).expect("a table is text");
    assert!(!table.contains('\x1b'), "no colour into a pipe: {table}");
    let line = table.lines().nth(1).expect("a line for the group");
    for words in [
        "eth0-42  master  ",
        " s  ",
        "no master was heard any more",
        "10.99.0.100",
    ] {
        assert!(line.contains(words), "{line} does not say {words}");
    }
}
