//! Hosts whose configuration is changed while they run: ranks, addresses, groups and
//! passwords, on one host after the other, as an operator does it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use vipd::carp::{Advertisement, Authenticator, Interval, KeyId, Keyring};
use vipd::engine::{Config, GroupId};

use super::host::Waiting;
use super::lan::Frame;
use super::setup::{PASSWORD, Program, Setup, key};
use super::world::World;

/// What an operator changes on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the file is as it was.
    Nothing,
    Skew {
        group: usize,
        advskew: u8,
    },
    /// Whether the group has one address more.
    Spare {
        group: usize,
        has: bool,
    },
    /// Whether the group is configured at all.
    Absent {
        group: usize,
        is_absent: bool,
    },
    /// The next step from one password to another, if all others have taken the one
    /// before.
    Keys,
}

/// What the configuration of a host says besides the setup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Groups with the spare address.
    pub(super) spare: BTreeSet<usize>,
    /// Groups that are not configured.
    pub(super) absent: BTreeSet<usize>,
    /// Steps taken of [`Change::Keys`]: both passwords are believed, the new one signs,
    /// the old one is forgotten.
    pub(super) key_step: u8,
}

impl File {
    pub(super) fn alter(&self, setup: &Setup, config: &mut Config) {
        let mut g = 0;
        config.groups.retain_mut(|group| {
            if self.spare.contains(&g) {
                group.vips.push(setup.spare(g));
            }
            if self.key_step > 0 {
                group.auth.keys = keyring(self.key_step);
            }
            g += 1;
            !self.absent.contains(&(g - 1))
        });
    }

    /// Whether a daemon with this configuration goes on with the lease of one with
    /// the other: the same addresses, and a password that the other one knew.
    pub(super) fn goes_on(&self, left: &Self, g: usize) -> bool {
        self.spare.contains(&g) == left.spare.contains(&g)
            && !self.absent.contains(&g)
            && self.key_step.abs_diff(left.key_step) <= 1
    }
}

fn keyring(step: u8) -> Keyring {
    let (old, new) = ((KeyId(0), key(PASSWORD)), (KeyId(1), key(NEXT_PASSWORD)));
    let ring = match step {
        1 => Keyring::new(vec![old, new], KeyId(0)),
        2 => Keyring::new(vec![old, new], KeyId(1)),
        _ => Keyring::new(vec![new], KeyId(1)),
    };
    ring.unwrap_or_else(|_| Keyring::single(key(PASSWORD)))
}

impl World {
    /// Which group a daemon's number means.
    pub(super) fn group_index(&self, host: usize, id: GroupId) -> usize {
        self.hosts[host].ids[id.0 as usize]
    }

    /// The number of a group, the last that it had; one that no group has, if none.
    pub(super) fn group_id(&self, host: usize, g: usize) -> GroupId {
        let ids = &self.hosts[host].ids;
        let place = ids.iter().rposition(|group| *group == g);
        GroupId(place.map_or(u32::MAX, |place| place as u32))
    }

    /// The groups that are configured on a host, in order.
    pub(super) fn configured(&self, host: usize) -> Vec<usize> {
        let absent = &self.hosts[host].file.absent;
        let groups = 0..self.setup.groups.len();
        groups.filter(|g| !absent.contains(g)).collect()
    }

    pub(super) fn change_file(&mut self, host: usize, change: Change) {
        let file = &mut self.hosts[host].file;
        match change {
            Change::Nothing => {}
            Change::Skew { group, advskew } => {
                let interval = &mut self.setup.hosts[host].intervals[group];
                *interval = Interval::new(interval.advbase, advskew);
            }
            Change::Spare { group, has } => {
                let is_another = match has {
                    true => file.spare.insert(group),
                    false => file.spare.remove(&group),
                };
                if is_another && !file.absent.contains(&group) {
                    self.hosts[host].two_sets.insert(group);
                }
            }
            Change::Absent {
                group,
                is_absent: true,
            } => {
                file.absent.insert(group);
                self.hosts[host].two_sets.remove(&group);
            }
            Change::Absent {
                group,
                is_absent: false,
            } => _ = file.absent.remove(&group),
            Change::Keys => {
                let own = file.key_step;
                let vipd =
                    (0..self.hosts.len()).filter(|h| self.setup.hosts[*h].program == Program::Vipd);
                let mut steps = vipd.map(|h| self.hosts[h].file.key_step);
                if own < 3 && steps.all(|step| step >= own) {
                    self.hosts[host].file.key_step += 1;
                }
            }
        }
    }

