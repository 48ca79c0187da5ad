//! A simulated host, and the loop that drives its engine: what the daemon does,
//! in virtual time. Outputs are performed in order, and the fate of an advert is
//! told before the next output is taken.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use vipd::carp::Role;
use vipd::engine::{Effect, Engine, GroupId, Input, InterfaceId, Link};
use vipd::mac::MacAddr;
use vipd::time::Instant;

use super::kernel::Kernel;
use super::lan::Origin;
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, Nanos};
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
        bytes: std::rc::Rc<[u8]>,
        origin: Origin,
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
}

#[derive(Default)]
pub struct Host {
    /// The daemon, while it runs; it may be stalled.
    pub engine: Option<Engine>,
    pub is_stalled: bool,
    /// The daemon is stopped after so many effects more.
    pub stops_after: Option<u8>,
    pub stopped_midway: bool,
    /// It performs what it should have performed before it was stopped.
    pub drains_late: bool,
    pub(super) waiting: VecDeque<Waiting>,
    pub kernel: Kernel,
    /// This host's clock is ahead of the world's by so much.
    pub boot_offset: Nanos,
    /// Counts the starts of the daemon.
    pub incarnation: u32,
    pub(super) wake_at: Option<Nanos>,
    pub map_fails: bool,
    pub sends_fail: bool,
    pub placing: Placing,
    /// When netlink is done with what it was told.
    pub(super) placing_until: Nanos,
    pub nic_generation: u8,
    /// Instead of an engine, one for each group.
    pub ucarp: Vec<Ucarp>,
    /// When something was last done to this host.
    pub disturbed_at: Nanos,
}

impl Host {
    pub fn is_running(&self) -> bool {
        (self.engine.is_some() || !self.ucarp.is_empty()) && !self.is_stalled
    }
}

impl World {
    /// This host's clock.
    pub fn clock(&self, host: usize) -> Instant {
        Instant::from_nanos(self.now + self.hosts[host].boot_offset)
    }

    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].engine.is_some() {
            return;
        }
        let engine = Engine::new(self.setup.engine_config(host), self.rng.draw());
        self.hosts[host].engine = Some(engine);
        self.hosts[host].incarnation += 1;
        self.hosts[host].waiting.clear();
        self.forget_host(host);
        for lan in 0..self.setup.lans {
            self.link_noticed(host, lan);
        }
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.hosts[host].engine = None;
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
            return;
        }
        if self.hosts[host].is_stalled {
            self.hosts[host].waiting.push_back(waiting);
            return;
        }
        let group_id = |group: usize| GroupId(group as u32);
        let is_deaf = self.setup.sabotage == Some(Sabotage::MasterIsDeaf)
            && (0..self.setup.groups.len()).any(|g| self.role(host, g) == Some(Role::Master));
        if is_deaf && matches!(waiting, Waiting::Datagram { .. }) {
            return;
        }
        match waiting {
            Waiting::Datagram { lan, bytes, origin } => {
                let input = Input::Datagram {
                    interface: InterfaceId(lan as u16),
                    bytes: &bytes[14..],
                };
                self.feed(host, input, Some(origin));
                if self.setup.sabotage == Some(Sabotage::EveryBadAdvertLogged)
                    && origin == Origin::Worthless
                {
                    let from = Ipv4Addr::UNSPECIFIED;
                    let group = GroupId(0);
                    self.check_log(host, &vipd::engine::Event::BadDigest { group, from });
                }
            }
            Waiting::Link { lan, link } => {
                let interface = InterfaceId(lan as u16);
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
                            group: group_id(group),
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
                    group: group_id(group),
                    effect: Effect::Address,
                };
                self.feed(host, failed, None);
            }
            Waiting::AddressLost { lan, address } => {
                let interface = InterfaceId(lan as u16);
                self.feed(host, Input::AddressLost { interface, address }, None);
            }
            Waiting::Conflict {
                group,
                mac,
                address,
            } => {
                let group = group_id(group);
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
            Waiting::StepDown { group } => {
                self.feed(
                    host,
                    Input::StepDown {
                        group: group.map(group_id),
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

/// How late a process can be woken on a host that is not overloaded.
pub const WAKE_DELAY: Nanos = 200 * MICROSECOND;
