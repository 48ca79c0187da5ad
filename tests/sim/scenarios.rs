//! Stories with names: what an operator would try first.

use vipd::carp::{Interval, Reason, Role};
use vipd_tests::sim::faults::Fault;
use vipd_tests::sim::setup::{MILLISECOND, Nanos, SECOND, Setup, host_mac, nanos};
use vipd_tests::sim::story;
use vipd_tests::sim::world::World;

const VIP: [u8; 4] = [10, 0, 100, 1];
const RANKS: [Interval; 3] = [
    Interval::new(1, 0),
    Interval::new(1, 50),
    Interval::new(1, 100),
];

/// Three hosts, of which the first is master.
fn three(preempt: bool) -> World {
    settled(Setup::simple(1, &RANKS, preempt))
}

fn settled(setup: Setup) -> World {
    let mut world = World::new(setup, false);
    world.run_until(10 * SECOND);
    assert_eq!(world.answering(0), [0]);
    world
}

/// How long it takes until this host alone answers.
#[track_caller]
fn takes_over_within(world: &mut World, host: usize, limit: Nanos) -> Nanos {
    let took = world.run_until_so(limit, |world| world.answering(0) == [host]);
    let now = world.answering(0);
    assert!(world.violation.is_none(), "{:?}", world.violation);
    took.unwrap_or_else(|| panic!("not host{host} but {now:?} after {limit} ns"))
}

fn reason(world: &World, host: usize) -> Option<Reason> {
    world
        .view(host, 0)
        .and_then(|view| view.since)
        .map(|(_, reason)| reason)
}

fn adverts_sent(world: &World, host: usize) -> u64 {
    world
        .view(host, 0)
        .map_or(0, |view| view.counters.adverts_sent)
}

fn skew(host: usize) -> Nanos {
    nanos(RANKS[host].skew())
}

#[test]
fn a_killed_master_is_replaced_by_the_best_backup_when_its_master_down_time_is_over() {
    let mut world = three(false);
    let back_after = 100 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after,
    });
    let took = takes_over_within(&mut world, 1, 3 * SECOND + skew(1) + 2 * MILLISECOND);
    assert!(took > 2 * SECOND + skew(1));
    assert_eq!(reason(&world, 1), Some(Reason::MasterTimeout));
    world.run_for(10 * SECOND);
    assert_eq!(world.role(2, 0), Some(Role::Backup), "the other stays");
}

#[test]
fn a_killed_master_is_silent_before_its_successor_answers() {
    let mut world = three(false);
    let back_after = 100 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after,
    });
    let silent = world.run_until_so(4 * SECOND, |world| world.answering(0).is_empty());
    assert!(silent.is_some(), "its lease ended, and nobody answered");
}

#[test]
fn a_master_that_ends_is_replaced_within_the_successors_skew() {
    let mut world = three(false);
    let back_after = 100 * SECOND;
    world.inflict(Fault::Shutdown {
        host: 0,
        back_after,
    });
    assert_eq!(world.answering(0), [0; 0], "silent at once");
    takes_over_within(&mut world, 1, skew(1) + 2 * MILLISECOND);
    assert_eq!(reason(&world, 1), Some(Reason::MasterResigned));
}

#[test]
fn after_a_partition_the_loser_is_silent_and_the_client_follows_within_milliseconds() {
    let mut setup = Setup::simple(1, &RANKS, true);
    setup.is_clean = false;
    let mut world = settled(setup);
    let lasts = 20 * SECOND;
    for to in [1, 2] {
        let from = 0;
        world.inflict(Fault::CutBothWays {
            lan: 0,
            from,
            to,
            lasts,
        });
    }
    world.run_for(10 * SECOND);
    assert_eq!(world.answering(0), [0, 1], "each half has its master");
    assert_eq!(world.client.entry(0, VIP), Some(host_mac(1, 0, 0)));

    world.mend_all();
    takes_over_within(&mut world, 0, SECOND + 2 * MILLISECOND);
    let follows = |world: &World| world.client.entry(0, VIP) == Some(host_mac(0, 0, 0));
    let took = world.run_until_so(5 * MILLISECOND, follows);
    assert!(took.is_some(), "the winner announces at once");
}

