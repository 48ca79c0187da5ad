//! What befalls a LAN now and then: strays, interfaces that are made anew, legacy
//! hosts that stop or die.

use vipd::carp::{Interval, Role};
use vipd_tests::sim::faults::Fault;
use vipd_tests::sim::setup::{MILLISECOND, Program, SECOND, Setup};
use vipd_tests::sim::world::World;

const RANKS: [Interval; 2] = [Interval::new(1, 0), Interval::new(1, 50)];

fn played(setup: Setup) -> World {
    let mut world = World::new(setup, false);
    world.run_until(10 * SECOND);
    world
}

fn with_legacy(host: usize) -> World {
    let mut setup = Setup::simple(1, &RANKS, false);
    setup.hosts[host].program = Program::Ucarp;
    // UCARP looks at its timer when its poll is over, which introductions put off.
    setup.hosts[1].starts_at = 4 * SECOND;
    setup.is_clean = false;
    played(setup)
}

#[test]
fn a_strangers_bow_out_moves_no_role() {
    let mut world = played(Setup::simple(1, &RANKS, false));
    for _ in 0..5 {
        world.inflict(Fault::StrayBowOut { group: 0 });
        world.run_for(700 * MILLISECOND);
    }

    assert_eq!(world.answering(0), [0]);
    assert_eq!(world.role(1, 0), Some(Role::Backup));
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

#[test]
fn a_strangers_bow_out_does_not_shorten_the_wait_of_a_host_that_has_just_started() {
    let mut setup = Setup::simple(1, &RANKS, false);
    // Just after an advert of the master, which then dies.
    setup.hosts[1].starts_at = 9900 * MILLISECOND;
    let mut world = played(setup);
    world.inflict(Fault::Kill {
        host: 0,
        back_after: 100 * SECOND,
    });
    world.inflict(Fault::StrayBowOut { group: 0 });
    let changes = world.run_until_so(20 * SECOND, |world| world.answering(0) == [1]);

    assert!(changes.is_some_and(|took| took > 2 * SECOND), "{changes:?}");
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

#[test]
fn an_interface_that_is_deleted_and_made_anew_is_used_again() {
    let mut setup = Setup::simple(1, &RANKS, true);
    setup.ask_every = MILLISECOND;
    let mut world = played(setup);
    let lasts = 10 * SECOND;
    world.inflict(Fault::NicReplaced {
        host: 0,
        lan: 0,
        lasts,
    });
    world.run_for(8 * SECOND);
    assert_eq!(world.answering(0), [1]);

    world.run_for(10 * SECOND);
    assert_eq!(world.answering(0), [0]);
    let vip = world.setup.groups[0].vips[0].octets();
    let mac = world.hosts[0].kernel.nics[0].mac;
    assert!(world.reaches(0, vip, mac));
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

#[test]
fn a_legacy_master_that_is_stopped_is_replaced_and_yields_when_it_goes_on() {
    let mut world = with_legacy(0);
    assert_eq!(world.answering(0), [0]);
    let lasts = 20 * SECOND;
    world.inflict(Fault::UcarpStall { host: 0, lasts });
    world.run_for(10 * SECOND);
    // The kernel of a stopped UCARP answers on; no lease ends that.
    assert_eq!(world.answering(0), [0, 1]);

    world.run_for(20 * SECOND);
    assert_eq!(world.answering(0).len(), 1);
    assert!(world.violation.is_none(), "{:?}", world.violation);
}

#[test]
fn a_legacy_backup_that_dies_and_returns_changes_nothing() {
    let mut world = with_legacy(1);
    let lasts = 5 * SECOND;
    world.inflict(Fault::UcarpKill { host: 1, lasts });
    world.run_for(30 * SECOND);

    assert_eq!(world.answering(0), [0]);
    assert!(world.violation.is_none(), "{:?}", world.violation);
}
