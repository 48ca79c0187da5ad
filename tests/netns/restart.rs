//! A daemon that is replaced by another on the same host: within the lease not
//! one request goes unanswered and nobody's role changes; after it there is an
//! ordinary failover; and what cannot be gone on with is recognised.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vipd_tests::lab::{
    Answer, Census, Echo, Host, Lab, Prober, Record, Vipd, VipdOptions, wait_until,
};

use crate::scene::{
    SOON, VIP, assert_untouched, pair, rounds, vipd, wait_for_address, wait_for_master,
    wait_for_service,
};

/// Requests per second that are asked for; fewer are made where the machine is
/// too slow.
const RATE: u32 = 20_000;

/// Replacements in a row.
fn cycles() -> u32 {
    5 * rounds()
}

/// Half a minute of lease: no machine is too slow to restart within it.
fn patient(advskew: u8, addresses: &'static str) -> VipdOptions {
    VipdOptions {
        deadratio: 30,
        keep_on_exit: true,
        addresses,
        ..vipd(advskew)
    }
}

/// A master and its backup, with the long lease. The first election has a short
/// one, as it would take as long.
fn patient_pair(n1: &Host, n2: &Host, addresses: &'static str) -> (Vipd, Vipd) {
    let brisk = VipdOptions {
        deadratio: 3,
        ..patient(0, addresses)
    };
    let mut first = Vipd::start(n1, &brisk);
    first.wait_for_lease(SOON);
    let second = Vipd::start(n2, &patient(50, addresses));
    wait_for_master(&second, n1.address());
    assert!(first.terminate(SOON).success());
    let first = Vipd::start(n1, &patient(0, addresses));
    first.wait_for_lease(SOON);
    (first, second)
}

fn replaced_without_a_gap(
    what: &str,
    addresses: &'static str,
    mut end: impl FnMut(&mut Vipd, &Host),
) {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let user = lab.host("user", "10.99.0.201/24");
    let (mut first, second) = patient_pair(&n1, &n2, addresses);
    wait_for_master(&second, n1.address());
    let peer = |second: &Vipd| (second.role(), second.counter("transitions"));
    let before = peer(&second);
    let echo = Echo::start(&user, VIP, 1000);
    echo.wait_for_answer(SOON);

    let census = Census::start(&client, VIP, RATE);
    census.wait_for_requests(1000, SOON);
    for _ in 0..cycles() {
        end(&mut first, &n1);
        census.wait_for_requests(500, SOON);
        first = Vipd::start(&n1, &patient(0, addresses));
        wait_until("the lease is renewed", SOON, || {
            (first.counter("adverts_sent") >= 1).then_some(())
        });
        let group = first.group();
        assert_eq!(
            (&group["role"], &group["reason"]),
            (&"master".into(), &"resumed".into())
        );
        assert_eq!(group["owner_mac"], "02:00:00:00:00:01");
        assert_eq!(first.counter("transitions"), 1);
        census.wait_for_requests(500, SOON);
    }
    let count = census.finish();
    let echoes = echo.finish(SOON);
    println!(
        "{what}, {addresses}: {} requests, {:.0}/s, {} unanswered; {} echoes, {} lost",
        count.asked,
        count.rate_hz(),
        count
            .unanswered
            .iter()
            .map(ExactSizeIterator::len)
            .sum::<usize>(),
        echoes.sent.len(),
        echoes.lost().len(),
    );
    assert_eq!(
        count.unanswered,
        [],
        "{what}, {addresses}: of {}",
        count.asked
    );
    assert_eq!(count.by_another, 0);
    assert_eq!(count.twice, Vec::<u32>::new());
    assert_eq!(echoes.lost(), [], "{what}, {addresses}");
    assert_eq!(peer(&second), before);
    assert!(!first.log().contains("ERROR"), "{}", first.log());
}

#[test]
fn a_daemon_that_keeps_its_lease_is_replaced_without_a_gap() {
    for addresses in ["interface", "loopback"] {
        replaced_without_a_gap("SIGTERM", addresses, |vipd, _| {
            assert!(vipd.terminate(SOON).success());
        });
    }
}

#[test]
fn a_killed_daemon_is_replaced_without_a_gap() {
    for addresses in ["interface", "loopback"] {
        replaced_without_a_gap("SIGKILL", addresses, |vipd, _| vipd.kill());
    }
}

#[test]
fn a_daemon_of_another_abi_with_the_same_leases_is_replaced_without_a_gap() {
    replaced_without_a_gap("another ABI", "interface", |vipd, host| {
        vipd.kill();
        set_abi(host, OTHER_ABI);
    });
}