#[test]
fn a_master_that_slept_through_its_lease_goes_back_without_an_advert() {
    let mut world = three(false);
    let before = adverts_sent(&world, 0);
    let lasts = 5 * SECOND;
    world.inflict(Fault::Stall { host: 0, lasts });
    world.run_for(lasts + MILLISECOND);
    assert_eq!(world.role(0, 0), Some(Role::Backup));
    assert_eq!(reason(&world, 0), Some(Reason::LeaseExpired));
    assert_eq!(adverts_sent(&world, 0), before);
    assert_eq!(world.answering(0), [1]);
    assert!(world.violation.is_none());
}

#[test]
fn a_backup_that_wakes_late_listens_for_one_interval_more() {
    let mut world = settled(Setup::simple(1, &RANKS[..2], false));
    let lasts = 10 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after: 100 * SECOND,
    });
    world.inflict(Fault::Stall { host: 1, lasts });
    world.run_for(lasts);
    let took = takes_over_within(&mut world, 1, 2 * SECOND);
    let interval = nanos(RANKS[1].period());
    assert!(
        took >= interval && took < interval + 2 * MILLISECOND,
        "{took}"
    );
}

#[test]
fn of_equals_the_one_with_the_lower_last_octet_stays() {
    // UCARP on a little-endian machine compares the last octet first: 10.0.9.1
    // is below 10.0.8.2.
    let equal = Interval::new(1, 10);
    let mut setup = Setup::simple(1, &[equal, equal], true);
    setup.is_clean = false;
    let mut world = World::new(setup, false);
    world.inflict(Fault::CutBothWays {
        lan: 0,
        from: 0,
        to: 1,
        lasts: 10 * SECOND,
    });
    world.run_until(9 * SECOND);
    assert_eq!(world.answering(0), [0, 1]);
    world.mend_all();
    world.run_for(2 * SECOND);
    assert_eq!(world.answering(0), [0]);
    assert_eq!(reason(&world, 1), Some(Reason::TieLost));
}

#[test]
fn a_preferred_host_that_preempts_comes_back() {
    let mut world = three(true);
    let back_after = 10 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after,
    });
    world.run_for(back_after);
    assert_eq!(world.answering(0), [1]);
    // It hears one advert, and has no skew to wait out.
    takes_over_within(&mut world, 0, nanos(RANKS[1].period()) + 2 * MILLISECOND);
    assert_eq!(reason(&world, 0), Some(Reason::Preempt));
}

#[test]
fn a_preferred_host_that_does_not_preempt_stays_backup() {
    let mut world = three(false);
    let back_after = 10 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after,
    });
    world.run_for(60 * SECOND);
    assert_eq!(world.answering(0), [1]);
    assert_eq!(world.role(0, 0), Some(Role::Backup));
}

#[test]
fn a_host_that_steps_down_does_not_preempt_for_three_seconds() {
    let mut world = three(true);
    world.inflict(Fault::StepDown {
        host: 0,
        group: None,
    });
    takes_over_within(&mut world, 1, skew(1) + 2 * MILLISECOND);
    let took = takes_over_within(&mut world, 0, 5 * SECOND) + skew(1);
    let interval = nanos(RANKS[1].period());
    assert!(took >= 3 * SECOND - MILLISECOND, "{took}");
    assert!(took <= 3 * SECOND + interval + 2 * MILLISECOND, "{took}");
}

#[test]
fn a_lost_link_moves_the_address_and_its_return_brings_it_back() {
    let mut world = three(true);
    let lasts = 10 * SECOND;
    world.inflict(Fault::LinkDown {
        host: 0,
        lan: 0,
        lasts,
    });
    world.run_for(5 * MILLISECOND);
    assert_eq!(world.role(0, 0), Some(Role::Init));
    takes_over_within(&mut world, 1, 3 * SECOND + skew(1) + 2 * MILLISECOND);
    world.run_for(lasts - (world.now - 10 * SECOND));
    takes_over_within(&mut world, 0, nanos(RANKS[1].period()) + 10 * MILLISECOND);
}

