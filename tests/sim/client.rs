//! The clients: one asks for every address again and again and counts who
//! answers, one only listens and sends to the MAC that it remembers.

use std::collections::{BTreeMap, BTreeSet};

use vipd::mac::MacAddr;
use vipd_common::arp::{ArpFrame, Kind};

use super::setup::Nanos;

/// A request and what came of it.
#[derive(Clone, Debug)]
pub struct Ask {
    pub lan: usize,
    pub vip: [u8; 4],
    pub asked_at: Nanos,
    pub answered_by: BTreeSet<MacAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mac: MacAddr,
    updated_at: Nanos,
    /// Unicast requests in a row that nobody answered.
    unanswered: u8,
}

#[derive(Debug, Default)]
pub struct Client {
    /// The listener's ARP cache, by LAN and address.
    entries: BTreeMap<(usize, [u8; 4]), Entry>,
    asks: BTreeMap<u32, Ask>,
    next_ask: u32,
    locktime: Nanos,
    /// What the listener sent to the addresses, and what reached nobody.
    pub pings: u64,
    pub pings_lost: u64,
}

impl Client {
    pub fn new(locktime: Nanos) -> Self {
        Self {
            locktime,
            ..Self::default()
        }
    }

    pub fn ask(&mut self, lan: usize, vip: [u8; 4], now: Nanos) -> u32 {
        let id = self.next_ask;
        self.next_ask += 1;
        let ask = Ask {
            lan,
            vip,
            asked_at: now,
            answered_by: BTreeSet::new(),
        };
        self.asks.insert(id, ask);
        id
    }

    /// The request is old enough: nothing more will come.
    pub fn close(&mut self, id: u32) -> Option<Ask> {
        self.asks.remove(&id)
    }

    /// An ARP frame arrives.
    pub fn hear(&mut self, lan: usize, bytes: &[u8], ask: Option<u32>, now: Nanos) {
        let Ok(frame) = ArpFrame::parse(bytes) else {
            return;
        };
        if frame.fields().kind() != Kind::Claim {
            return;
        }
        let mac = MacAddr(frame.sha);
        let key = (lan, frame.spa);
        if let Some(ask) = ask {
            if let Some(ask) = self.asks.get_mut(&ask) {
                ask.answered_by.insert(mac);
            }
            // The listener asks only once, when it has no entry.
            if self.entries.contains_key(&key) {
                return;
            }
        }
        let locktime = self.locktime;
        let is_locked = |entry: &Entry| entry.mac != mac && now < entry.updated_at + locktime;
        if self.entries.get(&key).is_some_and(is_locked) {
            return;
        }
        let entry = Entry {
            mac,
            updated_at: now,
            unanswered: 0,
        };
        self.entries.insert(key, entry);
    }

    /// Where the listener would send what is meant for the address.
    pub fn entry(&self, lan: usize, vip: [u8; 4]) -> Option<MacAddr> {
        self.entries.get(&(lan, vip)).map(|entry| entry.mac)
    }

    /// The listener asked the host it remembers. After three silences it
    /// forgets the entry, as Linux does (`ucast_solicit`, arp(7)).
    pub fn probed(&mut self, lan: usize, vip: [u8; 4], answered: bool) {
        let Some(entry) = self.entries.get_mut(&(lan, vip)) else {
            return;
        };
        entry.unanswered = if answered { 0 } else { entry.unanswered + 1 };
        if entry.unanswered >= 3 {
            self.entries.remove(&(lan, vip));
        }
    }
}
