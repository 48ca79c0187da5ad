//! What a simulated world is made of: its hosts, groups, LANs, and their addresses.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd::carp::timers::Timing;
use vipd::carp::{Interval, Key, Policy, Vhid};
use vipd::engine::{Auth, Config, GroupConfig, InterfaceId, Placement};
use vipd::mac::MacAddr;

use super::sabotage::Sabotage;

/// Nanoseconds since the world began.
pub type Nanos = u64;
pub const MICROSECOND: Nanos = 1_000;
pub const MILLISECOND: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000_000_000;

/// What a LAN does to frames.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// One-way delay, each frame's own: what is sent later can arrive sooner.
    pub min_delay: Nanos,
    pub max_delay: Nanos,
    /// Frames lost and doubled, out of a thousand.
    pub loss: u64,
    pub doubled: u64,
}

impl Wire {
    /// A switch with nothing else to do.
    pub const QUIET: Self = Self {
        min_delay: 20 * MICROSECOND,
        max_delay: 200 * MICROSECOND,
        loss: 0,
        doubled: 0,
    };
}

/// What a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Vipd,
    /// UCARP, which knows no lease.
    Ucarp,
}

#[derive(Clone, Debug)]
pub struct HostSetup {
    pub program: Program,
    /// One for each group.
    pub intervals: Vec<Interval>,
    pub preempt: bool,
    pub placement: Placement,
    pub starts_at: Nanos,
    pub preempt_delay: Nanos,
    pub startup_delay: Nanos,
}

#[derive(Clone, Debug)]
pub struct GroupSetup {
    pub lan: usize,
    pub vhid: Vhid,
    pub vips: Vec<Ipv4Addr>,
    pub dead_ratio: u8,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub lans: usize,
    pub wire: Wire,
    pub groups: Vec<GroupSetup>,
    pub hosts: Vec<HostSetup>,
    /// All groups are in one tie.
    pub is_tied: bool,
    /// Clients keep an entry that is younger than this, whatever they hear.
    pub locktime: Nanos,
    /// Nothing but the hosts themselves stands between a host and its
    /// successor: no loss, no cut, no legacy peer. The strictest checks need it.
    pub is_clean: bool,
    /// How adverts are signed and believed.
    pub auth: Policy,
    /// How often the client asks for each address.
    pub ask_every: Nanos,
    pub sabotage: Option<Sabotage>,
}

impl Setup {
    /// Hosts with these intervals on one LAN, one group with one address.
    pub fn simple(seed: u64, intervals: &[Interval], preempt: bool) -> Self {
        let host = |interval: &Interval| HostSetup {
            program: Program::Vipd,
            intervals: vec![*interval],
            preempt,
            placement: Placement::Interface,
            starts_at: 0,
            preempt_delay: 0,
            startup_delay: 0,
        };
        Self {
            seed,
            lans: 1,
            wire: Wire::QUIET,
            groups: vec![group(0, 0, 1, 3)],
            hosts: intervals.iter().map(host).collect(),
            is_tied: false,
            locktime: 0,
            is_clean: true,
            auth: Policy::Send,
            ask_every: 10 * MILLISECOND,
            sabotage: None,
        }
    }

    /// The configuration that host `h` starts with.
    pub fn engine_config(&self, h: usize) -> Config {
        let host = &self.hosts[h];
        let groups = self.groups.iter().enumerate().map(|(g, group)| {
            let interval = match self.sabotage {
                Some(Sabotage::SkewIgnored) => Interval::new(host.intervals[g].advbase, 0),
                Some(Sabotage::RankingReversed) => {
                    self.hosts[self.hosts.len() - 1 - h].intervals[g]
                }
                _ => host.intervals[g],
            };
            GroupConfig {
                name: format!("group{g}"),
                interface: InterfaceId(group.lan as u32),
                vhid: group.vhid,
                vips: group.vips.clone(),
                auth: Auth::new(key(PASSWORD), self.auth),
                timing: Timing {
                    interval,
                    dead_ratio: group.dead_ratio,
                },
                preempt: host.preempt && self.sabotage != Some(Sabotage::PreemptIgnored),
                preempt_delay: Duration::from_nanos(host.preempt_delay),
                startup_delay: match self.sabotage {
                    Some(Sabotage::DelayIgnored) => Duration::ZERO,
                    _ => Duration::from_nanos(host.startup_delay),
                },
                tie: (self.is_tied && self.sabotage != Some(Sabotage::TieIgnored))
                    .then(|| "tie".to_owned()),
                source: None,
                placement: host.placement,
            }
        });
        Config {
            interfaces: (0..self.lans).map(|lan| format!("eth{lan}")).collect(),
            groups: groups.collect(),
        }
    }

    /// Which group of which LAN has this address.
    pub fn group_of(&self, lan: usize, address: [u8; 4]) -> Option<usize> {
        let has = |(g, group): (usize, &GroupSetup)| {
            let spare = self.spare(g);
            let mut vips = group.vips.iter().chain([&spare]);
            group.lan == lan && vips.any(|vip| vip.octets() == address)
        };
        self.groups.iter().enumerate().position(has)
    }

    /// An address that hosts may have in group `g` besides those that all have.
    pub fn spare(&self, g: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, self.groups[g].lan as u8, 100 + g as u8, 200)
    }
}

/// Group `g` on `lan` with some addresses.
pub fn group(g: usize, lan: usize, addresses: u8, dead_ratio: u8) -> GroupSetup {
    GroupSetup {
        lan,
        vhid: Vhid::new(10 + g as u8).unwrap_or(VHID),
        vips: (0..addresses)
            .map(|n| Ipv4Addr::new(10, lan as u8, 100 + g as u8, n + 1))
            .collect(),
        dead_ratio,
    }
}

/// The group's members share it; strangers have another.
pub const PASSWORD: &[u8] = b"correct horse";
pub const WRONG_PASSWORD: &[u8] = b"battery staple";
const VHID: Vhid = match Vhid::new(10) {
    Some(vhid) => vhid,
    None => unreachable!(),
};

pub fn key(password: &[u8]) -> Key {
    Key::from_passphrase(password).unwrap_or_else(|_| Key::unset())
}

/// Host `h`'s own address. The order by last octet, which UCARP compares first,
/// is not the numeric one.
pub fn host_address(h: usize, lan: usize) -> Ipv4Addr {
    let h = h as u8;
    Ipv4Addr::new(10, lan as u8, 9 - h, h + 1)
}

/// Host `h`'s MAC; `generation` counts its network cards.
pub fn host_mac(h: usize, lan: usize, generation: u8) -> MacAddr {
    MacAddr([0x02, 0, generation, lan as u8, 0, h as u8 + 1])
}

pub const CLIENT_MAC: MacAddr = MacAddr([0x02, 0xcc, 0, 0, 0, 1]);
pub const STRANGER_MAC: MacAddr = MacAddr([0x02, 0xee, 0, 0, 0, 1]);

pub fn client_address(lan: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, lan as u8, 200, 1)
}

pub fn stranger_address(lan: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, lan as u8, 200, 66)
}

pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
