//! Fit and unfit hosts, and groups that move together: what an operator would try
//! first.

use vipd::carp::{Interval, Reason, Role};
use vipd_tests::sim::faults::Fault;
use vipd_tests::sim::setup::{MILLISECOND, Nanos, SECOND, Setup, group, nanos};
use vipd_tests::sim::world::World;

const RANKS: [Interval; 2] = [Interval::new(1, 0), Interval::new(1, 50)];

/// How long the second host waits before it takes over from one that lives.
const SKEW: Nanos = 50 * SECOND / 256 + 10 * MILLISECOND;

/// Two routers, each with a group on either of its LANs, tied; the first has both.
fn routers(preempt: bool) -> World {
    let mut setup = Setup::simple(7, &RANKS, preempt);
    setup.lans = 2;
    setup.groups = vec![group(0, 0, 1, 3), group(1, 1, 1, 3)];
    setup.is_tied = true;
    for host in &mut setup.hosts {
        host.intervals = vec![host.intervals[0]; 2];
    }
    let mut world = World::new(setup, false);
    world.run_until(10 * SECOND);
    assert_eq!(owners(&world), [[0], [0]]);
    world
}

fn pair(preempt: bool) -> World {
    let mut world = World::new(Setup::simple(7, &RANKS, preempt), false);
    world.run_until(10 * SECOND);
    assert_eq!(world.answering(0), [0]);
    world
}

fn owners(world: &World) -> [Vec<usize>; 2] {
    [world.answering(0), world.answering(1)]
}

/// Goes on until both groups are with this host.
#[track_caller]
fn both_are_with(world: &mut World, host: usize, limit: Nanos) {
    let took = world.run_until_so(limit, |world| owners(world) == [[host], [host]]);
    assert!(world.violation.is_none(), "{:?}", world.violation);
    assert!(took.is_some(), "{:?}", owners(world));
}

#[track_caller]
fn stays(world: &mut World, duration: Nanos, owned: [usize; 2]) {
    let end = world.now + duration;
    while world.now < end {
        world.run_for(MILLISECOND);
        assert_eq!(owners(world), owned.map(|owner| [owner]));
    }
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

fn reason(world: &World, host: usize, g: usize) -> Option<Reason> {
    let view = world.view(host, g)?;
    view.since.map(|(_, reason)| reason)
}

fn link_down(lasts: Nanos) -> Fault {
    Fault::LinkDown {
        host: 0,
        lan: 1,
        lasts,
    }
}

#[test]
fn tied_groups_go_together_when_one_link_fails_and_come_back_where_they_preempt() {
    let mut world = routers(true);
    let began = world.now;
    world.inflict(link_down(30 * SECOND));

    // The other group at once, this one when its master is missed.
    let other = world.run_until_so(SKEW, |world| world.answering(0) == [1]);
    assert!(other.is_some());
    assert_eq!(reason(&world, 1, 0), Some(Reason::MasterDemoted));
    both_are_with(&mut world, 1, 4 * SECOND);
    assert_eq!(reason(&world, 1, 1), Some(Reason::MasterTimeout));

    let rest = began + 29 * SECOND - world.now;
    stays(&mut world, rest, [1, 1]);
    both_are_with(&mut world, 0, 4 * SECOND);
    stays(&mut world, 20 * SECOND, [0, 0]);
}

#[test]
fn tied_groups_stay_where_they_do_not_preempt() {
    let mut world = routers(false);
    world.inflict(link_down(10 * SECOND));

    both_are_with(&mut world, 1, 5 * SECOND);

    stays(&mut world, 60 * SECOND, [1, 1]);
}

#[test]
fn a_short_loss_of_one_link_divides_no_tie_for_long() {
    for preempt in [false, true] {
        for lasts in [10, 100, 150, 190, 200, 250, 1000, 2500, 2900, 3100, 3300] {
            let mut world = routers(preempt);
            world.inflict(link_down(lasts * MILLISECOND));

            world.run_for(20 * SECOND);

            let [one, other] = owners(&world);
            assert_eq!(one.len(), 1, "{lasts} {preempt}");
            assert_eq!(one, other, "{lasts} {preempt}");
            assert!(world.violation.is_none(), "{:?}", world.violation);
        }
    }
}

#[test]
fn two_routers_that_are_both_broken_do_what_each_can() {
    let mut world = routers(false);
    world.inflict(link_down(100 * SECOND));
    world.run_for(10 * SECOND);
    world.inflict(Fault::LinkDown {
        host: 1,
        lan: 0,
        lasts: 50 * SECOND,
    });

    world.run_for(10 * SECOND);

    assert_eq!(owners(&world), [[0], [1]]);
    both_are_with(&mut world, 1, 45 * SECOND);
}

#[test]
fn a_host_that_gets_worse_is_relieved_at_once_and_back_as_it_preempts() {
    for preempt in [false, true] {
        let mut world = pair(preempt);
        let unanswered = world.checks.unanswered;
        world.inflict(Fault::Unfit {
            host: 0,
            group: 0,
            demotion: 30,
            withheld: false,
            lasts: 20 * SECOND,
        });

        let took = world.run_until_so(SKEW, |world| world.answering(0) == [1]);
        assert!(took.is_some(), "it is told at once, and skewed");
        assert_eq!(reason(&world, 0, 0), Some(Reason::BetterMaster));
        world.run_for(30 * SECOND);

        assert_eq!(world.answering(0), [usize::from(!preempt)]);
        assert!(world.checks.unanswered <= unanswered + 2, "a moment each");
        assert!(world.violation.is_none(), "{:?}", world.violation);
    }
}

#[test]
fn a_host_that_is_withheld_is_no_master_though_nobody_else_is() {
    let mut world = pair(false);
    for host in [0, 1] {
        world.inflict(Fault::Unfit {
            host,
            group: 0,
            demotion: 0,
            withheld: true,
            lasts: 60 * SECOND,
        });
    }

    world.run_for(50 * SECOND);
    assert!(world.answering(0).is_empty());
    assert!(world.view(0, 0).is_some_and(|view| view.would_be_master));
    world.run_for(10 * SECOND + nanos(RANKS[0].period()) * 3 + SECOND);
    assert_eq!(world.answering(0), [0]);
}

#[test]
fn all_demoted_alike_are_ranked_as_if_none_were() {
    let mut world = pair(true);
    for host in [0, 1] {
        world.inflict(Fault::Unfit {
            host,
            group: 0,
            demotion: 255,
            withheld: false,
            lasts: 100 * SECOND,
        });
        world.run_for(10 * SECOND);
    }
    assert_eq!(world.answering(0), [0]);
    // And a demoted master that dies is missed no later than another.
    world.inflict(Fault::Kill {
        host: 0,
        back_after: 100 * SECOND,
    });
    let took = world.run_until_so(3 * SECOND + SKEW, |world| world.answering(0) == [1]);
    assert!(took.is_some());
    assert_eq!(world.role(1, 0), Some(Role::Master));
}

#[test]
fn a_promoted_host_is_master_without_a_moment_of_two() {
    let mut world = pair(false);
    world.inflict(Fault::StepDown {
        host: 0,
        group: None,
    });
    world.run_for(10 * SECOND);
    assert_eq!(world.answering(0), [1]);

    world.inflict(Fault::Promote { host: 0, group: 0 });

    let took = world.run_until_so(2 * SECOND, |world| world.answering(0) == [0]);
    assert!(took.is_some());
    assert_eq!(reason(&world, 0, 0), Some(Reason::Preempt));
    world.run_for(10 * SECOND);
    assert!(world.violation.is_none(), "{:?}", world.violation);
}
