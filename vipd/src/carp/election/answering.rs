//! Who may still answer: the vipd hosts that were heard as masters.
//!
//! Not the followed master alone. While the role changes hands twice, the first
//! of three may have been stopped, and then its kernel answers until its lease
//! ends. A legacy host promises nothing, so none is in here.

use std::net::Ipv4Addr;

use super::Peer;
use crate::time::Instant;

/// Masters that are kept in mind; more than can be heard within one lease where
/// nobody replays adverts. The one heard longest ago is forgotten, one that has
/// left before one that may answer.
pub(super) const MAX_HOSTS: usize = 16;

/// Adverts of one host that can be under way at once. More than that behind the
/// last one is no late advert, but a daemon that was started anew and counts
/// from elsewhere.
const UNDER_WAY: u64 = 64;

#[derive(Clone, Copy, Debug)]
struct Host {
    address: Ipv4Addr,
    /// When it answers no more, if nothing further is heard of it.
    silent_at: Instant,
    /// It said that it is silent already. Kept in mind as such: it is not
    /// brought back by an advert that its farewell has overtaken.
    has_left: bool,
    /// Of the advert heard last.
    counter: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Vec<Host>);

impl Answering {
    /// Keeps account of an advert. `false` if it says nothing about its sender as
    /// it is now: on the wire, a farewell has overtaken an advert, or an advert of
    /// the next term a farewell.
    #[must_use]
    pub(super) fn hear(&mut self, peer: Peer, silent_at: Instant, now: Instant) -> bool {
        if !peer.is_vipd {
            // Nor does it undo what a vipd host with this address said.
            return true;
        }
        self.forget_silent(now);
        let has_left = peer.is_silent();
        let is_overtaken = |last: &Host| {
            // Each advert counts one more than the one before it.
            let behind = last.counter.wrapping_sub(peer.counter);
            last.address == peer.address
                && last.has_left != has_left
                && (1..=UNDER_WAY).contains(&behind)
        };
        if self.0.iter().any(is_overtaken) {
            return false;
        }
        self.0.retain(|host| host.address != peer.address);
        self.remember(Host {
            address: peer.address,
            silent_at,
            has_left,
            counter: peer.counter,
        });
        true
    }

    /// When the last of them falls silent.
    pub(super) fn until(&self) -> Option<Instant> {
        let may_answer = self.0.iter().filter(|host| !host.has_left);
        may_answer.map(|host| host.silent_at).max()
    }

    /// Those whose lease has ended.
    pub(super) fn forget_silent(&mut self, now: Instant) {
        self.0.retain(|host| host.silent_at > now);
    }

    fn remember(&mut self, host: Host) {
        if self.0.len() >= MAX_HOSTS {
            let oldest_left = self.0.iter().position(|host| host.has_left);
            self.0.remove(oldest_left.unwrap_or(0));
        }
        self.0.push(host);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
