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
    /// It said so, to this host as a master.
    has_left: bool,
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
        self.remember(Host {
            address: peer.address,
            silent_at,
            has_left: false,
        });
    }

    /// A master that does not answer yet may hear the one that it took for dead.
    /// One that said it is silent stays in here as such: it is not brought back
    /// by an advert that its farewell has overtaken.
    pub(super) fn heard_by_master(&mut self, peer: Peer, silent_at: Instant, now: Instant) {
        if !peer.is_vipd {
            return;
        }
        let address = peer.address;
        let known = self.0.iter_mut().find(|host| host.address == address);
        match known {
            Some(host) if host.has_left => {}
            Some(host) if peer.is_silent() => {
                host.silent_at = now;
                host.has_left = true;
            }
            Some(host) => host.silent_at = silent_at,
            None => self.remember(Host {
                address,
                silent_at: if peer.is_silent() { now } else { silent_at },
                has_left: peer.is_silent(),
            }),
        }
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
            self.0.remove(0);
        }
        self.0.push(host);
    }

    fn forget(&mut self, address: Ipv4Addr) {
        self.0.retain(|host| host.address != address);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
