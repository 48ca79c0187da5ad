//! That two never answer. Looked at where it can begin to be broken: a kernel is
//! told to answer, a link comes up, a legacy host takes over.
//!
//! Between vipd hosts five things excuse, each measured in this very world:
//!
//! - **Lost adverts.** No advert on which the older host's lease stands has
//!   reached the younger one for as long as a lease lasts, or since the older one
//!   claimed the role, and one that should have was lost on the wire or at a link
//!   that was down. No lease can protect from a master that is alive and not heard.
//!   The same goes for adverts that the younger one does not believe, as it cannot
//!   make itself heard and ask.
//! - **A third master.** The younger one started after it could hear the older one,
//!   and took over from another that was master as well: a network that was torn
//!   had two masters already, or a legacy host was one of them.
//! - **Claims that cross.** Both claimed the role at once: each claim was on its
//!   way while the other was made. It may last until both have been heard.
//! - **Another advbase.** The younger one heard nothing for its own master-down
//!   time, which is shorter than the other's interval: peers share advbase.
//! - **A legacy host**, which knows no lease: only its waiting is judged.

use std::collections::{BTreeMap, BTreeSet};

use vipd::carp::{Policy, Reason, Session};
use vipd::engine::Engine;

use super::checker::{Checker, time};
use super::lan::Frame;
use super::setup::{Nanos, Program, SECOND, nanos};
use super::world::{Event, World};

/// What became of one host's adverts at another.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// When the last of those was sent that arrived, and of those that did not.
    arrived: Option<Nanos>,
    lost: Option<Nanos>,
}

/// Who may answer beside whom, and what became of adverts.
#[derive(Default)]
pub struct Succession {
    /// By sender, receiver and group.
    reach: BTreeMap<(usize, usize, usize), Reach>,
    /// Excused, and not over: group and hosts, the lower one first.
    excused: BTreeSet<(usize, usize, usize)>,
}

impl World {
    /// An advert does not reach this host.
    pub(super) fn lost(&mut self, from: usize, to: usize, frame: &Frame) {
        if let Some(sent) = frame.advert {
            let reach = self.reach_mut(from, to, sent.group);
            reach.lost = reach.lost.max(Some(sent.at));
        }
    }

    pub(super) fn undelivered(&mut self, to: usize, frame: &Frame) {
        if let super::lan::Origin::Node(from) = frame.origin {
            self.lost(from, to, frame);
        }
    }

    /// An advert is at the host, whether its daemon runs or not: one that starts
    /// listens before it acts.
    pub(super) fn delivered(&mut self, to: usize, frame: &Frame) {
        if let (super::lan::Origin::Node(from), Some(sent)) = (frame.origin, frame.advert)
            // What is sent in a set that the host does not have comes in the other one, too.
            && self.has_set_of(to, sent.group, frame)
        {
            let is_of_use = self.can_believe(from, to, sent.group);
            let reach = self.reach_mut(from, to, sent.group);
            if is_of_use {
                reach.arrived = reach.arrived.max(Some(sent.at));
            } else {
                reach.lost = reach.lost.max(Some(sent.at));
            }
        }
    }

    /// Who signs is believed when it has introduced itself. Where a host cannot make
    /// itself heard it cannot ask, so an advert is of no more use to it than a lost
    /// one. Elsewhere that is no excuse.
    fn can_believe(&self, from: usize, to: usize, g: usize) -> bool {
        let can_ask = self.setup.is_clean && !self.hosts[to].was_mute;
        let is_stranger = self.view(from, g).is_some_and(|sender| {
            let of_sender = |(_, session): &(_, Session)| *session == sender.session;
            let receiver = self.view(to, g);
            receiver.is_some_and(|receiver| !receiver.signing_peers.iter().any(of_sender))
        });
        can_ask || self.setup.auth == Policy::Off || !is_stranger
    }

