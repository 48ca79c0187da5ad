//! How fit hosts are, and what follows from it for who is master.

use super::*;

/// A vipd master with 1 + 50/256 that is demoted by so much.
fn demoted(address: Ipv4Addr, advskew: u8, demotion: u8) -> Peer {
    Peer {
        interval: Interval::new(1, advskew).demoted_by(demotion),
        demotion,
        ..vipd(address, 1, advskew)
    }
}

fn demotion(demotion: u8) -> Fitness {
    Fitness {
        demotion,
        withheld: false,
    }
}

const WITHHELD: Fitness = Fitness {
    demotion: 0,
    withheld: true,
};

fn with(fitness: Fitness, mut election: Election) -> Election {
    election.set_fitness(fitness, T0);
    election
}

/// Why this backup takes over when it has heard this master, and after how many
/// milliseconds.
fn takes_over(election: &Election, master: Peer) -> (Reason, u128) {
    let mut election = election.clone();
    election.advert(master, T0);
    let (due, outcome) = expire(&mut election);
    (reason(outcome).unwrap(), due.since(T0).as_millis())
}

/// Each line: own demotion and advskew, whether it preempts, the master's
/// demotion and advskew; then why the backup takes over, after how many
/// milliseconds from the master's last advert.
const TABLE: &str = "
  0  64 no    0 128 master_timeout  4750
  0  64 yes   0 128 preempt          250
  0 128 yes   0  64 master_timeout  4250
  0  64 no    1  64 master_demoted   250
  0 128 no    1   0 master_demoted   500
  0 128 yes   1   0 master_demoted   500
  1  64 no    1 128 master_timeout  4750
  1  64 yes   1 128 preempt          250
  1 128 yes   1  64 master_timeout  4250
  2  64 yes   1 128 master_timeout  4750
 99 128 no  100   0 master_demoted   500
100   0 yes  99 254 master_timeout  5976
240  64 yes 240 128 preempt          250
240  64 yes 255 128 master_demoted   250
255  64 yes 240 128 master_timeout  4750
255  64 no  255 128 master_timeout  4750
255  64 yes 255 128 preempt          250
";

#[test]
fn a_fitter_backup_takes_over_and_of_two_alike_the_preferred_one_if_it_preempts() {
    // OpenBSD `carp_proto_input_c`, and the own skew as in a preemption. The wait
    // for a master that dies is by its configured interval, 3 of them and the skew.
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [own, own_skew, preempt, its, its_skew, because, after] = words[..] else {
            panic!("{line}");
        };
        let number = |word: &str| -> u8 { word.parse().unwrap() };
        let own_config = config(1, number(own_skew), preempt == "yes");
        let backup = with(demotion(number(own)), listening(own_config, T0));

        let (reason, ms) = takes_over(&backup, demoted(HIGHER, number(its_skew), number(its)));

        assert_eq!(
            (reason.as_str(), ms),
            (because, after.parse().unwrap()),
            "{line}"
        );
    }
}

#[test]
fn a_legacy_masters_byte_says_nothing_and_its_advskew_all() {
    let mut backup = listening(config(1, 64, false), T0);
    backup.set_fitness(demotion(10), T0);
    let legacy = Peer {
        demotion: 0,
        ..peer(HIGHER, 1, 240)
    };

    assert_eq!(takes_over(&backup, legacy).0, Reason::MasterTimeout);
    // As that one sees this host: 1 + 74/256.
    let preempting = with(demotion(10), listening(config(1, 64, true), T0));
    let against = |advskew| takes_over(&preempting, peer(HIGHER, 1, advskew)).0;
    assert_eq!(against(75), Reason::Preempt);
    assert_eq!(against(74), Reason::MasterTimeout);
}

/// All that two hosts can be, one at each address.
fn standings() -> Vec<(u8, u8)> {
    let skews = [0, 1, 50, 239, 240, 254];
    let demotions = [0, 1, 50, 100, 239, 240, 255];
    let of = |demotion: u8| skews.iter().map(move |skew| (demotion, *skew));
    demotions.into_iter().flat_map(of).collect()
}

