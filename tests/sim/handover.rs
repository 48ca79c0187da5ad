//! Changes of owner, and of daemons, that no client must notice.

use vipd::carp::{Interval, Reason, Role};
use vipd_tests::sim::faults::Fault;
use vipd_tests::sim::setup::{MICROSECOND, MILLISECOND, Nanos, SECOND, Setup, nanos};
use vipd_tests::sim::world::World;

const RANKS: [Interval; 3] = [
    Interval::new(1, 0),
    Interval::new(1, 50),
    Interval::new(1, 100),
];

/// A client that asks and sends every millisecond; the first host is master.
fn watched(seed: u64, preempt: bool) -> World {
    let mut setup = Setup::simple(seed, &RANKS, preempt);
    setup.ask_every = MILLISECOND;
    let mut world = World::new(setup, false);
    world.run_until(10 * SECOND);
    assert_eq!(world.answering(0), [0]);
    world
}

/// Lets time pass and notes each change of who answers; nobody is no change.
fn owners(world: &mut World, duration: Nanos) -> Vec<usize> {
    let mut owners = Vec::new();
    let end = world.now + duration;
    while world.now < end {
        world.run_for(50 * MICROSECOND);
        assert!(world.violation.is_none(), "{:?}", world.violation);
        let answering = world.answering(0);
        assert!(answering.len() <= 1, "{answering:?}");
        owners.extend(answering);
        owners.dedup();
    }
    owners
}

fn transitions(world: &World, host: usize) -> u64 {
    world
        .view(host, 0)
        .map_or(0, |view| view.counters.transitions)
}

fn reason(world: &World, host: usize) -> Option<Reason> {
    let view = world.view(host, 0)?;
    view.since.map(|(_, reason)| reason)
}

#[test]
fn a_restart_within_the_lease_costs_no_answer_and_changes_no_role() {
    for seed in 0..60 {
        let mut world = watched(seed, seed % 2 == 0);
        world.run_for(seed * 37 * MILLISECOND);
        let (unanswered, lost) = (world.checks.unanswered, world.client.pings_lost);
        let others = [1, 2].map(|host| transitions(&world, host));
        // The last advert is a second old at most, of three.
        let back_after = MILLISECOND + seed * 31 * MILLISECOND;
        world.inflict(Fault::Kill {
            host: 0,
            back_after,
        });

        assert_eq!(owners(&mut world, 10 * SECOND), [0], "seed {seed}");
        assert_eq!(reason(&world, 0), Some(Reason::Resumed));
        assert_eq!(world.checks.unanswered, unanswered, "seed {seed}");
        assert_eq!(world.client.pings_lost, lost, "seed {seed}");
        assert_eq!([1, 2].map(|host| transitions(&world, host)), others);
    }
}

#[test]
fn a_restart_after_the_lease_listens_first() {
    let mut world = watched(1, false);
    world.inflict(Fault::Kill {
        host: 0,
        back_after: 3 * SECOND,
    });

    assert_eq!(owners(&mut world, 20 * SECOND), [0, 1]);
    assert_eq!(reason(&world, 0), Some(Reason::Start));
}

#[test]
fn a_restart_with_nothing_left_is_silent_and_listens() {
    let mut world = watched(1, false);
    world.inflict(Fault::KillAndLose {
        host: 0,
        back_after: 100 * MILLISECOND,
    });

    assert_eq!(owners(&mut world, 20 * SECOND), [0, 1]);
    assert_eq!(reason(&world, 0), Some(Reason::Start));
}

/// The first host is back and preempts the second, which is master; the second
/// is killed at that very moment and back before its lease ends, or after.
#[test]
fn a_resumed_master_that_was_preempted_meanwhile_yields() {
    for back_after in [1, 5, 100, 1000, 1900, 2500].map(|ms| ms * MILLISECOND) {
        let mut world = watched(back_after, true);
        world.inflict(Fault::PowerLoss {
            host: 0,
            back_after: 10 * SECOND,
        });
        world.run_for(9 * SECOND);
        let preempts = |world: &World| world.role(0, 0) == Some(Role::Master);
        assert!(world.run_until_so(20 * SECOND, preempts).is_some());
        world.inflict(Fault::Kill {
            host: 1,
            back_after,
        });

        assert_eq!(owners(&mut world, 10 * SECOND), [1, 0], "{back_after}");
        assert_eq!(world.role(1, 0), Some(Role::Backup));
    }
}