    /// Whether a host that could not ask does not believe another.
    pub(super) fn cannot_know(&self, engine: &Engine, host: usize, other: usize, g: usize) -> bool {
        let sender = self.view(other, g).map(|view| view.session);
        let receiver = engine.group(self.group_id(host, g));
        let knows = receiver.is_some_and(|receiver| {
            let mut sessions = receiver.signing_peers.iter().map(|(_, session)| *session);
            sessions.any(|session| Some(session) == sender)
        });
        self.setup.auth != Policy::Off && self.hosts[host].was_mute && !knows
    }

    fn reach_mut(&mut self, from: usize, to: usize, group: usize) -> &mut Reach {
        let key = (from, to, group);
        self.checks.succession.reach.entry(key).or_default()
    }

    /// Whether this host's kernel would answer a request.
    pub(super) fn is_heard_answering(&self, host: usize, g: usize) -> bool {
        let lan = self.setup.groups[g].lan;
        let kernel = &self.hosts[host].kernel;
        kernel.nics[lan].up && kernel.answers(g, self.clock(host).as_nanos())
    }

    /// The host may answer from now on, or again.
    pub(super) fn check_alone(&mut self, younger: usize, g: usize, is_new: bool) {
        let among = |pair: &(usize, usize, usize)| {
            let (group, a, b) = *pair;
            group == g && (a == younger || b == younger)
        };
        let both = |world: &Self, pair: &(usize, usize, usize)| {
            world.is_heard_answering(pair.1, pair.0) && world.is_heard_answering(pair.2, pair.0)
        };
        let mut excused = std::mem::take(&mut self.checks.succession.excused);
        excused.retain(|pair| !(is_new && among(pair)) && (pair.0 != g || both(self, pair)));
        self.checks.succession.excused = excused;

        for older in 0..self.hosts.len() {
            let is_vipd = self.setup.hosts[older].program == Program::Vipd;
            if older == younger || !is_vipd || !self.is_heard_answering(older, g) {
                continue;
            }
            let pair = (g, older.min(younger), older.max(younger));
            if self.checks.succession.excused.contains(&pair) {
                continue;
            }
            // A host that was stopped may write its lease when it has a successor.
            let is_late = self.term_began(younger, g) < self.term_began(older, g);
            let is_back = is_late || !is_new;
            // Its claim was lost, and the answer to it is on its way.
            let crosses = self.is_on_its_way(older, younger, g);
            if self.was_unheard(older, younger, g)
                || self.was_unheard(younger, older, g) && (is_back || crosses)
            {
                self.coverage.insert("two answer: not heard");
            } else if self.found_two_masters(older, younger, g) {
                self.coverage.insert("two answer: third master");
            } else if self.has_other_advbase(older, younger, g) {
                self.coverage.insert("two answer: other advbase");
            } else if self.claims_cross(older, younger, g) {
                self.coverage.insert("two answer: claims cross");
                let (a, b) = (pair.1, pair.2);
                let soon = self.now + 2 * self.reaction();
                self.at(soon, Event::JudgeCrossing { group: g, a, b });
            } else {
                let what = format!("host{younger} answers for group {g}, and so does host{older}");
                return self.violated(Checker::NoAnswerAfterSuccessor, what);
            }
            self.checks.succession.excused.insert(pair);
        }
    }

    /// Whether the younger one heard nothing of what the older one's lease
    /// stands on, for as long as a lease lasts, because something was lost.
    fn was_unheard(&self, older: usize, younger: usize, g: usize) -> bool {
        // Or had been when it claimed the role, and was stopped since, before it
        // could read what it had claimed it for.
        let unread = self.term_began(younger, g).is_some_and(|claimed_at| {
            self.hosts[younger].stopped_at >= claimed_at
                && self.checks.shown[younger][g].unheard.contains(&older)
        });
        unread || self.is_unheard(older, younger, g)
    }

    /// At this moment.
    pub(super) fn is_unheard(&self, older: usize, younger: usize, g: usize) -> bool {
        let reach = self.checks.succession.reach.get(&(older, younger, g));
        let Some(Reach { arrived, lost }) = reach.copied() else {
            return false;
        };
        let lease = self.longest_lease(older, g);
        let is_old = |sent_at: Nanos| {
            let began = self.term_began(older, g);
            sent_at + lease <= self.now || began.is_some_and(|began| sent_at < began)
        };
        lost > arrived && arrived.is_none_or(is_old)
    }

