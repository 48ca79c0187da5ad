//! A simulated host, and the loop that drives its engine: what the daemon does,
//! in virtual time. Outputs are performed in order, and the fate of an advert is
//! told before the next output is taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

use vipd::carp::{Fitness, Role, Session};
use vipd::engine::{Effect, Engine, GroupId, Input, InterfaceId, Link};
use vipd::mac::MacAddr;
use vipd::time::{Duration, Instant};

use super::faults::Fault;
use super::kernel::Kernel;
use super::lan::Origin;
use super::reload::{Change, File};
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, MILLISECOND, Nanos};
use super::ucarp::Ucarp;
use super::world::{Event, World};

/// How netlink takes the placing of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    #[default]
    Quick,
    Slow,
    Fails,
}

/// What waits in the daemon's sockets.
#[derive(Clone, Debug)]
pub enum Waiting {
    Datagram {
        lan: usize,
        bytes: Rc<[u8]>,
        origin: Origin,
    },
    /// There was no room for more datagrams.
    Missed {
        lan: usize,
    },
    Link {
        lan: usize,
        link: Link,
    },
    Placed {
        group: usize,
        result: Result<(), ()>,
    },
    AddressLost {
        lan: usize,
        address: Ipv4Addr,
    },
    Conflict {
        group: usize,
        mac: MacAddr,
        address: Ipv4Addr,
    },
    StepDown {
        group: Option<usize>,
    },
    Fitness {
        group: usize,
        fitness: Fitness,
    },
    Promote {
        group: usize,
    },
    Announce {
        group: usize,
    },
    /// An earlier daemon's lease was found in the map.
    Adopt {
        group: usize,
        until: Instant,
        session: Session,
    },
    Shutdown,
    /// The operator has changed this, and the daemon is to reload.
    Reload(Change),
}

/// What became of an advert.
#[derive(Clone, Copy, Debug)]
pub(super) struct Untold {
    pub(super) group: GroupId,
    pub(super) sent_at: Option<Instant>,
}

#[derive(Default)]
pub struct Host {
    /// The daemon, while it runs; it may be stalled.
    pub engine: Option<Engine>,
    pub is_stalled: bool,
    /// The daemon is stopped after so many effects more.
    pub stops_after: Option<u8>,
    pub stopped_midway: bool,
    /// An advert that was sent, or was not, just before it was stopped.
    pub(super) untold: Option<Untold>,
    /// It ends once it is drained.
    pub is_ending: bool,
    /// How fit it is, by group; well where nothing is said.
    pub fitness: BTreeMap<usize, Fitness>,
    /// When it may preempt, by group, and the groups that its operator has promoted.
    pub preempts_from: BTreeMap<usize, Nanos>,
    pub promoted: BTreeSet<usize>,
    /// At some time it could not send.
    pub was_mute: bool,
    pub(super) waiting: VecDeque<Waiting>,
    /// What its daemons wrote down of who signs, by group.
    pub(super) signers: BTreeMap<usize, Vec<Ipv4Addr>>,
    /// What its daemons wrote down of their sessions, by group.
    pub(super) sessions: BTreeMap<usize, Session>,
    pub kernel: Kernel,
    /// This host's clock is ahead of the world's by so much.
    pub boot_offset: Nanos,
    /// When the daemon started.
    pub listens_since: Nanos,
    /// What its configuration says besides the setup.
    pub(super) file: File,
    /// Groups whose addresses have been changed since its daemon, or they, began.
    pub(super) two_sets: BTreeSet<usize>,
    /// The same as `file` when its daemon last ran.
    pub(super) file_left: File,
    /// Which groups its daemon's numbers mean.
    pub(super) ids: Vec<usize>,
    /// When it was last stopped between two effects.
    pub stopped_at: Nanos,
    /// Counts the starts of the daemon.
    pub incarnation: u32,
    pub(super) wake_at: Option<Nanos>,
    pub map_fails: bool,
    pub sends_fail: bool,
    pub placing: Placing,
    /// When netlink is done with what it was told.
    pub(super) placing_until: Nanos,
    pub nic_generation: u8,
    /// LANs to which it has no interface.
    pub gone: BTreeSet<usize>,
    /// Instead of an engine, one for each group.
    pub ucarp: Vec<Ucarp>,
    /// When something was last done to this host.
    pub disturbed_at: Nanos,
}