/// The last moments of a lease, to the tenth of a millisecond: its advert is on
/// its way while its successor would begin to answer.
#[test]
fn a_master_that_resumes_or_wakes_as_its_lease_ends_never_answers_beside_its_successor() {
    for case in 0..400 {
        let mut setup = Setup::simple(case, &RANKS[..2], true);
        setup.wire.max_delay = 3 * MILLISECOND;
        setup.hosts[0].starts_at = 20 * SECOND;
        let mut world = World::new(setup, false);
        let preempts = |world: &World| world.role(0, 0) == Some(Role::Master);
        assert!(world.run_until_so(40 * SECOND, preempts).is_some());
        let view = world.view(1, 0).and_then(|view| view.lease);
        let until = view.map_or(0, |(_, until)| {
            until.as_nanos() - world.hosts[1].boot_offset
        });
        let early = (case / 2) * 50 * MICROSECOND;
        let lasts = until - world.now - early;
        world.inflict(match case % 2 {
            0 => Fault::Kill {
                host: 1,
                back_after: lasts,
            },
            _ => Fault::Stall { host: 1, lasts },
        });

        world.run_for(10 * SECOND);
        assert!(world.violation.is_none(), "{case}: {:?}", world.violation);
        assert_eq!(world.answering(0), [0], "{case}");
    }
}

#[test]
fn nobody_else_answers_before_the_lease_of_a_master_ends_that_stops_while_it_is_preempted() {
    let mut world = watched(1, true);
    world.inflict(Fault::PowerLoss {
        host: 0,
        back_after: 10 * SECOND,
    });
    world.run_for(9 * SECOND);
    let preempts = |world: &World| world.role(0, 0) == Some(Role::Master);
    assert!(world.run_until_so(20 * SECOND, preempts).is_some());
    world.inflict(Fault::Stall {
        host: 1,
        lasts: 60 * SECOND,
    });

    world.run_for(MILLISECOND);
    assert_eq!(world.answering(0), [1]);
    assert_eq!(owners(&mut world, 10 * SECOND), [1, 0]);
}

/// The owner changes once, and a client that goes on sending to the MAC it
/// remembers, until it hears of another, loses nothing once a successor answers.
fn hands_over(mut world: World, fault: Fault, to: &[usize], without_owner: Nanos) {
    let lost = world.client.pings_lost;
    let unanswered = world.checks.unanswered;
    world.inflict(fault);
    assert_eq!(owners(&mut world, 2900 * MILLISECOND), to);
    assert_eq!(world.client.pings_lost, lost, "{fault:?}");
    let gap = world.checks.unanswered - unanswered;
    assert!(gap * MILLISECOND <= without_owner, "{fault:?}: {gap} ms");
}

#[test]
fn a_master_that_is_told_to_end_serves_its_clients_until_they_know_its_successor() {
    for seed in 0..20 {
        let back_after = 100 * SECOND;
        let fault = Fault::Shutdown {
            host: 0,
            back_after,
        };
        let gap = nanos(RANKS[1].skew()) + 2 * MILLISECOND;
        hands_over(watched(seed, true), fault, &[1], gap);
    }
}

#[test]
fn a_master_that_steps_down_serves_its_clients_until_they_know_its_successor() {
    for seed in 0..20 {
        let fault = Fault::StepDown {
            host: 0,
            group: None,
        };
        let gap = nanos(RANKS[1].skew()) + 2 * MILLISECOND;
        hands_over(watched(seed, true), fault, &[1], gap);
    }
}

#[test]
fn a_master_that_is_preempted_serves_its_clients_until_they_know_its_successor() {
    for seed in 0..20 {
        let mut world = watched(seed, true);
        world.inflict(Fault::PowerLoss {
            host: 0,
            back_after: 10 * SECOND,
        });
        world.run_for(9900 * MILLISECOND);
        assert_eq!(world.answering(0), [1]);
        // Nothing happens but the start, and what follows from it.
        hands_over(world, Fault::Garbage { lan: 0 }, &[1, 0], 2 * MILLISECOND);
    }
}
