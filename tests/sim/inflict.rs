//! How what goes wrong is done to the world, and undone.

use vipd::carp::{Fitness, Interval, Vhid};

use super::faults::{FAULT_HOLD, Fault};
use super::host::{Placing, Waiting};
use super::reload::Change;
use super::sabotage::Sabotage;
use super::setup::{MILLISECOND, PASSWORD, SECOND, WRONG_PASSWORD, host_mac};
use super::world::{Event, World};

impl World {
    /// Does it now, and plans its end.
    pub fn inflict(&mut self, fault: Fault) {
        self.note("-", || format!("FAULT {fault:?}"));
        self.coverage.insert(fault.name());
        self.disturb(fault.host(), 0);
        if let Some(lasts) = fault.lasts() {
            self.active.push(fault);
            self.at(self.now + lasts, Event::End(fault));
        }
        match fault {
            Fault::Stall { host, .. } => self.hosts[host].is_stalled = true,
            Fault::StallMidway { host, after, .. } => self.hosts[host].stops_after = Some(after),
            Fault::Kill { host, back_after } => {
                self.kill(host);
                self.at(self.now + back_after, Event::Fault(Fault::Start { host }));
            }
            Fault::KillAndLose { host, back_after } => {
                self.kill(host);
                let start = Fault::StartAnew { host };
                self.at(self.now + back_after, Event::Fault(start));
            }
            Fault::PowerLoss { host, back_after } => {
                self.kill(host);
                self.hosts[host].kernel.groups.clear();
                self.hosts[host].kernel.placed.clear();
                self.at(self.now + back_after, Event::Fault(Fault::Start { host }));
            }
            Fault::Shutdown { host, back_after } => {
                self.deliver(host, Waiting::Shutdown);
                self.at(self.now + back_after, Event::Fault(Fault::Start { host }));
            }
            Fault::Start { host } => self.start(host),
            Fault::StartAnew { host } => {
                if self.hosts[host].engine.is_none() {
                    self.hosts[host].kernel.groups.clear();
                }
                self.start(host);
            }
            Fault::StepDown { host, group } => {
                self.disturb(Some(host), 3 * SECOND);
                self.deliver(host, Waiting::StepDown { group });
            }
            Fault::Reload { host, change } => {
                if let Change::Spare { group, has } = change {
                    self.rollouts.insert(group, has);
                }
                self.deliver(host, Waiting::Reload(change));
            }
            Fault::GroupRemoved { host, group, .. } => {
                let is_absent = true;
                let change = Change::Absent { group, is_absent };
                self.deliver(host, Waiting::Reload(change));
            }
            Fault::LinkDown { host, lan, .. } => self.set_link(host, lan, false),
            Fault::MapFails { host, .. } => self.hosts[host].map_fails = true,
            Fault::SendsFail { host, .. } => {
                self.hosts[host].sends_fail = true;
                self.hosts[host].was_mute = true;
            }
            Fault::PlacingFails { host, .. } => self.hosts[host].placing = Placing::Fails,
            Fault::PlacingIsSlow { host, .. } => self.hosts[host].placing = Placing::Slow,
            Fault::AddressLost { group } => self.lose_addresses(group),
            Fault::NewMac { host, lan } => {
                self.renew_mac(host, lan);
                self.notice_link(host, lan);
            }
            Fault::NicReplaced { host, lan, .. } => self.remove_nic(host, lan),
            Fault::UcarpStall { host, .. } | Fault::UcarpKill { host, .. } => {
                self.hosts[host].is_stalled = true;
            }
            Fault::StrayBowOut { group } => self.stray_bow_out(group),
            Fault::WrongPassword { group } => {
                let right = self.setup.sabotage == Some(Sabotage::WrongKeyAccepted);
                let password = if right { PASSWORD } else { WRONG_PASSWORD };
                self.stranger_adverts(group, password, false);
            }
            Fault::OtherAddresses { group } => self.stranger_adverts(group, PASSWORD, true),
            Fault::Garbage { lan } => self.garbage(lan),
            Fault::UnknownVhid { lan } => {
                let vhid = Vhid::new(200);
                self.advert_from_stranger(lan, vhid, PASSWORD, &[], Interval::new(0, 1));
            }
            Fault::Loop { lan, .. } => self.lans[lan].loops = true,
            Fault::RivalArp { group } => self.rival_arp(group),
            Fault::Replay { lan } => self.replay(lan),
            Fault::SameSource { host, group } => self.same_source(host, group),
            Fault::CutOneWay { lan, from, to, .. } => self.lans[lan].cut(from, to),
            Fault::CutBothWays { lan, from, to, .. } => {
                self.lans[lan].cut(from, to);
                self.lans[lan].cut(to, from);
            }
            Fault::Loss { lan, per_mille, .. } => self.lans[lan].wire.loss = per_mille,
            Fault::Doubling { lan, per_mille, .. } => self.lans[lan].wire.doubled = per_mille,
            Fault::Unfit {
                host,
                group,
                demotion,
                withheld,
                ..
            } => {
                let fitness = Fitness { demotion, withheld };
                self.become_fit(host, group, fitness);
            }
            Fault::Promote { host, group } => {
                let promoted = self.tied_with(group);
                self.hosts[host].promoted.extend(promoted);
                self.deliver(host, Waiting::Promote { group });
            }
            Fault::Announce { host, group } => self.deliver(host, Waiting::Announce { group }),
        }
    }

