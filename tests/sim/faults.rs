//! What can go wrong, and how it is done to the world.

use vipd::carp::{Interval, Vhid};
use vipd::engine::Input;

use super::host::{Placing, Waiting};
use super::sabotage::Sabotage;
use super::setup::{MILLISECOND, Nanos, PASSWORD, SECOND, WRONG_PASSWORD, host_mac};
use super::world::{Event, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The daemon is stopped, and goes on later.
    Stall {
        host: usize,
        lasts: Nanos,
    },
    /// The daemon is stopped between two of the effects that it performs next.
    StallMidway {
        host: usize,
        after: u8,
        lasts: Nanos,
    },
    /// The daemon dies without a word; it is started again later.
    Kill {
        host: usize,
        back_after: Nanos,
    },
    /// The daemon is told to end; it is started again later.
    Shutdown {
        host: usize,
        back_after: Nanos,
    },
    /// The daemon starts.
    Start {
        host: usize,
    },
    StepDown {
        host: usize,
        group: Option<usize>,
    },
    LinkDown {
        host: usize,
        lan: usize,
        lasts: Nanos,
    },
    MapFails {
        host: usize,
        lasts: Nanos,
    },
    SendsFail {
        host: usize,
        lasts: Nanos,
    },
    PlacingFails {
        host: usize,
        lasts: Nanos,
    },
    PlacingIsSlow {
        host: usize,
        lasts: Nanos,
    },
    /// Somebody removes the addresses of whichever host has them.
    AddressLost {
        group: usize,
    },
    NewMac {
        host: usize,
        lan: usize,
    },
    /// A host with another password, many times.
    WrongPassword {
        group: usize,
    },
    /// A host with the password and other addresses.
    OtherAddresses {
        group: usize,
    },
    Garbage {
        lan: usize,
    },
    UnknownVhid {
        lan: usize,
    },
    /// Each broadcast comes back to its sender.
    Loop {
        lan: usize,
        lasts: Nanos,
    },
    /// A stranger claims the addresses by ARP.
    RivalArp {
        group: usize,
    },
    /// A stranger advertises with this host's source address.
    SameSource {
        host: usize,
        group: usize,
    },
    CutOneWay {
        lan: usize,
        from: usize,
        to: usize,
        lasts: Nanos,
    },
    CutBothWays {
        lan: usize,
        from: usize,
        to: usize,
        lasts: Nanos,
    },
    Loss {
        lan: usize,
        per_mille: u64,
        lasts: Nanos,
    },
    Doubling {
        lan: usize,
        per_mille: u64,
        lasts: Nanos,
    },
}

