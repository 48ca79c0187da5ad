//! From a seed to a world and what goes wrong in it.

use std::fmt::Write as _;

use vipd::carp::{Interval, Policy};
use vipd::engine::Placement;

use super::checker::time;
use super::faults::{FAULT_HOLD, Fault};
use super::moods;
use super::reload::Change;
use super::rng::Rng;
use super::sabotage::Sabotage;
use super::setup::{
    GroupSetup, HostSetup, MICROSECOND, MILLISECOND, Nanos, Program, SECOND, Setup, Wire, group,
};
use super::world::{Event, World};

/// What kind of world a seed makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    /// Hosts fail, the network does not.
    Clean,
    /// The network fails, too.
    Rough,
    /// One of the hosts runs UCARP.
    Legacy,
}

/// How intervals are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranks {
    Distinct,
    Equal,
    /// One host advertises so seldom that others cannot wait for it.
    OneSlow,
    /// advbase 0: milliseconds.
    Fast,
}

/// What a seed came to.
pub struct Played {
    pub world: World,
    pub end: Nanos,
}

/// Plays a seed, as far as the first violation.
pub fn play(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> Played {
    let mut rng = Rng::new(seed ^ 0x0d15_ea5e);
    let flavour = match rng.range(0, 99) {
        0..60 => Flavour::Clean,
        60..85 => Flavour::Rough,
        _ => Flavour::Legacy,
    };
    // A third of all worlds.
    let mut moods = (seed % 3 == 1).then(|| Rng::new(seed ^ 0x0f17_7e55));
    let setup = setup(seed, flavour, sabotage, &mut rng, moods.as_mut());
    let mut world = World::new(setup, trace);
    let end = plan(&mut world, flavour, &mut rng, moods.as_mut());
    world.run_until(end);
    Played { world, end }
}

/// What to show of a seed that failed: its last events, and how to repeat it.
pub fn report(seed: u64, sabotage: Option<Sabotage>) -> String {
    let played = play(seed, sabotage, true);
    let mut text = String::new();
    let trace = played.world.trace.unwrap_or_default();
    let first = trace.len().saturating_sub(SHOWN);
    for line in &trace[first..] {
        _ = writeln!(
            text,
            "{:>12}  {:<6}  {}",
            time(line.at),
            line.who,
            line.what
        );
    }
    if let Some(violation) = played.world.violation {
        _ = writeln!(
            text,
            "{:?} at {}: {}",
            violation.checker,
            time(violation.at),
            violation.what
        );
    }
    _ = writeln!(text, "repeat it: cargo xtask sim --seed {seed}");
    text
}

fn setup(
    seed: u64,
    flavour: Flavour,
    sabotage: Option<Sabotage>,
    rng: &mut Rng,
    moods: Option<&mut Rng>,
) -> Setup {
    let hosts = match rng.range(0, 9) {
        0..6 => 3,
        6..8 => 2,
        _ => rng.range(4, 6) as usize,
    };
    let ranks = match (flavour, rng.range(0, 19)) {
        (_, 0..11) | (Flavour::Legacy, _) => Ranks::Distinct,
        (_, 11..14) => Ranks::Equal,
        (_, 14..16) => Ranks::OneSlow,
        (_, 16..) => Ranks::Fast,
    };
    let lans = if rng.range(0, 3) == 0 { 2 } else { 1 };
    let groups: Vec<GroupSetup> = (0..rng.range(1, 2) as usize)
        .map(|g| {
            let ratio = match ranks {
                Ranks::Fast => 20,
                Ranks::Distinct => rng.pick(&[2, 3, 3, 3, 4]),
                Ranks::Equal | Ranks::OneSlow => 3,
            };
            group(g, g % lans, rng.range(1, 2) as u8, ratio)
        })
        .collect();
    let advbase = rng.pick(&[1, 1, 1, 2]);
    let preempt = ranks != Ranks::OneSlow && rng.range(0, 9) < 7;
    let starts_within = rng.pick(&[0, 100 * MILLISECOND, 10 * SECOND]);
    let by_group: Vec<Vec<Interval>> = groups
        .iter()
        .map(|_| intervals(hosts, ranks, advbase, rng))
        .collect();
    let ucarp = (flavour == Flavour::Legacy).then(|| rng.index(hosts));
    let hosts: Vec<_> = (0..hosts)
        .map(|h| HostSetup {
            program: if ucarp == Some(h) {
                Program::Ucarp
            } else {
                Program::Vipd
            },
            intervals: by_group.iter().map(|intervals| intervals[h]).collect(),
            preempt,
            preempt_delay: 0,
            startup_delay: 0,
            placement: rng.pick(&[
                Placement::Interface,
                Placement::Interface,
                Placement::Loopback,
            ]),
            starts_at: match ranks {
                Ranks::OneSlow if h > 0 => 20 * SECOND,
                Ranks::Distinct | Ranks::Equal | Ranks::OneSlow | Ranks::Fast => {
                    rng.range(0, starts_within)
                }
            },
        })
        .collect();
    let slowest_wire = match ranks {
        Ranks::Fast => 500 * MICROSECOND,
        Ranks::Distinct | Ranks::Equal | Ranks::OneSlow => 3 * MILLISECOND,
    };
    let auth = match hosts.iter().any(|host| host.program == Program::Ucarp) {
        true => rng.pick(&[Policy::Off, Policy::Send, Policy::Send]),
        false => rng.pick(&[Policy::Off, Policy::Send, Policy::Require]),
    };
    let mut setup = Setup {
        seed,
        lans,
        wire: Wire {
            min_delay: 20 * MICROSECOND,
            max_delay: rng.range(100 * MICROSECOND, slowest_wire),
            loss: 0,
            doubled: rng.pick(&[0, 0, 50]),
        },
        groups,
        hosts,
        is_tied: false,
        locktime: rng.pick(&[0, SECOND]),
        is_clean: flavour == Flavour::Clean,
        auth,
        ask_every: SECOND,
        sabotage,
    };
    if let Some(moods) = moods {
        moods::add_to(&mut setup, moods);
    }
    setup.ask_every = World::new(setup.clone(), false).settling_time() / 60;
    setup
}

/// Far enough apart that the wire does not turn the order around.
fn intervals(hosts: usize, ranks: Ranks, advbase: u8, rng: &mut Rng) -> Vec<Interval> {
    let mut skews: Vec<u8> = match ranks {
        Ranks::Fast => (1..12).collect(),
        Ranks::Distinct | Ranks::Equal | Ranks::OneSlow => (0..25).map(|n| n * 4).collect(),
    };
    rng.shuffle(&mut skews);
    let interval = |h: usize| match ranks {
        Ranks::Distinct => Interval::new(advbase, skews[h]),
        Ranks::Equal => Interval::new(1, 10),
        Ranks::OneSlow => Interval::new(if h == 0 { 4 } else { 1 }, skews[h]),
        Ranks::Fast => Interval::new(0, skews[h]),
    };
    (0..hosts).map(interval).collect()
}

/// Some faults, each after the last or within it; then peace. Returns when it
/// is over.
fn plan(world: &mut World, flavour: Flavour, rng: &mut Rng, mut moods: Option<&mut Rng>) -> Nanos {
    let settling = world.settling_time();
    let starts = world.setup.hosts.iter().map(|host| host.starts_at);
    let starts = starts.max().unwrap_or(0);
    let mut at = starts + rng.range(settling / 2, settling * 3 / 2);
    let mut hold = 0;
    let mut last = 0;
    let startup = world.setup.hosts.iter().map(|host| host.startup_delay);
    let startup = startup.max().unwrap_or(0);
    for _ in 0..rng.range(1, 6) {
        let fault = fault(world, flavour, settling, rng);
        if let Fault::MapFails { .. } | Fault::PlacingFails { .. } | Fault::PlacingIsSlow { .. } =
            fault
        {
            hold = FAULT_HOLD;
        }
        if let Fault::Kill { host, back_after } = fault
            && rng.range(0, 3) == 0
        {
            // Its network card is another when it is back: the lease that it
            // left is not its own.
            let lan = rng.index(world.setup.lans);
            let change = Fault::NewMac { host, lan };
            world.at(at + back_after / 2, Event::Fault(change));
        }
        world.at(at, Event::Fault(fault));
        if let Some(moods) = &mut moods {
            for _ in 0..moods.range(0, 3) {
                let lasts = moods.range(MILLISECOND, settling * 3);
                let fault = moods::fault(world, lasts, moods);
                let soon = moods.range(0, settling * 5 / 4);
                world.at(at + soon, Event::Fault(fault));
                last = last.max(at + soon + lasts);
            }
        }
        // Sometimes at once, sometimes into the last one's end, sometimes later.
        at += match rng.range(0, 5) {
            0 => rng.range(0, MILLISECOND),
            1..3 => rng.range(0, settling / 2),
            3 => rng.range(0, settling),
            _ => settling * 5 / 4,
        };
    }
    if world.setup.seed % 3 == 1 {
        at = at.max(plan_reloads(world, flavour, starts, at));
    }
    at.max(last) + settling * 3 + 6 * SECOND + hold + startup
}

/// Changes of the configuration, amid the faults. Their chance is their own, so that
/// the other worlds stay what they are. Returns when the last one is over.
fn plan_reloads(world: &mut World, flavour: Flavour, from: Nanos, until: Nanos) -> Nanos {
    let mut rng = Rng::new(world.setup.seed ^ 0x5e7_0f0f);
    let settling = world.settling_time();
    let hosts = 0..world.setup.hosts.len();
    let mut vipd: Vec<usize> = hosts
        .filter(|h| world.setup.hosts[*h].program == Program::Vipd)
        .collect();
    let mut end = from;
    for _ in 0..rng.range(1, 4) {
        let mut at = rng.range(from, until.max(from + settling));
        let host = rng.pick(&vipd);
        let group = rng.index(world.setup.groups.len());
        let mut reload = |world: &mut World, at: Nanos, host: usize, change: Change| {
            world.at(at, Event::Fault(Fault::Reload { host, change }));
            end = end.max(at);
        };
        match rng.range(0, 5) {
            0 => reload(world, at, host, Change::Nothing),
            1 => {
                if let Some(advskew) = other_skew(world, group, &mut rng) {
                    // Who divides a tie by configuration has divided it.
                    for g in 0..world.setup.groups.len() {
                        if g == group || world.setup.is_tied {
                            reload(world, at, host, Change::Skew { group: g, advskew });
                        }
                    }
                }
            }
            // A host that lacks a part of a tie cannot take all of it; and the delay of one
            // that is back is as after a start, which no judge here waits for.
            2 if world.setup.is_tied || world.setup.hosts[host].startup_delay > 0 => {}
            2 => {
                let lasts = rng.range(MILLISECOND, settling * 3 / 2);
                let fault = Fault::GroupRemoved { host, group, lasts };
                world.at(at, Event::Fault(fault));
                end = end.max(at + lasts);
            }
            // UCARP is never told.
            _ if flavour == Flavour::Legacy => {}
            3 | 4 => {
                for has in [true, false].into_iter().take(rng.range(1, 2) as usize) {
                    rng.shuffle(&mut vipd);
                    for host in vipd.iter().copied() {
                        reload(world, at, host, Change::Spare { group, has });
                        at += rng.range(0, settling);
                    }
                }
            }
            _ => {
                for _ in 0..3 {
                    rng.shuffle(&mut vipd);
                    for host in vipd.iter().copied() {
                        reload(world, at, host, Change::Keys);
                        at += rng.range(0, settling / 2);
                    }
                }
            }
        }
    }
    end
}

/// A rank that no host of the group has, where each has its own.
fn other_skew(world: &World, group: usize, rng: &mut Rng) -> Option<u8> {
    let taken = world.setup.hosts.iter().map(|host| host.intervals[group]);
    let taken: Vec<Interval> = taken.collect();
    let advbase = taken[0].advbase;
    let is_distinct = taken
        .iter()
        .enumerate()
        .all(|(place, interval)| interval.advbase == advbase && !taken[..place].contains(interval));
    let mut skews: Vec<u8> = match advbase {
        0 => (1..12).collect(),
        _ => (0..25).map(|n| n * 4).collect(),
    };
    skews.retain(|skew| !taken.iter().any(|interval| interval.advskew == *skew));
    (is_distinct && !skews.is_empty()).then(|| rng.pick(&skews))
}

fn fault(world: &World, flavour: Flavour, settling: Nanos, rng: &mut Rng) -> Fault {
    let vipd: Vec<usize> = (0..world.setup.hosts.len())
        .filter(|h| world.setup.hosts[*h].program == Program::Vipd)
        .collect();
    let host = rng.pick(&vipd);
    let lan = rng.index(world.setup.lans);
    let group = rng.index(world.setup.groups.len());
    let lasts = match rng.range(0, 4) {
        0 => rng.range(MILLISECOND, 20 * MILLISECOND),
        1 | 2 => rng.range(settling / 20, settling / 2),
        _ => rng.range(settling / 4, settling * 3 / 2),
    };
    let back_after = lasts.max(5 * MILLISECOND);
    let only = (rng.range(0, 1) == 0).then_some(group);
    let hosts = world.setup.hosts.len();
    let from = rng.index(hosts);
    let to = (from + 1 + rng.index(hosts - 1)) % hosts;
    let is_fast = world.setup.hosts[0].intervals[0].advbase == 0;
    let after = rng.range(0, 8) as u8;
    let calm = [
        Fault::StallMidway { host, after, lasts },
        Fault::Stall { host, lasts },
        Fault::Stall { host, lasts },
        Fault::Kill { host, back_after },
        Fault::Kill { host, back_after },
        Fault::Shutdown { host, back_after },
        Fault::KillAndLose { host, back_after },
        Fault::PowerLoss { host, back_after },
        Fault::NicReplaced {
            host,
            lan,
            // netlink tells of both, one after the other.
            lasts: lasts.max(5 * MILLISECOND),
        },
        Fault::StepDown { host, group: only },
        Fault::LinkDown { host, lan, lasts },
        Fault::MapFails { host, lasts },
        Fault::PlacingFails { host, lasts },
        Fault::PlacingIsSlow { host, lasts },
        Fault::AddressLost { group },
        Fault::NewMac { host, lan },
        Fault::WrongPassword { group },
        Fault::OtherAddresses { group },
        Fault::Garbage { lan },
        Fault::UnknownVhid { lan },
        Fault::Replay { lan },
        Fault::Replay { lan },
        Fault::Loop { lan, lasts },
        Fault::RivalArp { group },
        Fault::StrayBowOut { group },
        Fault::Doubling {
            lan,
            per_mille: 300,
            lasts,
        },
        Fault::SendsFail { host, lasts },
    ];
    let torn = [
        Fault::CutOneWay {
            lan,
            from,
            to,
            lasts,
        },
        Fault::CutBothWays {
            lan,
            from,
            to,
            lasts,
        },
        Fault::CutBothWays {
            lan,
            from,
            to,
            lasts,
        },
        Fault::Loss {
            lan,
            per_mille: rng.range(20, 600),
            lasts,
        },
        Fault::SameSource { host, group },
    ];
    let ucarp = (0..hosts).find(|h| world.setup.hosts[*h].program == Program::Ucarp);
    if let Some(host) = ucarp
        && rng.range(0, 5) == 0
    {
        return rng.pick(&[
            Fault::UcarpStall { host, lasts },
            Fault::UcarpKill { host, lasts },
        ]);
    }
    match flavour {
        Flavour::Rough | Flavour::Legacy if rng.range(0, 1) == 0 => rng.pick(&torn),
        // A demoted host advertises every 0.94 s, for ever by its peers' clocks.
        _ if is_fast => rng.pick(&calm[..calm.len() - 1]),
        Flavour::Clean | Flavour::Rough | Flavour::Legacy => rng.pick(&calm),
    }
}

/// How many of the last events are shown.
const SHOWN: usize = 60;
