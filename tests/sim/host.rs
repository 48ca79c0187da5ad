//! A simulated host, and the loop that drives its engine: what the daemon does,
//! in virtual time. Outputs are performed in order, and the fate of an advert is
//! told before the next output is taken.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use vipd::carp::Role;
use vipd::engine::{Effect, Engine, GroupId, Input, InterfaceId, Link, Output, Purpose};
use vipd::mac::MacAddr;
use vipd::time::Instant;

use super::kernel::Kernel;
use super::lan::Origin;
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, MILLISECOND, Nanos, SECOND};
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
        let engine = Engine::new(self.setup.engine_config(host), self.rng.next());
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
        self.hosts[host].waiting.clear();
        self.hosts[host].wake_at = None;
    }

    pub(super) fn resume(&mut self, host: usize) {
        self.hosts[host].is_stalled = false;
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

    /// One input, and everything that follows from it.
    pub(super) fn feed(&mut self, host: usize, input: Input<'_>, origin: Option<Origin>) {
        let Some(mut engine) = self.hosts[host].engine.take() else {
            return;
        };
        if self.setup.sabotage == Some(Sabotage::CountersReset) && self.rng.per_mille(2) {
            engine = Engine::new(self.setup.engine_config(host), self.rng.next());
        }
        self.cover_input(&input);
        let clock = self.clock(host);
        let before = self.before(host, &engine, origin);
        engine.handle(input, clock);
        let mut held = None;
        while let Some(output) = engine.poll_output() {
            let reorder = held.is_none() && self.must_hold(host, &output);
            if reorder {
                held = Some(output);
                continue;
            }
            let is_frame = matches!(
                output,
                Output::Transmit {
                    purpose: Purpose::Announce | Purpose::BowOut | Purpose::Farewell,
                    ..
                }
            );
            self.perform(host, &mut engine, output);
            if is_frame && let Some(output) = held.take() {
                self.perform(host, &mut engine, output);
            }
        }
        if let Some(output) = held {
            self.perform(host, &mut engine, output);
        }
        self.after(host, &engine, before);
        self.hosts[host].engine = Some(engine);
        if !self.hosts[host].is_stalled {
            self.rearm(host);
        }
    }

    fn must_hold(&self, host: usize, output: &Output) -> bool {
        match (self.setup.sabotage, output) {
            (Some(Sabotage::AnnounceBeforeLease), Output::Lease { group, .. }) => {
                let clock = self.clock(host).as_nanos();
                !self.hosts[host].kernel.answers(group.0 as usize, clock)
            }
            (Some(Sabotage::BowOutBeforeSilence), Output::Silence { .. }) => true,
            _ => false,
        }
    }

    fn perform(&mut self, host: usize, engine: &mut Engine, output: Output) {
        let clock = self.clock(host);
        match output {
            Output::Transmit {
                interface,
                group,
                purpose,
                frame,
            } => {
                let lan = usize::from(interface.0);
                self.cover_purpose(purpose);
                let failed = self.hosts[host].sends_fail;
                let (is_advert, sabotage) = (purpose == Purpose::Advert, self.setup.sabotage);
                let withheld = match sabotage {
                    Some(Sabotage::AnnouncementsWithheld) => purpose == Purpose::Announce,
                    Some(Sabotage::TakeoverAdvertDropped) => {
                        is_advert && self.is_taking_over(host, engine, group)
                    }
                    _ => false,
                };
                if !failed && !withheld {
                    self.transmit(host, lan, engine, group, frame);
                }
                if is_advert && failed && sabotage != Some(Sabotage::LeaseWithoutSend) {
                    let effect = Effect::Send;
                    self.coverage.insert("effect send");
                    engine.handle(Input::Failed { group, effect }, clock);
                } else if is_advert {
                    self.coverage.insert("input sent");
                    engine.handle(Input::Sent { group, at: clock }, clock);
                }
            }
            Output::Lease {
                group,
                vhid,
                owner,
                until,
                ..
            } => {
                if self.hosts[host].map_fails {
                    self.coverage.insert("effect map");
                    engine.handle(
                        Input::Failed {
                            group,
                            effect: Effect::Map,
                        },
                        clock,
                    );
                    return;
                }
                let until = match self.setup.sabotage {
                    Some(Sabotage::LeaseNeverExpires) => u64::MAX,
                    Some(Sabotage::LeaseTooLong) => until.as_nanos() + SECOND,
                    _ => until.as_nanos(),
                };
                let entry = vipd_common::Group {
                    lease_until_ns: until,
                    owner_mac: owner.0,
                    vhid: vhid.value(),
                    pad: 0,
                };
                self.write_lease(host, engine, group, entry);
            }
            Output::Silence { group, .. } => {
                if self.hosts[host].map_fails {
                    self.coverage.insert("effect map");
                    engine.handle(
                        Input::Failed {
                            group,
                            effect: Effect::Map,
                        },
                        clock,
                    );
                } else if self.setup.sabotage != Some(Sabotage::SilenceIgnored) {
                    self.note_host(host, || format!("silent: group {}", group.0));
                    self.hosts[host].kernel.groups.remove(&(group.0 as usize));
                }
            }
            Output::PlaceAddresses { group, .. } => {
                let g = group.0 as usize;
                let lost = self.hosts[host].kernel.answers(g, clock.as_nanos());
                if lost && self.setup.sabotage == Some(Sabotage::LostAddressNotRestored) {
                    return;
                }
                self.place(host, g);
            }
            Output::RemoveAddresses { group, .. } => self.unplace(host, group.0 as usize),
            Output::Log(event) => self.check_log(host, &event),
        }
    }

    /// netlink works in order; what it is told takes its time.
    fn place(&mut self, host: usize, group: usize) {
        let takes = match self.hosts[host].placing {
            Placing::Quick => self.rng.range(50 * MICROSECOND, 500 * MICROSECOND),
            Placing::Slow => self.rng.range(20 * MILLISECOND, 5 * SECOND),
            Placing::Fails => MILLISECOND,
        };
        let done_at = self.hosts[host].placing_until.max(self.now) + takes;
        self.hosts[host].placing_until = done_at;
        if self.hosts[host].placing == Placing::Slow {
            // It may last longer than the fault.
            self.disturb(Some(host), done_at - self.now);
        }
        let incarnation = self.hosts[host].incarnation;
        self.at(
            done_at,
            Event::Placed {
                host,
                group,
                incarnation,
                placed: true,
            },
        );
    }

    fn unplace(&mut self, host: usize, group: usize) {
        let done_at = self.hosts[host].placing_until.max(self.now) + 50 * MICROSECOND;
        self.hosts[host].placing_until = done_at;
        let incarnation = self.hosts[host].incarnation;
        self.at(
            done_at,
            Event::Placed {
                host,
                group,
                incarnation,
                placed: false,
            },
        );
    }

    pub(super) fn placing_done(
        &mut self,
        host: usize,
        group: usize,
        incarnation: u32,
        placed: bool,
    ) {
        let vips = self.setup.groups[group].vips.clone();
        let kernel = &mut self.hosts[host].kernel;
        if !placed {
            vips.iter().for_each(|vip| _ = kernel.placed.remove(vip));
            return;
        }
        let failed = self.hosts[host].placing == Placing::Fails;
        if !failed {
            self.hosts[host].kernel.placed.extend(vips);
        }
        if self.hosts[host].incarnation == incarnation {
            let result = if failed { Err(()) } else { Ok(()) };
            self.deliver(host, Waiting::Placed { group, result });
        }
    }
}

/// How late a process can be woken on a host that is not overloaded.
pub const WAKE_DELAY: Nanos = 200 * MICROSECOND;