#[test]
fn of_any_two_masters_one_stays_and_one_yields_and_backups_agree() {
    let host = |address, (sick, advskew): (u8, u8), preempt| {
        let config = Config {
            address,
            ..config(1, advskew, preempt)
        };
        with(demotion(sick), listening(config, T0 - ms(4000)))
    };
    let master = |address, standing| {
        let mut host = host(address, standing, true);
        let (due, _) = expire(&mut host);
        assert!(due <= T0);
        host
    };
    let heard = |address, (sick, advskew): (u8, u8)| demoted(address, advskew, sick);
    for one in standings() {
        for other in standings() {
            let case = (one, other);
            let stays = master(OWN, one).advert(heard(HIGHER, other), T0);
            let its = master(HIGHER, other).advert(heard(OWN, one), T0);

            let one_stays = stays == Outcome::Challenged;
            assert_ne!(one_stays, its == Outcome::Challenged, "{case:?}");
            assert_ne!(reason(stays).is_some(), reason(its).is_some(), "{case:?}");
            // Who takes over from a living master stays when that one contends.
            for preempt in [false, true] {
                let backup = host(OWN, one, preempt);
                let unseats = takes_over(&backup, heard(HIGHER, other)).0;
                let unseats = matches!(unseats, Reason::Preempt | Reason::MasterDemoted);
                let is_fitter = one.0 < other.0;
                let is_better = one.0 == other.0 && one.1 < other.1;
                assert_eq!(unseats, is_fitter || preempt && is_better, "{case:?}");
                assert!(!unseats || one_stays, "{case:?}");
            }
        }
    }
}

#[test]
fn of_two_that_cannot_wait_for_each_other_the_faster_one_is_master_fit_or_not() {
    // Found by the simulator: it would take the role back for ever from a master
    // that advertises so seldom.
    let slow = listening(config(4, 0, true), T0);
    let of_slow = takes_over(&slow, demoted(HIGHER, 0, 240)).0;
    assert_eq!(of_slow, Reason::MasterTimeout);
    let mut slow = master(config(4, 0, true), T0);
    let outcome = slow.advert(demoted(HIGHER, 0, 240), T0);
    assert_eq!(reason(outcome), Some(Reason::BetterMaster));

    let fast = || with(demotion(240), master(config(1, 0, true), T0));
    assert_eq!(fast().advert(vipd(LOWER, 4, 0), T0), Outcome::Challenged);
    let waits = with(demotion(240), master(config(2, 0, true), T0));
    let outcome = waits.clone().advert(vipd(LOWER, 4, 0), T0);
    assert_eq!(
        reason(outcome),
        Some(Reason::BetterMaster),
        "that is no reason"
    );
}

#[test]
fn the_predecessor_is_waited_for_when_a_fitter_host_takes_over() {
    let mut election = following(config(1, 64, false), demoted(HIGHER, 0, 100), T0);

    let (due, outcome) = expire(&mut election);

    assert_eq!(due, T0 + ms(250));
    assert_eq!(reason(outcome), Some(Reason::MasterDemoted));
    assert_eq!(election.predecessor(), Some(T0 + ms(3000)));
    election.advert(vipd(HIGHER, 1, 255), due);
    assert_eq!(election.predecessor(), None);
}

#[test]
fn a_takeover_is_called_off_when_it_would_be_no_better() {
    for (own, advskew, its) in [(0, 64, 0), (100, 64, 100), (101, 0, 100)] {
        let mut election = following(config(1, advskew, false), demoted(HIGHER, 0, 100), T0);

        election.set_fitness(demotion(own), T0 + ms(10));
        election.advert(demoted(HIGHER, 0, its), T0 + ms(20));

        let (_, outcome) = expire(&mut election);
        assert_eq!(reason(outcome), Some(Reason::MasterTimeout), "{own} {its}");
    }
    // And without another advert.
    let mut election = following(config(1, 64, false), demoted(HIGHER, 0, 100), T0);
    election.set_fitness(demotion(100), T0 + ms(10));
    assert_eq!(election.poll_timeout(), Some(T0 + ms(3250)));
}

