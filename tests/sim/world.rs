//! The world: hosts, LANs and clients under one clock that jumps from event to
//! event.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use vipd::carp::{Authenticator, Role};
use vipd::engine::{GroupId, GroupView};
use vipd::mac::MacAddr;
use vipd_common::arp::{self, ArpFrame, Kind};
use vipd_common::responder::{Counter, Verdict};

use super::checks::{Checks, Violation};
use super::client::{Ask, Client};
use super::faults::Fault;
use super::host::{Host, Waiting};
use super::kernel::{Kernel, Nic};
use super::lan::{CLIENT, Frame, Lan, Origin};
use super::rng::Rng;
use super::setup::{
    CLIENT_MAC, MILLISECOND, Nanos, PASSWORD, Program, SECOND, Setup, client_address, host_address,
    host_mac, key,
};
use super::ucarp::{self, Ucarp};

/// What is going to happen.
#[derive(Clone, Debug)]
pub enum Event {
    Arrive {
        lan: usize,
        to: usize,
        frame: Frame,
    },
    Wake {
        host: usize,
        at: Nanos,
    },
    UcarpWake {
        host: usize,
    },
    Placed {
        host: usize,
        group: usize,
        incarnation: u32,
        placed: bool,
    },
    LinkNotice {
        host: usize,
        lan: usize,
    },
    /// The client asks for an address of the group, and goes on to ask.
    AskAgain {
        group: usize,
    },
    AskOnce {
        group: usize,
    },
    Judge {
        ask: u32,
    },
    Fault(Fault),
    End(Fault),
}

/// What happened, for those who look for the reason of a failure.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Nanos,
    pub who: String,
    pub what: String,
}

pub struct World {
    pub now: Nanos,
    queue: BTreeMap<(Nanos, u64), Event>,
    queued: u64,
    pub rng: Rng,
    pub setup: Setup,
    pub lans: Vec<Lan>,
    pub hosts: Vec<Host>,
    pub client: Client,
    pub checks: Checks,
    /// Faults that last.
    pub active: Vec<Fault>,
    /// Names of all that occurred.
    pub coverage: BTreeSet<&'static str>,
    /// Kept only on demand: writing takes longer than simulating.
    pub trace: Option<Vec<Line>>,
    pub violation: Option<Violation>,
    /// From when on the world can be expected to settle.
    pub quiet_from: Nanos,
    /// What the client's last request came to.
    pub last_answers: BTreeMap<usize, (Nanos, BTreeSet<MacAddr>)>,
}

