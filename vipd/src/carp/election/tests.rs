//! The state machine as one table, then one test for each rule, with its source.

use super::fitness::SEND_STREAK;
use super::*;

/// Some moment after boot.
const T0: Instant = Instant::from_nanos(1_000_000_000_000);

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// Loses a tie against [`OWN`].
const HIGHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
/// Wins a tie against [`OWN`].
const LOWER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

/// Of adverts whose order does not matter.
const COUNTER: u64 = 5;

const NANOSECOND: Duration = Duration::from_nanos(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn config(advbase: u8, advskew: u8, preempt: bool) -> Config {
    Config {
        timing: Timing {
            interval: Interval::new(advbase, advskew),
            dead_ratio: 3,
        },
        preempt,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        address: OWN,
    }
}

fn peer(address: Ipv4Addr, advbase: u8, advskew: u8) -> Peer {
    Peer {
        address,
        interval: Interval::new(advbase, advskew),
        configured: Interval::new(advbase, advskew),
        demotion: 0,
        counter: COUNTER,
        is_vipd: false,
    }
}

/// The same as a vipd host says it.
fn vipd(address: Ipv4Addr, advbase: u8, advskew: u8) -> Peer {
    Peer {
        is_vipd: true,
        ..peer(address, advbase, advskew)
    }
}

fn bow_out(address: Ipv4Addr) -> Peer {
    Peer {
        address,
        interval: Interval::BOW_OUT,
        configured: Interval::BOW_OUT,
        demotion: 0,
        counter: COUNTER,
        is_vipd: false,
    }
}

/// A backup that has heard nobody, since `now`.
fn listening(config: Config, now: Instant) -> Election {
    let mut election = Election::new(config);
    election.start(Reason::Start, now);
    election
}

/// A backup that has heard `master`, at `now`.
fn following(config: Config, master: Peer, now: Instant) -> Election {
    let mut election = listening(config, now);
    election.advert(master, now);
    election
}

/// A backup whose master has bowed out, at `now`.
fn resigned(config: Config, now: Instant) -> Election {
    let mut election = following(config, peer(HIGHER, 1, 64), now);
    election.advert(bow_out(HIGHER), now);
    election
}

/// A master since `now`.
fn master(config: Config, now: Instant) -> Election {
    let mut election = listening(config, now - config.timing.master_down(None));
    election.deadline(now);
    assert_eq!(election.role(), Role::Master);
    election
}

fn is_demoted(election: &Election) -> bool {
    election.fitness().demotion > 0
}

/// Fires the deadline when it is due, and tells when that was and what came of it.
fn expire(election: &mut Election) -> (Instant, Outcome) {
    let due = election.poll_timeout().unwrap();
    (due, election.deadline(due))
}

fn reason(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Changed(transition) => Some(transition.reason),
        Outcome::Nothing
        | Outcome::Advertise
        | Outcome::Challenged
        | Outcome::Yielded
        | Outcome::Worsened => None,
    }
}

#[test]
fn a_start_leads_to_backup_and_never_straight_to_master() {
    // UCARP, OpenBSD and FreeBSD (`carp_setrun`): INIT goes to BACKUP,
    // even for the most preferred host.
    for preempt in [false, true] {
        let mut election = Election::new(config(1, 0, preempt));
        assert_eq!(election.poll_timeout(), None);

        let outcome = election.start(Reason::LinkUp, T0);

        let transition = Transition {
            from: Role::Init,
            to: Role::Backup,
            reason: Reason::LinkUp,
            master: None,
        };
        assert_eq!(outcome, Outcome::Changed(transition));
        assert_eq!(election.poll_timeout(), Some(T0 + ms(3000)));
    }
}

#[test]
fn a_backup_takes_over_after_the_ratio_times_advbase_and_its_skew_to_the_nanosecond() {
    // UCARP carp.c:346-366: the skew is added, not multiplied. OpenBSD
    // `carp_setrun`: advbase 0 counts in skews, at least one.
    let in_256ths = |skews: u64| Duration::from_nanos(skews * 1_000_000_000 / 256);
    let cases = [
        ((1, 0, 3), ms(3000)),
        ((1, 1, 3), ms(3000) + in_256ths(1)),
        ((1, 100, 3), Duration::from_nanos(3_390_625_000)),
        ((1, 254, 3), Duration::from_nanos(3_992_187_500)),
        ((2, 128, 5), ms(10_500)),
        ((1, 64, 1), ms(2250)),
        ((255, 0, 255), ms(65_025_000)),
        ((0, 0, 3), in_256ths(1) * 3),
        ((0, 0, 10), in_256ths(1) * 10),
        ((0, 20, 3), in_256ths(20) * 3),
    ];
    for ((advbase, advskew, dead_ratio), wait) in cases {
        let mut config = config(advbase, advskew, false);
        config.timing.dead_ratio = dead_ratio;
        let mut election = listening(config, T0);
        let case = (advbase, advskew, dead_ratio);

        assert_eq!(election.poll_timeout(), Some(T0 + wait), "{case:?}");
        let early = election.deadline(T0 + wait - NANOSECOND);
        let due = election.deadline(T0 + wait);

        assert_eq!(early, Outcome::Nothing, "{case:?}");
        assert_eq!(reason(due), Some(Reason::MasterTimeout), "{case:?}");
    }
}