impl Fault {
    pub const NAMES: [&'static str; 24] = [
        "fault stall",
        "fault stall midway",
        "fault kill",
        "fault shutdown",
        "fault start",
        "fault step_down",
        "fault link_down",
        "fault map_fails",
        "fault sends_fail",
        "fault placing_fails",
        "fault placing_is_slow",
        "fault address_lost",
        "fault new_mac",
        "fault wrong_password",
        "fault other_addresses",
        "fault garbage",
        "fault unknown_vhid",
        "fault loop",
        "fault rival_arp",
        "fault same_source",
        "fault cut_one_way",
        "fault cut_both_ways",
        "fault loss",
        "fault doubling",
    ];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Stall { .. } => "fault stall",
            Self::StallMidway { .. } => "fault stall midway",
            Self::Kill { .. } => "fault kill",
            Self::Shutdown { .. } => "fault shutdown",
            Self::Start { .. } => "fault start",
            Self::StepDown { .. } => "fault step_down",
            Self::LinkDown { .. } => "fault link_down",
            Self::MapFails { .. } => "fault map_fails",
            Self::SendsFail { .. } => "fault sends_fail",
            Self::PlacingFails { .. } => "fault placing_fails",
            Self::PlacingIsSlow { .. } => "fault placing_is_slow",
            Self::AddressLost { .. } => "fault address_lost",
            Self::NewMac { .. } => "fault new_mac",
            Self::WrongPassword { .. } => "fault wrong_password",
            Self::OtherAddresses { .. } => "fault other_addresses",
            Self::Garbage { .. } => "fault garbage",
            Self::UnknownVhid { .. } => "fault unknown_vhid",
            Self::Loop { .. } => "fault loop",
            Self::RivalArp { .. } => "fault rival_arp",
            Self::SameSource { .. } => "fault same_source",
            Self::CutOneWay { .. } => "fault cut_one_way",
            Self::CutBothWays { .. } => "fault cut_both_ways",
            Self::Loss { .. } => "fault loss",
            Self::Doubling { .. } => "fault doubling",
        }
    }

    /// Whether the others must serve while it lasts: a host that is gone is no
    /// excuse, a network that is torn or a map that refuses is.
    pub fn excuses_nobody(&self) -> bool {
        matches!(
            self,
            Self::Stall { .. }
                | Self::StallMidway { .. }
                | Self::LinkDown { .. }
                | Self::SendsFail { .. }
                | Self::Loop { .. }
                | Self::Doubling { .. }
        )
    }

    /// Whether the role may come and go while it lasts, but not stay away.
    pub fn excuses_moments(&self) -> bool {
        matches!(self, Self::MapFails { .. } | Self::PlacingFails { .. })
    }

    fn lasts(&self) -> Option<Nanos> {
        match *self {
            Self::Stall { lasts, .. }
            | Self::StallMidway { lasts, .. }
            | Self::LinkDown { lasts, .. }
            | Self::MapFails { lasts, .. }
            | Self::SendsFail { lasts, .. }
            | Self::PlacingFails { lasts, .. }
            | Self::PlacingIsSlow { lasts, .. }
            | Self::Loop { lasts, .. }
            | Self::CutOneWay { lasts, .. }
            | Self::CutBothWays { lasts, .. }
            | Self::Loss { lasts, .. }
            | Self::Doubling { lasts, .. } => Some(lasts),
            Self::Kill { .. }
            | Self::Shutdown { .. }
            | Self::Start { .. }
            | Self::StepDown { .. }
            | Self::AddressLost { .. }
            | Self::NewMac { .. }
            | Self::WrongPassword { .. }
            | Self::OtherAddresses { .. }
            | Self::Garbage { .. }
            | Self::UnknownVhid { .. }
            | Self::RivalArp { .. }
            | Self::SameSource { .. } => None,
        }
    }

    fn host(&self) -> Option<usize> {
        match *self {
            Self::Stall { host, .. }
            | Self::StallMidway { host, .. }
            | Self::Kill { host, .. }
            | Self::Shutdown { host, .. }
            | Self::Start { host }
            | Self::StepDown { host, .. }
            | Self::LinkDown { host, .. }
            | Self::MapFails { host, .. }
            | Self::SendsFail { host, .. }
            | Self::PlacingFails { host, .. }
            | Self::PlacingIsSlow { host, .. }
            | Self::NewMac { host, .. }
            | Self::SameSource { host, .. } => Some(host),
            Self::AddressLost { .. }
            | Self::WrongPassword { .. }
            | Self::OtherAddresses { .. }
            | Self::Garbage { .. }
            | Self::UnknownVhid { .. }
            | Self::Loop { .. }
            | Self::RivalArp { .. }
            | Self::CutOneWay { .. }
            | Self::CutBothWays { .. }
            | Self::Loss { .. }
            | Self::Doubling { .. } => None,
        }
    }
}

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
            Fault::Shutdown { host, back_after } => {
                if !self.hosts[host].is_stalled {
                    self.feed(host, Input::Shutdown, None);
                    self.kill(host);
                    self.at(self.now + back_after, Event::Fault(Fault::Start { host }));
                }
            }
            Fault::Start { host } => self.start(host),
            Fault::StepDown { host, group } => {
                self.disturb(Some(host), 3 * SECOND);
                self.deliver(host, Waiting::StepDown { group });
            }
            Fault::LinkDown { host, lan, .. } => self.set_link(host, lan, false),
            Fault::MapFails { host, .. } => self.hosts[host].map_fails = true,
            Fault::SendsFail { host, .. } => self.hosts[host].sends_fail = true,
            Fault::PlacingFails { host, .. } => self.hosts[host].placing = Placing::Fails,
            Fault::PlacingIsSlow { host, .. } => self.hosts[host].placing = Placing::Slow,
            Fault::AddressLost { group } => self.lose_addresses(group),
            Fault::NewMac { host, lan } => {
                self.hosts[host].nic_generation += 1;
                let mac = host_mac(host, lan, self.hosts[host].nic_generation);
                self.hosts[host].kernel.nics[lan].mac = mac;
                self.notice_link(host, lan);
            }
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
            Fault::SameSource { host, group } => self.same_source(host, group),
            Fault::CutOneWay { lan, from, to, .. } => self.lans[lan].cut(from, to),
            Fault::CutBothWays { lan, from, to, .. } => {
                self.lans[lan].cut(from, to);
                self.lans[lan].cut(to, from);
            }
            Fault::Loss { lan, per_mille, .. } => self.lans[lan].wire.loss = per_mille,
            Fault::Doubling { lan, per_mille, .. } => self.lans[lan].wire.doubled = per_mille,
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
            Fault::LinkDown { host, lan, .. } => self.set_link(host, lan, true),
            Fault::MapFails { host, .. } => {
                self.hosts[host].map_fails = false;
                self.disturb(Some(host), FAULT_HOLD);
            }
            Fault::SendsFail { host, .. } => self.hosts[host].sends_fail = false,
            Fault::PlacingFails { host, .. } | Fault::PlacingIsSlow { host, .. } => {
                self.hosts[host].placing = Placing::Quick;
                self.disturb(Some(host), FAULT_HOLD);
            }
            Fault::Loop { lan, .. } => self.lans[lan].loops = false,
            Fault::CutOneWay { lan, from, to, .. } => self.lans[lan].mend(from, to),
            Fault::CutBothWays { lan, from, to, .. } => {
                self.lans[lan].mend(from, to);
                self.lans[lan].mend(to, from);
            }
            Fault::Loss { lan, .. } => self.lans[lan].wire.loss = self.setup.wire.loss,
            Fault::Doubling { lan, .. } => self.lans[lan].wire.doubled = self.setup.wire.doubled,
            Fault::Kill { .. }
            | Fault::Shutdown { .. }
            | Fault::Start { .. }
            | Fault::StepDown { .. }
            | Fault::AddressLost { .. }
            | Fault::NewMac { .. }
            | Fault::WrongPassword { .. }
            | Fault::OtherAddresses { .. }
            | Fault::Garbage { .. }
            | Fault::UnknownVhid { .. }
            | Fault::RivalArp { .. }
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
        self.hosts[host].kernel.nics[lan].up = up;
        self.notice_link(host, lan);
    }

    /// netlink tells the daemon, a little later.
    fn notice_link(&mut self, host: usize, lan: usize) {
        let delay = self.rng.range(MILLISECOND / 10, 3 * MILLISECOND);
        self.at(self.now + delay, Event::LinkNotice { host, lan });
    }
}

/// A host that could not keep its promise does not preempt for so long.
pub const FAULT_HOLD: Nanos = 10 * SECOND;
