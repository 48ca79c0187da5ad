//! The loop that drives an engine: what the daemon does, in virtual time.
//! Outputs are performed in order, and the fate of an advert is told before the
//! next output is taken. Bugs are planted here and nowhere else.

use vipd::engine::{Effect, Engine, Input, Output, Purpose};

use super::host::{Placing, Waiting};
use super::lan::Origin;
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, MILLISECOND, SECOND};
use super::world::{Event, World};

impl World {
    /// One input, and everything that follows from it.
    pub(super) fn feed(&mut self, host: usize, input: Input<'_>, origin: Option<Origin>) {
        let Some(mut engine) = self.hosts[host].engine.take() else {
            return;
        };
        if self.setup.sabotage == Some(Sabotage::CountersReset) && self.rng.per_mille(2) {
            engine = Engine::new(self.setup.engine_config(host), self.rng.draw());
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

    /// A daemon that was stopped between two outputs performs the rest. What it
    /// says then is late: this daemon does not look at the clock again, and the
    /// checks that forbid it look away.
    pub(super) fn drain_late(&mut self, host: usize) {
        if !std::mem::take(&mut self.hosts[host].stopped_midway) {
            return;
        }
        let Some(mut engine) = self.hosts[host].engine.take() else {
            return;
        };
        self.hosts[host].drains_late = true;
        self.drain(host, &mut engine);
        self.hosts[host].drains_late = false;
        self.forget_terms(host);
        self.hosts[host].engine = Some(engine);
    }

    fn drain(&mut self, host: usize, engine: &mut Engine) {
        let mut held = None;
        while !self.stops_here(host)
            && let Some(output) = engine.poll_output()
        {
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
            self.perform(host, engine, output);
            if is_frame && let Some(output) = held.take() {
                self.perform(host, engine, output);
            }
        }
        if let Some(output) = held {
            self.perform(host, engine, output);
        }
    }

    fn stops_here(&mut self, host: usize) -> bool {
        match self.hosts[host].stops_after {
            None => false,
            Some(0) => {
                self.note_host(host, || "stops between two effects".to_owned());
                self.hosts[host].stops_after = None;
                self.hosts[host].is_stalled = true;
                self.hosts[host].stopped_midway = true;
                self.disturb(Some(host), 0);
                true
            }
            Some(more) => {
                self.hosts[host].stops_after = Some(more - 1);
                false
            }
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
                ..
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
