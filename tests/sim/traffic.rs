//! Frames between hosts and clients: who hears what, and what a client asks.

use std::rc::Rc;

use vipd::carp::Role;
use vipd::mac::MacAddr;
use vipd_common::arp::{self, ArpFrame, Kind};
use vipd_common::responder::{Counter, Verdict};

use super::host::Waiting;
use super::lan::{CLIENT, Frame, Origin, STRANGER, Sent};
use super::setup::{CLIENT_MAC, MILLISECOND, Nanos, client_address};
use super::ucarp::Ucarp;
use super::world::{Event, World};

impl World {
    /// Sends to everybody on the LAN but `from`.
    pub(super) fn broadcast(&mut self, lan: usize, from: usize, bytes: &[u8], origin: Origin) {
        let frame = Frame {
            bytes: Rc::from(bytes),
            origin,
            ask: None,
            advert: None,
        };
        self.send_to_all(lan, from, &frame);
    }

    /// The advert of a vipd master: what becomes of it is kept account of.
    pub(super) fn broadcast_advert(&mut self, lan: usize, from: usize, bytes: &[u8], group: usize) {
        let at = self.now;
        let frame = Frame {
            bytes: Rc::from(bytes),
            origin: Origin::Node(from),
            ask: None,
            advert: Some(Sent { group, at }),
        };
        self.send_to_all(lan, from, &frame);
    }

    pub(super) fn ask(&mut self, group: usize) {
        let lan = self.setup.groups[group].lan;
        let vips = &self.setup.groups[group].vips;
        let vip = vips[self.rng.index(vips.len())].octets();
        let id = self.client.ask(lan, vip, self.now);
        let request = ArpFrame::request(CLIENT_MAC.0, client_address(lan).octets(), vip);
        let frame = Frame {
            bytes: Rc::from(request.to_bytes().as_slice()),
            origin: Origin::Node(CLIENT),
            ask: Some(id),
            advert: None,
        };
        self.send_to_all(lan, CLIENT, &frame);
        let answered_at = self.now + 2 * self.setup.wire.max_delay + MILLISECOND;
        self.at(answered_at, Event::Judge { ask: id });
        self.ping(lan, vip);
    }

    /// The listener sends something to the address, and in a world with loss
    /// asks the host it remembers whether it is still there.
    fn ping(&mut self, lan: usize, vip: [u8; 4]) {
        let Some(mac) = self.client.entry(lan, vip) else {
            return;
        };
        self.client.pings += 1;
        if !self.reaches(lan, vip, mac) {
            self.client.pings_lost += 1;
        }
        if !self.setup.is_clean {
            let group = self.setup.group_of(lan, vip);
            let answers = |h: usize, world: &Self| {
                group.is_some_and(|g| {
                    world.hosts[h].kernel.answers(g, world.clock(h).as_nanos())
                        || world.hosts[h].ucarp.get(g).is_some_and(Ucarp::is_master)
                })
            };
            let host = self.host_of(lan, mac);
            let answered = host.is_some_and(|h| answers(h, self));
            self.client.probed(lan, vip, answered);
        }
    }

    /// Who has this MAC, and a link.
    pub fn host_of(&self, lan: usize, mac: MacAddr) -> Option<usize> {
        self.hosts
            .iter()
            .position(|host| host.kernel.nics[lan].mac == mac && host.kernel.nics[lan].up)
    }

    /// Whether what is sent to the address at this MAC is received.
    pub fn reaches(&self, lan: usize, vip: [u8; 4], mac: MacAddr) -> bool {
        let Some(h) = self.host_of(lan, mac) else {
            return false;
        };
        let is_master =
            |ucarp: &Ucarp| ucarp.is_master() && ucarp.vips.iter().any(|own| own.octets() == vip);
        match self.setup.hosts[h].placement {
            _ if !self.hosts[h].ucarp.is_empty() => self.hosts[h].ucarp.iter().any(is_master),
            vipd::engine::Placement::Interface => self.hosts[h].kernel.placed.contains(&vip.into()),
            vipd::engine::Placement::Loopback | vipd::engine::Placement::None => true,
        }
    }

    pub(super) fn send_to_all(&mut self, lan: usize, from: usize, frame: &Frame) {
        if self
            .hosts
            .get(from)
            .is_some_and(|host| !host.kernel.nics[lan].up)
        {
            (0..self.hosts.len()).for_each(|to| self.lost(from, to, frame));
            return;
        }
        for to in 0..self.hosts.len() {
            if to != from {
                self.send(lan, from, to, frame.clone());
            } else if self.lans[lan].loops {
                let origin = Origin::Echo;
                self.send(
                    lan,
                    from,
                    to,
                    Frame {
                        origin,
                        ..frame.clone()
                    },
                );
            }
        }
        if from != CLIENT {
            self.send(lan, from, CLIENT, frame.clone());
        }
    }

    fn send(&mut self, lan: usize, from: usize, to: usize, frame: Frame) {
        let delays = self.lans[lan].carry(from, to, &mut self.rng);
        if delays == [None, None] {
            self.lost(from, to, &frame);
        }
        for delay in delays.into_iter().flatten() {
            let frame = frame.clone();
            self.at(self.now + delay, Event::Arrive { lan, to, frame });
        }
    }

