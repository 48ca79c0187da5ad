//! One group: an election, and what this host does with its outcome.
//!
//! Here is what happens to it; how it takes over and gives up is in `claim`,
//! what it sends in `frames`, what it hears and believes in `hear`, how fit it is
//! and with whom it moves in `fitness`, how it goes on with another configuration in
//! `reconfigure`.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

mod beat;
mod claim;
mod fitness;
mod frames;
mod hear;
mod reconfigure;
mod sets;

use super::announce::Schedule;
use super::episode::{Episodes, Kind};
use super::{
    Duration, Effect, Event, GroupConfig, GroupId, Instant, InterfaceId, Interval, Link, MacAddr,
    Output, Placement, Purpose, Reason, Source, Vhid,
};
use crate::carp::election::Transit;
use crate::carp::timers::Timing;
use crate::carp::trust::{Policy, Trust};
use crate::carp::{
    Election, Fitness, Mismatch, Outcome, Peer, Role, Session, Transition, election,
};

use beat::{Beats, Told};
use claim::{Claim, Stage};
use sets::Sets;

/// Least time between two adverts that others provoke.
const MIN_PROVOKED_GAP: Duration = Duration::from_millis(100);

/// How long the host may take to put the addresses on the interface, at least: it
/// is work for a thread without real-time priority, which waits its turn on a busy
/// machine, and another host would be no faster. A master that cannot answer for
/// longer, and longer than its lease, had better be none.
const LEAST_PLACING: Duration = Duration::from_millis(500);

/// What happened to a group since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Adverts that went out, farewells and bow-outs included.
    pub adverts_sent: u64,
    /// Adverts of others that verified.
    pub adverts_received: u64,
    /// Adverts with our vhid whose digest does not verify; and of these, those
    /// that were made with a key that this host does not have, without a password,
    /// and with other virtual addresses.
    pub bad_digest: u64,
    pub bad_digest_unknown_key: u64,
    pub bad_digest_no_password: u64,
    pub bad_digest_addresses: u64,
    /// Messages of hosts whose addresses are being changed, in the set that this host
    /// does not have: they say the same in the one that it has.
    pub other_set: u64,
    /// Packets of VRRP routers with our vhid as their id.
    pub vrrp: u64,
    /// Our own adverts, come back.
    pub looped: u64,
    /// Unsigned adverts where signed ones are due.
    pub unsigned_refused: u64,
    /// Adverts and introductions whose signature is wrong.
    pub bad_signature: u64,
    /// Adverts and introductions that were heard before.
    pub replayed: u64,
    /// Signed adverts of hosts that had not introduced themselves.
    pub strangers: u64,
    /// Introductions that were sent.
    pub introductions: u64,
    /// Adverts that could not be sent.
    pub send_errors: u64,
    /// Leases that could not be written.
    pub map_errors: u64,
    /// Times the addresses could not be placed.
    pub address_errors: u64,
    /// Addresses that somebody removed.
    pub addresses_lost: u64,
    /// Gratuitous ARP frames.
    pub announcements: u64,
    /// Claims of our addresses by other hosts' ARP.
    pub conflicts: u64,
    /// Adverts of less preferred hosts heard as a master.
    pub challenges: u64,
    /// Changes of role.
    pub transitions: u64,
}

/// What can be seen of a group.
#[derive(Clone)]
pub struct GroupView<'a> {
    pub id: GroupId,
    pub config: &'a GroupConfig,
    pub role: Role,
    /// The last change of role, and why.
    pub since: Option<(Instant, Reason)>,
    /// Set while this host answers.
    pub lease: Option<(MacAddr, Instant)>,
    /// The master, as far as known; this host itself, if it is.
    pub master: Option<Peer>,
    pub is_demoted: bool,
    /// How fit this host is, with what failed sends and its tie add.
    pub fitness: Fitness,
    /// Whether this host would be master but for that.
    pub would_be_master: bool,
    /// As what this host is known to those who believe its signatures.
    pub session: Session,
    /// Hosts whose signatures are believed, and their sessions.
    pub signing_peers: Vec<(Ipv4Addr, Session)>,
    pub counters: &'a GroupCounters,
}

