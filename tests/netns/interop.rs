//! vipd and ucarp in one election, as on a network that moves from one to the
//! other.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_tests::lab::{Host, Lab, Prober, Ucarp, UcarpOptions, Vipd, VipdOptions, now, wait_until};

use crate::scene::{SOON, VIP, count, pair, ucarp, vipd, wait_for_address, wait_for_service};

#[test]
fn a_ucarp_takes_over_from_a_killed_vipd() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let second = Ucarp::spawn(&n2, &ucarp(50));
    second.wait_for_log("Switching to state: BACKUP", SOON);
    wait_for_service(&client, &n1);

    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    first.kill();
    assert!(prober.answered_by_within(n2.mac(), SOON));
    wait_for_service(&client, &n2);

    // Its VIP is still on its interface, and would be answered for by its kernel.
    assert!(n1.addresses().contains(&VIP.into()));
    let record = prober.finish();
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
}

#[test]
fn a_vipd_takes_over_from_a_killed_ucarp() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Ucarp::spawn(&n1, &ucarp(0));
    first.wait_for_log("Switching to state: MASTER", SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_for_service(&client, &n1);
    wait_until("the ucarp is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    assert_eq!(second.role(), "backup");

    let prober = Prober::start(&client, VIP, 50);
    first.kill();
    // Nothing else makes a killed ucarp's host silent.
    n1.remove_address("10.99.0.100/32");
    assert!(prober.answered_by_within(n2.mac(), SOON));
    wait_for_service(&client, &n2);
    assert_eq!(second.group()["reason"], "master_timeout");
}

#[test]
fn a_preferred_vipd_that_preempts_takes_over_from_a_ucarp() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Ucarp::spawn(&n1, &ucarp(100));
    first.wait_for_log("Switching to state: MASTER", SOON);
    let prober = Prober::start(&client, VIP, 50);
    let second = Vipd::start(
        &n2,
        &VipdOptions {
            preempt: true,
            ..vipd(0)
        },
    );
    second.wait_for_role("master", SOON);
    assert_eq!(second.group()["reason"], "preempt");
    // The first BACKUP is its start.
    wait_until("ucarp is backup again", SOON, || {
        (count(&first, "Switching to state: BACKUP") == 2).then_some(())
    });
    wait_until("its script removes the VIP", SOON, || {
        (!n1.addresses().contains(&VIP.into())).then_some(())
    });
    assert!(prober.answered_by_within(n2.mac(), SOON));
    wait_for_service(&client, &n2);
}

#[test]
fn without_preemption_a_preferred_vipd_leaves_a_ucarp_alone() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Ucarp::spawn(&n1, &ucarp(100));
    first.wait_for_log("Switching to state: MASTER", SOON);
    let second = Vipd::start(&n2, &vipd(0));
    // As many as it would have taken over upon, and more.
    wait_until("adverts", SOON, || {
        (second.counter("adverts_received") >= 5).then_some(())
    });
    assert_eq!(second.role(), "backup");
}

#[test]
fn a_vipd_falls_silent_for_a_preferred_ucarp_that_preempts() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(100));
    first.wait_for_role("master", SOON);
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    let second = Ucarp::spawn(
        &n2,
        &UcarpOptions {
            preempt: true,
            ..ucarp(0)
        },
    );
    second.wait_for_log("Switching to state: MASTER", SOON);
    first.wait_for_role("backup", SOON);
    assert_eq!(first.group()["reason"], "better_master");
    assert_eq!(first.group()["owner_mac"], serde_json::Value::Null);
    wait_for_service(&client, &n2);
    wait_for_address(&n1, VIP, false);

    // ucarp runs its script before it advertises, so for a moment both answer.
    let settled = prober.so_far().answers.len();
    let enough = settled + 50;
    wait_until("answers", SOON, || {
        (prober.so_far().answers.len() >= enough).then_some(())
    });
    let record = prober.finish();
    assert!(
        record.answers[settled..]
            .iter()
            .all(|answer| answer.mac == n2.mac())
    );
}