impl World {
    pub fn new(setup: Setup, trace: bool) -> Self {
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            rng: Rng::new(setup.seed),
            lans: vec![Lan::new(setup.wire); setup.lans],
            hosts: Vec::new(),
            client: Client::new(setup.locktime),
            checks: Checks::new(setup.hosts.len(), setup.groups.len()),
            active: Vec::new(),
            coverage: BTreeSet::new(),
            trace: trace.then(Vec::new),
            violation: None,
            quiet_from: 0,
            last_answers: BTreeMap::new(),
            setup,
        };
        for h in 0..world.setup.hosts.len() {
            world.add_host(h);
        }
        for group in 0..world.setup.groups.len() {
            world.at(MILLISECOND, Event::AskAgain { group });
        }
        world
    }

    fn add_host(&mut self, h: usize) {
        let nic = |lan| Nic {
            mac: host_mac(h, lan, 0),
            address: host_address(h, lan),
            up: true,
        };
        let mut host = Host {
            // The time since boot is another on each host.
            boot_offset: self.rng.range(1, 1000) * SECOND,
            kernel: Kernel {
                nics: (0..self.setup.lans).map(nic).collect(),
                ..Kernel::default()
            },
            ..Host::default()
        };
        let starts_at = self.setup.hosts[h].starts_at;
        self.quiet_from = self.quiet_from.max(starts_at);
        match self.setup.hosts[h].program {
            Program::Vipd => self.at(starts_at, Event::Fault(Fault::Start { host: h })),
            Program::Ucarp => {
                for (g, group) in self.setup.groups.iter().enumerate() {
                    let addresses: Vec<_> = group.vips.iter().map(|vip| (*vip).into()).collect();
                    let options = ucarp::Options {
                        interval: self.setup.hosts[h].intervals[g],
                        vips: group.vips.clone(),
                        vhid: group.vhid,
                        address: host_address(h, group.lan),
                        mac: host_mac(h, group.lan, 0),
                        auth: Authenticator::new(&key(PASSWORD), group.vhid, &addresses),
                        preempt: self.setup.hosts[h].preempt,
                        dead_ratio: group.dead_ratio,
                    };
                    host.ucarp.push(Ucarp::new(options, self.rng.next(), 0));
                }
                self.at(0, Event::UcarpWake { host: h });
            }
        }
        self.hosts.push(host);
    }

    /// Plans an event.
    pub fn at(&mut self, at: Nanos, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    /// Goes on until then, or until a check fails.
    pub fn run_until(&mut self, until: Nanos) {
        while self.violation.is_none() {
            let Some(entry) = self
                .queue
                .first_entry()
                .filter(|next| next.key().0 <= until)
            else {
                self.now = until;
                return;
            };
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
    }

    pub fn run_for(&mut self, duration: Nanos) {
        self.run_until(self.now + duration);
    }

    /// Goes on until it is so; `None` if it has not become so in time.
    pub fn run_until_so(&mut self, limit: Nanos, so: impl Fn(&Self) -> bool) -> Option<Nanos> {
        let (began, end) = (self.now, self.now + limit);
        while !so(self) {
            let next = self.queue.first_key_value().map(|((at, _), _)| *at)?;
            if next > end || self.violation.is_some() {
                return None;
            }
            self.run_until(next);
        }
        Some(self.now - began)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive {
                lan,
                to: CLIENT,
                frame,
            } => {
                self.client.hear(lan, &frame.bytes, frame.ask, self.now);
            }
            Event::Arrive { lan, to, frame } => self.arrive(lan, to, frame),
            Event::Wake { host, at } => self.woken(host, at),
            Event::UcarpWake { host } => self.ucarp_wakes(host),
            Event::Placed {
                host,
                group,
                incarnation,
                placed,
            } => {
                self.placing_done(host, group, incarnation, placed);
            }
            Event::LinkNotice { host, lan } => self.link_noticed(host, lan),
            Event::AskAgain { group } => {
                self.ask(group);
                let jitter = self.rng.range(0, self.setup.ask_every / 2);
                self.at(
                    self.now + self.setup.ask_every + jitter,
                    Event::AskAgain { group },
                );
            }
            Event::AskOnce { group } => self.ask(group),
            Event::Judge { ask } => {
                if let Some(ask) = self.client.close(ask) {
                    self.judge(&ask);
                }
            }
            Event::Fault(fault) => self.inflict(fault),
            Event::End(fault) => self.end(fault),
        }
    }

    fn ask(&mut self, group: usize) {
        let lan = self.setup.groups[group].lan;
        let vips = &self.setup.groups[group].vips;
        let vip = vips[self.rng.index(vips.len())].octets();
        let id = self.client.ask(lan, vip, self.now);
        let request = ArpFrame::request(CLIENT_MAC.0, client_address(lan).octets(), vip);
        let frame = Frame {
            bytes: Rc::from(request.to_bytes().as_slice()),
            origin: Origin::Node(CLIENT),
            ask: Some(id),
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
        for delay in self.lans[lan]
            .carry(from, to, &mut self.rng)
            .into_iter()
            .flatten()
        {
            let frame = frame.clone();
            self.at(self.now + delay, Event::Arrive { lan, to, frame });
        }
    }

    /// A frame reaches a host: the kernel half first, then whoever listens.
    fn arrive(&mut self, lan: usize, h: usize, frame: Frame) {
        if !self.hosts[h].kernel.nics[lan].up {
            return;
        }
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
                if frame.bytes[12..14] == [0x08, 0x00] {
                    let Frame { bytes, origin, .. } = frame;
                    self.deliver(h, Waiting::Datagram { lan, bytes, origin });
                }
            }
        }
    }

    fn answer(&mut self, lan: usize, h: usize, reply: &ArpFrame, ask: Option<u32>) {
        let frame = Frame {
            bytes: Rc::from(reply.to_bytes().as_slice()),
            origin: Origin::Node(h),
            ask,
        };
        if let Some(group) = self.setup.group_of(lan, reply.spa) {
            self.answered(h, group);
        }
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
        for g in 0..self.hosts[h].ucarp.len() {
            if self.setup.groups[g].lan == lan {
                let now = self.now;
                self.hosts[h].ucarp[g].handle_datagram(&frame.bytes[14..], now);
                self.hosts[h].ucarp[g].poll_returned(now);
            }
        }
        self.ucarp_wakes(h);
    }

    fn ucarp_wakes(&mut self, h: usize) {
        let now = self.now;
        let mut next = Nanos::MAX;
        for g in 0..self.hosts[h].ucarp.len() {
            let lan = self.setup.groups[g].lan;
            let ucarp = &mut self.hosts[h].ucarp[g];
            if ucarp.poll_timeout() <= now {
                ucarp.poll_returned(now);
            }
            next = next.min(ucarp.poll_timeout());
            for frame in std::mem::take(&mut ucarp.out) {
                self.broadcast(lan, h, &frame, Origin::Node(h));
            }
        }
        self.at(next, Event::UcarpWake { host: h });
    }

    /// Something was done to a host, or to the network: what follows takes its
    /// time, and `longer`.
    pub(super) fn disturb(&mut self, host: Option<usize>, longer: Nanos) {
        self.quiet_from = self.quiet_from.max(self.now + longer);
        match host {
            Some(host) => self.hosts[host].disturbed_at = self.now,
            None => self
                .hosts
                .iter_mut()
                .for_each(|host| host.disturbed_at = self.now),
        }
    }

    /// Writes a line of the trace.
    pub(super) fn note(&mut self, who: &str, what: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(Line {
                at,
                who: who.to_owned(),
                what: what(),
            });
        }
    }

    pub(super) fn note_host(&mut self, host: usize, what: impl FnOnce() -> String) {
        if self.trace.is_some() {
            self.note(&format!("host{host}"), what);
        }
    }

    /// As the host itself sees the group.
    pub fn view(&self, host: usize, group: usize) -> Option<GroupView<'_>> {
        self.hosts[host]
            .engine
            .as_ref()?
            .group(GroupId(group as u32))
    }

    pub fn role(&self, host: usize, group: usize) -> Option<Role> {
        self.view(host, group).map(|view| view.role)
    }

    /// The only host that answers for the group, as the last request showed it.
    pub fn owner(&self, group: usize) -> Option<usize> {
        let (_, macs) = self.last_answers.get(&group)?;
        let lan = self.setup.groups[group].lan;
        match macs.len() {
            1 => macs.first().and_then(|mac| self.host_of(lan, *mac)),
            _ => None,
        }
    }

    /// For scripts: who would answer a request right now.
    pub fn answering(&self, group: usize) -> Vec<usize> {
        let answers = |h: &usize| {
            let clock = self.clock(*h).as_nanos();
            let host = &self.hosts[*h];
            let lan = self.setup.groups[group].lan;
            host.kernel.nics[lan].up
                && (host.kernel.answers(group, clock)
                    || host.ucarp.get(group).is_some_and(Ucarp::is_master))
        };
        (0..self.hosts.len()).filter(answers).collect()
    }

    pub(super) fn record_answers(&mut self, group: usize, ask: &Ask) {
        self.last_answers
            .insert(group, (ask.asked_at, ask.answered_by.clone()));
    }
}
