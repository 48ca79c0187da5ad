//! What the engine is told about its groups, already validated.

use std::net::{IpAddr, Ipv4Addr};

use super::InterfaceId;
use crate::carp::timers::Timing;
use crate::carp::{Key, Vhid};

/// The groups of a host.
pub struct Config {
    /// Names of the interfaces; an [`InterfaceId`] is a place in this list.
    pub interfaces: Vec<String>,
    pub groups: Vec<GroupConfig>,
}

/// What fails over together: the addresses of one virtual host.
pub struct GroupConfig {
    pub name: String,
    pub interface: InterfaceId,
    pub vhid: Vhid,
    pub vips: Vec<Ipv4Addr>,
    pub key: Key,
    pub timing: Timing,
    pub preempt: bool,
    /// Source of the adverts; the interface's own address if not given.
    pub source: Option<Ipv4Addr>,
    pub placement: Placement,
}

impl GroupConfig {
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.vips.iter().copied().map(IpAddr::V4).collect()
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