impl Host {
    fn is_told_to_end(&self) -> bool {
        let is_end = |waiting: &Waiting| matches!(waiting, Waiting::Shutdown);
        self.is_ending || self.waiting.iter().any(is_end)
    }

    /// What comes to a daemon that is stopped waits for it; of datagrams no more
    /// than there is room for.
    fn keep_waiting(&mut self, waiting: Waiting) {
        let is_datagram = |waiting: &&Waiting| matches!(waiting, Waiting::Datagram { .. });
        if let Waiting::Datagram { lan, .. } = waiting
            && self.waiting.iter().filter(is_datagram).count() >= ROOM
        {
            let is_told =
                |told: &Waiting| matches!(told, Waiting::Missed { lan: on } if *on == lan);
            if !self.waiting.iter().any(is_told) {
                self.waiting.push_back(Waiting::Missed { lan });
            }
            return;
        }
        self.waiting.push_back(waiting);
    }

    pub fn is_running(&self) -> bool {
        (self.engine.is_some() || !self.ucarp.is_empty()) && !self.is_stalled && !self.is_ending
    }
}

impl World {
    /// This host's clock.
    pub fn clock(&self, host: usize) -> Instant {
        Instant::from_nanos(self.now + self.hosts[host].boot_offset)
    }

    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].engine.is_some() {
            if self.hosts[host].is_told_to_end() {
                let later = self.now + 50 * MILLISECOND;
                self.at(later, Event::Fault(Fault::Start { host }));
            }
            return;
        }
        self.complete_rollouts(host);
        self.hosts[host].two_sets.clear();
        let engine = Engine::new(self.engine_config(host), self.rng.draw());
        self.hosts[host].engine = Some(engine);
        self.hosts[host].ids = self.configured(host);
        self.hosts[host].incarnation += 1;
        self.hosts[host].listens_since = self.now;
        self.hosts[host].waiting.clear();
        self.forget_host(host);
        self.hosts[host].promoted.clear();
        for (group, fitness) in self.hosts[host].fitness.clone() {
            self.deliver(host, Waiting::Fitness { group, fitness });
        }
        self.delay_preemption(host, |_| true);
        let delay = self.setup.hosts[host].startup_delay;
        self.disturb(Some(host), delay);
        self.hosts[host].disturbed_at += delay;
        self.adopt(host);
        for lan in 0..self.setup.lans {
            self.link_noticed(host, lan);
        }
    }

    /// As it was set up, and with what the daemons before wrote down.
    pub(super) fn engine_config(&self, host: usize) -> vipd::engine::Config {
        let mut config = self.setup.engine_config(host);
        for (g, signers) in &self.hosts[host].signers {
            config.groups[*g].auth.signers.clone_from(signers);
        }
        self.hosts[host].file.alter(&self.setup, &mut config);
        config
    }

    /// Tells the daemon of the leases that are in the map with its own MAC.
    fn adopt(&mut self, host: usize) {
        let clock = self.clock(host);
        for (group, setup) in self.setup.groups.clone().into_iter().enumerate() {
            if !self.hosts[host]
                .file
                .goes_on(&self.hosts[host].file_left, group)
            {
                // What is configured differently is no lease of this one.
                self.hosts[host].kernel.groups.remove(&group);
                continue;
            }
            let kernel = &self.hosts[host].kernel;
            let Some(left) = kernel.groups.get(&group).copied() else {
                continue;
            };
            let is_own = left.owner_mac == kernel.nics[setup.lan].mac.0;
            let until = Instant::from_nanos(left.lease_until_ns);
            match self.setup.sabotage {
                Some(Sabotage::ForeignLeaseAdopted) => {}
                _ if !is_own => continue,
                _ => {}
            }
            let until = match self.setup.sabotage {
                Some(Sabotage::ExpiredLeaseAdopted) if until <= clock => {
                    clock + Duration::from_secs(1)
                }
                _ => until,
            };
            // Written down with the lease; whoever adopts what is not its own has none.
            let session = self.hosts[host].sessions.get(&group).copied();
            let session = session.unwrap_or(Session(1));
            self.deliver(
                host,
                Waiting::Adopt {
                    group,
                    until,
                    session,
                },
            );
        }
    }

    /// It has ended, and taken its program off.
    fn end_if_drained(&mut self, host: usize) {
        let ending = &self.hosts[host];
        let is_drained = ending.engine.as_ref().is_some_and(Engine::is_drained);
        if ending.is_ending && is_drained && !ending.stopped_midway {
            self.note_host(host, || "ends".to_owned());
            self.kill(host);
            self.hosts[host].kernel.groups.clear();
        }
    }

    pub(super) fn kill(&mut self, host: usize) {
        if let Some(engine) = self.hosts[host].engine.take() {
            let sessions = engine
                .groups()
                .map(|view| (self.group_index(host, view.id), view.session));
            self.hosts[host].sessions = sessions.collect();
            self.hosts[host].file_left = self.hosts[host].file.clone();
        }
        self.hosts[host].is_ending = false;
        self.hosts[host].is_stalled = false;
        self.hosts[host].stops_after = None;
        self.hosts[host].untold = None;
        self.hosts[host].stopped_midway = false;
        self.hosts[host].waiting.clear();
        self.hosts[host].wake_at = None;
    }

    pub(super) fn resume(&mut self, host: usize) {
        self.hosts[host].is_stalled = false;
        self.hosts[host].stops_after = None;
        self.drain_late(host);
        if self.setup.sabotage == Some(Sabotage::DeadlineBeforeQueue) {
            self.fire_if_due(host);
        }
        // Receive before you expire.
        while let Some(waiting) = self.hosts[host].waiting.pop_front() {
            self.deliver(host, waiting);
        }
        self.fire_if_due(host);
        self.end_if_drained(host);
        self.rearm(host);
    }

    pub(super) fn link_noticed(&mut self, host: usize, lan: usize) {
        let nic = self.hosts[host].kernel.nics[lan];
        let link = Link {
            up: nic.up,
            mac: nic.mac,
            address: Some(nic.address),
        };
        self.deliver(host, Waiting::Link { lan, link });
    }

    /// Something for the daemon.
    pub(super) fn deliver(&mut self, host: usize, waiting: Waiting) {
        if self.hosts[host].engine.is_none() {
            if let Waiting::Reload(change) = waiting {
                self.change_file(host, change);
            }
            return;
        }
        if self.hosts[host].is_stalled {
            self.hosts[host].keep_waiting(waiting);
            return;
        }
        let is_deaf = self.setup.sabotage == Some(Sabotage::MasterIsDeaf)
            && (0..self.setup.groups.len()).any(|g| self.role(host, g) == Some(Role::Master));
        if is_deaf && matches!(waiting, Waiting::Datagram { .. }) {
            return;
        }
        self.deliver_now(host, waiting);
        self.end_if_drained(host);
    }

    fn deliver_now(&mut self, host: usize, waiting: Waiting) {
        match waiting {
            Waiting::Datagram {
                lan,
                mut bytes,
                origin,
            } => {
                if self.setup.sabotage == Some(Sabotage::PredecessorNotAwaited) {
                    bytes = without_mark(&bytes);
                }
                let input = Input::Datagram {
                    interface: InterfaceId(lan as u32),
                    bytes: &bytes[14..],
                };
                self.feed(host, input, Some(origin));
                if self.setup.sabotage == Some(Sabotage::EveryBadAdvertLogged)
                    && origin == Origin::Worthless
                {
                    let from = Ipv4Addr::UNSPECIFIED;
                    let group = GroupId(0);
                    self.check_log(
                        host,
                        &vipd::engine::Event::BadDigest {
                            group,
                            from,
                            mismatch: vipd::carp::Mismatch::Unknown,
                        },
                    );
                }
            }
            Waiting::Missed { lan } => {
                let interface = InterfaceId(lan as u32);
                self.feed(host, Input::Missed { interface }, None);
            }
            Waiting::Link { lan, link } => {
                let interface = InterfaceId(lan as u32);
                self.feed(host, Input::Link { interface, link }, None);
            }
            Waiting::Placed {
                group,
                result: Ok(()),
            } => {
                if self.setup.sabotage != Some(Sabotage::PlacedForgotten) {
                    self.feed(
                        host,
                        Input::Placed {
                            group: self.group_id(host, group),
                        },
                        None,
                    );
                }
            }
            Waiting::Placed {
                group,
                result: Err(()),
            } => {
                let failed = Input::Failed {
                    group: self.group_id(host, group),
                    effect: Effect::Address,
                };
                self.feed(host, failed, None);
            }
            Waiting::AddressLost { lan, address } => {
                let interface = InterfaceId(lan as u32);
                self.feed(host, Input::AddressLost { interface, address }, None);
            }
            Waiting::Conflict {
                group,
                mac,
                address,
            } => {
                let group = self.group_id(host, group);
                self.feed(
                    host,
                    Input::Conflict {
                        group,
                        mac,
                        address,
                    },
                    None,
                );
            }
            Waiting::Adopt {
                group,
                until,
                session,
            } => {
                let group = self.group_id(host, group);
                let adopt = Input::Adopt {
                    group,
                    until,
                    session,
                };
                self.feed(host, adopt, None);
            }
            Waiting::Reload(change) => self.reload(host, change),
            Waiting::Shutdown => {
                self.hosts[host].is_ending = true;
                self.feed(host, Input::Shutdown, None);
            }
            Waiting::Fitness { group, fitness } => {
                let group = self.group_id(host, group);
                let fitness = match self.setup.sabotage {
                    Some(Sabotage::FitnessForgotten) => Fitness::WELL,
                    Some(Sabotage::WithheldForgotten) => Fitness {
                        withheld: false,
                        ..fitness
                    },
                    _ => fitness,
                };
                self.feed(host, Input::Fitness { group, fitness }, None);
            }
            Waiting::Promote { group } => {
                let group = self.group_id(host, group);
                self.feed(host, Input::Promote { group }, None);
            }
            Waiting::Announce { group } => {
                let group = self.group_id(host, group);
                self.feed(host, Input::Announce { group }, None);
            }
            Waiting::StepDown { group } => {
                self.feed(
                    host,
                    Input::StepDown {
                        group: group.map(|group| self.group_id(host, group)),
                    },
                    None,
                );
            }
        }
    }

    pub(super) fn fire_if_due(&mut self, host: usize) {
        let clock = self.clock(host);
        let due = self.hosts[host]
            .engine
            .as_ref()
            .and_then(Engine::poll_timeout)
            .is_some_and(|timeout| timeout <= clock);
        if due && self.setup.sabotage != Some(Sabotage::DeadlineForgotten) {
            self.feed(host, Input::Deadline, None);
        }
    }

    pub(super) fn woken(&mut self, host: usize, at: Nanos) {
        if self.hosts[host].wake_at != Some(at) {
            return;
        }
        self.hosts[host].wake_at = None;
        if !self.hosts[host].is_stalled {
            self.fire_if_due(host);
            self.end_if_drained(host);
            self.rearm(host);
        }
    }

    /// Plans the next wake-up; the scheduler is a little late, each time.
    pub(super) fn rearm(&mut self, host: usize) {
        if self.hosts[host].is_stalled {
            return;
        }
        let offset = self.hosts[host].boot_offset;
        let Some(timeout) = self.hosts[host]
            .engine
            .as_ref()
            .and_then(Engine::poll_timeout)
        else {
            return;
        };
        let timeout = timeout.as_nanos().saturating_sub(offset).max(self.now);
        let is_planned = |at: Nanos| at >= timeout && at <= timeout + WAKE_DELAY;
        if self.hosts[host].wake_at.is_some_and(is_planned) {
            return;
        }
        let at = timeout + self.rng.range(MICROSECOND, WAKE_DELAY);
        self.hosts[host].wake_at = Some(at);
        self.at(at, Event::Wake { host, at });
    }
}

/// The advert as a legacy host would send it.
fn without_mark(frame: &Rc<[u8]>) -> Rc<[u8]> {
    let mut bytes = frame.to_vec();
    if let Some(mark) = bytes.get_mut(MARK_AT) {
        *mark ^= 0xff;
    }
    Rc::from(bytes)
}

/// Where the mark begins in a frame: after Ethernet, IPv4 and CARP.
const MARK_AT: usize = 14 + 20 + 36;

/// How late a process can be woken on a host that is not overloaded.
pub const WAKE_DELAY: Nanos = 200 * MICROSECOND;

/// Datagrams that a daemon's sockets hold: few, so that it happens that there is
/// no room.
const ROOM: usize = 32;