    /// The daemon reads what it is to be.
    pub(super) fn reload(&mut self, host: usize, change: Change) {
        if let Change::Absent {
            is_absent: false, ..
        } = change
        {
            self.complete_rollouts(host);
        }
        self.change_file(host, change);
        self.cover_change(change);
        if self.hosts[host].is_ending {
            return;
        }
        let Some(mut engine) = self.hosts[host].engine.take() else {
            return;
        };
        self.note_host(host, || format!("reloads: {change:?}"));
        self.disturb(Some(host), 0);
        let config = self.engine_config(host);
        let seed = self.rng.draw();
        let ids = engine.reconfigure(config, seed, self.clock(host));
        let mut begun = Vec::new();
        for (id, g) in ids.groups.into_iter().zip(self.configured(host)) {
            let known = &mut self.hosts[host].ids;
            if id.0 as usize == known.len() {
                known.push(g);
                begun.push(g);
            }
        }
        self.drain(host, &mut engine);
        self.hosts[host].engine = Some(engine);
        self.rearm(host);
        for group in begun {
            let fitness = self.told(host, group);
            self.deliver(host, Waiting::Fitness { group, fitness });
            self.delay_preemption(host, |other| other == group);
        }
    }

    /// Whoever starts a host anew, or gives it a group, while addresses are being changed
    /// has changed them everywhere: a group that begins knows its own set alone.
    pub(super) fn complete_rollouts(&mut self, host: usize) {
        for group in 0..self.setup.groups.len() {
            let Some(has) = self.rollouts.get(&group).copied() else {
                continue;
            };
            let change = Change::Spare { group, has };
            self.change_file(host, change);
            for other in (0..self.hosts.len()).filter(|other| *other != host) {
                self.deliver(other, Waiting::Reload(change));
            }
        }
    }

    /// Whether an advert of the group is of a set of addresses that a host has.
    pub(super) fn has_set_of(&self, host: usize, g: usize, frame: &Frame) -> bool {
        let receiver = &self.hosts[host];
        if !self.rollouts.contains_key(&g) || receiver.two_sets.contains(&g) {
            return true;
        }
        let Ok((_, advert)) = Advertisement::parse(&frame.bytes[14..]) else {
            return true;
        };
        let setup = &self.setup.groups[g];
        let spare = receiver
            .file
            .spare
            .contains(&g)
            .then(|| self.setup.spare(g));
        let vips = setup.vips.iter().copied().chain(spare);
        let vips: Vec<_> = vips.map(IpAddr::V4).collect();
        [PASSWORD, NEXT_PASSWORD].iter().any(|password| {
            let own = Authenticator::new(&key(password), setup.vhid, &vips);
            own.verify(advert.counter, &advert.digest)
        })
    }

    /// Addresses fall silent one by one, which the simulated kernel does not know of.
    pub(super) fn drop_vips(&mut self, host: usize, id: GroupId, vips: &[Ipv4Addr]) {
        self.note_host(host, || format!("drops   {vips:?}"));
        let group = self.group_index(host, id);
        if vips.contains(&self.setup.groups[group].vips[0]) {
            self.unplace(host, group);
        }
    }

    pub(super) fn forget_group(&mut self, host: usize, group: GroupId) {
        let g = self.group_index(host, group);
        self.note_host(host, || format!("forgets group {g}"));
        self.hosts[host].kernel.groups.remove(&g);
    }

    fn cover_change(&mut self, change: Change) {
        self.coverage.insert(match change {
            Change::Nothing => "reload nothing",
            Change::Skew { .. } => "reload skew",
            Change::Spare { has: true, .. } => "reload address added",
            Change::Spare { has: false, .. } => "reload address removed",
            Change::Absent {
                is_absent: true, ..
            } => "reload group removed",
            Change::Absent {
                is_absent: false, ..
            } => "reload group added",
            Change::Keys => "reload keys",
        });
    }
}

/// Every kind of change, for those who check that all of them occur.
pub const CHANGES: [&str; 7] = [
    "reload nothing",
    "reload skew",
    "reload address added",
    "reload address removed",
    "reload group removed",
    "reload group added",
    "reload keys",
];

const NEXT_PASSWORD: &[u8] = b"horse correct";