#[test]
fn a_master_says_that_it_is_worse_and_needs_no_hurry_to_say_that_it_is_better() {
    let mut election = master(config(1, 64, false), T0);

    assert_eq!(election.set_fitness(demotion(100), T0), Outcome::Worsened);
    assert_eq!(election.next_advert(), Interval::new(1, 164));
    assert_eq!(election.set_fitness(demotion(100), T0), Outcome::Nothing);
    assert_eq!(election.set_fitness(demotion(240), T0), Outcome::Worsened);
    assert_eq!(election.set_fitness(demotion(5), T0), Outcome::Nothing);
    assert_eq!(election.set_tie(6, false, T0), Outcome::Worsened);
    assert_eq!(election.fitness(), demotion(6), "not the sum");
}

#[test]
fn a_master_that_is_well_again_counts_as_it_last_said() {
    let mut election = with(demotion(100), master(config(1, 0, false), T0));
    election.next_advert();
    election.set_fitness(Fitness::WELL, T0);

    let mut later = election.clone();
    later.next_advert();

    let rival = demoted(HIGHER, 50, 50);
    assert_eq!(
        reason(election.advert(rival, T0)),
        Some(Reason::BetterMaster)
    );
    assert_eq!(later.advert(rival, T0), Outcome::Challenged);
}

#[test]
fn failed_sends_add_to_what_else_is_wrong() {
    let mut election = with(demotion(10), master(config(1, 0, false), T0));

    (0..SEND_STREAK).for_each(|_| election.send_failed());
    assert_eq!(election.fitness(), demotion(250));
    election.set_fitness(demotion(100), T0);
    assert_eq!(election.fitness(), demotion(255));
    (0..SEND_STREAK).for_each(|_| election.sent());
    assert_eq!(election.fitness(), demotion(100));
}

#[test]
fn a_demoted_master_is_waited_for_no_longer_than_another() {
    for (advbase, advskew) in [(1, 0), (1, 128), (0, 1), (0, 2)] {
        let healthy = vipd(HIGHER, advbase, advskew);
        let sick = Peer {
            interval: healthy.interval.demoted_by(240),
            demotion: 240,
            ..healthy
        };
        let backup = with(demotion(240), listening(config(advbase, 3, false), T0));

        assert_eq!(takes_over(&backup, healthy), takes_over(&backup, sick));
    }
}

#[test]
fn a_withheld_master_gives_the_role_up() {
    let mut election = master(config(1, 0, true), T0);

    let outcome = election.set_fitness(WITHHELD, T0);

    assert_eq!(reason(outcome), Some(Reason::Unfit));
    assert_eq!(election.role(), Role::Backup);
    assert_eq!(election.takes_over_at(), None);
}

#[test]
fn a_withheld_backup_never_takes_over_and_knows_whether_it_would() {
    let own = || with(WITHHELD, listening(config(1, 64, true), T0));
    let following = |master: Peer| {
        let mut election = own();
        election.advert(master, T0);
        election
    };
    let mut resigned = following(vipd(HIGHER, 1, 0));
    resigned.advert(bow_out(HIGHER), T0 + ms(1));
    for (mut election, with_master, name) in [
        (own(), false, "nobody"),
        (following(vipd(HIGHER, 1, 0)), false, "a better master"),
        (following(vipd(HIGHER, 1, 128)), true, "a worse master"),
        (following(demoted(HIGHER, 0, 1)), true, "a demoted master"),
        (following(peer(HIGHER, 5, 0)), true, "a slow master"),
        (resigned, true, "one that resigned"),
    ] {
        assert_eq!(election.would_be_master(), with_master, "{name}");
        assert_eq!(election.takes_over_at(), None, "{name}");

        while let Some(due) = election.poll_timeout() {
            assert_eq!(election.deadline(due), Outcome::Nothing, "{name}");
        }

        assert_eq!(election.role(), Role::Backup, "{name}");
        assert!(election.would_be_master(), "{name}: now there is no master");
        election.advert(vipd(LOWER, 1, 0), T0 + ms(60_000));
        assert!(!election.would_be_master(), "{name}: there is a better one");
    }
}

