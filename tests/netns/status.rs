//! `vipd status`, as programs rely on it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};
use vipd::io::control;
use vipd_tests::lab::{Host, Lab, Prober, Vipd, wait_until};

use crate::scene::{SOON, VIP, pair, vipd};

/// What both a master and a backup say of a group.
fn check_group(group: &Value) {
    for (field, expected) in [
        ("name", json!("eth0-42")),
        ("interface", json!("eth0")),
        ("decider", json!("carp")),
        ("vhid", json!(42)),
        ("vips", json!(["10.99.0.100"])),
    ] {
        assert_eq!(group[field], expected, "{field} in {group}");
    }
    let since = group["since"].as_str().expect("a text");
    // 2026-11-20T12:00:00.123Z
    let digits = |from: usize, to: usize| since[from..to].bytes().all(|b| b.is_ascii_digit());
    assert_eq!(since.len(), 24, "{since}");
    assert!(digits(0, 4) && digits(5, 7) && digits(20, 23), "{since}");
    assert_eq!(&since[10..11], "T");
    assert_eq!(&since[23..], "Z");
    assert!(group["lease_ms"].is_u64(), "{group}");
    let counters = group["counters"].as_object().expect("an object");
    for counter in ["adverts_sent", "adverts_received", "bad_digest"] {
        assert!(counters.contains_key(counter), "{counters:?}");
    }
    assert!(counters.values().all(Value::is_u64), "{counters:?}");
}

fn check_interface(interface: &Value, host: &Host) {
    assert_eq!(interface["name"], "eth0");
    assert_eq!(interface["link"], "up");
    assert_eq!(interface["xdp_mode"], "generic");
    let mac = host.mac().map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(interface["mac"], mac);
    let counters = interface["counters"].as_object().expect("an object");
    for counter in ["arp_answered", "arp_silenced"] {
        assert!(counters.contains_key(counter), "{counters:?}");
    }
    assert!(counters.values().all(Value::is_u64), "{counters:?}");
}

#[test]
fn every_field_of_the_contract_is_there_on_master_and_backup() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(1));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let prober = Prober::start(&client, VIP, 50);
    wait_until("answers", SOON, || {
        (prober.so_far().answers.len() >= 10).then_some(())
    });
    drop(prober);

    let the_first = json!({"address": "10.99.0.1", "advbase": 1, "advskew": 1});
    for (daemon, host) in [(&first, &n1), (&second, &n2)] {
        let status = daemon.status().expect("the daemon answers");
        assert_eq!(status["version"], "0.1.0");
        assert_eq!(status["groups"].as_array().map(Vec::len), Some(1));
        assert_eq!(status["interfaces"].as_array().map(Vec::len), Some(1));
        check_group(&status["groups"][0]);
        check_interface(&status["interfaces"][0], host);
        assert_eq!(status["groups"][0]["master"], the_first);
    }
    let master = first.group();
    assert_eq!(master["role"], "master");
    assert_eq!(master["reason"], "master_timeout");
    assert_eq!(master["owner_mac"], "02:00:00:00:00:01");
    let lease = master["lease_ms"].as_u64().expect("a number");
    assert!((1..=3000).contains(&lease), "{lease}");
    assert!(first.counter("adverts_sent") > 0);
    assert!(first.counter("arp_answered") >= 10);
    let backup = second.group();
    assert_eq!(backup["role"], "backup");
    assert_eq!(backup["reason"], "start");
    assert_eq!(backup["owner_mac"], Value::Null);
    assert_eq!(backup["lease_ms"], 0);
    assert!(second.counter("adverts_received") > 0);
    assert_eq!(second.counter("adverts_sent"), 0);
    assert!(second.counter("arp_silenced") >= 10);
}

#[test]
fn a_group_can_be_asked_for_by_its_name() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let ask = |arguments: &[&str]| {
        let output = first.command(arguments).output().expect("vipd starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, said, _) = ask(&["status", "eth0-42", "--json"]);
    assert_eq!(code, Some(0));
    let status: Value = serde_json::from_str(&said).expect("status is JSON");
    check_group(&status["groups"][0]);
    for arguments in [&["status"][..], &["status", "eth0-42"]] {
        let (code, said, _) = ask(arguments);
        assert_eq!(code, Some(0));
        for words in ["eth0-42", "master", "10.99.0.100", "10.99.0.1 ", "generic"] {
            assert!(said.contains(words), "{said} does not say {words}");
        }
    }
    for arguments in [&["status", "eth1-7"][..], &["status", "eth1-7", "--json"]] {
        let (code, out, said) = ask(arguments);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(out, "");
        assert!(said.contains("eth1-7"), "{said}");
    }
}

#[test]
fn a_flood_of_questions_disturbs_no_election() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let prober = Prober::start(&client, VIP, 50);

    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for host in [&n1, &n1, &n2, &n2] {
            scope.spawn(|| {
                let socket = host.directory().join("vipd.sock");
                while !stop.load(Ordering::Relaxed) {
                    let answer = control::call(&socket, "org.vipd.Status", json!({}));
                    let answer = answer.unwrap_or_else(|e| panic!("{e}"));
                    check_group(&answer["groups"][0]);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Longer than a backup waits.
        let sent = first.counter("adverts_sent");
        wait_until("adverts in the flood", SOON, || {
            (first.counter("adverts_sent") >= sent + 5).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert!(answered.into_inner() > 100);
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert_eq!(second.counter("transitions"), 1, "its start");
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    assert_eq!(prober.finish().changes().len(), 1);
}