#[test]
fn skew_orders_two_backups() {
    // carp-rs counts skews in microseconds and holo-vrrp cuts them to whole
    // seconds: there all backups take over together.
    let step = ms(3); // less than 1/256 s
    for advskew in 0..Interval::MAX_ADVSKEW {
        for advbase in [0, 1, 2] {
            // 0/0 and 0/1 are the same interval, by OpenBSD's rule.
            if (advbase, advskew) == (0, 0) {
                continue;
            }
            let near = config(advbase, advskew, true);
            let far = config(advbase, advskew + 1, true);
            let case = (advbase, advskew);
            let expiry = |election: Election| election.poll_timeout().unwrap();

            let silence = (expiry(listening(near, T0)), expiry(listening(far, T0)));
            assert!(
                silence.0 + step < silence.1,
                "silence from the start on {case:?}"
            );

            let master = peer(HIGHER, advbase, 0);
            let dead = (
                expiry(following(near, master, T0)),
                expiry(following(far, master, T0)),
            );
            assert!(dead.0 + step < dead.1, "a master that died {case:?}");

            let master = bow_out(HIGHER);
            let resigned = (
                expiry(following(near, master, T0)),
                expiry(following(far, master, T0)),
            );
            assert!(resigned.0 + step < resigned.1, "a bow-out {case:?}");

            let master = peer(HIGHER, advbase + 1, 255);
            let preempt = (
                expiry(following(near, master, T0)),
                expiry(following(far, master, T0)),
            );
            assert!(preempt.0 + step < preempt.1, "a bad master {case:?}");
        }
    }
}

#[test]
fn a_backup_without_preempt_follows_a_master_however_bad() {
    // UCARP carp.c:557-626, `net.inet.carp.preempt` in both BSDs.
    let mut backup = listening(config(1, 0, false), T0);

    let mut now = T0;
    for _ in 0..20 {
        assert_eq!(backup.advert(peer(HIGHER, 2, 254), now), Outcome::Nothing);
        now = now + Interval::new(2, 254).period();
        assert_eq!(backup.deadline(now), Outcome::Nothing);
    }

    assert_eq!(backup.master(), Some(peer(HIGHER, 2, 254)));
}

#[test]
fn a_backup_with_preempt_takes_over_from_a_worse_master_after_its_own_skew() {
    // UCARP carp.c:557-626, which does not wait: see `Election::follow`.
    let mut backup = following(config(1, 64, true), peer(HIGHER, 1, 65), T0);

    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(250));
    let transition = Transition {
        from: Role::Backup,
        to: Role::Master,
        reason: Reason::Preempt,
        master: Some(peer(HIGHER, 1, 65)),
    };
    assert_eq!(outcome, Outcome::Changed(transition));
}

#[test]
fn further_adverts_do_not_put_a_preemption_off() {
    let mut backup = listening(config(1, 254, true), T0);

    for at in [0, 300, 600, 900] {
        backup.advert(peer(HIGHER, 2, 0), T0 + ms(at));
    }

    let skew = Duration::from_nanos(254 * 1_000_000_000 / 256);
    assert_eq!(backup.poll_timeout(), Some(T0 + skew));
}

#[test]
fn a_preemption_is_called_off_when_the_master_turns_out_better() {
    let mut backup = following(config(1, 128, true), peer(HIGHER, 1, 192), T0);

    backup.advert(peer(HIGHER, 1, 0), T0 + ms(100));
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(100 + 3500));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn equal_timers_are_no_reason_to_preempt() {
    // UCARP carp.c:557-626 demands strictly more; carp-rs preempts on a tie with a
    // lower address (node.rs:231).
    for address in [LOWER, HIGHER] {
        let mut backup = following(config(1, 10, true), peer(address, 1, 10), T0);

        let (_, outcome) = expire(&mut backup);

        assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
    }
}