#[test]
fn a_demoted_backup_knows_whether_it_would_be_master() {
    let backup = |sick, preempt, master| {
        let backup = with(demotion(sick), listening(config(1, 64, preempt), T0));
        let mut backup = backup;
        backup.advert(master, T0);
        backup.would_be_master()
    };
    assert!(backup(100, true, vipd(HIGHER, 1, 128)));
    assert!(
        !backup(100, true, vipd(HIGHER, 1, 0)),
        "it is not preferred"
    );
    assert!(
        !backup(100, false, vipd(HIGHER, 1, 128)),
        "it does not preempt"
    );
    assert!(
        backup(100, false, demoted(HIGHER, 0, 50)),
        "it would be fitter"
    );
    assert!(
        !backup(0, true, vipd(HIGHER, 1, 128)),
        "nothing holds it back"
    );
    assert!(!master(config(1, 0, true), T0).would_be_master());
}

#[test]
fn a_host_that_is_no_longer_withheld_listens_anew() {
    let mut silence = with(WITHHELD, listening(config(1, 64, true), T0));
    let mut resigned = with(
        WITHHELD,
        following(config(1, 64, true), vipd(HIGHER, 1, 0), T0),
    );
    resigned.advert(bow_out(HIGHER), T0 + ms(1));
    for election in [&mut silence, &mut resigned] {
        while let Some(due) = election.poll_timeout() {
            election.deadline(due);
        }
        let now = T0 + ms(500_000);

        election.set_fitness(Fitness::WELL, now);
        let (due, outcome) = expire(election);

        assert_eq!(due, now + ms(3250));
        assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
    }
}

#[test]
fn a_withheld_host_that_resumes_is_master_until_it_is_asked() {
    let mut election = with(WITHHELD, Election::new(config(1, 0, true)));

    assert_eq!(reason(election.resume(T0)), Some(Reason::Resumed));
    assert_eq!(reason(election.leave_if_withheld(T0)), Some(Reason::Unfit));
    assert_eq!(election.leave_if_withheld(T0), Outcome::Nothing);
}

/// Waits 5 seconds before it preempts.
fn patient(preempt: bool) -> Config {
    Config {
        preempt_delay: ms(5000),
        ..config(1, 0, preempt)
    }
}

/// Hears this master each second, until it takes over; when that is, and why.
fn hearing(election: &mut Election, master: Peer, from: Instant) -> (u128, Reason) {
    for second in 0..60 {
        let now = from + ms(1000 * second);
        election.advert(master, now);
        let due = election.poll_timeout().unwrap();
        if due < now + ms(1000) {
            let outcome = election.deadline(due);
            return (due.since(from).as_millis(), reason(outcome).unwrap());
        }
    }
    panic!("it follows this master for ever");
}

#[test]
fn nobody_is_preempted_within_the_delay_from_start_link_up_and_recovery() {
    let worse = vipd(HIGHER, 1, 100);
    let mut started = listening(patient(true), T0);
    assert_eq!(hearing(&mut started, worse, T0), (5000, Reason::Preempt));

    let mut linked = started;
    linked.halt(Reason::LinkDown);
    let later = T0 + ms(100_000);
    linked.start(Reason::LinkUp, later);
    assert_eq!(hearing(&mut linked, worse, later), (5000, Reason::Preempt));

    for fitness in [demotion(100), WITHHELD] {
        let mut election = listening(patient(true), T0);
        election.set_fitness(fitness, T0);
        election.advert(worse, later - ms(1));
        election.set_fitness(Fitness::WELL, later);
        assert_eq!(
            hearing(&mut election, worse, later),
            (5000, Reason::Preempt)
        );
    }
}

