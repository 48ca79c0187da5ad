//! The loop that drives an engine: what the daemon does, in virtual time.
//! Outputs are performed in order, and the fate of an advert is told before the
//! next output is taken. Bugs are planted here and nowhere else.

use vipd::engine::{Effect, Engine, GroupId, Input, Output, Purpose};

use super::host::{Placing, Untold, Waiting};
use super::lan::Origin;
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, MILLISECOND, SECOND, nanos};
use super::world::{Event, World};

impl World {
    /// One input, and everything that follows from it.
    pub(super) fn feed(&mut self, host: usize, input: Input<'_>, origin: Option<Origin>) {
        let Some(mut engine) = self.hosts[host].engine.take() else {
            return;
        };
        if self.setup.sabotage == Some(Sabotage::CountersReset) && self.rng.per_mille(2) {
            engine = Engine::new(self.engine_config(host), self.rng.draw());
        }
        self.cover_input(&input);
        let clock = self.clock(host);
        let before = self.before(host, &engine, origin);
        engine.handle(input, clock);
        self.drain(host, &mut engine);
        self.after(host, &engine, before);
        self.hosts[host].engine = Some(engine);
        self.rearm(host);
    }

    /// A daemon that was stopped between two outputs performs the rest.
    pub(super) fn drain_late(&mut self, host: usize) {
        if !std::mem::take(&mut self.hosts[host].stopped_midway) {
            return;
        }
        let Some(mut engine) = self.hosts[host].engine.take() else {
            return;
        };
        if let Some(Untold { group, sent_at }) = self.hosts[host].untold.take() {
            let told = match sent_at {
                Some(at) => Input::Sent { group, at },
                None => Input::Failed {
                    group,
                    effect: Effect::Send,
                },
            };
            engine.handle(told, self.clock(host));
        }
        self.drain(host, &mut engine);
        self.hosts[host].engine = Some(engine);
    }

    pub(super) fn drain(&mut self, host: usize, engine: &mut Engine) {
        let mut held: Option<Output> = None;
        while !self.stops_here(host)
            && let Some(output) = engine.poll_output()
        {
            let reorder = held.is_none() && self.must_hold(host, &output);
            if reorder {
                held = Some(output);
                continue;
            }
            let overtakes = self.overtakes(&output);
            if let Some(output) = held.take_if(|_| !overtakes) {
                self.perform(host, engine, output);
            }
            self.perform(host, engine, output);
            if let Some(output) = held.take() {
                self.perform(host, engine, output);
            }
        }
        if let Some(output) = held {
            self.perform(host, engine, output);
        }
    }

    fn overtakes(&self, output: &Output) -> bool {
        let Output::Transmit { purpose, .. } = output else {
            return false;
        };
        match self.setup.sabotage {
            Some(Sabotage::AnnounceBeforeLease) => *purpose == Purpose::Announce,
            Some(Sabotage::BowOutBeforeSilence) => *purpose == Purpose::BowOut,
            Some(Sabotage::FarewellBeforeSilence) => *purpose == Purpose::Farewell,
            _ => false,
        }
    }

    fn stops_here(&mut self, host: usize) -> bool {
        if self.hosts[host].stopped_midway {
            return true;
        }
        match self.hosts[host].stops_after {
            None => false,
            Some(0) => {
                self.stop_midway(host);
                true
            }
            Some(more) => {
                self.hosts[host].stops_after = Some(more - 1);
                false
            }
        }
    }

    fn stop_midway(&mut self, host: usize) {
        self.note_host(host, || "stops between two effects".to_owned());
        self.hosts[host].stops_after = None;
        self.hosts[host].is_stalled = true;
        self.hosts[host].stopped_midway = true;
        self.hosts[host].stopped_at = self.now;
        self.disturb(Some(host), 0);
    }

