//! CARP, version 2: the bytes, their authentication, and the election.
//!
//! The protocol was never written down by its authors. What stands here was
//! learnt from four implementations, which the comments name: UCARP
//! (`carp.c`, 2019), OpenBSD (`sys/netinet/ip_carp.c` 1.270) and FreeBSD 14
//! (`sys/netinet/ip_carp.c`), and from captures of them.
//!
//! Nothing in this module knows what a master does with its role: no map, no
//! address on an interface, no announcement.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU8;
use std::time::Duration;

pub mod auth;
pub mod election;
pub mod explain;
pub mod keyring;
pub mod packet;
pub mod timers;
pub mod trailer;
pub mod trust;

pub use auth::{Authenticator, Key, KeyError};
pub use election::{Election, Fitness, Outcome, Peer, Reason, Role, Transition};
pub use explain::{Difference, Mismatch};
pub use keyring::{Credentials, Keyring, KeyringError, SignatureError};
pub use packet::{Advertisement, DecodeError, Packet};
pub use trailer::{KeyId, Session};
pub use trust::Policy;

/// IP protocol number. It is VRRP's, which CARP shares without having been
/// assigned it (`IPPROTO_CARP`, `ip_carp.h`).
pub const PROTOCOL: u8 = 112;

/// Where advertisements go: VRRP's group, link-local, never routed
/// (`INADDR_CARP_GROUP`, `ip_carp.h`).
pub const MULTICAST: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Sent and demanded of others, so that no advert can have passed a router
/// (`CARP_DFLTTL`, `ip_carp.h`; the idea is RFC 5082's).
pub const TTL: u8 = 255;

/// Seconds between advertisements (UCARP `-b`, BSD `advbase`).
pub const DEFAULT_ADVBASE: u8 = 1;

/// Intervals of silence after which a backup takes the master for dead.
/// UCARP's `-r`, default 3; the BSDs have it fixed at 3.
pub const DEFAULT_DEAD_RATIO: u8 = 3;

/// Number of a virtual host: 1 to 255, one election each on a LAN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vhid(NonZeroU8);

impl Vhid {
    /// `None` for 0, which no implementation allows.
    pub const fn new(id: u8) -> Option<Self> {
        match NonZeroU8::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    pub const fn value(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Vhid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Vhid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a host advertises: `advbase` seconds and `advskew` 256ths of one.
/// It is also its rank: who advertises faster is the better master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    pub advbase: u8,
    pub advskew: u8,
}

impl Interval {
    /// What a master sends that gives its role away (OpenBSD
    /// `carp_send_ad` on interface down). No rule is needed to understand it:
    /// nobody can wait for an advert every 255.996 seconds.
    pub const BOW_OUT: Self = Self {
        advbase: 255,
        advskew: 255,
    };

    /// The largest advskew an operator can set. 255 is kept, as in the BSDs
    /// (`ifconfig` refuses it): it marks a bow-out and a farewell.
    pub const MAX_ADVSKEW: u8 = 254;

    /// The largest advskew that demotion makes: a host that cannot do its work
    /// stays in the election but every healthy host is better (UCARP and FreeBSD,
    /// 240).
    pub const DEMOTED_ADVSKEW: u8 = 240;

    pub const fn new(advbase: u8, advskew: u8) -> Self {
        Self { advbase, advskew }
    }

    /// Time between two advertisements. Both zero is 1/256 s (OpenBSD
    /// `carp_setrun`: advbase 0 counts in skews alone).
    pub const fn period(self) -> Duration {
        let skews = match (self.advbase, self.advskew) {
            (0, 0) => 1,
            (base, skew) => base as u64 * 256 + skew as u64,
        };
        skews_to_duration(skews)
    }

    /// The part of the interval by which backups are told apart.
    pub const fn skew(self) -> Duration {
        skews_to_duration(self.advskew as u64)
    }

    /// Whether the host with this interval should be master rather than one
    /// with `other` (`timercmp` of the two in UCARP `carp.c` and in the BSDs).
    pub fn outranks(self, other: Self) -> bool {
        self.period() < other.period()
    }

    pub fn ties_with(self, other: Self) -> bool {
        self.period() == other.period()
    }

    /// This interval as a host in trouble advertises it: the advskew and the
    /// demotion, 240 at most, and never better than without (FreeBSD
    /// `DEMOTE_ADVSKEW`).
    pub const fn demoted_by(self, demotion: u8) -> Self {
        let sum = self.advskew.saturating_add(demotion);
        if self.advskew < Self::DEMOTED_ADVSKEW && sum > Self::DEMOTED_ADVSKEW {
            Self::new(self.advbase, Self::DEMOTED_ADVSKEW)
        } else if self.advskew < Self::DEMOTED_ADVSKEW {
            Self::new(self.advbase, sum)
        } else {
            self
        }
    }

    /// The last advert of a master that has heard a better one: slower than
    /// anything the same advbase can be configured to, so that the better
    /// master knows it has been claimed against and announces itself again.
    ///
    /// Differs: UCARP says farewell with its ordinary interval (`carp.c:572`),
    /// by which a BSD master of the *same* interval resigns too.
    pub const fn farewell(self) -> Self {
        Self {
            advbase: self.advbase,
            advskew: 255,
        }
    }

    /// Whether it says that its sender is no master any more, and gives nothing
    /// away either.
    pub const fn is_farewell(self) -> bool {
        self.advskew == 255 && self.advbase != 255
    }
}

/// `skews` 256ths of a second.
pub(crate) const fn skews_to_duration(skews: u64) -> Duration {
    Duration::from_nanos(skews * 1_000_000_000 / 256)
}
