//! Masters that die, and backups that are restarted, while somebody plays back
//! what was captured.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use vipd::carp::Interval;
use vipd_tests::lab::{Forger, Host, Lab, Prober, Storm, Vipd, wait_until};

use super::{
    CARP_AT, RATE, signing, source, stand, storms, wait_for_adverts, wait_for_storms,
    wait_for_verdicts,
};
use crate::scene::{SOON, VIP, pair, wait_for_master};

/// Of the master that dies here, the adverts that the forger has heard last.
const LAST: usize = 5;

/// `advskew` 256ths of a second.
fn skew(advskew: u8) -> Duration {
    Duration::from_secs(1) * u32::from(advskew) / 256
}

/// How long after a master's death its successor may answer: three seconds and its
/// skew, its skew again, and what a busy machine takes for it.
fn patience(advskew: u8) -> Duration {
    Duration::from_secs(3) + skew(advskew) * 2 + Duration::from_millis(500)
}

/// Plays the last adverts of a host in their order, one per second, as it did.
fn feign(forger: &Forger, host: &Host) -> Storm {
    let address = host.address();
    forger.storm(Duration::from_secs(1), move |captured| {
        let of_host = captured.iter().filter(|frame| {
            let is_advert = frame[CARP_AT + 1] != 0;
            is_advert && source(frame) == address
        });
        let all: Vec<_> = of_host.cloned().collect();
        all[all.len().saturating_sub(LAST)..].to_vec()
    })
}

fn is_missed_in_time(die: impl FnOnce(&Host, &mut Vipd)) {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    let mut first = Vipd::start(&n1, &signing("require", 0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &signing("require", 50));
    wait_for_master(&second, n1.address());
    wait_for_adverts(&second, 2);
    let prober = Prober::start(&client, VIP, RATE);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    die(&n1, &mut first);
    let died = prober.elapsed();
    let replayed = second.counter("replayed");
    let slow = feign(&forger, &n1);
    let storms = storms(&forger, "require", &[&n1, &n2]);
    assert!(prober.answered_by_within(n2.mac(), SOON));
    let record = prober.so_far();
    let (took_over, _) = record.changes()[1];
    let took = took_over.saturating_sub(died);
    println!("taken over after {took:?}");
    assert!(took <= patience(50), "{took:?}");
    assert_eq!(second.group()["reason"], "master_timeout");
    assert!(slow.sent() >= 2, "too few to feign its life");
    wait_until("replays", SOON, || {
        (second.counter("replayed") > replayed).then_some(())
    });

    // Longer than until it asks anew who lives, which is an interval.
    let before = stand(&second);
    let sent = second.counter("adverts_sent");
    wait_until("adverts", SOON, || {
        (second.counter("adverts_sent") >= sent + 3).then_some(())
    });
    wait_for_storms(&storms, 100);
    assert_eq!(stand(&second), before);
    let macs: Vec<_> = prober
        .finish()
        .changes()
        .iter()
        .map(|(_, mac)| *mac)
        .collect();
    assert_eq!(macs, [n1.mac(), n2.mac()]);
}

#[test]
fn a_killed_master_is_missed_in_time_whatever_is_played_back() {
    is_missed_in_time(|_, first| first.kill());
}

#[test]
fn a_master_that_is_cut_off_is_missed_in_time_whatever_is_played_back() {
    is_missed_in_time(|n1, _| n1.cut());
}

#[test]
fn of_two_backups_the_preferred_one_takes_over_in_a_storm_of_forgeries() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let n3 = lab.host("n3", "10.99.0.3/24");
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    let mut first = Vipd::start(&n1, &signing("require", 0));
    first.wait_for_lease(SOON);
    // Nearly a second apart: a noisy machine must not make the difference.
    let third = Vipd::start(&n3, &signing("require", 254));
    let second = Vipd::start(&n2, &signing("require", 20));
    for backup in [&second, &third] {
        wait_for_master(backup, n1.address());
    }
    wait_for_adverts(&second, 2);
    let storms = storms(&forger, "require", &[&n1, &n2, &n3]);
    let prober = Prober::start(&client, VIP, RATE);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    first.kill();
    let died = prober.elapsed();
    assert!(prober.answered_by_within(n2.mac(), SOON));
    let (took_over, _) = prober.so_far().changes()[1];
    let took = took_over.saturating_sub(died);
    assert!(took <= patience(20), "{took:?}");
    wait_for_master(&third, n2.address());
    wait_for_adverts(&third, 2);
    wait_for_storms(&storms, 100);
    for backup in [&second, &third] {
        wait_for_verdicts(backup);
    }
    assert_eq!(second.group()["reason"], "master_timeout");
    assert_eq!(second.counter("transitions"), 2, "its start, and this");
    assert_eq!(third.counter("transitions"), 1, "its start");
    assert_eq!(third.counter("adverts_sent"), 0);
    let macs: Vec<_> = prober
        .finish()
        .changes()
        .iter()
        .map(|(_, mac)| *mac)
        .collect();
    assert_eq!(macs, [n1.mac(), n2.mac()]);
}

#[test]
fn a_backup_that_is_restarted_is_not_moved_by_what_others_said_before() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let n3 = lab.host("n3", "10.99.0.3/24");
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    let mut former = Vipd::start(&n1, &signing("require", 0));
    former.wait_for_lease(SOON);
    let mut master = Vipd::start(&n2, &signing("require", 20));
    let mut third = Vipd::start(&n3, &signing("require", 50));
    for backup in [&master, &third] {
        wait_for_master(backup, n1.address());
    }
    // One that is dead has resigned, and one that is master again.
    assert!(former.terminate(SOON).success());
    master.wait_for_lease(SOON);
    master.signal(Signal::USR2);
    third.wait_for_lease(SOON);
    master.wait_for_lease(SOON);
    wait_for_master(&third, n2.address());
    for host in [&n1, &n2] {
        let adverts = forger.sniffer().adverts();
        let resigned = adverts.iter().any(|(_, from, advert)| {
            *from == host.address() && advert.interval == Interval::BOW_OUT
        });
        assert!(resigned, "{}", host.name());
    }

    let storms = storms(&forger, "require", &[&n1, &n2, &n3]);
    let prober = Prober::start(&client, VIP, RATE);
    assert_eq!(prober.who_answers_within(SOON), Some(n2.mac()));
    let before = stand(&master);
    let ends = [
        (Signal::KILL, false),
        (Signal::TERM, false),
        (Signal::KILL, true),
    ];
    for (end, forgets) in ends {
        let what = format!("{end:?}, {forgets}");
        third.signal(end);
        third.wait_for_exit(SOON);
        if forgets {
            fs::remove_dir_all(n3.directory().join("state")).expect("it has written there");
        }
        let sent = master.counter("adverts_sent");
        third = Vipd::start(&n3, &signing("require", 50));
        wait_for_master(&third, n2.address());
        wait_for_adverts(&third, 2);
        wait_for_verdicts(&third);
        wait_for_storms(&storms, 500);
        let received = third.counter("adverts_received");
        // Not one that was not sent since.
        assert!(received <= master.counter("adverts_sent") - sent, "{what}");
        let [role, reason, of, transitions] = stand(&third);
        assert_eq!((role, reason), ("backup".into(), "start".into()), "{what}");
        assert_eq!((of, transitions), (before[2].clone(), 1.into()), "{what}");
        assert_eq!(third.counter("adverts_sent"), 0, "{what}");
        assert_eq!(stand(&master), before, "{what}");
    }
    let record = prober.finish();
    assert_eq!(record.changes().len(), 1);
}
