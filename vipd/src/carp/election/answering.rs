//! Who may still answer: the vipd hosts that were heard as masters.
//!
//! Not the followed master alone. While the role changes hands twice, the first
//! of three may have been stopped, and then its kernel answers until its lease
//! ends. A legacy host promises nothing, so none is in here.

use std::net::Ipv4Addr;

use super::Peer;
use crate::time::Instant;

/// Masters that are kept in mind; more than can be heard within one lease where
/// nobody replays adverts. The one heard longest ago is forgotten.
pub(super) const MAX_HOSTS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Host {
    address: Ipv4Addr,
    /// When it answers no more, if nothing further is heard of it.
    silent_at: Instant,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Vec<Host>);

impl Answering {
    /// A backup keeps account of all that it hears.
    pub(super) fn heard_by_backup(&mut self, peer: Peer, silent_at: Instant, now: Instant) {
        if !peer.is_vipd {
            // Nor does it undo what a vipd host with this address said.
            return;
        }
        self.forget(peer.address);
        self.forget_silent(now);
        if peer.is_silent() {
            return;
        }
        if self.0.len() >= MAX_HOSTS {
            self.0.remove(0);
        }
        let address = peer.address;
        self.0.push(Host { address, silent_at });
    }

    /// A master of those alone that it knew when it took over. Who advertises for
    /// the first time now has not answered yet, and one that fell silent is not
    /// brought back by an advert that its farewell has overtaken.
    pub(super) fn heard_by_master(&mut self, peer: Peer, silent_at: Instant) {
        let is_peer = |host: &&mut Host| host.address == peer.address;
        if !peer.is_vipd {
            return;
        }
        if peer.is_silent() {
            self.forget(peer.address);
        } else if let Some(host) = self.0.iter_mut().find(is_peer) {
            host.silent_at = silent_at;
        }
    }

    /// When the last of them falls silent.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.iter().map(|host| host.silent_at).max()
    }

    /// Those whose lease has ended.
    pub(super) fn forget_silent(&mut self, now: Instant) {
        self.0.retain(|host| host.silent_at > now);
    }

    fn forget(&mut self, address: Ipv4Addr) {
        self.0.retain(|host| host.address != address);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
