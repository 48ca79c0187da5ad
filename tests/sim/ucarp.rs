//! A legacy peer: UCARP 1.5.2's rules for one virtual host, its habits included.
//! It looks at its timer only when `poll` returns, says farewell with its
//! ordinary interval, adopts its peers' counters, breaks ties by addresses read
//! in little-endian order, and answers ARP for as long as it is master.

use std::net::Ipv4Addr;

use vipd::carp::packet::Source;
use vipd::carp::{Advertisement, Authenticator, Interval, Vhid};
use vipd::mac::MacAddr;
use vipd_common::arp::ArpFrame;

use super::setup::{Nanos, SECOND, nanos};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Backup { dead_at: Nanos, poll_at: Nanos },
    Master { advert_at: Nanos },
}

pub struct Ucarp {
    pub interval: Interval,
    pub vips: Vec<Ipv4Addr>,
    vhid: Vhid,
    address: Ipv4Addr,
    mac: MacAddr,
    auth: Authenticator,
    preempt: bool,
    dead_ratio: u8,
    state: State,
    counter: u64,
    /// Adverts until the second announcement.
    delayed_arp: u8,
    /// It took the role because it heard nobody, and nobody looked at that yet.
    pub timed_out: bool,
    /// Frames to be sent.
    pub out: Vec<Vec<u8>>,
}

/// What it is told at the start.
pub struct Options {
    pub interval: Interval,
    pub vips: Vec<Ipv4Addr>,
    pub vhid: Vhid,
    pub address: Ipv4Addr,
    pub mac: MacAddr,
    pub auth: Authenticator,
    pub preempt: bool,
    pub dead_ratio: u8,
}

impl Ucarp {
    pub fn new(options: Options, counter: u64, now: Nanos) -> Self {
        let mut ucarp = Self {
            interval: options.interval,
            vips: options.vips,
            vhid: options.vhid,
            address: options.address,
            mac: options.mac,
            auth: options.auth,
            preempt: options.preempt,
            dead_ratio: options.dead_ratio,
            state: State::Master { advert_at: now },
            counter,
            delayed_arp: 0,
            timed_out: false,
            out: Vec::new(),
        };
        ucarp.become_backup(now);
        ucarp
    }

    pub fn is_master(&self) -> bool {
        matches!(self.state, State::Master { .. })
    }

    /// It is started again; its start takes the addresses off.
    pub fn restart(&mut self, now: Nanos) {
        self.delayed_arp = 0;
        self.become_backup(now);
    }

    pub fn poll_timeout(&self) -> Nanos {
        match self.state {
            State::Backup { poll_at, .. } => poll_at,
            State::Master { advert_at } => advert_at,
        }
    }

    /// `poll` returned: a frame is there, or its time is up.
    pub fn poll_returned(&mut self, now: Nanos) {
        match self.state {
            State::Backup { dead_at, .. } if now >= dead_at => {
                self.timed_out = true;
                self.become_master(now);
            }
            State::Backup { dead_at, .. } => {
                self.state = State::Backup {
                    dead_at,
                    poll_at: now + self.period(),
                };
            }
            State::Master { advert_at } if now >= advert_at => {
                self.advertise();
                self.state = State::Master {
                    advert_at: now + self.period(),
                };
                if self.delayed_arp > 0 {
                    self.delayed_arp -= 1;
                    if self.delayed_arp == 0 {
                        self.announce();
                    }
                }
            }
            State::Master { .. } => {}
        }
    }

    pub fn handle_datagram(&mut self, bytes: &[u8], now: Nanos) {
        let Ok((from, advert)) = Advertisement::parse(bytes) else {
            return;
        };
        if advert.vhid != self.vhid
            || from == self.address
            || !self.auth.verify(advert.counter, &advert.digest)
        {
            return;
        }
        self.counter = advert.counter;
        let peer = advert.interval;
        match self.state {
            State::Master { .. } => {
                let peer_is_lower =
                    u32::from_le_bytes(from.octets()) < u32::from_le_bytes(self.address.octets());
                let is_better =
                    peer.outranks(self.interval) || peer.ties_with(self.interval) && peer_is_lower;
                if is_better {
                    self.advertise();
                    self.become_backup(now);
                } else {
                    self.announce();
                    self.delayed_arp = 2;
                }
            }
            State::Backup { .. } => {
                let preempts = self.preempt && self.interval.outranks(peer);
                if preempts || self.master_down() < nanos(peer.period()) {
                    self.become_master(now);
                } else {
                    self.become_backup(now);
                }
            }
        }
    }

    fn become_master(&mut self, now: Nanos) {
        self.announce();
        self.advertise();
        self.delayed_arp = 2;
        self.state = State::Master {
            advert_at: now + self.period(),
        };
    }

    fn become_backup(&mut self, now: Nanos) {
        self.state = State::Backup {
            dead_at: now + self.master_down(),
            poll_at: now + self.period(),
        };
    }

    fn master_down(&self) -> Nanos {
        u64::from(self.interval.advbase) * u64::from(self.dead_ratio) * SECOND
            + nanos(self.interval.skew())
    }

    fn period(&self) -> Nanos {
        nanos(self.interval.period())
    }

    fn advertise(&mut self) {
        self.counter = self.counter.wrapping_add(1);
        let advert = Advertisement {
            vhid: self.vhid,
            interval: self.interval,
            demote: 0,
            hidden_advskew: 0,
            counter: self.counter,
            digest: self.auth.sign(self.counter),
            is_vipd: false,
        };
        let source = Source {
            mac: [0, 0, 0x5e, 0, 0, self.vhid.value()],
            address: self.address,
        };
        let frame = advert.emit_frame(source, self.counter as u16);
        self.out.push(frame.to_vec());
    }

    fn announce(&mut self) {
        for vip in &self.vips {
            let frame = ArpFrame::announce_request(self.mac.0, vip.octets());
            self.out.push(frame.to_bytes().to_vec());
        }
    }
}
