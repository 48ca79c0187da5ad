//! The service behind the address: when it dies, the address goes where it lives.

use std::net::SocketAddr;

use vipd_tests::lab::{Host, Lab, Prober, Service, Vipd, wait_until};

use crate::scene::{SOON, VIP, pair, wait_for_address, wait_for_master, wait_for_service};
use crate::services::{Group, is_held_back, script, wait_for_adverts, wait_for_group};

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

/// Asked often, so that a verdict is soon made.
fn http(effect: &str) -> String {
    format!(
        "[[group.check]]\n\
         name = \"web\"\n\
         http = \"http://127.0.0.1:8080/health\"\n\
         interval = \"200ms\"\n\
         {effect}\n"
    )
}

fn check_state(vipd: &Vipd) -> String {
    let group = vipd.group();
    let state = group["checks"][0]["state"].as_str();
    state.expect("a check has a state").to_owned()
}

fn wait_for_check(vipd: &Vipd, state: &str) {
    wait_until(&format!("the check is {state}"), SOON, || {
        (check_state(vipd) == state).then_some(())
    });
}

#[test]
fn a_service_that_dies_takes_the_address_along_and_brings_it_back_where_that_is_wanted() {
    for preempt in [true, false] {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let service = Service::start(&n1, local());
        let _other = Service::start(&n2, local());
        let group = |advskew| Group {
            preempt,
            ..Group::new(advskew).with(&http("demote = 100"))
        };
        let first = group(0).start(&n1);
        first.wait_for_role("master", SOON);
        let second = group(50).start(&n2);
        wait_for_master(&second, n1.address());
        assert_eq!(check_state(&first), "passing");
        wait_for_service(&client, &n1);

        drop(service);
        second.wait_for_role("master", SOON);
        assert_eq!(second.group()["reason"], "master_demoted");
        first.wait_for_role("backup", SOON);
        wait_for_service(&client, &n2);
        wait_for_address(&n1, VIP, false);
        let group = first.group();
        // It would not take the role back by itself without `preempt`.
        let held_back = is_held_back(&group, "would be master, but check web fails");
        assert_eq!(held_back, preempt, "{group}");
        assert_eq!(group["demotion"], 100);
        assert_eq!(group["causes"][0]["name"], "check web");

        let _service = Service::start(&n1, local());
        wait_for_check(&first, "passing");
        if preempt {
            first.wait_for_role("master", SOON);
            wait_for_service(&client, &n1);
        } else {
            wait_for_adverts(&second, 4);
            assert_eq!(first.role(), "backup");
            wait_for_service(&client, &n2);
        }
        let group = first.group();
        assert_eq!(group["demotion"], 0);
        assert_eq!(group["causes"], serde_json::json!([]));
    }
}

#[test]
fn an_answer_with_another_status_is_a_failure_and_one_failure_is_none() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let service = Service::start(&n1, local());
    let first = Group::new(0).with(&http("fall = 1000")).start(&n1);
    let _second = Group::new(50).start(&n2);
    first.wait_for_role("master", SOON);
    service.answer_with(503);
    wait_for_group(&first, "a failure is told", |group| {
        group["checks"][0]["text"] == "HTTP status 503, not 200"
    });
    let asked = service.asked();
    wait_until("more failures", SOON, || {
        (service.asked() > asked + 5).then_some(())
    });
    assert_eq!(
        (check_state(&first), first.role()),
        ("passing".into(), "master".into())
    );
    assert_eq!(first.group()["demotion"], 0);
    service.answer_with(200);
    wait_for_group(&first, "no failure", |group| {
        group["checks"][0]["text"] == ""
    });
}

#[test]
fn with_the_service_dead_everywhere_nobody_answers_who_gives_up_and_somebody_who_is_demoted() {
    for (effect, somebody) in [("give_up = true", false), ("demote = 100", true)] {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let services = [Service::start(&n1, local()), Service::start(&n2, local())];
        let first = Group::new(0).with(&http(effect)).start(&n1);
        first.wait_for_role("master", SOON);
        let second = Group::new(50).with(&http(effect)).start(&n2);
        wait_for_master(&second, n1.address());
        wait_for_service(&client, &n1);

        drop(services);
        for vipd in [&first, &second] {
            wait_for_check(vipd, "failing");
        }
        if somebody {
            // Both are as unfit as each other: nothing moves.
            wait_for_adverts(&first, 4);
            assert_eq!(
                (first.role(), second.role()),
                ("master".into(), "backup".into())
            );
            wait_for_service(&client, &n1);
            continue;
        }
        for vipd in [&first, &second] {
            wait_for_group(vipd, "it gives up", |group| {
                group["role"] == "backup"
                    && group["withheld"] == true
                    && group["owner_mac"].is_null()
            });
        }
        wait_for_group(&first, "it says why", |group| {
            is_held_back(group, "would be master, but check web fails")
        });
        // For longer than it takes to take over.
        let prober = Prober::start(&client, VIP, 20);
        wait_until("a while", SOON, || {
            (prober.elapsed().as_secs() >= 6).then_some(())
        });
        assert_eq!(prober.finish().answers.len(), 0);

        let _service = Service::start(&n2, local());
        second.wait_for_role("master", SOON);
        wait_for_service(&client, &n2);
        assert_eq!(first.role(), "backup");
    }
}

#[test]
fn a_host_takes_no_address_for_a_service_that_it_has_never_seen_work() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Group::new(0).with(&http("give_up = true")).start(&n1);
    wait_for_check(&first, "failing");
    let prober = Prober::start(&client, VIP, 20);
    wait_until("a while", SOON, || {
        (prober.elapsed().as_secs() >= 6).then_some(())
    });
    assert_eq!(prober.finish().answers.len(), 0);
    assert_eq!(first.counter("transitions"), 1, "to backup");
    let _service = Service::start(&n1, local());
    first.wait_for_role("master", SOON);
    wait_for_service(&client, &n1);
}