#[test]
fn a_restart_that_takes_longer_than_the_lease_is_a_failover() {
    for keep_on_exit in [true, false] {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let options = |advskew| VipdOptions {
            keep_on_exit: true,
            ..vipd(advskew)
        };
        let mut first = Vipd::start(&n1, &options(0));
        first.wait_for_lease(SOON);
        let second = Vipd::start(&n2, &options(50));
        wait_for_master(&second, n1.address());
        let prober = Prober::start(&client, VIP, 1000);
        assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
        if keep_on_exit {
            assert!(first.terminate(SOON).success());
        } else {
            first.kill();
        }
        assert!(prober.answered_by_within(n2.mac(), SOON));
        assert_eq!(second.group()["reason"], "master_timeout");
        // Attached, with the address in place, and silent.
        assert!(n1.xdp_program("eth0").is_some());
        assert!(n1.addresses().contains(&VIP.into()));

        let first = Vipd::start(&n1, &options(0));
        wait_for_master(&first, n2.address());
        assert_eq!(first.group()["reason"], "start");
        wait_for_address(&n1, VIP, false);
        wait_for_service(&client, &n2);
        let record = prober.finish();
        assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
        assert_eq!(first.counter("adverts_sent"), 0);
    }
}

#[test]
fn after_a_crash_nothing_answers_beyond_the_lease_and_the_next_daemon_clears_up() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let prober = Prober::start(&client, VIP, 1000);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    first.kill();
    let killed = prober.elapsed();
    wait_until("silence", SOON, || {
        let record = prober.so_far();
        let last = record.answers.last()?.at;
        (record.lasted > last + Duration::from_secs(2)).then_some(())
    });
    let record = prober.so_far();
    let last = record.answers.last().expect("it answered").at;
    assert!(
        last < killed + Duration::from_secs(3),
        "killed {killed:?}, answered {last:?}"
    );
    let mut again = Vipd::start(&n1, &vipd(0));
    again.wait_for_log("removing an address that an earlier daemon left", SOON);
    again.wait_for_lease(SOON);
    assert!(again.terminate(SOON).success());
    assert_untouched(&n1);
}

/// Addresses on an interface are not looked at here: the responder is.
#[test]
fn a_lease_is_not_gone_on_with_for_other_addresses_or_another_group() {
    for (vip, vhid) in [(OTHER, 42), (OTHER, 43), (VIP, 43)] {
        let with = |vip, vhid| VipdOptions {
            vips: vec![vip],
            vhid,
            addresses: "loopback",
            ..vipd(0)
        };
        let lab = Lab::new();
        let (n1, _n2, client) = pair(&lab);
        let mut first = Vipd::start(&n1, &with(VIP, 42));
        first.wait_for_lease(SOON);
        let old = Prober::start(&client, VIP, 1000);
        assert_eq!(old.who_answers_within(SOON), Some(n1.mac()));
        first.kill();
        let killed = old.elapsed();
        let new = Prober::start(&client, vip, 1000);
        let mut second = Vipd::start(&n1, &with(vip, vhid));
        let started = old.elapsed();
        assert_eq!(second.group()["reason"], "start", "{vip} {vhid}");
        second.wait_for_lease(SOON);
        assert!(new.answered_by_within(n1.mac(), SOON));

        // Whoever shares the new addresses has heard nothing of this host yet.
        let (old, new) = (old.finish(), new.finish());
        let elected = killed + Duration::from_secs(3);
        let too_early = |record: &Record| {
            let answers = record.answers.iter().map(|answer| answer.at);
            answers.filter(|at| (started..elected).contains(at)).count()
        };
        assert_eq!(too_early(&old), 0, "{vip} {vhid}");
        if vip != VIP {
            let first_answer = new.answers[0].at;
            assert!(
                first_answer >= Duration::from_secs(3),
                "{vip} {vhid}: {first_answer:?}"
            );
            assert!(old.answers.iter().all(|answer| answer.at < started));
        }
        assert_eq!(pinned(&n1, "vips").as_array().map(Vec::len), Some(1));
        assert!(second.terminate(SOON).success());
        assert_untouched(&n1);
    }
}

