//! Daemons that wake late. Whoever slept cannot tell a dead master from its own
//! sleep: it reads what waits in its socket before it believes its timers.

use std::thread;
use std::time::Duration;

use vipd::carp::Interval;
use vipd_tests::lab::{Host, Lab, Prober, Sniffer, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, pair, rounds, vipd, wait_for_master};

/// Well beyond every lease here.
const SLEEP: Duration = Duration::from_secs(5);

fn brisk(advskew: u8) -> VipdOptions {
    VipdOptions {
        deadratio: 2,
        ..vipd(advskew)
    }
}

/// When a host advertised as a master, from then on.
fn adverts_as_master(sniffer: &Sniffer, host: &Host, since: Duration) -> Vec<Duration> {
    let mut adverts = sniffer.adverts();
    adverts.retain(|(at, from, advert)| {
        let says_master = advert.interval != Interval::BOW_OUT && !advert.interval.is_farewell();
        *at >= since && *from == host.address() && says_master
    });
    adverts.into_iter().map(|(at, ..)| at).collect()
}

fn wait_for_adverts(vipd: &Vipd, more: u64) {
    let received = vipd.counter("adverts_received");
    wait_until("adverts", SOON, || {
        (vipd.counter("adverts_received") >= received + more).then_some(())
    });
}

#[test]
fn a_master_that_slept_through_its_lease_says_nothing_and_contends_again() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &brisk(0));
    first.wait_for_lease(SOON);
    for _ in 0..rounds() {
        let mut second = Vipd::start(&n2, &brisk(50));
        wait_for_master(&second, n1.address());
        let prober = Prober::start(&client, VIP, 100);
        first.stop();
        thread::sleep(SLEEP);
        assert!(prober.answered_by_within(n2.mac(), SOON));
        let sniffer = Sniffer::start(&client);
        let woke = sniffer.elapsed();
        let transitions = 1;
        first.cont();
        wait_for_master(&first, n2.address());
        assert_eq!(first.group()["reason"], "lease_expired");
        wait_for_adverts(&first, 2);
        assert_eq!(adverts_as_master(&sniffer, &n1, woke), []);
        assert!(
            sniffer
                .announcements(VIP)
                .iter()
                .all(|(_, arp)| arp.sha == n2.mac())
        );
        assert_eq!(
            second.counter("transitions"),
            transitions + 1,
            "start and takeover"
        );

        // It contends as any backup does.
        let killed = sniffer.elapsed();
        second.kill();
        first.wait_for_lease(SOON);
        assert_eq!(first.group()["reason"], "master_timeout");
        wait_until("its adverts", SOON, || {
            adverts_as_master(&sniffer, &n1, killed).first().copied()
        });
        let record = prober.finish();
        let changes: Vec<_> = record.changes().iter().map(|(_, mac)| *mac).collect();
        assert!(
            changes.ends_with(&[n2.mac(), n1.mac()]) && changes.len() <= 3,
            "{changes:?}"
        );
    }
}

#[test]
fn a_backup_that_slept_hears_the_living_master_before_it_takes_over() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &brisk(0));
    first.wait_for_lease(SOON);
    let mut second = Vipd::start(&n2, &brisk(50));
    wait_for_master(&second, n1.address());
    let sniffer = Sniffer::start(&client);
    for _ in 0..rounds() {
        let (transitions, received) = (
            second.counter("transitions"),
            second.counter("adverts_received"),
        );
        second.stop();
        thread::sleep(SLEEP);
        second.cont();
        // What came while it slept was read, and counts.
        wait_for_adverts(&second, 2);
        assert!(second.counter("adverts_received") >= received + 4);
        assert_eq!(second.role(), "backup");
        assert_eq!(second.counter("transitions"), transitions);
        assert_eq!(second.counter("adverts_sent"), 0);
        assert_eq!(adverts_as_master(&sniffer, &n2, Duration::ZERO), []);
        assert_eq!(first.counter("challenges"), 0);
    }
}

#[test]
fn a_backup_that_slept_while_the_master_died_listens_and_then_takes_over() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &brisk(0));
    first.wait_for_lease(SOON);
    let mut second = Vipd::start(&n2, &brisk(50));
    wait_for_master(&second, n1.address());
    let prober = Prober::start(&client, VIP, 100);
    let sniffer = Sniffer::start(&client);
    second.stop();
    first.kill();
    thread::sleep(SLEEP);
    let woke = sniffer.elapsed();
    second.cont();
    assert!(prober.answered_by_within(n2.mac(), SOON));
    assert_eq!(second.group()["reason"], "master_timeout");
    // It listens for one interval more, and then for as long as it takes.
    let took_over = adverts_as_master(&sniffer, &n2, woke)[0];
    assert!(
        took_over - woke >= Duration::from_secs(1),
        "{woke:?} {took_over:?}"
    );
}

#[test]
fn a_nap_within_the_lease_changes_nothing() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    // Half a minute, so that no machine is too slow for it.
    let patient = |advskew| VipdOptions {
        deadratio: 30,
        ..vipd(advskew)
    };
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &patient(50));
    wait_for_master(&second, n1.address());
    // The same host with the longer lease: it goes on where the other ended.
    first.kill();
    let mut first = Vipd::start(&n1, &patient(0));
    first.wait_for_lease(SOON);
    let transitions = (first.counter("transitions"), second.counter("transitions"));
    let prober = Prober::start(&client, VIP, 100);
    for _ in 0..rounds() {
        let sent = first.counter("adverts_sent");
        first.stop();
        thread::sleep(SLEEP);
        first.cont();
        wait_until("adverts", SOON, || {
            (first.counter("adverts_sent") >= sent + 3).then_some(())
        });
    }
    assert_eq!(
        (first.counter("transitions"), second.counter("transitions")),
        transitions
    );
    let record = prober.finish();
    let changes: Vec<_> = record.changes().iter().map(|(_, mac)| *mac).collect();
    assert_eq!(changes, [n1.mac()]);
}
