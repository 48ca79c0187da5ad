//! What an operator can have a running daemon do, and see of it.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;
use vipd_tests::lab::{Daemon, Host, Lab, Prober, Vipd, VipdOptions, wait_until};

use crate::groups;
use crate::scene::{SOON, VIP, pair, vipd, wait_for_master};

const GROUP: &str = "eth0-42";
const N1: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const N2: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it to its end, which comes with this status.
fn ends(command: &mut Command, code: i32) -> Output {
    let output = command.output().expect("vipd can be started");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    output
}

/// An order that is obeyed, and what is said of it.
fn order(vipd: &Vipd, words: &[&str]) -> String {
    text(&ends(&mut vipd.command(words), 0).stdout)
}

/// Two that follow each other, the first one master.
fn led(n1: &Host, n2: &Host) -> (Vipd, Vipd) {
    let first = Vipd::start(n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(n2, &vipd(20));
    wait_for_master(&second, N1);
    (first, second)
}

/// The names of the causes in the status.
fn causes(vipd: &Vipd) -> Vec<String> {
    let group = vipd.group();
    let causes = group["causes"].as_array().expect("a list");
    let names = causes.iter().map(|cause| cause["name"].as_str());
    names.map(|name| name.expect("a name").to_owned()).collect()
}

/// `vipd events --json` on a host, and what it says.
struct Events(Daemon);

impl Events {
    fn of(vipd: &Vipd, words: &[&str]) -> Self {
        let words = [&["events", "--json"], words].concat();
        let events = Self(Daemon::spawn("vipd events", &mut vipd.command(&words)));
        events.0.wait_for_log("\"roles\"", SOON);
        events
    }

    fn so_far(&self) -> Vec<Value> {
        let log = self.0.log();
        let lines = log.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect()
    }

    /// Waits for an event that has this value there.
    fn wait_for(&self, key: &str, value: &str) -> Value {
        wait_until(&format!("an event with {key} {value}"), SOON, || {
            self.so_far().into_iter().find(|event| event[key] == value)
        })
    }
}

#[test]
fn a_demoted_master_hands_over_and_takes_back_when_it_is_promoted() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = led(&n1, &n2);
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    let said = order(&first, &["demote", GROUP]);
    assert_eq!(said, "eth0-42: demoted until 'vipd promote eth0-42'\n");
    second.wait_for_lease(SOON);
    wait_for_master(&first, N2);
    assert!(prober.answered_by_within(n2.mac(), SOON));
    let group = first.group();
    assert_eq!(causes(&first), ["operator"]);
    assert_eq!(
        (&group["demoted"], &group["demotion"]),
        (&true.into(), &240.into())
    );
    let held_back = group["held_back"].as_str().expect("it is held back");
    assert!(
        held_back.contains("preferred to the master, but the operator demoted it"),
        "{held_back}"
    );
    assert_eq!(first.status().expect("it answers")["maintenance"], false);

    // Neither host preempts; it takes over all the same, for it was told to.
    order(&first, &["promote", GROUP]);
    first.wait_for_lease(SOON);
    wait_for_master(&second, N1);
    assert!(prober.answered_by_within(n1.mac(), SOON));
    assert!(causes(&first).is_empty());
    assert_eq!(first.group()["held_back"], Value::Null);
    let macs: Vec<_> = prober
        .finish()
        .changes()
        .into_iter()
        .map(|(_, mac)| mac)
        .collect();
    assert_eq!(macs, [n1.mac(), n2.mac(), n1.mac()]);
}

