//! The kernel half of a simulated host: the responder's maps and rules, the
//! addresses on its interfaces. It goes on while the daemon is stopped or dead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use vipd::mac::MacAddr;
use vipd_common::responder::{self, Counter, Verdict};
use vipd_common::{Counters, Group, Interface};

/// A network card and what it is connected to.
#[derive(Clone, Copy, Debug)]
pub struct Nic {
    pub mac: MacAddr,
    pub address: Ipv4Addr,
    pub up: bool,
}

#[derive(Debug, Default)]
pub struct Kernel {
    /// By LAN.
    pub nics: Vec<Nic>,
    /// The map `groups`.
    pub groups: BTreeMap<usize, Group>,
    /// Groups whose addresses are configured.
    pub placed: BTreeSet<Ipv4Addr>,
    pub counters: Counters,
}

impl Kernel {
    /// What the responder does with a frame, at this host's time. `group_of`
    /// looks an address up in the map `vips`, which the daemon filled at its
    /// first start.
    pub fn respond(
        &mut self,
        lan: usize,
        frame: &[u8],
        group_of: impl FnOnce([u8; 4]) -> Option<usize>,
        clock: u64,
    ) -> (Verdict, Option<Counter>) {
        let interface = Interface {
            mac: self.nics[lan].mac.0,
            mode: 0,
            abi: vipd_common::ABI,
            ifindex: lan as u32,
        };
        let groups = &self.groups;
        let lookup = |address| group_of(address).map(|group| groups.get(&group).copied());
        let (verdict, counter) = responder::respond(frame, &interface, lookup, clock);
        if let Some(counter) = counter {
            *counter.of(&mut self.counters) += 1;
        }
        (verdict, counter)
    }

    /// Whether it would answer for the group.
    pub fn answers(&self, group: usize, clock: u64) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|group| clock < group.lease_until_ns)
    }
}