    fn found_two_masters(&self, older: usize, younger: usize, g: usize) -> bool {
        let reach = self.checks.succession.reach.get(&(older, younger, g));
        let arrived = reach.and_then(|reach| reach.arrived);
        let follows_another = matches!(
            self.checks.shown[younger][g].reason,
            Some(
                Reason::Preempt
                    | Reason::MasterDemoted
                    | Reason::MasterResigned
                    | Reason::MasterTooSlow
            )
        );
        follows_another && arrived.is_none_or(|at| at < self.hosts[younger].listens_since)
    }

    /// Whether the younger one could not know of a master that advertises so
    /// seldom.
    fn has_other_advbase(&self, older: usize, younger: usize, g: usize) -> bool {
        let (slow, own) = (self.timing(older, g), self.timing(younger, g));
        let reach = self.checks.succession.reach.get(&(older, younger, g));
        let heard_at = reach.and_then(|reach| reach.arrived);
        let wait = nanos(own.master_down(None));
        slow.interval.advbase > own.interval.advbase
            && heard_at.is_none_or(|sent_at| {
                let claimed_at = self.term_began(younger, g).unwrap_or(self.now);
                let is_later = sent_at + self.setup.wire.max_delay >= claimed_at;
                is_later || sent_at + wait <= claimed_at
            })
    }

    /// CARP's own bound, which a lease must keep below.
    pub fn longest_lease(&self, host: usize, g: usize) -> Nanos {
        let ratio = Nanos::from(self.setup.groups[g].dead_ratio);
        match self.setup.hosts[host].intervals[g].advbase {
            0 => ratio * SECOND / 256,
            base => ratio * Nanos::from(base) * SECOND,
        }
    }

    fn claims_cross(&self, older: usize, younger: usize, g: usize) -> bool {
        let began = |h: usize| self.term_began(h, g);
        match (began(older), began(younger)) {
            (Some(one), Some(other)) => one.abs_diff(other) <= self.setup.wire.max_delay,
            _ => false,
        }
    }

    /// Claims crossed: by now one of them has been given up.
    pub(super) fn judge_crossing(&mut self, g: usize, a: usize, b: usize) {
        let is_open = |h: usize| self.hosts[h].is_running() && self.is_heard_answering(h, g);
        let lost = |from, to| {
            let key = (from, to, g);
            let reach = self.checks.succession.reach.get(&key);
            reach.is_some_and(|reach| reach.lost > reach.arrived)
        };
        if is_open(a) && is_open(b) && !lost(a, b) && !lost(b, a) {
            let what = format!("host{a} and host{b} go on to answer for group {g}");
            self.violated(Checker::NoAnswerAfterSuccessor, what);
        }
    }

    /// Whether the last advert has not arrived, and may yet.
    pub(super) fn is_on_its_way(&self, from: usize, to: usize, g: usize) -> bool {
        let sent_at = self.checks.shown[from][g].advert.map(|(at, _)| at);
        let reach = self.checks.succession.reach.get(&(from, to, g));
        let arrived = reach.and_then(|reach| reach.arrived);
        sent_at > arrived && sent_at.is_some_and(|at| at + self.setup.wire.max_delay >= self.now)
    }

    /// A legacy host took the master for dead. It shares advbase and ratio, so
    /// nobody whose advert it heard may answer any more.
    pub(super) fn check_legacy_timeout(&mut self, legacy: usize, g: usize) {
        for older in 0..self.hosts.len() {
            if older == legacy
                || self.is_on_its_way(older, legacy, g)
                || !self.is_heard_answering(older, g)
                || self.was_unheard(older, legacy, g)
            {
                continue;
            }
            let clock = self.clock(older).as_nanos();
            let kernel = &self.hosts[older].kernel;
            let left = kernel.groups[&g].lease_until_ns - clock;
            let what = format!(
                "host{legacy} (ucarp) takes group {g}, host{older} answers {} longer",
                time(left)
            );
            self.violated(Checker::NoTakeoverUnderLease, what);
        }
    }
}