    fn must_hold(&self, host: usize, output: &Output) -> bool {
        match (self.setup.sabotage, output) {
            (Some(Sabotage::AnnounceBeforeLease), Output::Lease { group, .. }) => {
                let clock = self.clock(host).as_nanos();
                !self.hosts[host]
                    .kernel
                    .answers(self.group_index(host, *group), clock)
            }
            (
                Some(Sabotage::BowOutBeforeSilence | Sabotage::FarewellBeforeSilence),
                Output::Silence { .. },
            ) => true,
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
                not_after,
                frame,
            } => {
                let lan = interface.0 as usize;
                self.cover_purpose(purpose);
                let is_late = not_after.is_some_and(|limit| clock >= limit)
                    && self.setup.sabotage != Some(Sabotage::LateFrameSent);
                if is_late {
                    self.coverage.insert("late frame dropped");
                }
                let failed = self.hosts[host].sends_fail || is_late;
                let (is_advert, sabotage) = (purpose == Purpose::Advert, self.setup.sabotage);
                let withheld = match sabotage {
                    Some(Sabotage::AnnouncementsWithheld) => purpose == Purpose::Announce,
                    Some(Sabotage::TakeoverAdvertDropped) => {
                        is_advert && self.is_taking_over(host, engine, group)
                    }
                    _ => false,
                };
                if is_advert && sabotage == Some(Sabotage::RenewalBeforeSend) {
                    self.renew_early(host, engine, group);
                }
                if !failed && !withheld {
                    self.transmit(host, lan, engine, group, frame);
                }
                let sent_at = (!failed).then_some(clock);
                if is_advert && self.hosts[host].stops_after == Some(0) && self.rng.per_mille(500) {
                    self.hosts[host].untold = Some(Untold { group, sent_at });
                    return self.stop_midway(host);
                }
                if is_advert && failed && sabotage != Some(Sabotage::LeaseWithoutSend) {
                    let effect = Effect::Send;
                    self.coverage.insert("effect send");
                    engine.handle(Input::Failed { group, effect }, clock);
                } else if failed && purpose == Purpose::Introduce {
                    let effect = Effect::Introduce;
                    self.coverage.insert("effect introduce");
                    engine.handle(Input::Failed { group, effect }, clock);
                } else if failed && purpose == Purpose::Announce {
                    let effect = Effect::Announce;
                    self.coverage.insert("effect announce");
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
                let lan = self.setup.groups[self.group_index(host, group)].lan;
                if self.hosts[host].map_fails || self.hosts[host].gone.contains(&lan) {
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
                    Some(Sabotage::LeaseTooLong) => {
                        let g = self.group_index(host, group);
                        let interval = self.setup.hosts[host].intervals[g];
                        until.as_nanos() + nanos(interval.period())
                    }
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
                    let g = self.group_index(host, group);
                    self.hosts[host].kernel.groups.remove(&g);
                }
            }
            Output::PlaceAddresses { group, .. } => {
                let g = self.group_index(host, group);
                let lost = self.hosts[host].kernel.answers(g, clock.as_nanos());
                if lost && self.setup.sabotage == Some(Sabotage::LostAddressNotRestored) {
                    return;
                }
                self.place(host, g);
            }
            Output::RemoveAddresses { group, .. } => {
                self.unplace(host, self.group_index(host, group));
            }
            Output::Know { .. } => {}
            Output::Drop { group, vips, .. } => self.drop_vips(host, group, &vips),
            Output::Forget { group, .. } => self.forget_group(host, group),
            Output::Remember { group, signer } => {
                let g = self.group_index(host, group);
                let remembered = &mut self.hosts[host].signers;
                remembered.entry(g).or_default().push(signer);
            }
            Output::Log(event) => self.check_log(host, &event),
        }
    }

    /// The lease is in the map before the advert is on the wire.
    fn renew_early(&mut self, host: usize, engine: &Engine, group: GroupId) {
        let g = self.group_index(host, group);
        let clock = self.clock(host).as_nanos();
        if self.hosts[host].kernel.answers(g, clock)
            && let Some(mut entry) = self.hosts[host].kernel.groups.get(&g).copied()
        {
            entry.lease_until_ns = clock + self.longest_lease(host, g) * 63 / 64;
            self.write_lease(host, engine, group, entry);
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

    pub(super) fn unplace(&mut self, host: usize, group: usize) {
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
        let lan = self.setup.groups[group].lan;
        let failed =
            self.hosts[host].placing == Placing::Fails || self.hosts[host].gone.contains(&lan);
        if !failed {
            self.hosts[host].kernel.placed.extend(vips);
        }
        if self.hosts[host].incarnation == incarnation {
            let result = if failed { Err(()) } else { Ok(()) };
            self.deliver(host, Waiting::Placed { group, result });
        }
    }
}