/// The daemon after it knows nothing of the service yet, and keeps the role.
#[test]
fn a_daemon_that_is_started_anew_keeps_its_role_though_its_checks_have_said_nothing_yet() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let slow = script(&n1, "slow", "exec sleep 2");
    let table = format!(
        "[[group.check]]\nname = \"slow\"\ncommand = [\"{}\"]\ntimeout = \"20s\"\ngive_up = true",
        slow.display()
    );
    let mut first = Group::new(0).with(&table).start(&n1);
    first.wait_for_role("master", SOON);
    let second = Group::new(50).start(&n2);
    wait_for_master(&second, n1.address());
    let prober = Prober::start(&client, VIP, 100);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    first.kill();
    let first = Group::new(0).with(&table).start(&n1);
    first.wait_for_role("master", SOON);
    assert_eq!(first.group()["reason"], "resumed");
    wait_for_adverts(&first, 3);
    assert_eq!(second.role(), "backup");
    let macs: Vec<_> = prober
        .finish()
        .changes()
        .iter()
        .map(|(_, mac)| *mac)
        .collect();
    assert_eq!(macs, [n1.mac()]);
}

fn track(host: &Host, other: &Host, effect: &str) -> String {
    host.connect("eth1", "192.0.2.1/24", other, "192.0.2.2/24");
    format!("[[group.track]]\ninterface = \"eth1\"\n{effect}")
}

#[test]
fn a_link_that_the_group_depends_on_moves_the_address_when_it_goes_down_or_away() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let uplink = lab.host("uplink", "10.99.0.150/24");
    let tracks = track(&n1, &uplink, "demote = 240");
    let first = Group {
        preempt: true,
        ..Group::new(0).with(&tracks)
    };
    let first = first.start(&n1);
    let second = Group {
        preempt: true,
        ..Group::new(50)
    };
    let second = second.start(&n2);
    first.wait_for_role("master", SOON);
    wait_for_master(&second, n1.address());
    for (what, text) in [
        (
            ["link", "set", "eth1", "down"].as_slice(),
            "link eth1 is down",
        ),
        (["link", "del", "eth1"].as_slice(), "link eth1 is gone"),
    ] {
        n1.ip(what);
        second.wait_for_role("master", SOON);
        wait_for_group(&first, "it says why", |group| is_held_back(group, text));
        assert_eq!(first.group()["checks"][0]["state"], "failing");
        wait_for_service(&client, &n2);
        if what.contains(&"del") {
            n1.connect("eth1", "192.0.2.1/24", &uplink, "192.0.2.2/24");
        } else {
            n1.ip(&["link", "set", "eth1", "up"]);
        }
        first.wait_for_role("master", SOON);
        wait_for_service(&client, &n1);
    }
}

/// What commands can do to harm: they hang and will not end, fork, fill the pipe, keep
/// a core busy. The other host hears an advert in time, all the time.
#[test]
fn commands_that_hang_fork_flood_and_burn_harm_nobody() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let mut group = Group::new(0);
    let pids = n1.directory().join("pids");
    for (name, text) in [
        (
            "hang",
            "trap '' TERM INT HUP; echo $$ >> PIDS; while :; do sleep 100; done",
        ),
        (
            "fork",
            "echo $$ >> PIDS; for i in 1 2 3 4 5; do (trap '' TERM; echo $$ >> PIDS; sleep 1000) & done; exit 1",
        ),
        ("flood", "echo $$ >> PIDS; exec cat /dev/zero"),
        ("burn", "echo $$ >> PIDS; while :; do :; done"),
        ("leak", "echo $(ls /proc/self/fd); exit 1"),
    ] {
        let text = text.replace("PIDS", &pids.display().to_string());
        let path = script(&n1, name, &text);
        group = group.with(&format!(
            "[[group.check]]\nname = \"{name}\"\ncommand = [\"{}\"]\ninterval = \"300ms\"\ntimeout = \"250ms\"\nfall = 1000\ndemote = 1",
            path.display()
        ));
    }
    // Their first answer decides, so this host is demoted by five.
    let mut first = group.start(&n1);
    first.wait_for_role("master", SOON);
    // The other one is worse still, and waits for its silence.
    let worse = "[[group.check]]\nname = \"worse\"\ncommand = [\"/bin/false\"]\ndemote = 200";
    let second = Group::new(50).with(worse).start(&n2);
    wait_for_master(&second, n1.address());
    wait_for_adverts(&first, 10);
    assert_eq!(first.role(), "master");
    assert_eq!(second.counter("transitions"), 1, "to backup");
    let group = first.group();
    let texts: Vec<&str> = (0..5)
        .filter_map(|index| group["checks"][index]["text"].as_str())
        .collect();
    assert_eq!(texts[0], "not done within 250ms");
    assert_eq!(texts[1], "exit status 1");
    assert!(texts[2].starts_with("not done within 250ms"), "{texts:?}");
    assert_eq!(texts[3], "not done within 250ms");
    assert_eq!(texts[4], "exit status 1: 0 1 2 3");
    assert_eq!(first.terminate(SOON).code(), Some(0));
    for pid in crate::services::lines(&pids) {
        let stat = std::path::Path::new("/proc").join(pid).join("stat");
        wait_until("every process of a check is gone", SOON, || {
            (!stat.exists()).then_some(())
        });
    }
}
