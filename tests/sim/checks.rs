//! What must hold, looked at from outside: frames on the wire, answers to
//! requests, where a client's packets end up. A role is looked at only to name it.

use std::collections::{BTreeMap, BTreeSet};

use vipd::carp::packet::{Body, Packet};
use vipd::carp::timers::Timing;
use vipd::carp::{Advertisement, Interval, Reason, Role};
use vipd::engine::{Engine, GroupCounters, GroupId};
use vipd::mac::MacAddr;
use vipd::time::Instant;
use vipd_common::arp::{self, ArpFrame};

use super::checker::{Checker, Violation, time};
use super::host::WAKE_DELAY;
use super::lan::Origin;
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, MILLISECOND, Nanos, nanos};
use super::succession::Succession;
use super::world::{Event as WorldEvent, World};

/// How late a claim may be sent at least, as the engine has it.
const LEAST_GRACE: Nanos = 2 * MILLISECOND;

/// What a host has shown of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    since: Option<Instant>,
    /// The last advert of this term that left.
    pub(super) advert: Option<(Nanos, Interval)>,
    /// When it claimed the role of this term, or the last.
    pub(super) began: Option<Nanos>,
    /// Whose adverts had been lost for so long when it did.
    pub(super) unheard: Vec<usize>,
    /// Why it has the role that it has.
    pub(super) reason: Option<Reason>,
    pub(super) counters: GroupCounters,
    /// Under which number.
    pub(super) counted: Option<GroupId>,
}

pub struct Checks {
    pub(super) succession: Succession,
    /// By host and group.
    pub(super) shown: Vec<Vec<Shown>>,
    /// Lines logged, by host, its incarnation, group and kind; and since when.
    pub(super) lines: BTreeMap<(usize, u32, u32, &'static str), (u64, Nanos)>,
    /// Addresses that a stranger claimed when their owner could not notice it, and
    /// that have not been announced since.
    pub(super) unnoticed: BTreeSet<[u8; 4]>,
    /// When a request was last answered, by group.
    pub(super) served_at: Vec<Nanos>,
    /// Requests judged in a settled world.
    pub judged: u64,
    /// Requests that nobody answered, whatever the reason.
    pub unanswered: u64,
}

impl Checks {
    pub fn new(hosts: usize, groups: usize) -> Self {
        Self {
            succession: Succession::default(),
            shown: vec![vec![Shown::default(); groups]; hosts],
            lines: BTreeMap::new(),
            unnoticed: BTreeSet::new(),
            served_at: vec![0; groups],
            judged: 0,
            unanswered: 0,
        }
    }
}

impl World {
    pub(super) fn violated(&mut self, checker: Checker, what: String) {
        let at = self.now;
        self.note("-", || format!("VIOLATION {checker:?}: {what}"));
        self.violation
            .get_or_insert(Violation { checker, at, what });
    }

    /// The longest time from one host's doing until another has acted on it.
    pub(super) fn reaction(&self) -> Nanos {
        self.setup.wire.max_delay + WAKE_DELAY + MICROSECOND
    }

    /// A daemon started anew.
    pub(super) fn forget_host(&mut self, host: usize) {
        self.checks.shown[host].fill(Shown::default());
    }

    /// When the host claimed the role that it has, or had last.
    pub(super) fn term_began(&self, host: usize, g: usize) -> Option<Nanos> {
        self.checks.shown[host][g].began
    }

    fn enter_term(&mut self, host: usize, engine: &Engine, group: GroupId) {
        let changed = engine.group(group).and_then(|view| view.since);
        let since = changed.map(|(at, _)| at);
        let g = self.group_index(host, group);
        let shown = &mut self.checks.shown[host][g];
        if shown.since != since {
            shown.since = since;
            shown.advert = None;
            shown.began = None;
            shown.reason = changed.map(|(_, reason)| reason);
        }
    }

    pub(super) fn is_taking_over(&mut self, host: usize, engine: &Engine, group: GroupId) -> bool {
        self.enter_term(host, engine, group);
        let g = self.group_index(host, group);
        self.checks.shown[host][g].advert.is_none()
    }