#[test]
fn the_preempt_delay_holds_back_nothing_else() {
    let fitter = following(patient(true), demoted(HIGHER, 100, 1), T0);
    assert_eq!(fitter.takes_over_at(), Some(T0), "of a demoted master");
    let dead = following(patient(true), vipd(HIGHER, 1, 0), T0);
    assert_eq!(dead.takes_over_at(), Some(T0 + ms(3000)), "of a dead one");
}

#[test]
fn nothing_is_taken_over_within_the_startup_delay_and_skew_orders_those_who_waited() {
    let own = Config {
        startup_delay: ms(20_000),
        ..config(1, 64, true)
    };
    let begun = || {
        let mut election = Election::new(own);
        election.begin(T0);
        election.start(Reason::Start, T0);
        election
    };
    let over = Some(T0 + ms(20_250));
    let mut silence = begun();
    assert_eq!(silence.takes_over_at(), over);
    assert_eq!(silence.deadline(T0 + ms(20_249)), Outcome::Nothing);
    let (_, outcome) = expire(&mut silence);
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));

    for master in [
        vipd(HIGHER, 1, 100),
        demoted(HIGHER, 0, 100),
        bow_out(HIGHER),
    ] {
        let mut election = begun();
        election.advert(vipd(HIGHER, 1, 0), T0);
        election.advert(master, T0 + ms(1));
        assert_eq!(election.takes_over_at(), over, "{master:?}");
    }
    let mut resumed = Election::new(own);
    resumed.begin(T0);
    assert_eq!(reason(resumed.resume(T0)), Some(Reason::Resumed));
}

#[test]
fn a_promoted_host_preempts_once_whatever_it_waits_for() {
    for own in [config(1, 0, false), patient(false), patient(true)] {
        let worse = vipd(HIGHER, 1, 100);
        let mut election = following(own, worse, T0);
        election.promote(T0);
        assert_eq!(
            hearing(&mut election, worse, T0 + ms(1000)),
            (0, Reason::Preempt)
        );

        // Another one, of the same rank, wins the tie.
        election.advert(vipd(LOWER, 1, 0), T0 + ms(2000));
        assert_eq!(election.role(), Role::Backup);
        election.advert(vipd(LOWER, 1, 100), T0 + ms(3000));
        let again = election.takes_over_at() == Some(T0 + ms(3000));
        assert_eq!(again, own.preempt, "once");
    }
    let mut stepped_down = master(config(1, 0, false), T0);
    stepped_down.step_down(T0);
    stepped_down.promote(T0);
    stepped_down.advert(vipd(HIGHER, 1, 100), T0);
    assert_eq!(stepped_down.takes_over_at(), Some(T0));
}

#[test]
fn a_promotion_is_spent_on_a_better_master_and_none_on_a_master_or_halted_host() {
    let mut election = following(config(1, 50, false), vipd(HIGHER, 1, 0), T0);
    election.promote(T0);

    election.advert(vipd(HIGHER, 1, 0), T0);
    election.advert(vipd(HIGHER, 1, 100), T0);
    assert_eq!(
        takes_over(&election, vipd(HIGHER, 1, 100)).0,
        Reason::MasterTimeout
    );

    let mut election = master(config(1, 50, false), T0);
    election.promote(T0);
    election.step_down(T0);
    assert_eq!(
        takes_over(&election, vipd(HIGHER, 1, 100)).0,
        Reason::MasterTimeout
    );
}

#[test]
fn a_host_that_is_master_in_its_tie_preempts_in_the_rest() {
    let mut election = following(config(1, 0, false), vipd(HIGHER, 1, 100), T0);

    election.set_tie(0, true, T0);
    election.advert(vipd(HIGHER, 1, 100), T0);
    assert_eq!(election.takes_over_at(), Some(T0));
    election.set_tie(0, false, T0);
    election.advert(vipd(HIGHER, 1, 100), T0 + ms(1));
    let (_, outcome) = expire(&mut election);
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}
