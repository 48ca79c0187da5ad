//! The responder's rules in plain Rust, for simulated hosts and as the model
//! that the XDP program is tested against. The program shares
//! [`Fields`](crate::arp::Fields) with it and nothing else, so that a mistake
//! made in one of them shows.
//!
//! What is not ours passes untouched; a request for an address of ours is
//! answered under a valid lease and dropped without one.

use crate::arp::{self, ArpFrame, Kind, mac_word};
use crate::{Counters, Group, Interface};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
    /// These bytes replace the first [`arp::LEN`]; padding stays as it came.
    Tx(ArpFrame),
}

/// Which field of [`Counters`] a frame adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    ArpAnswered,
    ArpSilenced,
    ArpPassed,
    ArpMalformed,
    ArpConflict,
    CarpPassed,
}

impl Counter {
    pub const fn of(self, counters: &mut Counters) -> &mut u64 {
        match self {
            Self::ArpAnswered => &mut counters.arp_answered,
            Self::ArpSilenced => &mut counters.arp_silenced,
            Self::ArpPassed => &mut counters.arp_passed,
            Self::ArpMalformed => &mut counters.arp_malformed,
            Self::ArpConflict => &mut counters.arp_conflict,
            Self::CarpPassed => &mut counters.carp_passed,
        }
    }
}

/// Decides on the frame `bytes`. `group_of` is the lookup of an address in the
/// maps `vips` and `groups`: `None` where it is no VIP, `Some(None)` where its
/// group is missing. No counter stands for frames that are none of our business.
pub fn respond(
    bytes: &[u8],
    interface: &Interface,
    group_of: impl FnOnce([u8; 4]) -> Option<Option<Group>>,
    now_ns: u64,
) -> (Verdict, Option<Counter>) {
    let Some(ethertype) = bytes.get(12..14) else {
        return (Verdict::Pass, None);
    };
    if ethertype == IPV4 {
        let header = bytes.get(14..34);
        let is_carp = header.is_some_and(|header| header[9] == CARP);
        return (Verdict::Pass, is_carp.then_some(Counter::CarpPassed));
    }
    if ethertype != arp::ETHERTYPE {
        return (Verdict::Pass, None);
    }

    let malformed = (Verdict::Pass, Some(Counter::ArpMalformed));
    let passed = (Verdict::Pass, Some(Counter::ArpPassed));
    let Ok(frame) = ArpFrame::parse(bytes) else {
        return malformed;
    };
    let fields = frame.fields();
    match fields.kind() {
        Kind::Malformed => malformed,
        Kind::Claim => match group_of(frame.spa).flatten() {
            Some(group) if now_ns < group.lease_until_ns && frame.sha != group.owner_mac => {
                (Verdict::Pass, Some(Counter::ArpConflict))
            }
            _ => passed,
        },
        Kind::Request => {
            if !fields.is_to(mac_word(interface.mac)) {
                return passed;
            }
            let Some(group) = group_of(frame.tpa) else {
                return passed;
            };
            match group {
                Some(group) if now_ns < group.lease_until_ns => {
                    let reply = frame.answer(interface.mac, group.owner_mac);
                    (Verdict::Tx(reply), Some(Counter::ArpAnswered))
                }
                _ => (Verdict::Drop, Some(Counter::ArpSilenced)),
            }
        }
    }
}

const IPV4: [u8; 2] = [0x08, 0x00];
/// IP protocol number of CARP, which it shares with VRRP (IANA).
const CARP: u8 = 112;

#[cfg(test)]
mod tests;
