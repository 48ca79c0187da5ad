//! What the engine is told about its groups, already validated.

use std::net::{IpAddr, Ipv4Addr};

use super::InterfaceId;
use crate::carp::timers::Timing;
use crate::carp::{Key, Keyring, Policy, Vhid};
use crate::time::Duration;

/// The groups of a host.
#[derive(Clone)]
pub struct Config {
    /// Names of the interfaces; an [`InterfaceId`] is a place in this list.
    pub interfaces: Vec<String>,
    pub groups: Vec<GroupConfig>,
}

/// What fails over together: the addresses of one virtual host.
#[derive(Clone)]
pub struct GroupConfig {
    pub name: String,
    pub interface: InterfaceId,
    pub vhid: Vhid,
    pub vips: Vec<Ipv4Addr>,
    pub auth: Auth,
    pub timing: Timing,
    pub preempt: bool,
    /// No preemption for so long after the start, the link's coming up, or this
    /// host's being fit again.
    pub preempt_delay: Duration,
    /// After the start, no takeover of any kind for so long.
    pub startup_delay: Duration,
    /// Groups of one tie move together: they share the worst demotion, and one
    /// that cannot take part demotes the others.
    pub tie: Option<String>,
    /// Source of the adverts; the interface's own address if not given.
    pub source: Option<Ipv4Addr>,
    pub placement: Placement,
}

impl GroupConfig {
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.vips.iter().copied().map(IpAddr::V4).collect()
    }
}

/// By what a group believes its peers, and they it.
#[derive(Clone)]
pub struct Auth {
    pub keys: Keyring,
    pub policy: Policy,
    /// Addresses of hosts that have signed before this start.
    pub signers: Vec<Ipv4Addr>,
}

impl Auth {
    /// One password, and nothing is known of the peers.
    pub fn new(key: Key, policy: Policy) -> Self {
        Self {
            keys: Keyring::single(key),
            policy,
            signers: Vec::new(),
        }
    }
}

/// Where the VIPs are configured, so that this host accepts what is sent to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On the interface, while this host is master.
    Interface,
    /// On the loopback device, all the time.
    Loopback,
    /// By the operator.
    None,
}

impl Placement {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Loopback => "loopback",
            Self::None => "none",
        }
    }
}