#[test]
fn a_demotion_outlives_the_daemon_and_its_undoing_does_too() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let options = VipdOptions {
        preempt: true,
        ..vipd(0)
    };
    let mut first = Vipd::start(&n1, &options);
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(20));
    wait_for_master(&second, N1);
    order(&first, &["demote", GROUP]);
    wait_for_master(&first, N2);
    let since = first.group()["causes"][0]["since"].clone();

    first.kill();
    let mut first = Vipd::start(&n1, &options);
    wait_for_master(&first, N2);
    assert_eq!(causes(&first), ["operator"]);
    assert_eq!(first.group()["causes"][0]["since"], since);
    let held_back = first.group()["held_back"].clone();
    let held_back = held_back.as_str().expect("it is held back");
    assert!(
        held_back.starts_with("would be master, but the operator demoted it"),
        "{held_back}"
    );
    // It would have taken over by its rank and `preempt` in this time.
    let received = first.counter("adverts_received");
    wait_until("adverts", SOON, || {
        (first.counter("adverts_received") >= received + 5).then_some(())
    });
    assert_eq!(
        (first.role(), second.role()),
        ("backup".to_owned(), "master".to_owned())
    );

    order(&first, &["promote", GROUP]);
    first.wait_for_lease(SOON);
    assert!(first.terminate(SOON).success());
    let first = Vipd::start(&n1, &options);
    first.wait_for_lease(SOON);
    assert!(causes(&first).is_empty());
}

#[test]
fn in_maintenance_every_other_host_is_preferred_and_alone_it_answers() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (mut first, mut second) = led(&n1, &n2);
    let prober = Prober::start(&client, VIP, 50);
    let said = order(&first, &["maintenance", "on"]);
    assert!(said.contains("'vipd maintenance off'"), "{said}");
    second.wait_for_lease(SOON);
    wait_for_master(&first, N2);
    assert_eq!(first.status().expect("it answers")["maintenance"], true);
    assert_eq!(causes(&first), ["maintenance"]);

    // Nobody else is left.
    assert!(second.terminate(SOON).success());
    first.wait_for_lease(SOON);
    assert!(prober.answered_by_within(n1.mac(), SOON));
    // So it is for a daemon that is started in maintenance.
    assert!(first.terminate(SOON).success());
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    assert_eq!(causes(&first), ["maintenance"]);

    let second = Vipd::start(&n2, &vipd(20));
    second.wait_for_lease(SOON);
    wait_for_master(&first, N2);
    let said = order(&first, &["promote", GROUP]);
    assert!(said.contains("maintenance"), "{said}");
    let said = order(&first, &["maintenance", "off"]);
    assert_eq!(said, "maintenance is over\n");
    assert!(causes(&first).is_empty());
    assert_eq!(first.status().expect("it answers")["maintenance"], false);
}

#[test]
fn what_the_operator_ordered_counts_as_maintenance_where_it_cannot_be_read() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let state = n1.directory().join("state");
    std::fs::create_dir_all(&state).expect("it is ours");
    std::fs::write(state.join("operator.json"), "{\"maint").expect("it is ours");
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_log("operator.json cannot be read", SOON);
    let second = Vipd::start(&n2, &vipd(20));
    second.wait_for_lease(SOON);
    let cause = &first.group()["causes"][0];
    assert_eq!(cause["name"], "maintenance");
    let words = cause["text"].as_str().expect("it has words");
    assert!(words.contains("operator.json"), "{words}");
    order(&first, &["maintenance", "off"]);
    assert!(causes(&first).is_empty());
    let kept = std::fs::read_to_string(state.join("operator.json")).expect("it is there");
    let kept: Value = serde_json::from_str(&kept).expect("it is JSON again");
    assert_eq!(kept["maintenance"], Value::Null);
}

#[test]
fn an_order_that_cannot_be_kept_is_obeyed_and_says_so() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let (first, second) = led(&n1, &n2);
    // In the way of the file that is written first.
    let state = n1.directory().join("state");
    std::fs::create_dir_all(state.join("operator.json.new")).expect("it is ours");
    let refused = ends(&mut first.command(&["demote", GROUP]), 1);
    let said = text(&refused.stderr);
    assert!(said.contains("a restart would forget it"), "{said}");
    second.wait_for_lease(SOON);
    assert_eq!(causes(&first), ["operator"]);
}

#[test]
fn is_master_says_it_by_its_exit_status_alone() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let (mut first, second) = led(&n1, &n2);
    let asked = |vipd: &Vipd, code| {
        let output = ends(&mut vipd.command(&["is-master", GROUP]), code);
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    };
    asked(&first, 0);
    asked(&second, 1);
    let unknown = ends(&mut first.command(&["is-master", "web"]), 1);
    assert!(text(&unknown.stderr).contains("no group web"));
    assert!(first.terminate(SOON).success());
    asked(&first, 3);
    second.wait_for_role("master", SOON);
    asked(&second, 0);
}

