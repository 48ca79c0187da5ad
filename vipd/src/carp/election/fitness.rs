//! How fit a host is to be master, and which of two should be.
//!
//! Between vipd hosts the less demoted one should; of two that are demoted alike,
//! the one with the shorter interval as it is configured; of two with the same,
//! the one with the lower address. All of it stands in their adverts and is
//! compared as it was last sent, so that two hosts that have heard each other
//! agree, whatever has happened to them since. A legacy host knows of a demotion
//! by the advskew alone, so with one of those the intervals are compared as they
//! are advertised.

use std::net::Ipv4Addr;

use super::{Interval, Peer};

/// Sends in a row that must fail before a master is demoted, and succeed before
/// it is well again (`CARP_SENDAD_MAX_ERRORS`, `CARP_SENDAD_MIN_SUCCESS`,
/// UCARP `carp_p.h` and both BSDs).
pub(super) const SEND_STREAK: u8 = 3;

/// What failed sends add (`senderr_demotion_factor` in FreeBSD).
const SEND_DEMOTION: u8 = Interval::DEMOTED_ADVSKEW;

/// How fit a host is for a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fitness {
    /// 0 is well; the more, the sooner another should be master.
    pub demotion: u8,
    /// The host must not be master at all.
    pub withheld: bool,
}

impl Fitness {
    pub const WELL: Self = Self {
        demotion: 0,
        withheld: false,
    };
}

/// What makes up the fitness of this host.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// What it was told of itself.
    pub(super) told: Fitness,
    /// What the other groups of its tie have to bear.
    pub(super) tied: u8,
    /// What its last advert as a master said.
    pub(super) shown: u8,
    pub(super) cannot_send: bool,
    send_failures: u8,
    send_successes: u8,
}

impl Condition {
    /// All told.
    pub(super) fn fitness(&self) -> Fitness {
        Fitness {
            demotion: self.own_demotion().max(self.tied),
            withheld: self.told.withheld,
        }
    }

    /// Without what comes from the tie.
    pub(super) fn own_demotion(&self) -> u8 {
        let by_sends = if self.cannot_send { SEND_DEMOTION } else { 0 };
        self.told.demotion.saturating_add(by_sends)
    }

    /// An advert went out.
    pub(super) fn sent(&mut self) {
        self.send_failures = 0;
        self.send_successes = self.send_successes.saturating_add(1);
        if self.send_successes >= SEND_STREAK {
            self.cannot_send = false;
        }
    }

    /// An advert could not be sent.
    pub(super) fn send_failed(&mut self) {
        self.send_successes = 0;
        self.send_failures = self.send_failures.saturating_add(1);
        if self.send_failures >= SEND_STREAK {
            self.cannot_send = true;
        }
    }
}

/// What is compared of a host: the less of it, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) demotion: u8,
    pub(super) interval: Interval,
}

impl Standing {
    /// Of a host that was heard.
    pub(super) fn of(peer: Peer) -> Self {
        match peer.is_vipd {
            true => Self {
                demotion: peer.demotion,
                interval: peer.configured,
            },
            false => Self {
                demotion: 0,
                interval: peer.interval,
            },
        }
    }

    /// Of this host, as `peer` sees it.
    pub(super) fn own(configured: Interval, demotion: u8, peer: Peer) -> Self {
        match peer.is_vipd {
            true => Self {
                demotion,
                interval: configured,
            },
            false => Self {
                demotion: 0,
                interval: configured.demoted_by(demotion),
            },
        }
    }

    pub(super) fn outranks(self, other: Self) -> bool {
        self.demotion < other.demotion
            || self.demotion == other.demotion && self.interval.outranks(other.interval)
    }
}

/// Which of two masters that stand alike stays: the lower address, read as UCARP
/// on a little-endian machine reads it, last octet first (`carp.c:569` compares
/// `s_addr` without `ntohl`). Two hosts with one address both yield.
///
/// Differs: the order is the same on every machine.
pub(super) fn wins_tie(own: Ipv4Addr, peer: Ipv4Addr) -> bool {
    u32::from_le_bytes(own.octets()) < u32::from_le_bytes(peer.octets())
}