#[test]
fn of_two_equal_masters_the_one_stays_whose_address_is_lower_read_backwards() {
    // UCARP carp.c:569 compares `s_addr` as the machine has it, so on a
    // little-endian one the last octet weighs most.
    let cases = [
        ([10, 0, 0, 1], [10, 0, 0, 2]),
        ([10, 0, 1, 1], [10, 0, 0, 9]),
        ([192, 168, 0, 1], [10, 0, 0, 2]),
        ([10, 0, 1, 7], [10, 0, 2, 7]),
        ([9, 9, 9, 9], [10, 9, 9, 9]),
        ([255, 255, 255, 0], [0, 0, 0, 255]),
    ];
    for (winner, loser) in cases.map(|(a, b)| (Ipv4Addr::from(a), Ipv4Addr::from(b))) {
        let host = |address| {
            let config = Config {
                address,
                ..config(1, 0, false)
            };
            master(config, T0)
        };

        let stays = host(winner).advert(peer(loser, 1, 0), T0);
        let yields = host(loser).advert(peer(winner, 1, 0), T0);

        assert_eq!(stays, Outcome::Challenged, "{winner} beats {loser}");
        assert_eq!(
            reason(yields),
            Some(Reason::TieLost),
            "{winner} beats {loser}"
        );
    }
}

#[test]
fn two_masters_with_one_address_both_yield() {
    // Nobody can say which of them is meant; UCARP never sees the other
    // (carp.c:434) and both stay.
    let outcome = master(config(1, 0, false), T0).advert(peer(OWN, 1, 0), T0);

    assert_eq!(reason(outcome), Some(Reason::TieLost));
}

#[test]
fn a_tie_is_broken_by_the_address_that_the_host_has_now() {
    let mut election = master(config(1, 0, false), T0);

    election.set_address(Ipv4Addr::new(10, 0, 0, 7));
    let outcome = election.advert(peer(HIGHER, 1, 0), T0);

    assert_eq!(reason(outcome), Some(Reason::TieLost));
}

#[test]
fn a_master_falls_back_for_a_better_one_whether_it_preempts_or_not() {
    // UCARP carp.c:557-626, FreeBSD `carp_input_c`.
    for preempt in [false, true] {
        let mut election = master(config(1, 100, preempt), T0);
        let better = peer(HIGHER, 1, 99);

        let outcome = election.advert(better, T0 + ms(7));

        let transition = Transition {
            from: Role::Master,
            to: Role::Backup,
            reason: Reason::BetterMaster,
            master: Some(better),
        };
        assert_eq!(outcome, Outcome::Changed(transition));
        assert_eq!(election.master(), Some(better));
    }
}

#[test]
fn a_master_keeps_its_beat_though_it_is_woken_a_little_late() {
    let mut election = master(config(1, 128, false), T0);

    for beat in 1..100 {
        let due = T0 + ms(1500 * beat);
        assert_eq!(election.poll_timeout(), Some(due));
        assert_eq!(election.deadline(due + ms(beat * 7)), Outcome::Advertise);
    }
}

#[test]
fn a_master_skips_the_beats_that_it_missed() {
    // One advert says all that the missed ones would have said.
    let mut election = master(config(1, 0, false), T0);
    let woken = T0 + ms(3700);

    assert_eq!(election.deadline(woken), Outcome::Advertise);
    assert_eq!(election.deadline(woken), Outcome::Nothing);

    assert_eq!(election.poll_timeout(), Some(woken + ms(1000)));
}

#[test]
fn a_host_that_stepped_down_does_not_preempt_for_three_seconds() {
    // UCARP sleeps them on SIGUSR2 (carp.c:846-861).
    let mut election = master(config(1, 0, true), T0);
    let outcome = election.step_down(T0);
    assert_eq!(reason(outcome), Some(Reason::StepDown));

    for at in [400, 1400, 2400, 2999] {
        let now = T0 + ms(at);
        election.advert(peer(HIGHER, 1, 100), now);
        assert_eq!(election.deadline(now + ms(500)), Outcome::Nothing, "{at}");
    }
    election.advert(peer(HIGHER, 1, 100), T0 + ms(3000));
    let (due, outcome) = expire(&mut election);

    assert_eq!(due, T0 + ms(3000));
    assert_eq!(reason(outcome), Some(Reason::Preempt));
}

