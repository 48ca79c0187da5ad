//! What must hold, looked at from outside: frames on the wire, answers to
//! requests, where a client's packets end up. A role is looked at only to name it.

use std::collections::BTreeMap;

use vipd::carp::{Advertisement, Interval, Role};
use vipd::engine::{Engine, GroupCounters, GroupId};
use vipd::mac::MacAddr;
use vipd::time::Instant;
use vipd_common::arp::{self, ArpFrame};

use super::checker::{Checker, Violation, time};
use super::host::WAKE_DELAY;
use super::lan::Origin;
use super::sabotage::Sabotage;
use super::setup::{MICROSECOND, MILLISECOND, Nanos, SECOND};
use super::world::{Event as WorldEvent, World};

/// One host's time as a master, as the wire showed it.
#[derive(Clone, Copy, Debug)]
struct Term {
    host: usize,
    began: Nanos,
    preempting: bool,
    answers: Option<(Nanos, Nanos)>,
}

/// What a host has shown of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    since: Option<Instant>,
    /// The last advert of this term that left.
    advert: Option<(Nanos, Interval)>,
    /// Number of its last term in the group's list.
    term: Option<usize>,
    pub(super) counters: GroupCounters,
}

pub struct Checks {
    /// By group.
    terms: Vec<Vec<Term>>,
    /// By host and group.
    pub(super) shown: Vec<Vec<Shown>>,
    /// Lines logged, by host, its incarnation, group and kind; and since when.
    pub(super) lines: BTreeMap<(usize, u32, u32, &'static str), (u64, Nanos)>,
    /// When a request was last answered, by group.
    pub(super) served_at: Vec<Nanos>,
    /// Requests judged in a settled world.
    pub judged: u64,
}

impl Checks {
    pub fn new(hosts: usize, groups: usize) -> Self {
        Self {
            terms: vec![Vec::new(); groups],
            shown: vec![vec![Shown::default(); groups]; hosts],
            lines: BTreeMap::new(),
            served_at: vec![0; groups],
            judged: 0,
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

    /// What the host does from now on is not measured: it was stopped between an
    /// advert and what stands on it.
    pub(super) fn forget_terms(&mut self, host: usize) {
        for shown in &mut self.checks.shown[host] {
            shown.term = None;
        }
    }

    fn enter_term(&mut self, host: usize, engine: &Engine, group: GroupId) {
        let since = engine
            .group(group)
            .and_then(|view| view.since)
            .map(|(at, _)| at);
        let shown = &mut self.checks.shown[host][group.0 as usize];
        if shown.since != since {
            shown.since = since;
            shown.advert = None;
            shown.term = None;
        }
    }

    pub(super) fn is_taking_over(&mut self, host: usize, engine: &Engine, group: GroupId) -> bool {
        self.enter_term(host, engine, group);
        self.checks.shown[host][group.0 as usize].advert.is_none()
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
        let g = group.0 as usize;
        if frame[12..14] == arp::ETHERTYPE {
            if self.setup.sabotage == Some(Sabotage::ForeignMacAnnounced) {
                frame[27] ^= 0x10;
            }
            self.check_announcement(host, lan, g, &frame);
        } else if let Ok((_, advert)) = Advertisement::parse(&frame[14..]) {
            self.check_advert(host, lan, engine, group, &advert, &frame);
        }
        self.broadcast(lan, host, &frame, Origin::Node(host));
    }

    fn check_announcement(&mut self, host: usize, lan: usize, g: usize, frame: &[u8]) {
        let Ok(frame) = ArpFrame::parse(frame) else {
            return;
        };
        self.note_host(host, || {
            format!("announces {:?} at {}", frame.spa, MacAddr(frame.sha))
        });
        let clock = self.clock(host).as_nanos();
        let may = self.hosts[host].kernel.answers(g, clock) || self.hosts[host].drains_late;
        if !may {
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
        let g = group.0 as usize;
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
                again[34..].copy_from_slice(&advert.emit());
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
            self.check_takeover(host, g, interval);
        }
        let now = self.now;
        let shown = &mut self.checks.shown[host][g];
        shown.advert = Some((now, interval));
    }

    /// The first advert of a term.
    fn check_takeover(&mut self, host: usize, g: usize, interval: Interval) {
        let (now, reaction) = (self.now, self.reaction());
        let lan = self.setup.groups[g].lan;
        let preempts = self.setup.hosts[host].preempt;
        let own_timing = vipd::carp::timers::Timing {
            interval: self.setup.hosts[host].intervals[g],
            dead_ratio: self.setup.groups[g].dead_ratio,
        };
        let mut preempting = false;
        let is_clean = self.setup.is_clean && !self.hosts[host].drains_late;
        for other in (0..self.hosts.len()).filter(|other| is_clean && *other != host) {
            let shown = self.checks.shown[other][g];
            let began = shown.term.map(|term| self.checks.terms[g][term].began);
            let is_together = began.is_some_and(|began| began + reaction >= now);
            let clock = self.clock(other).as_nanos();
            let answers =
                self.hosts[other].kernel.nics[lan].up && self.hosts[other].kernel.answers(g, clock);
            if is_together {
                let configured = self.setup.hosts[other].intervals[g];
                // Both have followed the same master, and for long enough.
                let long = self.settling_time();
                let is_calm = |h: usize| self.hosts[h].disturbed_at + long < now;
                let alike = configured.advbase == own_timing.interval.advbase;
                if alike
                    && !configured.ties_with(own_timing.interval)
                    && is_calm(host)
                    && is_calm(other)
                {
                    self.violated(
                        Checker::SkewOrders,
                        format!("host{host} and host{other} take over group {g} together"),
                    );
                }
            } else if answers && let Some((_, peer)) = shown.advert {
                let may = preempts && interval.outranks(peer) || own_timing.will_time_out(peer);
                preempting |= may;
                if !may {
                    self.violated(
                        Checker::NoTakeoverUnderLease,
                        format!("host{host} takes group {g} from host{other}"),
                    );
                }
            }
        }
        let term = Term {
            host,
            began: now,
            preempting,
            answers: None,
        };
        self.checks.terms[g].push(term);
        self.checks.shown[host][g].term = Some(self.checks.terms[g].len() - 1);
    }

    /// The map is written.
    pub(super) fn write_lease(
        &mut self,
        host: usize,
        engine: &Engine,
        group: GroupId,
        entry: vipd_common::Group,
    ) {
        let g = group.0 as usize;
        self.enter_term(host, engine, group);
        let until = entry
            .lease_until_ns
            .saturating_sub(self.hosts[host].boot_offset);
        self.note_host(host, || format!("lease   group {g} until {}", time(until)));
        let ratio = Nanos::from(self.setup.groups[g].dead_ratio);
        match self.checks.shown[host][g].advert {
            None => self.violated(
                Checker::FirstFrameIsAdvert,
                format!("host{host}, group {g}"),
            ),
            Some((sent_at, interval)) => {
                let earliest = match interval.advbase {
                    0 => sent_at + ratio * SECOND / 256,
                    base => sent_at + ratio * Nanos::from(base) * SECOND,
                };
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
        if is_new {
            let soon = self.reaction() * 3 / 2;
            self.at(self.now, WorldEvent::AskOnce { group: g });
            self.at(self.now + soon, WorldEvent::AskOnce { group: g });
        }
    }

    /// A host answers a request.
    pub(super) fn answered(&mut self, host: usize, g: usize) {
        let Some(number) = self.checks.shown[host][g].term else {
            return;
        };
        let (now, reaction) = (self.now, self.reaction());
        let term = &mut self.checks.terms[g][number];
        let first = term.answers.map_or(now, |(first, _)| first);
        term.answers = Some((first, now));
        if !self.setup.is_clean {
            return;
        }
        // Every later term; this host may answer on for as long as the new
        // master's advert travels, and no longer.
        for later in self.checks.terms[g].clone() {
            let Some((since, last)) = later.answers.filter(|_| later.host != host) else {
                continue;
            };
            let overlap = now.min(last).saturating_sub(since.max(first));
            if overlap <= reaction {
                continue;
            }
            // The lease protects from a master that is silent. It cannot
            // protect from one that is silent only since it was preempted.
            let older = if later.began > term_began(self, g, number) {
                host
            } else {
                later.host
            };
            let younger = if older == host {
                later
            } else {
                self.checks.terms[g][number]
            };
            let was_stopped = !self.hosts[older].is_running()
                || self.hosts[older].disturbed_at + MILLISECOND >= younger.began
                || self.hosts[older].map_fails;
            if younger.preempting && was_stopped {
                self.coverage.insert("preempted a stopped master");
                continue;
            }
            self.violated(
                Checker::NoAnswerAfterSuccessor,
                format!(
                    "host{host} and host{} both answered for group {g} during {}",
                    later.host,
                    time(overlap)
                ),
            );
        }
    }
}

fn term_began(world: &World, g: usize, number: usize) -> Nanos {
    world.checks.terms[g][number].began
}