    /// A frame reaches a host: the kernel half first, then whoever listens.
    pub(super) fn arrive(&mut self, lan: usize, h: usize, frame: Frame) {
        if !self.hosts[h].kernel.nics[lan].up {
            return self.undelivered(h, &frame);
        }
        self.delivered(h, &frame);
        if !self.hosts[h].ucarp.is_empty() {
            return self.arrive_at_ucarp(lan, h, &frame);
        }
        let clock = self.clock(h).as_nanos();
        let setup = &self.setup;
        let (verdict, counter) = self.hosts[h].kernel.respond(
            lan,
            &frame.bytes,
            |address| setup.group_of(lan, address),
            clock,
        );
        match verdict {
            Verdict::Tx(reply) => self.answer(lan, h, &reply, frame.ask),
            Verdict::Drop => {}
            Verdict::Pass if counter == Some(Counter::ArpConflict) => {
                let Ok(claim) = ArpFrame::parse(&frame.bytes) else {
                    return;
                };
                if let Some(group) = self.setup.group_of(lan, claim.spa) {
                    let (mac, address) = (MacAddr(claim.sha), claim.spa.into());
                    self.deliver(
                        h,
                        Waiting::Conflict {
                            group,
                            mac,
                            address,
                        },
                    );
                }
            }
            Verdict::Pass => {
                self.note_unnoticed(lan, h, &frame);
                if frame.bytes[12..14] == [0x08, 0x00] {
                    let Frame { bytes, origin, .. } = frame;
                    self.deliver(h, Waiting::Datagram { lan, bytes, origin });
                }
            }
        }
    }

    /// A stranger's claim is noticed under a lease only. A master that was stopped
    /// between an advert and the lease that stands on it, for longer than the last
    /// lease, goes on as master and cannot know of it: a window of microseconds.
    fn note_unnoticed(&mut self, lan: usize, h: usize, frame: &Frame) {
        if frame.origin == Origin::Node(STRANGER)
            && self.hosts[h].stopped_midway
            && let Ok(claim) = ArpFrame::parse(&frame.bytes)
            && let Some(g) = self.setup.group_of(lan, claim.spa)
            && self.role(h, g) == Some(Role::Master)
        {
            self.checks.unnoticed.insert(claim.spa);
        }
    }

    fn answer(&mut self, lan: usize, h: usize, reply: &ArpFrame, ask: Option<u32>) {
        let frame = Frame {
            bytes: Rc::from(reply.to_bytes().as_slice()),
            origin: Origin::Node(h),
            ask,
            advert: None,
        };
        self.send(lan, h, CLIENT, frame);
    }

    fn arrive_at_ucarp(&mut self, lan: usize, h: usize, frame: &Frame) {
        if frame.bytes[12..14] == arp::ETHERTYPE {
            let Ok(request) = ArpFrame::parse(&frame.bytes) else {
                return;
            };
            let is_ours = self.setup.group_of(lan, request.tpa).filter(|g| {
                request.fields().kind() == Kind::Request && self.hosts[h].ucarp[*g].is_master()
            });
            if is_ours.is_some() {
                let mac = self.hosts[h].kernel.nics[lan].mac.0;
                self.answer(lan, h, &request.answer(mac, mac), frame.ask);
            }
            return;
        }
        let Frame { bytes, origin, .. } = frame.clone();
        if self.hosts[h].is_stalled {
            let waiting = Waiting::Datagram { lan, bytes, origin };
            return self.hosts[h].waiting.push_back(waiting);
        }
        self.ucarp_reads(h, lan, &bytes);
        self.ucarp_wakes(h);
    }

    fn ucarp_reads(&mut self, h: usize, lan: usize, frame: &[u8]) {
        let now = self.now;
        for g in 0..self.hosts[h].ucarp.len() {
            if self.setup.groups[g].lan == lan {
                self.hosts[h].ucarp[g].handle_datagram(&frame[14..], now);
                self.hosts[h].ucarp[g].poll_returned(now);
            }
        }
    }

    /// It was stopped: it reads a packet each time that `poll` returns.
    pub(super) fn ucarp_goes_on(&mut self, h: usize) {
        let now = self.now;
        self.hosts[h].is_stalled = false;
        while let Some(waiting) = self.hosts[h].waiting.pop_front() {
            if let Waiting::Datagram { lan, bytes, .. } = waiting {
                self.ucarp_reads(h, lan, &bytes);
            }
        }
        // It looks at its timer after each packet: whoever slept takes over from
        // a master whose adverts are still unread. No lease can help that.
        self.hosts[h].ucarp.iter_mut().for_each(|ucarp| {
            ucarp.poll_returned(now);
            ucarp.timed_out = false;
        });
        self.ucarp_wakes(h);
    }

    pub(super) fn ucarp_wakes(&mut self, h: usize) {
        if self.hosts[h].is_stalled {
            return;
        }
        let now = self.now;
        let mut next = Nanos::MAX;
        for g in 0..self.hosts[h].ucarp.len() {
            let lan = self.setup.groups[g].lan;
            let ucarp = &mut self.hosts[h].ucarp[g];
            if ucarp.poll_timeout() <= now {
                ucarp.poll_returned(now);
            }
            next = next.min(ucarp.poll_timeout());
            let timed_out = std::mem::take(&mut ucarp.timed_out);
            for frame in std::mem::take(&mut ucarp.out) {
                self.broadcast(lan, h, &frame, Origin::Node(h));
            }
            if timed_out {
                self.check_legacy_timeout(h, g);
            }
        }
        if self.hosts[h].wake_at != Some(next) {
            self.hosts[h].wake_at = Some(next);
            self.at(next, Event::UcarpWake { host: h });
        }
    }
}