#[test]
fn what_is_announced_once_more_is_seen_on_the_wire() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = led(&n1, &n2);
    // The announcements of the takeover are over by then.
    let sent = first.counter("adverts_sent");
    wait_until("adverts", SOON, || {
        (first.counter("adverts_sent") >= sent + 8).then_some(())
    });
    let prober = Prober::start(&client, VIP, 1);
    let before = first.counter("announcements");
    assert!(prober.so_far().announcements.is_empty());
    assert_eq!(order(&first, &["announce", GROUP]), "eth0-42: announced\n");
    wait_until("an announcement", SOON, || {
        let announcements = prober.so_far().announcements;
        announcements
            .iter()
            .any(|seen| seen.mac == n1.mac())
            .then_some(())
    });
    assert!(first.counter("announcements") > before);
    let refused = ends(&mut second.command(&["announce", GROUP]), 1);
    assert!(text(&refused.stderr).contains("backup"));
}

#[test]
fn events_tell_what_happened_in_its_order_and_why() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let (first, mut second) = led(&n1, &n2);
    let on_first = Events::of(&first, &[GROUP]);
    let on_second = Events::of(&second, &[]);
    let roles = &on_first.so_far()[0]["roles"];
    assert_eq!(
        (&roles[0]["group"], &roles[0]["role"]),
        (&GROUP.into(), &"master".into())
    );

    order(&first, &["demote", GROUP]);
    let gave_up = on_first.wait_for("event", "role");
    assert_eq!(
        (&gave_up["from"], &gave_up["to"]),
        (&"master".into(), &"backup".into())
    );
    let took_over = on_second.wait_for("event", "role");
    assert_eq!(
        (&took_over["from"], &took_over["to"]),
        (&"backup".into(), &"master".into())
    );
    assert_eq!(took_over["group"], GROUP);
    assert!(took_over["reason"].is_string() && took_over["time"].is_string());
    // Why comes before what.
    let kinds: Vec<Value> = on_first
        .so_far()
        .iter()
        .map(|event| event["event"].clone())
        .collect();
    assert_eq!(kinds, ["roles", "operator", "cause", "role"]);
    let ordered = &on_first.so_far()[1];
    assert_eq!(
        (&ordered["action"], &ordered["uid"]),
        (&"demote".into(), &0.into())
    );

    // What happens last is told too, and the end.
    assert!(second.terminate(SOON).success());
    let mut last = on_second;
    let status = last.0.wait_for_exit(SOON);
    assert_eq!(status.code(), Some(3));
    last.0.wait_for_log("the daemon has ended", SOON);
    let roles: Vec<Value> = last
        .so_far()
        .into_iter()
        .filter(|event| event["event"] == "role")
        .collect();
    let end = roles.last().expect("there were some");
    assert_eq!(
        (&end["to"], &end["reason"]),
        (&"init".into(), &"shutdown".into())
    );

    let refused = ends(&mut first.command(&["events", "web"]), 1);
    assert!(text(&refused.stderr).contains("no group web"));
}

#[test]
fn without_a_daemon_every_verb_says_so() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    for words in [
        &["demote", GROUP][..],
        &["promote", GROUP],
        &["maintenance", "on"],
        &["announce", GROUP],
        &["reload"],
        &["events"],
    ] {
        let output = ends(&mut Vipd::command_on(&n1, words), 3);
        let said = text(&output.stderr);
        assert!(
            said.contains("no daemon") && said.contains("vipd.sock"),
            "{said}"
        );
    }
    ends(&mut Vipd::command_on(&n1, &["maintenance", "perhaps"]), 2);
    ends(&mut Vipd::command_on(&n1, &["demote"]), 2);
}

/// A vipd command of a user who is in these groups, and has no capabilities.
fn as_user(host: &Host, words: &[&str], groups: &str) -> Command {
    let command = Vipd::as_nobody(host, &[], &Vipd::command_on(host, words));
    let mut as_user = Command::new(command.get_program());
    for word in command.get_args() {
        if word == "--clear-groups" {
            as_user.arg(format!("--groups={groups}"));
        } else {
            as_user.arg(word);
        }
    }
    as_user
}