#[test]
fn a_host_that_stepped_down_with_nobody_to_take_over_is_back_after_hold_and_wait() {
    let mut election = master(config(1, 0, false), T0);
    election.step_down(T0);

    let (due, outcome) = expire(&mut election);

    assert_eq!(due, T0 + ms(3000 + 3000));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_master_that_lapsed_listens_before_it_contends_again() {
    // After a fault twice as long, for every healthy host to be first.
    for (cause, wait) in [
        (Reason::LeaseExpired, 3250),
        (Reason::MapFault, 6500),
        (Reason::AddressFault, 6500),
    ] {
        let mut election = master(config(1, 64, false), T0);
        let now = T0 + ms(5000);

        let outcome = election.lapse(cause, now);

        let transition = Transition {
            from: Role::Master,
            to: Role::Backup,
            reason: cause,
            master: None,
        };
        assert_eq!(outcome, Outcome::Changed(transition));
        assert_eq!(election.poll_timeout(), Some(now + ms(wait)));
    }
}

#[test]
fn a_host_with_a_fault_does_not_preempt_for_ten_seconds() {
    for cause in [Reason::MapFault, Reason::AddressFault] {
        let mut election = master(config(1, 0, true), T0);
        election.lapse(cause, T0);

        for second in 1..10 {
            let now = T0 + ms(second * 1000);
            election.advert(peer(HIGHER, 1, 100), now);
            assert_eq!(election.deadline(now), Outcome::Nothing, "{second}");
        }
        election.advert(peer(HIGHER, 1, 100), T0 + ms(10_000));
        let (due, outcome) = expire(&mut election);

        assert_eq!(due, T0 + ms(10_000));
        assert_eq!(reason(outcome), Some(Reason::Preempt));
    }
}

#[test]
fn a_host_whose_lease_expired_contends_again_at_once() {
    let mut election = master(config(1, 0, true), T0);
    election.lapse(Reason::LeaseExpired, T0);

    election.advert(peer(HIGHER, 1, 100), T0 + ms(10));
    let (due, outcome) = expire(&mut election);

    assert_eq!(due, T0 + ms(10));
    assert_eq!(reason(outcome), Some(Reason::Preempt));
}

#[test]
fn three_failed_sends_in_a_row_demote_and_three_good_ones_restore() {
    // CARP_SENDAD_MAX_ERRORS and CARP_SENDAD_MIN_SUCCESS in UCARP carp_p.h and
    // both BSDs; a demoted host counts as advskew 240.
    let mut election = master(config(1, 20, false), T0);
    let normal = Interval::new(1, 20);
    let demoted = Interval::new(1, 240);
    let advertised = |election: &Election| (election.advertised_interval(), is_demoted(election));

    for _ in 0..2 {
        election.send_failed();
        assert_eq!(advertised(&election), (normal, false));
    }
    election.send_failed();
    assert_eq!(advertised(&election), (demoted, true));
    for _ in 0..2 {
        election.sent();
        assert_eq!(advertised(&election), (demoted, true));
    }
    election.sent();
    assert_eq!(advertised(&election), (normal, false));
}

#[test]
fn failures_and_successes_count_only_in_a_row() {
    let mut election = master(config(1, 20, false), T0);

    for _ in 0..10 {
        election.send_failed();
        election.send_failed();
        election.sent();
    }
    assert!(!is_demoted(&election));

    for _ in 0..3 {
        election.send_failed();
    }
    for _ in 0..10 {
        election.sent();
        election.sent();
        election.send_failed();
    }
    assert!(is_demoted(&election));
}

#[test]
fn many_failures_do_not_overflow() {
    let mut election = master(config(1, 20, false), T0);

    for _ in 0..1000 {
        election.send_failed();
    }
    assert!(is_demoted(&election));
    for _ in 0..1000 {
        election.sent();
    }

    assert!(!is_demoted(&election));
}

#[test]
fn demotion_makes_no_host_better() {
    // UCARP replaces the configured skew only if it is below 240.
    let demoted = |advskew, demotion| Interval::new(1, advskew).demoted_by(demotion);
    for (advskew, demotion, shown) in [
        (0, 0, 0),
        (0, 1, 1),
        (50, 100, 150),
        (0, 240, 240),
        (100, 240, 240),
        (200, 100, 240),
        (239, 255, 240),
        (240, 255, 240),
        (250, 0, 250),
        (250, 255, 250),
    ] {
        let case = (advskew, demotion);
        assert_eq!(
            demoted(advskew, demotion),
            Interval::new(1, shown),
            "{case:?}"
        );
    }
    for advskew in 0..=Interval::MAX_ADVSKEW {
        for demotion in 0..=255 {
            let own = Interval::new(1, advskew);
            assert!(
                !own.demoted_by(demotion).outranks(own),
                "{advskew} {demotion}"
            );
        }
    }
}

#[test]
fn a_demoted_master_yields_to_a_healthy_host_and_keeps_its_beat() {
    let mut election = master(config(1, 0, false), T0);
    for _ in 0..3 {
        election.send_failed();
    }

    election.deadline(T0 + ms(1000));
    assert_eq!(election.poll_timeout(), Some(T0 + ms(2000)));
    let outcome = election.advert(peer(HIGHER, 1, 200), T0 + ms(1100));

    assert_eq!(reason(outcome), Some(Reason::BetterMaster));
}

#[test]
fn a_master_that_is_well_again_has_its_rank_from_its_next_advert_on() {
    let mut election = master(config(1, 0, false), T0);
    (0..SEND_STREAK).for_each(|_| election.send_failed());
    election.next_advert();
    (0..SEND_STREAK).for_each(|_| election.sent());
    let mut heard_early = election.clone();
    election.next_advert();

    let early = heard_early.advert(vipd(HIGHER, 1, 0), T0);
    let later = election.advert(vipd(HIGHER, 1, 0), T0);

    assert_eq!(reason(early), Some(Reason::BetterMaster));
    assert_eq!(later, Outcome::Challenged);
}

#[test]
fn a_demoted_backup_preempts_only_what_is_worse_than_it_is_now() {
    let backup = || {
        let mut backup = listening(config(1, 0, true), T0);
        for _ in 0..3 {
            backup.send_failed();
        }
        backup
    };
    let (mut healthy, mut worse) = (backup(), backup());

    healthy.advert(peer(HIGHER, 1, 200), T0);
    worse.advert(peer(HIGHER, 1, 250), T0);

    let (_, against_healthy) = expire(&mut healthy);
    let (_, against_worse) = expire(&mut worse);
    assert_eq!(reason(against_healthy), Some(Reason::MasterTimeout));
    assert_eq!(reason(against_worse), Some(Reason::Preempt));
}

#[test]
fn a_farewell_unseats_no_master_of_the_same_advbase() {
    // UCARP says farewell with its ordinary interval (carp.c:570-574); a BSD
    // master of the same interval then goes to BACKUP too, and nobody is left.
    for advskew in 0..=Interval::MAX_ADVSKEW {
        let own = Interval::new(1, advskew);
        assert!(own.outranks(own.farewell()), "{advskew}");
    }
    let outcome = master(config(1, 254, false), T0).advert(peer(LOWER, 1, 255), T0);
    assert_eq!(outcome, Outcome::Challenged);
}

#[test]
fn a_farewell_is_no_bow_out_and_keeps_the_advbase() {
    assert_eq!(Interval::new(3, 7).farewell(), Interval::new(3, 255));
    assert_ne!(Interval::new(1, 0).farewell(), Interval::BOW_OUT);
}

#[test]
fn only_a_vipd_host_says_farewell() {
    // UCARP can be configured to advertise an advskew of 255.
    let before = following(config(1, 128, true), vipd(HIGHER, 1, 100), T0);
    let mut of_vipd = before.clone();
    let mut of_ucarp = before.clone();

    of_vipd.advert(vipd(HIGHER, 1, 255), T0 + ms(100));
    of_ucarp.advert(peer(HIGHER, 1, 255), T0 + ms(100));

    assert_eq!(of_vipd.poll_timeout(), before.poll_timeout());
    assert_eq!(of_ucarp.poll_timeout(), Some(T0 + ms(600)), "preempted");
}

#[test]
fn a_bow_out_is_255_255() {
    // OpenBSD `carp_send_ad`; ip_carp.h.
    assert_eq!(Interval::BOW_OUT, Interval::new(255, 255));
    for advskew in 0..=Interval::MAX_ADVSKEW {
        assert!(Interval::new(255, advskew).outranks(Interval::BOW_OUT));
    }
}

#[test]
fn a_halted_host_forgets_its_master_and_ignores_adverts() {
    let mut election = following(config(1, 0, true), peer(HIGHER, 1, 0), T0);

    election.halt(Reason::LinkDown);

    assert_eq!(election.master(), None);
    assert_eq!(election.advert(bow_out(HIGHER), T0), Outcome::Nothing);
    assert_eq!(election.poll_timeout(), None);
    election.start(Reason::LinkUp, T0 + ms(1));
    assert_eq!(election.poll_timeout(), Some(T0 + ms(3001)));
}

#[test]
fn a_master_has_nobody_to_follow() {
    let mut election = following(config(1, 0, false), peer(HIGHER, 1, 0), T0);

    let (_, outcome) = expire(&mut election);

    let Outcome::Changed(transition) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(transition.master, Some(peer(HIGHER, 1, 0)), "who was it");
    assert_eq!(election.master(), None);
}

#[test]
fn each_reason_has_a_name_of_its_own() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
}

mod answering;
mod table;
mod waiting;