    /// A frame leaves a host.
    pub(super) fn transmit(
        &mut self,
        host: usize,
        lan: usize,
        engine: &Engine,
        group: GroupId,
        mut frame: Vec<u8>,
    ) {
        let g = self.group_index(host, group);
        if frame[12..14] == arp::ETHERTYPE {
            if self.setup.sabotage == Some(Sabotage::ForeignMacAnnounced) {
                frame[27] ^= 0x10;
            }
            self.check_announcement(host, lan, g, &frame);
        } else if let Ok((_, advert)) = Advertisement::parse(&frame[14..]) {
            self.check_advert(host, lan, engine, group, &advert, &frame);
        }
        if frame[12..14] != arp::ETHERTYPE {
            self.capture(lan, &frame);
        }
        if let Ok(packet) = Packet::parse(&frame[14..])
            && let Body::Introduction(trailer) = packet.body
        {
            self.note_host(host, || format!("group {g}: {:?}", trailer.kind));
        }
        match Advertisement::parse(&frame[14..]) {
            Ok((_, advert)) if advert.interval.advskew != 255 => {
                self.broadcast_advert(lan, host, &frame, g);
            }
            _ => self.broadcast(lan, host, &frame, Origin::Node(host)),
        }
    }

    fn check_announcement(&mut self, host: usize, lan: usize, g: usize, frame: &[u8]) {
        let Ok(frame) = ArpFrame::parse(frame) else {
            return;
        };
        self.note_host(host, || {
            format!("announces {:?} at {}", frame.spa, MacAddr(frame.sha))
        });
        self.checks.unnoticed.remove(&frame.spa);
        let clock = self.clock(host).as_nanos();
        // Where the lease has gaps, a master is master in them, too.
        let may = self.hosts[host].kernel.answers(g, clock) || self.timing(host, g).has_gaps();
        if !may && self.hosts[host].kernel.nics[lan].up {
            self.violated(
                Checker::NoAnnouncementWithoutLease,
                format!("host{host} announces group {g}"),
            );
        }
        // The daemon may not know yet of a new network card.
        let known = |generation| super::setup::host_mac(host, lan, generation).0 == frame.sha;
        let is_own = (0..=self.hosts[host].nic_generation).any(known);
        if !is_own || self.setup.group_of(lan, frame.spa) != Some(g) || frame.eth_src != frame.sha {
            self.violated(
                Checker::OwnMacOnly,
                format!("host{host} announces {frame:?}"),
            );
        }
    }

    fn check_advert(
        &mut self,
        host: usize,
        lan: usize,
        engine: &Engine,
        group: GroupId,
        advert: &Advertisement,
        frame: &[u8],
    ) {
        let g = self.group_index(host, group);
        let interval = advert.interval;
        let gives_away = interval.advskew == 255;
        self.note_host(host, || {
            format!(
                "advert  group {g} {}/{}",
                interval.advbase, interval.advskew
            )
        });
        let clock = self.clock(host).as_nanos();
        if gives_away {
            let answers = self.hosts[host].kernel.answers(g, clock);
            let is_farewell = interval != Interval::BOW_OUT;
            if answers && !(is_farewell && self.hosts[host].map_fails) {
                self.violated(
                    Checker::SilenceBeforeGivingAway,
                    format!("host{host}, group {g}"),
                );
            }
            if self.setup.sabotage == Some(Sabotage::BackupAdvertises) && is_farewell {
                let mut advert = *advert;
                advert.interval = self.setup.hosts[host].intervals[g];
                let mut again = frame.to_vec();
                again[34..70].copy_from_slice(&advert.emit());
                self.transmit(host, lan, engine, group, again);
            }
            return;
        }
        if engine.group(group).map(|view| view.role) != Some(Role::Master) {
            self.violated(
                Checker::OnlyMastersAdvertise,
                format!("host{host}, group {g}"),
            );
        }
        if self.is_taking_over(host, engine, group) {
            let reason = engine.group(group).and_then(|view| view.since);
            match reason {
                Some((_, Reason::Resumed)) => self.check_resumed(host, g),
                _ => self.check_takeover(host, engine, g, interval),
            }
        }
        let now = self.now;
        let shown = &mut self.checks.shown[host][g];
        let last = shown.advert.replace((now, interval));
        // A master that did not speak for so long is none.
        let timing = self.timing(host, g);
        let patience = match timing.has_gaps() {
            true => 2 * nanos(timing.interval.period()),
            false => self.longest_lease(host, g),
        };
        if last.is_some_and(|(sent_at, _)| sent_at + patience < now) {
            self.violated(Checker::NothingLate, format!("host{host}, group {g}"));
        }
    }

