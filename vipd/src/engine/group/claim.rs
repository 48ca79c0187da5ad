//! How a group takes over, and how it gives up.
//!
//! ```text
//! Advertising --sent--> Placing --placed--> Waiting --predecessor silent--> Answering
//! ```

use super::{
    Duration, Group, Instant, Interval, Output, Peer, Placement, Purpose, Reason, Transition,
    VecDeque,
};
use crate::carp::Role;

/// How often a bow-out is sent: it may be lost, and nobody asks for it again.
const BOW_OUTS: u8 = 2;

/// How long a host that gave its role away still takes what is sent to the
/// addresses: clients come here until they have heard the successor, which
/// announces itself at once, and once more after 1.1 s.
const DRAIN: Duration = Duration::from_millis(250);

/// The same where no successor has been heard yet. The slowest takes over within
/// its skew, which is less than a second.
const DRAIN_UNHEARD: Duration = Duration::from_millis(1300);

/// How late a claim may be sent at least, however short the timers are.
const LEAST_GRACE: Duration = Duration::from_millis(2);

/// How far this host has got with its claim to the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first advert has not gone out.
    Advertising,
    /// The addresses are being put on the interface.
    Placing,
    /// The master before is alive and has not said that it is silent.
    Waiting,
    /// The lease is in the map.
    Answering,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) stage: Stage,
    /// Until when this host may answer.
    pub(super) lease_until: Instant,
    /// When this host must admit that it is not master any more.
    pub(super) lapses_at: Instant,
    /// When the addresses must be placed, while they are being placed.
    pub(super) place_by: Option<Instant>,
    /// What is logged once the claim stands.
    transition: Transition,
}

impl Group {
    /// The election is won. The first step is the advert; the others follow
    /// when it has gone out.
    pub(super) fn claim(
        &mut self,
        transition: Transition,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        self.claim = Some(Claim {
            stage: Stage::Advertising,
            lease_until: now,
            lapses_at: now + self.promises().lapse(),
            place_by: None,
            transition,
        });
        self.advertise(out);
    }

    /// Goes on where an earlier daemon left off: addresses and lease are there.
    pub(super) fn resume(&mut self, until: Instant, now: Instant, out: &mut VecDeque<Output>) {
        let outcome = self.election.resume(now);
        self.follow(outcome, now, out);
        if let Some(claim) = &mut self.claim {
            claim.stage = Stage::Answering;
            claim.lease_until = until;
            claim.lapses_at = until;
            self.written_until = [Some(until), None];
            let transition = claim.transition;
            if self.config.placement == Placement::Interface {
                self.place(out);
            }
            // What the other one still had to announce, or to defend, nobody knows.
            self.announcements.begin(now);
            self.announce_if_due(now, out);
            self.log_change(transition, out);
        }
    }

    /// Takes the last step if no master before this one is left.
    pub(super) fn advance(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self.is_waiting() && self.election.predecessor().is_none() {
            self.grant(now, out);
        }
    }

