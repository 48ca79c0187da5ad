//! Worlds in which hosts are more or less fit. What makes them so has its own
//! chance, and leaves the rest of the world as it is without.

use super::faults::Fault;
use super::rng::Rng;
use super::setup::{MILLISECOND, Nanos, Program, SECOND, Setup};
use super::world::World;

/// Delays, and groups that are tied together.
pub(super) fn add_to(setup: &mut Setup, rng: &mut Rng) {
    let is_fast = setup.hosts[0].intervals[0].advbase == 0;
    let is_legacy = has_ucarp(setup);
    let (short, long) = match is_fast {
        true => (50 * MILLISECOND, 500 * MILLISECOND),
        false => (SECOND, 8 * SECOND),
    };
    if rng.range(0, 1) == 0 {
        for host in &mut setup.hosts {
            host.preempt_delay = rng.pick(&[0, short, long]);
            host.startup_delay = rng.pick(&[0, 0, short, long]);
        }
    }
    setup.is_tied = setup.groups.len() > 1 && !is_legacy && rng.range(0, 3) > 0;
    if setup.is_tied {
        for host in &mut setup.hosts {
            // Who divides a tie by configuration has divided it.
            host.intervals[1] = host.intervals[0];
        }
    }
}

/// Something that makes a host more or less fit, or its operator try it.
pub(super) fn fault(world: &World, lasts: Nanos, rng: &mut Rng) -> Fault {
    let is_vipd = |h: &usize| world.setup.hosts[*h].program == Program::Vipd;
    let vipd: Vec<usize> = (0..world.setup.hosts.len()).filter(is_vipd).collect();
    let host = rng.pick(&vipd);
    let group = rng.index(world.setup.groups.len());
    // Beside UCARP, which knows advskews alone, a small one can go in circles: see
    // `docs/fitness.md`.
    let demotion = match has_ucarp(&world.setup) {
        true => rng.pick(&[240, 255]),
        false => rng.pick(&[1, 30, 100, 100, 240, 255]),
    };
    match rng.range(0, 9) {
        0..4 => Fault::Unfit {
            host,
            group,
            demotion,
            withheld: false,
            lasts,
        },
        4 | 5 => Fault::Unfit {
            host,
            group,
            demotion: rng.pick(&[0, 0, demotion]),
            withheld: true,
            lasts,
        },
        6 => Fault::LinkDown {
            host,
            lan: world.setup.groups[group].lan,
            lasts,
        },
        7 => Fault::SendsFail { host, lasts },
        8 => Fault::Promote { host, group },
        _ => Fault::Announce { host, group },
    }
}

fn has_ucarp(setup: &Setup) -> bool {
    let mut hosts = setup.hosts.iter();
    hosts.any(|host| host.program == Program::Ucarp)
}