    /// The first advert of a term.
    fn check_takeover(&mut self, host: usize, engine: &Engine, g: usize, interval: Interval) {
        let (now, reaction) = (self.now, self.reaction());
        let lan = self.setup.groups[g].lan;
        let preempts = self.setup.hosts[host].preempt;
        let own_timing = self.timing(host, g);
        let is_clean = self.setup.is_clean;
        let reason = self.checks.shown[host][g].reason;
        self.check_patience(host, g, reason);
        for other in (0..self.hosts.len()).filter(|other| is_clean && *other != host) {
            let shown = self.checks.shown[other][g].clone();
            let is_together = shown.began.is_some_and(|began| {
                began + reaction >= now || self.was_stopped_in_grace(host, g, began)
            });
            let clock = self.clock(other).as_nanos();
            let answers =
                self.hosts[other].kernel.nics[lan].up && self.hosts[other].kernel.answers(g, clock);
            if is_together {
                let configured = self.setup.hosts[other].intervals[g];
                // Both have followed the same master, and for long enough.
                let long = self.settling_time();
                let is_calm = |h: usize| self.hosts[h].disturbed_at + long < now;
                let alike = configured.advbase == own_timing.interval.advbase;
                // The wire does not turn the order around.
                let apart = nanos(configured.skew()).abs_diff(nanos(own_timing.interval.skew()));
                if alike && apart > 2 * reaction && is_calm(host) && is_calm(other) {
                    self.violated(
                        Checker::SkewOrders,
                        format!("host{host} and host{other} take over group {g} together"),
                    );
                }
            } else if answers && let Some((_, peer)) = shown.advert {
                // Whom it follows may be another than the one that answers: then
                // it waits before it answers, and is told before that.
                let follows_another = matches!(
                    self.checks.shown[host][g].reason,
                    Some(
                        Reason::Preempt
                            | Reason::MasterDemoted
                            | Reason::MasterResigned
                            | Reason::MasterTooSlow
                    )
                );
                // Where the lease has gaps, a host that has just started may hear
                // nothing before the one ends in which it makes its claim.
                let ends_gap =
                    self.timing(other, g).has_gaps() && self.is_on_its_way(other, host, g);
                let may = ends_gap
                    || self.cannot_know(engine, host, other, g)
                    || preempts && interval.outranks(peer)
                    || own_timing.will_time_out(peer)
                    || follows_another;
                if !may {
                    self.violated(
                        Checker::NoTakeoverUnderLease,
                        format!("host{host} takes group {g} from host{other}"),
                    );
                }
            }
        }
        let unheard = (0..self.hosts.len()).filter(|other| self.is_unheard(*other, host, g));
        let unheard = unheard.collect();
        let shown = &mut self.checks.shown[host][g];
        shown.unheard = unheard;
        shown.began = Some(now);
    }

    /// Whether it was stopped between its claim and the advert that says so, for no
    /// longer than a claim may be late, and another claimed the role meanwhile.
    fn was_stopped_in_grace(&self, host: usize, g: usize, other_began: Nanos) -> bool {
        let stopped_at = self.hosts[host].stopped_at;
        let grace = nanos(self.timing(host, g).guard()).max(LEAST_GRACE);
        stopped_at <= other_began && self.now <= stopped_at + grace
    }

    /// As the host is configured.
    pub(super) fn timing(&self, host: usize, g: usize) -> Timing {
        Timing {
            interval: self.setup.hosts[host].intervals[g],
            dead_ratio: self.setup.groups[g].dead_ratio,
        }
    }

    /// The map is written.
    pub(super) fn write_lease(
        &mut self,
        host: usize,
        engine: &Engine,
        group: GroupId,
        entry: vipd_common::Group,
    ) {
        let g = self.group_index(host, group);
        self.enter_term(host, engine, group);
        let until = entry
            .lease_until_ns
            .saturating_sub(self.hosts[host].boot_offset);
        self.note_host(host, || format!("lease   group {g} until {}", time(until)));
        match self.checks.shown[host][g].advert {
            // A daemon that resumed tells of its new MAC, and no longer lease.
            None if self.hosts[host].kernel.groups.get(&g).is_some_and(|old| {
                self.checks.shown[host][g].reason == Some(Reason::Resumed)
                    && old.lease_until_ns >= entry.lease_until_ns
            }) => {}
            None => self.violated(
                Checker::FirstFrameIsAdvert,
                format!("host{host}, group {g}"),
            ),
            Some((sent_at, _)) => {
                let earliest = sent_at + self.longest_lease(host, g);
                let is_planted = self.setup.sabotage == Some(Sabotage::LeaseNeverExpires);
                if until >= earliest && !is_planted {
                    self.violated(
                        Checker::LeaseWithinPromise,
                        format!("host{host}, group {g}"),
                    );
                }
            }
        }
        let clock = self.clock(host).as_nanos();
        let is_new = !self.hosts[host].kernel.answers(g, clock);
        self.hosts[host].kernel.groups.insert(g, entry);
        if until > self.now {
            self.check_alone(host, g, is_new);
        }
        if is_new {
            let soon = self.reaction() * 3 / 2;
            self.at(self.now, WorldEvent::AskOnce { group: g });
            self.at(self.now + soon, WorldEvent::AskOnce { group: g });
        }
    }
}