#[test]
fn a_lease_is_not_gone_on_with_under_another_password_or_where_that_cannot_be_known() {
    type Spoil = fn(&Path);
    let cases: [(&str, &str, Spoil); 3] = [
        ("another password", "another", |_| {}),
        ("lost state", "secret", |state| {
            fs::remove_file(state).expect("it is written");
        }),
        ("damaged state", "secret", |state| {
            let text = fs::read_to_string(state).expect("it is written");
            let (salt, _) = text.rsplit_once('-').expect("a seal is last");
            fs::write(state, format!("{salt}-{:040}\n", 0)).expect("root may");
        }),
    ];
    for (what, password, spoil) in cases {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let with = |deadratio| VipdOptions {
            deadratio,
            keep_on_exit: true,
            ..vipd(0)
        };
        let mut first = Vipd::start(&n1, &with(3));
        first.wait_for_lease(SOON);
        // It takes over while the lease that is left runs: nothing but its end, by
        // who comes next, has one host answer then.
        let second = Vipd::start(&n2, &vipd(50));
        wait_for_master(&second, n1.address());
        assert!(first.terminate(SOON).success());
        let mut first = Vipd::start(&n1, &with(30));
        first.wait_for_lease(SOON);
        assert_eq!(first.group()["reason"], "resumed", "{what}");
        let prober = Prober::start(&client, VIP, 1000);
        assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

        first.kill();
        spoil(&n1.directory().join("state/changes-eth0"));
        // Whom it does not understand it does not follow, for minutes.
        let again = VipdOptions {
            password: password.to_owned(),
            ..with(255)
        };
        let first = Vipd::start(&n1, &again);
        let started = prober.elapsed();

        let group = first.group();
        assert_eq!(
            (&group["role"], &group["reason"]),
            (&"backup".into(), &"start".into()),
            "{what}"
        );
        assert!(first.log().contains("starting afresh"), "{}", first.log());
        wait_for_address(&n1, VIP, false);
        assert!(prober.answered_by_within(n2.mac(), SOON), "{what}");
        assert_eq!(second.group()["reason"], "master_timeout");
        let record = prober.finish();
        let too_late = |answer: &&Answer| answer.mac == n1.mac() && answer.at > started;
        assert_eq!(record.answers.iter().filter(too_late).count(), 0, "{what}");
        assert_eq!(first.counter("adverts_sent"), 0);
    }
}

/// Not the one that the daemons before had.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 101);

#[test]
fn what_is_pinned_and_of_no_use_is_recognised_and_replaced() {
    type Spoil = fn(&Host);
    let spoils: [(&str, Spoil); 5] = [
        ("ABI", |host| set_abi(host, FOREIGN_ABI)),
        ("its map vips is missing", |host| remove(host, "vips")),
        ("its map groups is another", |host| {
            remove(host, "groups");
            let path = pin(host, "groups");
            bpftool(&[
                "map", "create", &path, "type", "array", "key", "4", "value", "8", "entries", "3",
                "name", "groups",
            ]);
        }),
        ("its link is missing", |host| remove(host, "link")),
        ("its interface does not exist any more", |host| {
            host.remove_interface();
            host.make_interface();
        }),
    ];
    for (because, spoil) in spoils {
        let lab = Lab::new();
        let (n1, _n2, client) = pair(&lab);
        let mut first = Vipd::start(&n1, &vipd(0));
        first.wait_for_lease(SOON);
        first.kill();
        spoil(&n1);
        let mut second = Vipd::start(&n1, &vipd(0));
        second.wait_for_log("what an earlier vipd left is of no use, and replaced", SOON);
        second.wait_for_log(because, SOON);
        assert_eq!(second.group()["reason"], "start");
        second.wait_for_lease(SOON);
        wait_for_service(&client, &n1);
        assert!(second.terminate(SOON).success());
        assert_untouched(&n1);
    }
}

fn pin(host: &Host, name: &str) -> String {
    host.bpffs().join("eth0").join(name).display().to_string()
}

fn remove(host: &Host, name: &str) {
    std::fs::remove_file(pin(host, name)).expect("it is pinned");
    // Whoever unpins a link detaches it, some time later.
    if name == "link" {
        wait_until("the program is off", SOON, || {
            host.xdp_program("eth0").is_none().then_some(())
        });
    }
}

/// Its leases are this one's, see `vipd_common::ABI`. The lowest byte comes first.
const OTHER_ABI: [&str; 4] = ["0x01", "0x00", "0x63", "0x00"];

/// Its leases are others.
const FOREIGN_ABI: [&str; 4] = ["0x63", "0x00", "0x00", "0x00"];

/// What bpftool tells of a pinned map.
fn pinned(host: &Host, map: &str) -> Value {
    let text = bpftool(&["-j", "map", "dump", "pinned", &pin(host, map)]);
    serde_json::from_str(&text).expect("bpftool prints JSON")
}

/// Has the maps be those of a daemon of another ABI.
fn set_abi(host: &Host, abi: [&str; 4]) {
    let interface = pinned(host, "interface");
    let value = interface[0]["value"].as_array().expect("bytes");
    let mut bytes: Vec<&str> = value.iter().filter_map(Value::as_str).collect();
    // After the MAC and the mode.
    bytes[8..12].copy_from_slice(&abi);
    let path = pin(host, "interface");
    let head = [
        "map", "update", "pinned", &path, "key", "0", "0", "0", "0", "value",
    ];
    bpftool(&[&head, &bytes[..]].concat());
}

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output();
    let output = output.expect("bpftool is installed");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("bpftool prints text")
}