#[test]
fn a_master_that_cannot_send_is_demoted_and_silent_before_its_successor() {
    let mut world = three(true);
    world.inflict(Fault::SendsFail {
        host: 0,
        lasts: 60 * SECOND,
    });
    world.run_for(4 * SECOND);
    assert_eq!(reason(&world, 0), Some(Reason::LeaseExpired));
    world.run_for(6 * SECOND);
    assert!(world.view(0, 0).is_some_and(|view| view.is_demoted));
    assert_eq!(world.answering(0), [1]);
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

#[test]
fn a_new_mac_is_announced_at_once() {
    let mut world = three(true);
    world.inflict(Fault::NewMac { host: 0, lan: 0 });
    let new = host_mac(0, 0, 1);
    let follows = |world: &World| world.client.entry(0, VIP) == Some(new);
    assert!(world.run_until_so(5 * MILLISECOND, follows).is_some());
    world.run_for(20 * SECOND);
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

#[test]
fn a_role_is_not_given_away_while_the_kernel_goes_on_to_answer() {
    let mut world = three(false);
    world.inflict(Fault::MapFails {
        host: 0,
        lasts: 60 * SECOND,
    });
    // The next renewal fails, and so does the silencing.
    world.run_for(SECOND + 500 * MILLISECOND);
    assert_eq!(reason(&world, 0), Some(Reason::MapFault));
    assert_eq!(world.answering(0), [0], "by the lease before");
    takes_over_within(&mut world, 1, 5 * SECOND);
}

#[test]
fn a_preferred_host_with_a_broken_map_does_not_take_the_role_at_every_advert() {
    let mut world = three(true);
    world.inflict(Fault::MapFails {
        host: 0,
        lasts: 300 * SECOND,
    });
    world.run_for(20 * SECOND);
    let transitions = |world: &World| world.view(0, 0).map_or(0, |view| view.counters.transitions);
    let before = transitions(&world);
    world.run_for(60 * SECOND);
    let attempts = (transitions(&world) - before) / 2;
    assert!((3..=6).contains(&attempts), "{attempts} in a minute");
}

#[test]
fn two_losers_do_not_unseat_the_winner_by_their_farewells() {
    let equal = Interval::new(1, 10);
    for seed in 0..50 {
        let mut world = World::new(Setup::simple(seed, &[equal; 3], true), false);
        world.run_until(20 * SECOND);
        assert!(world.violation.is_none(), "{:?}", world.violation);
        assert_eq!(world.answering(0).len(), 1);
        let changes = |host| {
            world
                .view(host, 0)
                .map_or(0, |view| view.counters.transitions)
        };
        assert!((0..3).map(changes).sum::<u64>() <= 3 + 1 + 2 * 2);
    }
}

#[test]
fn who_could_not_send_its_claim_follows_the_one_who_could() {
    let mut world = three(false);
    world.inflict(Fault::SendsFail {
        host: 1,
        lasts: 4 * SECOND,
    });
    let back_after = 100 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after,
    });
    takes_over_within(&mut world, 2, 3 * SECOND + skew(2) + 2 * MILLISECOND);
    world.run_for(60 * SECOND);
    assert_eq!(world.answering(0), [2]);
    assert_eq!(world.role(1, 0), Some(Role::Backup));
}

#[test]
fn with_advbase_zero_a_killed_master_is_replaced_within_a_tenth_of_a_second() {
    let ranks = [1, 4, 8].map(|advskew| Interval::new(0, advskew));
    let mut setup = Setup::simple(1, &ranks, true);
    setup.groups[0].dead_ratio = 5;
    let mut world = settled(setup);
    let back_after = 100 * SECOND;
    world.inflict(Fault::Kill {
        host: 0,
        back_after,
    });
    takes_over_within(&mut world, 1, 100 * MILLISECOND);
}

#[test]
fn the_demo_tells_of_three_failovers_and_what_they_cost() {
    let mut told = Vec::new();
    story::tell(&mut told, None).expect("no promise broken");
    let told = String::from_utf8_lossy(&told);
    assert_eq!(
        told.matches("the address was gone for").count(),
        4,
        "{told}"
    );
    assert!(told.contains("nobody"), "{told}");
}