#[test]
fn of_equal_masters_the_lower_address_in_ucarps_order_stays() {
    // As numbers 10.99.0.9 is the lower; read last octet first it is the higher.
    let (lower, higher) = ("10.99.1.1/16", "10.99.0.9/16");
    for (vipd_address, ucarp_address) in [(lower, higher), (higher, lower)] {
        let lab = Lab::new();
        let n1 = lab.host("n1", vipd_address);
        let n2 = lab.host("n2", ucarp_address);
        let client = lab.host("client", "10.99.0.200/16");
        n2.cut();
        let first = Vipd::start(&n1, &vipd(0));
        let second = Ucarp::spawn(&n2, &ucarp(0));
        first.wait_for_role("master", SOON);
        second.wait_for_log("Switching to state: MASTER", SOON);
        n2.heal();

        let winner = if vipd_address == lower { &n1 } else { &n2 };
        if vipd_address == lower {
            wait_until("ucarp yields", SOON, || {
                (count(&second, "Switching to state: BACKUP") == 2).then_some(())
            });
        } else {
            first.wait_for_role("backup", SOON);
            assert_eq!(first.group()["reason"], "tie_lost");
        }
        wait_until("ucarp's script is done", SOON, || {
            (n2.addresses().contains(&VIP.into()) == (winner.mac() == n2.mac())).then_some(())
        });
        only_one_answers(&client, winner);
        let transitions = first.counter("transitions");
        // Some adverts later, all is as it was.
        let adverts = |vipd: &Vipd| vipd.counter("adverts_sent") + vipd.counter("adverts_received");
        let seen = adverts(&first);
        wait_until("adverts", SOON, || {
            (adverts(&first) >= seen + 4).then_some(())
        });
        only_one_answers(&client, winner);
        assert_eq!(first.counter("transitions"), transitions);
        first.wait_for_log("a peer has the same advbase and advskew", SOON);
    }
}

fn only_one_answers(client: &Host, winner: &Host) {
    let prober = Prober::start(client, VIP, 50);
    wait_until("answers", SOON, || {
        (prober.so_far().answers.len() >= 50).then_some(())
    });
    let record = prober.finish();
    assert_eq!(record.changes().len(), 1);
    assert_eq!(record.changes()[0].1, winner.mac());
}

#[test]
fn a_vipd_that_stops_hands_over_to_a_ucarp_at_once() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let patient = UcarpOptions {
        deadratio: 5,
        ..ucarp(50)
    };
    let mut first = Vipd::start(
        &n1,
        &VipdOptions {
            deadratio: 5,
            ..vipd(0)
        },
    );
    first.wait_for_role("master", SOON);
    let second = Ucarp::spawn(&n2, &patient);
    second.wait_for_log("Switching to state: BACKUP", SOON);
    // It has followed for longer than it would wait for the first advert.
    let sent = first.counter("adverts_sent");
    wait_until("adverts", SOON, || {
        (first.counter("adverts_sent") >= sent + 2).then_some(())
    });
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    let stopped = now();
    let status = first.terminate(SOON);
    assert!(status.success(), "{status}");
    assert!(prober.answered_by_within(n2.mac(), SOON));
    let took = now() - stopped;
    // Without the bow-out it waits five seconds at the least. libpcap keeps what
    // ucarp reads for up to a second.
    assert!(took < Duration::from_millis(3500), "{took:?}");
    let record = prober.finish();
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
    wait_for_service(&client, &n2);
}

/// A peer that is in another election by mistake: it must not be believed, not
/// be obeyed, and not fill the log.
fn is_counted_and_ignored(stranger: &UcarpOptions) {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(100));
    first.wait_for_role("master", SOON);
    // It would win this election if it were believed.
    let _second = Ucarp::spawn(
        &n2,
        &UcarpOptions {
            preempt: true,
            ..stranger.clone()
        },
    );
    wait_until("rejected adverts", SOON, || {
        (first.counter("bad_digest") >= 6).then_some(())
    });
    assert_eq!(first.role(), "master");
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert_eq!(first.counter("adverts_received"), 0);
    assert_eq!(count(&first, "adverts do not verify"), 1);
}

#[test]
fn a_ucarp_with_another_password_is_counted_and_told_once() {
    is_counted_and_ignored(&UcarpOptions {
        password: "another".to_owned(),
        ..ucarp(0)
    });
}

#[test]
fn a_ucarp_with_another_address_under_the_same_vhid_is_counted_and_told_once() {
    is_counted_and_ignored(&UcarpOptions {
        vip: Ipv4Addr::new(10, 99, 0, 101),
        ..ucarp(0)
    });
}
