//! The world: hosts, LANs and clients under one clock that jumps from event to
//! event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vipd::carp::{Authenticator, Role};
use vipd::engine::GroupView;
use vipd::mac::MacAddr;

use super::checker::Violation;
use super::checks::Checks;
use super::client::{Ask, Client};
use super::faults::Fault;
use super::host::Host;
use super::kernel::{Kernel, Nic};
use super::lan::{CLIENT, Frame, Lan};
use super::rng::Rng;
use super::setup::{
    MILLISECOND, Nanos, PASSWORD, Program, SECOND, Setup, host_address, host_mac, key,
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
    /// Two hosts claimed the role at once: one must have yielded.
    JudgeCrossing {
        group: usize,
        a: usize,
        b: usize,
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
    /// What members have sent by CARP, for those who listen: the LAN, the frame.
    pub captured: VecDeque<(usize, Vec<u8>)>,
    /// Faults that last.
    pub active: Vec<Fault>,
    /// Names of all that occurred.
    pub coverage: BTreeSet<&'static str>,
    /// Kept only on demand: writing takes longer than simulating.
    pub trace: Option<Vec<Line>>,
    pub violation: Option<Violation>,
    /// From when on the world can be expected to settle.
    pub quiet_from: Nanos,
    /// Whether hosts are to have the spare address of a group, once all are changed.
    pub rollouts: BTreeMap<usize, bool>,
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
            captured: VecDeque::new(),
            active: Vec::new(),
            coverage: BTreeSet::new(),
            trace: trace.then(Vec::new),
            violation: None,
            quiet_from: 0,
            rollouts: BTreeMap::new(),
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
                    host.ucarp.push(Ucarp::new(options, self.rng.draw(), 0));
                }
                host.wake_at = Some(0);
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
            Event::UcarpWake { host } => {
                if self.hosts[host].wake_at == Some(self.now) {
                    self.hosts[host].wake_at = None;
                    self.ucarp_wakes(host);
                }
            }
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
            Event::JudgeCrossing { group, a, b } => self.judge_crossing(group, a, b),
            Event::Fault(fault) => self.inflict(fault),
            Event::End(fault) => self.end(fault),
        }
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
            .group(self.group_id(host, group))
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
