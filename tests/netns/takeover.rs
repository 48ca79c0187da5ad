//! Three vipds on a LAN, and what is left of one that was killed.

use std::time::Duration;

use vipd_tests::lab::{Lab, Prober, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, pair, vipd, wait_for_address, wait_for_service};

#[test]
fn of_two_backups_the_preferred_one_takes_over_from_a_killed_master() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let n3 = lab.host("n3", "10.99.0.3/24");
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    // Nearly a second apart: a noisy machine must not make the difference.
    let third = Vipd::start(&n3, &vipd(254));
    let mut second = Vipd::start(&n2, &vipd(20));
    for backup in [&second, &third] {
        // The first may have waited in the socket while the daemon started.
        wait_until("the master is followed", SOON, || {
            (backup.counter("adverts_received") >= 2).then_some(())
        });
    }
    let prober = Prober::start(&client, VIP, 100);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    first.kill();
    second.wait_for_role("master", SOON);
    assert!(prober.answered_by_within(n2.mac(), SOON));
    // What would make the dead host answer is all still there.
    assert!(n1.addresses().contains(&VIP.into()));
    assert!(n1.xdp_program("eth0").is_some());
    assert!(n1.bpffs().join("eth0/vips").exists());
    wait_until("the third follows the second", SOON, || {
        (third.group()["master"]["address"] == "10.99.0.2").then_some(())
    });
    let sent = second.counter("adverts_sent");
    wait_until("adverts", SOON, || {
        (second.counter("adverts_sent") >= sent + 3).then_some(())
    });
    assert_eq!(third.role(), "backup");
    assert_eq!(third.counter("transitions"), 1, "its start");
    let changes: Vec<_> = prober
        .so_far()
        .changes()
        .iter()
        .map(|(_, mac)| *mac)
        .collect();
    assert_eq!(changes, [n1.mac(), n2.mac()]);

    // Started again, it clears up what it left, and waits its turn.
    let mut again = Vipd::start(&n1, &vipd(0));
    again.wait_for_log("removing an address that an earlier daemon left", SOON);
    wait_for_address(&n1, VIP, false);
    wait_until("the second is followed", SOON, || {
        (again.group()["master"]["address"] == "10.99.0.2").then_some(())
    });
    assert_eq!(again.role(), "backup");
    assert!(again.terminate(SOON).success());
    assert_untouched(&n1);

    let preempting = VipdOptions {
        preempt: true,
        ..vipd(0)
    };
    let again = Vipd::start(&n1, &preempting);
    again.wait_for_role("master", SOON);
    second.wait_for_role("backup", SOON);
    assert!(prober.answered_by_within(n1.mac(), SOON));
    wait_for_service(&client, &n1);
    assert!(second.terminate(SOON).success());
    assert_untouched(&n2);
    let record = prober.finish();
    let changes: Vec<_> = record.changes().iter().map(|(_, mac)| *mac).collect();
    assert_eq!(changes, [n1.mac(), n2.mac(), n1.mac()]);
}

#[test]
fn a_stopped_master_is_silent_before_its_successor_answers_and_when_it_wakes() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let prober = Prober::start(&client, VIP, 100);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    first.stop();
    assert!(prober.answered_by_within(n2.mac(), SOON));
    first.cont();
    first.wait_for_role("backup", SOON);
    assert_eq!(first.group()["reason"], "lease_expired");
    let received = first.counter("adverts_received");
    wait_until("adverts", SOON, || {
        (first.counter("adverts_received") >= received + 2).then_some(())
    });
    assert_eq!(
        (first.role(), second.role()),
        ("backup".to_owned(), "master".to_owned())
    );
    let record = prober.finish();
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
}

#[test]
fn a_vipd_that_stops_hands_over_before_anybody_misses_it() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let patient = |advskew| VipdOptions {
        deadratio: 10,
        ..vipd(advskew)
    };
    // Not to wait for the first election as long as for a dead master.
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let second = Vipd::start(&n2, &patient(20));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let prober = Prober::start(&client, VIP, 100);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    let stopped = prober.elapsed();
    assert!(first.terminate(SOON).success());
    assert!(prober.answered_by_within(n2.mac(), SOON));
    assert_eq!(second.group()["reason"], "master_resigned");
    let record = prober.finish();
    let (took_over, _) = record.changes()[1];
    // A tenth of a second is its skew; ten would be the wait for a dead master.
    assert!(
        took_over - stopped < Duration::from_secs(5),
        "{:?}",
        took_over - stopped
    );
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
}