    pub(super) fn end(&mut self, fault: Fault) {
        let Some(place) = self.active.iter().position(|active| *active == fault) else {
            return;
        };
        self.active.remove(place);
        self.note("-", || format!("END   {fault:?}"));
        self.disturb(fault.host(), 0);
        match fault {
            Fault::Stall { host, .. } | Fault::StallMidway { host, .. } => self.resume(host),
            Fault::GroupRemoved { host, group, .. } => {
                let is_absent = false;
                let change = Change::Absent { group, is_absent };
                self.deliver(host, Waiting::Reload(change));
            }
            Fault::LinkDown { host, lan, .. } => self.set_link(host, lan, true),
            Fault::NicReplaced { host, lan, .. } => {
                self.hosts[host].gone.remove(&lan);
                self.renew_mac(host, lan);
                self.set_link(host, lan, true);
            }
            Fault::UcarpStall { host, .. } => self.ucarp_goes_on(host),
            Fault::UcarpKill { host, .. } => {
                let now = self.now;
                self.hosts[host].waiting.clear();
                self.hosts[host]
                    .ucarp
                    .iter_mut()
                    .for_each(|ucarp| ucarp.restart(now));
                self.ucarp_goes_on(host);
            }
            Fault::MapFails { host, .. } => {
                self.hosts[host].map_fails = false;
                self.disturb(Some(host), FAULT_HOLD);
            }
            Fault::SendsFail { host, .. } => self.hosts[host].sends_fail = false,
            Fault::PlacingFails { host, .. } | Fault::PlacingIsSlow { host, .. } => {
                self.hosts[host].placing = Placing::Quick;
                self.disturb(Some(host), FAULT_HOLD);
            }
            Fault::Unfit { host, group, .. } => self.become_fit(host, group, Fitness::WELL),
            Fault::Loop { lan, .. } => self.lans[lan].loops = false,
            Fault::CutOneWay { lan, from, to, .. } => self.lans[lan].mend(from, to),
            Fault::CutBothWays { lan, from, to, .. } => {
                self.lans[lan].mend(from, to);
                self.lans[lan].mend(to, from);
            }
            Fault::Loss { lan, .. } => self.lans[lan].wire.loss = self.setup.wire.loss,
            Fault::Doubling { lan, .. } => self.lans[lan].wire.doubled = self.setup.wire.doubled,
            Fault::Kill { .. }
            | Fault::KillAndLose { .. }
            | Fault::PowerLoss { .. }
            | Fault::Shutdown { .. }
            | Fault::Start { .. }
            | Fault::StartAnew { .. }
            | Fault::StrayBowOut { .. }
            | Fault::StepDown { .. }
            | Fault::Reload { .. }
            | Fault::AddressLost { .. }
            | Fault::NewMac { .. }
            | Fault::WrongPassword { .. }
            | Fault::OtherAddresses { .. }
            | Fault::Garbage { .. }
            | Fault::UnknownVhid { .. }
            | Fault::RivalArp { .. }
            | Fault::Replay { .. }
            | Fault::Promote { .. }
            | Fault::Announce { .. }
            | Fault::SameSource { .. } => {}
        }
    }

    /// Ends everything that lasts.
    pub fn mend_all(&mut self) {
        while let Some(fault) = self.active.first().copied() {
            self.end(fault);
        }
    }

    fn set_link(&mut self, host: usize, lan: usize, up: bool) {
        let up = up && !self.hosts[host].gone.contains(&lan);
        self.hosts[host].kernel.nics[lan].up = up;
        self.notice_link(host, lan);
        if up {
            if self.knows_of_no_link(host, lan) {
                let lans: Vec<usize> = self.setup.groups.iter().map(|group| group.lan).collect();
                self.delay_preemption(host, |g| lans[g] == lan);
            }
            for g in 0..self.setup.groups.len() {
                if self.setup.groups[g].lan == lan && self.is_heard_answering(host, g) {
                    self.check_alone(host, g, false);
                }
            }
        }
    }

    fn renew_mac(&mut self, host: usize, lan: usize) {
        self.hosts[host].nic_generation += 1;
        let mac = host_mac(host, lan, self.hosts[host].nic_generation);
        self.hosts[host].kernel.nics[lan].mac = mac;
    }

    /// Program, maps and addresses go with the interface.
    fn remove_nic(&mut self, host: usize, lan: usize) {
        self.hosts[host].gone.insert(lan);
        for (g, group) in self.setup.groups.iter().enumerate() {
            if group.lan == lan {
                let kernel = &mut self.hosts[host].kernel;
                kernel.groups.remove(&g);
                group
                    .vips
                    .iter()
                    .for_each(|vip| _ = kernel.placed.remove(vip));
            }
        }
        self.set_link(host, lan, false);
    }

    /// netlink tells the daemon, a little later.
    fn notice_link(&mut self, host: usize, lan: usize) {
        let delay = self.rng.range(MILLISECOND / 10, 3 * MILLISECOND);
        self.at(self.now + delay, Event::LinkNotice { host, lan });
    }
}