pub(super) struct Group {
    id: GroupId,
    config: GroupConfig,
    sets: Sets,
    trust: Trust,
    election: Election,
    link: Option<Link>,
    claim: Option<Claim>,
    /// When the addresses come off the interface, after the role was given up; or
    /// off `lo`, at the end.
    unplace_at: Option<Instant>,
    /// An earlier daemon's lease that this one goes on with.
    adopted: Option<Instant>,
    /// It is no more.
    is_forgotten: bool,
    announcements: Schedule,
    /// Adverts that are on their way out.
    beats: Beats,
    /// Addresses that are being added to those that it answers for.
    adding: Vec<Ipv4Addr>,
    /// While its timers are being changed on all hosts, and until when.
    transit: Option<(Transit, Instant)>,
    /// Until when the kernel may answer, whatever this host thinks since: the
    /// last lease that was written, and the one before it.
    written_until: [Option<Instant>; 2],
    /// Counter of the first advert and of the next one.
    first_counter: u64,
    next_counter: u64,
    last_provoked: Option<Instant>,
    since: Option<(Instant, Reason)>,
    episodes: Episodes,
    /// What was found out last of a digest that does not verify: of whose, and when.
    mismatch: Option<(Ipv4Addr, Mismatch, Instant)>,
    counters: GroupCounters,
}

impl Group {
    pub(super) fn new(id: GroupId, config: GroupConfig, seed: u64) -> Self {
        let auth = &config.auth;
        let sets = Sets::new(&config);
        let signers = auth.signers.iter().copied();
        let period = config.timing.interval.period();
        let trust = Trust::new(auth.policy, seed, signers, period);
        let election = Election::new(election::Config {
            timing: config.timing,
            preempt: config.preempt,
            preempt_delay: config.preempt_delay,
            startup_delay: config.startup_delay,
            address: config.source.unwrap_or(Ipv4Addr::UNSPECIFIED),
        });
        Self {
            id,
            config,
            sets,
            trust,
            election,
            link: None,
            claim: None,
            unplace_at: None,
            adopted: None,
            is_forgotten: false,
            announcements: Schedule::default(),
            beats: Beats::default(),
            adding: Vec::new(),
            transit: None,
            written_until: [None; 2],
            first_counter: seed,
            next_counter: seed,
            last_provoked: None,
            since: None,
            episodes: Episodes::default(),
            mismatch: None,
            counters: GroupCounters::default(),
        }
    }

    pub(super) fn handle_deadline(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.introduce_if_due(now, out);
        if !self.hesitates(now, out) {
            let outcome = self.election.deadline(now);
            self.follow(outcome, now, out);
        }
        self.advance_if_due(now, out);
        self.announce_if_due(now, out);
        self.unplace_if_due(now, out);
        self.end_windows_if_due(now);
    }

    /// Before it takes over it asks those who may live, and waits for their answer.
    fn hesitates(&mut self, now: Instant, out: &mut VecDeque<Output>) -> bool {
        let Some(at) = self.election.takes_over_at() else {
            return false;
        };
        let recently = self.config.timing.master_down(None);
        if self.trust.asks_before(at, recently, now) {
            self.introduce(true, None, out);
        }
        now < self.trust.wakes_before(at)
    }