#[test]
fn a_member_of_the_sockets_group_may_read_and_not_change() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let socket = n1.directory().join("vipd.sock");
    let mode = std::fs::metadata(&socket)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);

    // The socket's group is the daemon's: root's.
    ends(&mut as_user(&n1, &["status"], "0"), 0);
    ends(&mut as_user(&n1, &["is-master", GROUP], "0"), 0);
    for words in [
        &["demote", GROUP][..],
        &["promote", GROUP],
        &["maintenance", "on"],
        &["announce", GROUP],
        &["reload"],
    ] {
        let refused = ends(&mut as_user(&n1, words, "0"), 1);
        let said = text(&refused.stderr);
        assert!(said.contains("only root"), "{words:?}: {said}");
    }
    first.wait_for_log("uid=65534", SOON);
    assert!(causes(&first).is_empty());
    assert_eq!(first.status().expect("it answers")["maintenance"], false);
    // Who is not in it may not even read.
    let refused = ends(&mut as_user(&n1, &["status"], "12345"), 1);
    assert!(text(&refused.stderr).contains("no permission"));
}

#[test]
fn a_member_of_the_admin_group_may_change_things_and_maintenance_is_for_all_groups() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    n1.connect("eth1", "10.98.0.1/24", &n2, "10.98.0.2/24");
    let members = [(&groups::SINGLE, 0), (&groups::ELSEWHERE, 0)];
    // `users`, which every Debian has as 100.
    let mut command = groups::command_with_admins(&n1, &members, Some("users"));
    let mut vipd = Vipd::from_command(&n1, &mut command);
    let masters = |vipd: &Vipd| {
        let status = vipd.status()?;
        let groups = status["groups"].as_array()?.clone();
        groups
            .iter()
            .all(|group| group["role"] == "master")
            .then_some(groups)
    };
    wait_until("both are master", SOON, || masters(&vipd));

    let refused = ends(&mut as_user(&n1, &["maintenance", "on"], "0"), 1);
    let said = text(&refused.stderr);
    assert!(said.contains("the group users"), "{said}");
    ends(&mut as_user(&n1, &["maintenance", "on"], "0,100"), 0);
    let status = vipd.status().expect("it answers");
    for group in status["groups"].as_array().expect("a list") {
        assert_eq!(group["causes"][0]["name"], "maintenance", "{group}");
        assert_eq!(group["demotion"], 255, "{group}");
    }
    ends(&mut as_user(&n1, &["demote", "eth1-1"], "0,100"), 0);
    ends(&mut as_user(&n1, &["maintenance", "off"], "0,100"), 0);
    let status = vipd.status().expect("it answers");
    let groups = &status["groups"];
    let demoted = [&groups[0], &groups[1]].map(|group| group["demotion"].clone());
    assert_eq!(demoted, [Value::from(0), Value::from(240)]);
    // Alone, it has answered all the while.
    assert!(masters(&vipd).is_some(), "{groups}");

    let words = ["events", "--json", "eth1-1"];
    let events = Daemon::spawn("vipd events", &mut vipd.command(&words));
    events.wait_for_log("eth1-1", SOON);
    ends(&mut as_user(&n1, &["promote", "eth1-1"], "0,100"), 0);
    events.wait_for_log("\"uid\":65534", SOON);
    vipd.signal(Signal::TERM);
    assert!(vipd.wait_for_exit(SOON).success());
}

#[test]
fn an_admin_group_that_does_not_exist_opens_nothing() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    n1.connect("eth1", "10.98.0.1/24", &n2, "10.98.0.2/24");
    let members = [(&groups::SINGLE, 0)];
    let mut command = groups::command_with_admins(&n1, &members, Some("no-such-group"));
    let vipd = Vipd::from_command(&n1, &mut command);
    wait_until("it answers", SOON, || vipd.status().map(drop));
    ends(&mut as_user(&n1, &["maintenance", "on"], "0,100"), 1);
    ends(&mut vipd.command(&["maintenance", "on"]), 0);
}