    /// The same, or if its lease has ended: only when all that waits has been read,
    /// since a host that was stopped in the middle of a claim may have missed that
    /// the lease was renewed.
    pub(super) fn advance_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let predecessor = self.election.predecessor();
        if self.is_waiting() && predecessor.is_none_or(|silent_at| now >= silent_at) {
            self.grant(now, out);
        }
    }

    fn is_waiting(&self) -> bool {
        self.claim
            .is_some_and(|claim| claim.stage == Stage::Waiting)
    }

    /// When to try [`Group::advance`] again.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        let claim = self.claim?;
        self.election
            .predecessor()
            .filter(|_| claim.stage == Stage::Waiting)
    }

    /// Another host advertises. If it is the one that took over, clients will
    /// have heard of it soon.
    pub(super) fn hear_successor(&mut self, peer: Peer, now: Instant) {
        let is_master = peer.interval != Interval::BOW_OUT && !peer.interval.is_farewell();
        if is_master && let Some(at) = &mut self.unplace_at {
            *at = (*at).min(now + DRAIN);
        }
    }

    pub(in crate::engine) fn unplace_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self.unplace_at.is_some_and(|at| now >= at) {
            self.unplace(out);
        }
    }

    pub(super) fn place(&mut self, out: &mut VecDeque<Output>) {
        out.push_back(Output::PlaceAddresses {
            interface: self.interface(),
            group: self.id,
        });
    }

    /// Until when what is said as a master may be said.
    pub(super) fn speaks_until(&self) -> Option<Instant> {
        let claim = self.claim?;
        Some(match claim.stage {
            // Nobody has heard of this claim, and somebody else may make one.
            Stage::Advertising => claim.lease_until + self.promises().guard().max(LEAST_GRACE),
            Stage::Placing | Stage::Waiting | Stage::Answering => claim.lapses_at,
        })
    }

    pub(super) fn is_answering(&self) -> bool {
        self.claim
            .is_some_and(|claim| claim.stage == Stage::Answering)
    }

    /// Whether its addresses are on the interface, as far as it knows.
    pub(super) fn has_placed(&self) -> bool {
        self.claim
            .is_some_and(|claim| matches!(claim.stage, Stage::Waiting | Stage::Answering))
    }

    pub(super) fn has_lapsed(&self, at: Instant) -> bool {
        self.claim.is_some_and(|claim| at >= claim.lapses_at)
    }

    /// Mastership is lost: first of all the kernel must fall silent.
    pub(super) fn give_up(
        &mut self,
        transition: Transition,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        self.withdraw(out);
        self.beats.clear();
        out.push_back(Output::Silence {
            interface: self.interface(),
            group: self.id,
        });
        self.announcements.stop();

        // How long clients may still be served, once another host answers.
        let drain = match transition.reason {
            Reason::BetterMaster | Reason::TieLost => {
                let interval = self.config.timing.interval.farewell();
                self.transmit(interval, Purpose::Farewell, out);
                Some(DRAIN)
            }
            Reason::StepDown | Reason::Unfit | Reason::Shutdown => {
                self.bow_out(out);
                Some(DRAIN_UNHEARD)
            }
            Reason::MapFault | Reason::AddressFault => {
                self.bow_out(out);
                None
            }
            // No frame would get out, or none may be sent: whoever slept
            // through its lease has nothing to give away.
            Reason::LinkDown | Reason::LeaseExpired => None,
            // These make masters, they do not end them.
            Reason::Start
            | Reason::LinkUp
            | Reason::MasterTimeout
            | Reason::MasterResigned
            | Reason::MasterTooSlow
            | Reason::Preempt
            | Reason::MasterDemoted
            | Reason::Resumed => None,
        };

        self.answer_added(out);
        let claim = self.claim.take();
        let stage = claim.map(|claim| claim.stage);
        match (self.config.placement, stage, drain) {
            (Placement::Interface, Some(Stage::Answering), Some(drain)) => {
                self.unplace_at = Some(now + drain);
            }
            (Placement::Interface, None | Some(Stage::Advertising), _) => {}
            (Placement::Interface, Some(_), _) => self.unplace(out),
            // They leave `lo` as the last thing that the daemon does.
            (Placement::Loopback, Some(Stage::Answering), Some(drain))
                if transition.reason == Reason::Shutdown =>
            {
                self.unplace_at = Some(now + drain);
            }
            (Placement::Loopback | Placement::None, _, _) => {}
        }
        if let Some(claim) = claim.filter(|claim| claim.stage != Stage::Answering) {
            self.log_change(claim.transition, out);
        }
        self.log_change(transition, out);
    }

    /// What was about to be done for the claim must not happen any more.
    fn withdraw(&self, out: &mut VecDeque<Output>) {
        let id = self.id;
        out.retain(|output| {
            !matches!(
                output,
                Output::Transmit { group, .. } | Output::Lease { group, .. }
                    | Output::PlaceAddresses { group, .. } if *group == id
            )
        });
    }

    /// The last step of taking over.
    fn grant(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let Some(claim) = &mut self.claim else { return };
        claim.stage = Stage::Answering;
        let transition = claim.transition;
        self.write_lease(out);
        self.announcements.begin(now);
        self.announce_if_due(now, out);
        self.log_change(transition, out);
    }

    pub(super) fn write_lease(&mut self, out: &mut VecDeque<Output>) {
        let (Some(claim), Some(link)) = (self.claim, self.link) else {
            return;
        };
        self.written_until = [Some(claim.lease_until), self.written_until[0]];
        out.push_back(Output::Lease {
            interface: self.interface(),
            group: self.id,
            vhid: self.config.vhid,
            owner: link.mac,
            until: claim.lease_until,
        });
    }

    /// Takes back what would let another host take over at once.
    pub(super) fn withdraw_last_words(&self, out: &mut VecDeque<Output>) {
        let id = self.id;
        out.retain(|output| {
            !matches!(
                output,
                Output::Transmit {
                    group,
                    purpose: Purpose::BowOut | Purpose::Farewell,
                    ..
                } if *group == id
            )
        });
    }

    fn bow_out(&mut self, out: &mut VecDeque<Output>) {
        for _ in 0..BOW_OUTS {
            self.transmit(Interval::BOW_OUT, Purpose::BowOut, out);
        }
    }

    fn unplace(&mut self, out: &mut VecDeque<Output>) {
        self.unplace_at = None;
        // A host that is master again has put them there for itself.
        let is_wanted = self.election.role() == Role::Master;
        if self.config.placement == Placement::Interface && !is_wanted {
            out.push_back(Output::RemoveAddresses {
                interface: self.interface(),
                group: self.id,
            });
        }
    }
}