    /// Whoever wakes after its lease was not master meanwhile, and must not act
    /// as one: neither advertise, nor defend its addresses, nor bow out.
    pub(super) fn lapse_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.renew_trust_if_late(now);
        let is_overdue = |at: Instant| now >= at;
        let place_by = self.claim.and_then(|claim| claim.place_by);
        let reason = if self.has_lapsed(now) {
            Reason::LeaseExpired
        } else if place_by.is_some_and(is_overdue) {
            self.counters.address_errors += 1;
            Reason::AddressFault
        } else {
            return;
        };
        let outcome = self.election.lapse(reason, now);
        self.follow(outcome, now, out);
    }

    pub(super) fn handle_link(
        &mut self,
        link: Link,
        reason: Reason,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let mac_changed = self.link.is_some_and(|old| old.mac != link.mac);
        // An address that is taken away is not forgotten: adverts need one.
        let address = link.address.or(self.link.and_then(|old| old.address));
        let is_told_again = self.link == Some(link);
        if self.link.is_none() {
            self.election.begin(now);
        }
        self.link = Some(Link { address, ..link });
        let Some(source) = self.source_address() else {
            return self.halt(Reason::LinkDown, now, out);
        };
        self.election.set_address(source);
        if !link.up {
            return self.halt(Reason::LinkDown, now, out);
        }
        let adopted = self.adopted.take().filter(|until| *until > now);
        if let Some(until) = adopted {
            self.resume(until, now, out);
            self.take_part(now, out);
            // An earlier daemon may have thought otherwise of it.
            let outcome = self.election.leave_if_withheld(now);
            self.follow(outcome, now, out);
        } else if self.election.role() == Role::Init {
            // The map may hold anything after a restart.
            self.clear(out);
            let outcome = self.election.start(reason, now);
            self.follow(outcome, now, out);
            self.take_part(now, out);
        } else if mac_changed && self.is_answering() {
            self.write_lease(out);
            self.announcements.begin(now);
            self.announce_if_due(now, out);
        } else if is_told_again {
            // It was away for a moment, and another host's claim to the addresses,
            // or an announcement, may be lost.
            self.announce_again(now, out);
        }
    }

    /// The advert went out: the lease begins, or goes on.
    pub(super) fn handle_sent(&mut self, at: Instant, now: Instant, out: &mut VecDeque<Output>) {
        self.counters.adverts_sent += 1;
        // From the first on, and only when everybody has been told.
        let at = match self.beats.tell(Some(at)) {
            Told::Sent(at) => at,
            Told::NotYet => return,
            Told::Failed => return self.handle_beat_failed(now, out),
        };
        self.election.sent();
        self.trust.sent(now);
        // An advert that left after the lease had ended renews nothing; one that
        // left in time does, however late that is told.
        if self.has_lapsed(at) {
            return self.lapse_if_due(now, out);
        }
        let Some(claim) = &mut self.claim else { return };
        let promises = self.election.promises();
        claim.lease_until = at + promises.lease();
        claim.lapses_at = at + promises.lapse();
        match (claim.stage, self.config.placement) {
            (Stage::Advertising, Placement::Interface) => {
                claim.stage = Stage::Placing;
                let patience = promises.lapse().max(LEAST_PLACING);
                claim.place_by = Some(now + patience);
                self.unplace_at = None;
                self.place(out);
            }
            (Stage::Advertising, Placement::Loopback | Placement::None) => {
                claim.stage = Stage::Waiting;
                self.advance(now, out);
            }
            (Stage::Placing | Stage::Waiting, _) => {}
            (Stage::Answering, _) => self.write_lease(out),
        }
    }

    pub(super) fn handle_placed(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if let Some(claim) = &mut self.claim
            && claim.stage == Stage::Placing
        {
            claim.stage = Stage::Waiting;
            claim.place_by = None;
            self.advance(now, out);
        }
        if self.has_placed() && self.answer_added(out) && self.is_answering() {
            self.announcements.begin(now);
            self.announce_if_due(now, out);
        }
    }

    pub(super) fn handle_failure(
        &mut self,
        effect: Effect,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let reason = match effect {
            Effect::Send => {
                // The lease is not renewed, so it ends by itself if this goes on.
                self.counters.send_errors += 1;
                if self.beats.tell(None) != Told::NotYet {
                    self.handle_beat_failed(now, out);
                }
                return;
            }
            Effect::Introduce => {
                // A group whose link is down introduces itself when it is back.
                if self.election.role() != Role::Init {
                    self.trust.introduction_failed(now);
                }
                return;
            }
            Effect::Announce => {
                if self.is_answering() {
                    self.announcements.failed(now);
                }
                return;
            }
            Effect::Map => {
                self.counters.map_errors += 1;
                if self.claim.is_none() {
                    // The kernel could not be silenced and answers until the
                    // lease ends. Nobody may be told to take over before that,
                    // nor that this host is silent.
                    if self.written_until[0].is_some_and(|until| now < until) {
                        self.withdraw_last_words(out);
                    }
                    return;
                }
                self.written_until[0] = self.written_until[1];
                Reason::MapFault
            }
            Effect::Address => {
                self.counters.address_errors += 1;
                Reason::AddressFault
            }
        };
        let outcome = self.election.lapse(reason, now);
        self.follow(outcome, now, out);
    }

    fn handle_beat_failed(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.election.send_failed();
        let event = Event::SendFailed { group: self.id };
        self.log_once(Kind::SendFailed, event, now, out);
        let is_unheard = self
            .claim
            .is_some_and(|claim| claim.stage == Stage::Advertising);
        if is_unheard && self.election.cannot_send() {
            // The role was claimed by a rank that this host has lost.
            let outcome = self.election.lapse(Reason::LeaseExpired, now);
            self.follow(outcome, now, out);
        }
    }

    pub(super) fn handle_address_lost(
        &mut self,
        address: Ipv4Addr,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        if self.config.placement != Placement::Interface
            || !self.has_placed()
            || !self.config.vips.contains(&address)
        {
            return;
        }
        self.counters.addresses_lost += 1;
        let event = Event::AddressLost {
            group: self.id,
            address,
        };
        self.log_once(Kind::AddressLost, event, now, out);
        self.place(out);
    }

    pub(super) fn handle_conflict(
        &mut self,
        mac: MacAddr,
        address: Ipv4Addr,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        self.counters.conflicts += 1;
        let event = Event::Conflict {
            group: self.id,
            mac,
            address,
        };
        self.log_once(Kind::Conflict, event, now, out);
        self.announce_again(now, out);
    }

    /// Whether it still takes traffic for a role that it gave away.
    pub(super) fn is_draining(&self) -> bool {
        self.unplace_at.is_some()
    }

    /// An earlier daemon left this lease in the map, for this host. A longer one
    /// than this host gives itself is spoilt, or from other timers: no advert
    /// that this host knows of allows it.
    pub(super) fn adopt(
        &mut self,
        until: Instant,
        session: Session,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        if until <= now + self.promises().lease() {
            self.adopted = Some(until);
            self.trust.resume(session, now);
        } else {
            out.push_back(Output::Silence {
                interface: self.interface(),
                group: self.id,
            });
        }
    }

    pub(super) fn step_down(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let outcome = self.election.step_down(now);
        self.follow(outcome, now, out);
    }

    /// Ends it for good, with what an earlier daemon left to this one.
    pub(super) fn shut_down(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self.adopted.take().is_some() {
            self.clear(out);
        }
        self.halt(Reason::Shutdown, now, out);
    }

    /// Neither responder nor kernel answers.
    fn clear(&self, out: &mut VecDeque<Output>) {
        let (interface, group) = (self.interface(), self.id);
        out.push_back(Output::Silence { interface, group });
        if self.config.placement == Placement::Interface {
            out.push_back(Output::RemoveAddresses { interface, group });
        }
    }

    pub(super) fn halt(&mut self, reason: Reason, now: Instant, out: &mut VecDeque<Output>) {
        self.trust.stop();
        let outcome = self.election.halt(reason);
        self.follow(outcome, now, out);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let takes_over_at = self.election.takes_over_at();
        let prepares_at = takes_over_at.map(|at| self.trust.wakes_before(at));
        [
            prepares_at.or(self.election.poll_timeout()),
            self.claim.map(|claim| claim.lapses_at),
            self.claim.and_then(|claim| claim.place_by),
            self.waits_until(),
            self.unplace_at,
            self.announcements.poll_timeout(),
            self.trust.poll_timeout(),
            self.windows_end_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn view(&self) -> GroupView<'_> {
        let own = self.source_address().map(|address| Peer {
            address,
            interval: self.election.advertised_interval(),
            configured: self.config.timing.interval,
            demotion: self.election.fitness().demotion,
            counter: self.next_counter.wrapping_sub(1),
            is_vipd: true,
        });
        GroupView {
            id: self.id,
            config: &self.config,
            role: self.election.role(),
            since: self.since,
            lease: match (self.claim, self.link) {
                (Some(claim), Some(link)) if claim.stage == Stage::Answering => {
                    Some((link.mac, claim.lease_until))
                }
                _ => None,
            },
            master: match self.election.role() {
                Role::Master => own,
                Role::Init | Role::Backup => self.election.master(),
            },
            is_demoted: self.election.fitness().demotion > 0,
            fitness: self.election.fitness(),
            would_be_master: self.election.would_be_master(),
            session: self.trust.session(),
            signing_peers: self.trust.introduced().collect(),
            counters: &self.counters,
        }
    }

    pub(super) fn id(&self) -> GroupId {
        self.id
    }

    pub(super) fn interface(&self) -> InterfaceId {
        self.config.interface
    }

    pub(super) fn vhid(&self) -> Vhid {
        self.config.vhid
    }

    /// Turns what the election says into effects.
    fn follow(&mut self, outcome: Outcome, now: Instant, out: &mut VecDeque<Output>) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Advertise => self.advertise(out),
            Outcome::Challenged => self.answer_challenge(now, out),
            Outcome::Yielded => self.announce_again(now, out),
            // Under a lease only. After it, where leases have gaps, another host may
            // have taken over, and its advert may wait to be read.
            Outcome::Worsened if self.claim.is_some_and(|claim| now < claim.lease_until) => {
                self.advertise_provoked(now, out);
            }
            Outcome::Worsened => {}
            Outcome::Changed(transition) => {
                self.since = Some((now, transition.reason));
                if transition.reason == Reason::MasterTimeout {
                    let period = self.config.timing.interval.period();
                    self.trust.renew_if_sent_at(now + period);
                } else {
                    self.trust.has_yielded();
                }
                self.counters.transitions += 1;
                match (transition.from, transition.to) {
                    (_, Role::Master) => self.claim(transition, now, out),
                    (Role::Master, _) => self.give_up(transition, now, out),
                    (_, Role::Init | Role::Backup) => self.log_change(transition, out),
                }
            }
        }
    }

    /// A host that slept may have missed what others said: their packets wait for
    /// it, but not any number of them. Those that waited are believed as ever.
    fn renew_trust_if_late(&mut self, now: Instant) {
        let period = self.config.timing.interval.period();
        if self.poll_timeout().is_some_and(|due| now > due + period) {
            self.trust.renew_at(now);
        }
    }

    /// From here on the others should know this host, and it them.
    fn take_part(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.trust.renew(now);
        self.introduce_if_due(now, out);
    }

    fn answer_challenge(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.counters.challenges += 1;
        self.advertise_provoked(now, out);
        self.announce_again(now, out);
    }

    fn advertise_provoked(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self
            .last_provoked
            .is_none_or(|last| now.since(last) >= MIN_PROVOKED_GAP)
        {
            self.last_provoked = Some(now);
            self.advertise(out);
        }
    }

    /// Clients may have heard somebody else.
    pub(super) fn announce_again(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self.is_answering() {
            self.announcements.provoke(now);
            self.announce_if_due(now, out);
        }
    }

    fn advertise(&mut self, out: &mut VecDeque<Output>) {
        let interval = self.election.next_advert();
        let adverts = self.transmit(interval, Purpose::Advert, out);
        self.beats.begin(adverts);
    }

    /// By what it leases.
    fn promises(&self) -> Timing {
        self.election.promises()
    }

    fn source_address(&self) -> Option<Ipv4Addr> {
        self.config
            .source
            .or(self.link.and_then(|link| link.address))
    }

    fn is_own_counter(&self, counter: u64) -> bool {
        let sent = self.next_counter.wrapping_sub(self.first_counter);
        counter.wrapping_sub(self.first_counter) < sent
    }

    fn log_change(&self, transition: Transition, out: &mut VecDeque<Output>) {
        out.push_back(Output::Log(Event::Changed {
            group: self.id,
            transition,
        }));
    }

    fn log_once(&mut self, kind: Kind, event: Event, now: Instant, out: &mut VecDeque<Output>) {
        if self.episodes.begins(kind, now) {
            out.push_back(Output::Log(event));
        }
    }
}
