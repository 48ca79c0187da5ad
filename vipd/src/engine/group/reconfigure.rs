//! A group whose configuration changes while it lives.
//!
//! What can be changed in place is: the role, the lease and what is known of others
//! stay. Where the addresses are to be placed differently, or the group is another
//! one, the old one is given up and a new one begins.

use std::net::Ipv4Addr;

use super::sets::WINDOW;
use super::{
    Group, GroupConfig, Instant, Output, Placement, Policy, Role, Stage, VecDeque, election,
};
use crate::carp::election::Transit;

impl Group {
    /// Whether the group goes on with this configuration.
    pub(in crate::engine) fn is_continued_by(&self, config: &GroupConfig) -> bool {
        let own = &self.config;
        (own.interface, own.vhid, own.placement)
            == (config.interface, config.vhid, config.placement)
    }

    /// Goes on with another configuration. Where nothing differs, nothing follows.
    /// Addresses that are given away have been dropped before.
    pub(in crate::engine) fn reconfigure(
        &mut self,
        config: GroupConfig,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let before = std::mem::replace(&mut self.config, config);
        self.sets.reconfigure(&self.config, &before.vips, now);
        self.change_trust(before.auth.policy, now, out);
        self.change_timing(&before, now, out);
        self.add_vips(&before.vips, now, out);
        if before.name != self.config.name {
            // They are kept under the name.
            let group = self.id;
            let remember = |signer| Output::Remember { group, signer };
            out.extend(self.trust.signers().map(remember));
        }
    }

    /// Gives up those addresses that are not among `kept`: nobody answers for them
    /// any more, and they are taken off.
    pub(in crate::engine) fn drop_others(&mut self, kept: &[Ipv4Addr], out: &mut VecDeque<Output>) {
        let vips = self.config.vips.iter().copied();
        let dropped: Vec<_> = vips.filter(|vip| !kept.contains(vip)).collect();
        self.drop_vips(dropped, out);
    }

    /// Ends the group for good. Addresses that others are `wanted` for go at once, the
    /// rest when clients have heard the successor.
    pub(in crate::engine) fn leave(
        &mut self,
        wanted: &[Ipv4Addr],
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        self.shut_down(now, out);
        let vips = self.config.vips.iter().copied();
        let dropped: Vec<_> = vips.filter(|vip| wanted.contains(vip)).collect();
        self.drop_vips(dropped, out);
        self.config.vips.retain(|vip| !wanted.contains(vip));
        if self.config.vips.is_empty() {
            self.end_drain();
        }
    }

    pub(in crate::engine) fn is_forgotten(&self) -> bool {
        self.is_forgotten
    }

    /// Clients have had their time.
    pub(in crate::engine) fn end_drain(&mut self) {
        self.unplace_at = None;
    }

    /// The responder is to know its addresses, before it takes part.
    pub(in crate::engine) fn begin(&mut self, out: &mut VecDeque<Output>) {
        self.adding = self.config.vips.clone();
        self.answer_added(out);
    }

    /// The addresses leave `lo` or the interface, and the responder knows the group
    /// no more.
    pub(in crate::engine) fn forget(&mut self, out: &mut VecDeque<Output>) {
        if std::mem::replace(&mut self.is_forgotten, true) {
            return;
        }
        self.drop_others(&[], out);
        out.push_back(Output::Forget {
            interface: self.interface(),
            group: self.id,
        });
    }

    /// The window is over in which its peers may be configured as it was before.
    pub(super) fn end_windows_if_due(&mut self, now: Instant) {
        self.sets.end_if_due(now);
        if self.transit.take_if(|(_, until)| now >= *until).is_some() {
            self.election.set_transit(None);
        }
    }

    pub(super) fn windows_end_at(&self) -> Option<Instant> {
        let transit = self.transit.map(|(_, until)| until);
        transit.into_iter().chain(self.sets.poll_timeout()).min()
    }

    /// What was added is on the interface, or need not be.
    pub(super) fn answer_added(&mut self, out: &mut VecDeque<Output>) -> bool {
        let vips = std::mem::take(&mut self.adding);
        let has_added = !vips.is_empty();
        if has_added {
            let (interface, group) = (self.interface(), self.id);
            out.push_back(Output::Know {
                interface,
                group,
                vips,
            });
        }
        has_added
    }

    fn drop_vips(&mut self, vips: Vec<Ipv4Addr>, out: &mut VecDeque<Output>) {
        if vips.is_empty() {
            return;
        }
        self.adding.retain(|vip| !vips.contains(vip));
        let (interface, group) = (self.interface(), self.id);
        out.push_back(Output::Drop {
            interface,
            group,
            vips,
        });
    }

    /// The address first, then the map, then the announcements, as in a takeover.
    fn add_vips(&mut self, before: &[Ipv4Addr], now: Instant, out: &mut VecDeque<Output>) {
        let vips = self.config.vips.iter().copied();
        let added = vips.filter(|vip| !before.contains(vip));
        self.adding.extend(added);
        if self.adding.is_empty() {
            return;
        }
        let stage = self.claim.map(|claim| claim.stage);
        match (self.config.placement, stage) {
            (Placement::Interface, Some(Stage::Placing | Stage::Waiting | Stage::Answering)) => {
                self.place(out)
            }
            (Placement::Interface | Placement::Loopback | Placement::None, _) => {
                self.answer_added(out);
                if self.is_answering() {
                    self.announcements.begin(now);
                    self.announce_if_due(now, out);
                }
            }
        }
    }

    fn change_trust(&mut self, before: Policy, now: Instant, out: &mut VecDeque<Output>) {
        let policy = self.config.auth.policy;
        let period = self.config.timing.interval.period();
        self.trust.reconfigure(policy, period);
        let takes_part = self.election.role() != Role::Init;
        if before == Policy::Off && policy != Policy::Off && takes_part {
            // Nobody knows this host, and it knows nobody.
            self.take_part(now, out);
        }
    }

    fn change_timing(&mut self, before: &GroupConfig, now: Instant, out: &mut VecDeque<Output>) {
        let (promised, timing) = (self.promises(), self.config.timing);
        if timing.differs(before.timing) {
            let under_way = self.transit.map(|(transit, _)| transit);
            let transit = Transit::between(under_way, before.timing, timing);
            self.transit = Some((transit, now + WINDOW));
            self.election.set_transit(Some(transit));
        }
        self.election.reconfigure(election::Config {
            timing,
            preempt: self.config.preempt,
            preempt_delay: self.config.preempt_delay,
            startup_delay: self.config.startup_delay,
            address: self.source_address().unwrap_or(Ipv4Addr::UNSPECIFIED),
        });
        if timing == before.timing {
            return;
        }
        let Some(claim) = &mut self.claim else { return };
        let promises = self.election.promises();
        if promises.lease() < promised.lease() {
            // Peers may wait by the next advert alone as soon as it is out.
            claim.lease_until = claim.lease_until.min(now + promises.lease());
            claim.lapses_at = claim.lapses_at.min(now + promises.lapse());
            if claim.stage == Stage::Answering {
                self.write_lease(out);
            }
        }
        self.election.begin_beat(now);
        self.advertise(out);
    }
}
