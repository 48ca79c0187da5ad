//! Who is master: the state machine of one virtual host.
//!
//! ```text
//!             start                  silence, resigned, preempt
//!   INIT ---------------> BACKUP -------------------------------> MASTER
//!    ^                      |  ^   better master, step down,        |
//!    |        halt          |  +------------- lapse ----------------+
//!    +----------------------+---------------- halt ------------------
//! ```
//!
//! A preferred host takes over from a master that is alive. If that one is a
//! vipd host too, it says when it has fallen silent, or its lease tells: until
//! then there is a [`Election::predecessor`], and two would answer.
//!
//! It is told what happened and when, and says what follows. It sends nothing,
//! owns nothing and reads no clock. A deadline lives in the state that needs
//! it, so no backup can hold an advertisement timer.

use std::net::Ipv4Addr;
use std::time::Duration;

mod answering;
mod fitness;
mod reconfigure;

use super::Interval;
use super::timers::Timing;
use crate::time::Instant;
use answering::Answering;
pub use fitness::Fitness;
pub use reconfigure::Transit;

/// Sends in a row that must fail before a master is demoted, and succeed before
/// it is well again (`CARP_SENDAD_MAX_ERRORS`, `CARP_SENDAD_MIN_SUCCESS`,
/// UCARP `carp_p.h` and both BSDs).
const SEND_STREAK: u8 = 3;

/// How long a host that was told to step down does not preempt.
/// UCARP sleeps these 3 seconds on SIGUSR2 (`carp.c:846`).
const STEP_DOWN_HOLD: Duration = Duration::from_secs(3);

/// How long a host does not preempt that could not keep its promise: long
/// against the moment without an owner that each attempt costs, short enough to
/// be back before anybody looks. It still takes over from a master that is gone.
const FAULT_HOLD: Duration = Duration::from_secs(10);

/// How an operator configures one virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub timing: Timing,
    /// Whether to take over from a living master that is less preferred.
    pub preempt: bool,
    /// The address in this host's own adverts; it breaks ties.
    pub address: Ipv4Addr,
}

/// The three states, as people and `vipd status` name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Init,
    Backup,
    Master,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Master => "master",
        }
    }
}

/// Why a role changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The daemon started.
    Start,
    /// The interface can carry frames.
    LinkUp,
    /// The interface cannot carry frames, or is gone.
    LinkDown,
    /// No advert was heard for as long as this host waits.
    MasterTimeout,
    /// The master said that it leaves.
    MasterResigned,
    /// The master advertises so seldom that waiting for it is no use.
    MasterTooSlow,
    /// The master is less preferred than this host.
    Preempt,
    /// The master is less fit than this host.
    MasterDemoted,
    /// A more preferred master was heard.
    BetterMaster,
    /// A master of the same rank was heard, and its address wins.
    TieLost,
    /// The operator asked for it.
    StepDown,
    /// This host must not be master, as [`Fitness`] has it.
    Unfit,
    /// The lease ended before it was renewed: this host was stopped, starved,
    /// or could not send.
    LeaseExpired,
    /// The right to answer could not be written into the map.
    MapFault,
    /// The addresses could not be put on the interface.
    AddressFault,
    /// The daemon ends.
    Shutdown,
    /// The daemon was started anew within the lease of the one before it.
    Resumed,
}

impl Reason {
    /// Every reason, for those who check that all of them occur.
    pub const ALL: [Self; 17] = [
        Self::Start,
        Self::LinkUp,
        Self::LinkDown,
        Self::MasterTimeout,
        Self::MasterResigned,
        Self::MasterTooSlow,
        Self::Preempt,
        Self::MasterDemoted,
        Self::BetterMaster,
        Self::TieLost,
        Self::StepDown,
        Self::Unfit,
        Self::LeaseExpired,
        Self::MapFault,
        Self::AddressFault,
        Self::Shutdown,
        Self::Resumed,
    ];

    /// As `vipd status` and the logs name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::LinkUp => "link_up",
            Self::LinkDown => "link_down",
            Self::MasterTimeout => "master_timeout",
            Self::MasterResigned => "master_resigned",
            Self::MasterTooSlow => "master_too_slow",
            Self::Preempt => "preempt",
            Self::MasterDemoted => "master_demoted",
            Self::BetterMaster => "better_master",
            Self::TieLost => "tie_lost",
            Self::StepDown => "step_down",
            Self::Unfit => "unfit",
            Self::LeaseExpired => "lease_expired",
            Self::MapFault => "map_fault",
            Self::AddressFault => "address_fault",
            Self::Shutdown => "shutdown",
            Self::Resumed => "resumed",
        }
    }
}

/// Another host, as its last advert showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: Ipv4Addr,
    pub interval: Interval,
    /// The advert's counter. A vipd host's grows by one with each.
    pub counter: u64,
    /// Whether it promises what vipd hosts promise.
    pub is_vipd: bool,
}

impl Peer {
    /// Whether this advert says that its sender has heard a better master and
    /// is none any more.
    fn is_farewell(self) -> bool {
        self.is_vipd && self.interval.is_farewell()
    }

    /// Whether its sender answers no more.
    pub(crate) fn is_silent(self) -> bool {
        self.is_farewell() || self.is_bow_out()
    }

    fn is_bow_out(self) -> bool {
        self.interval == Interval::BOW_OUT
    }
}

/// A change of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: Role,
    pub to: Role,
    pub reason: Reason,
    /// The master heard last, if one was heard.
    pub master: Option<Peer>,
}

/// What follows from what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    /// This master's interval is over: advertise.
    Advertise,
    /// This host is master and heard one that must not be: show it and the
    /// clients who is.
    Challenged,
    /// This host is master, and another that was master says that it is not any
    /// more: show the clients who is.
    Yielded,
    Changed(Transition),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Init,
    Backup(Backup),
    Master { advertise_at: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Backup {
    /// When to take over.
    expires_at: Instant,
    /// What taking over then would be for.
    because: Reason,
    /// Who is master.
    master: Option<Peer>,
    /// No preemption before.
    hold_until: Instant,
}

/// The election of one virtual host on one interface.
#[derive(Clone, Debug)]
pub struct Election {
    config: Config,
    state: State,
    /// Not the followed master alone: while the role changes hands twice, the
    /// first of three may have been stopped.
    answering: Answering,
    /// Set while its timers are being changed on all hosts.
    transit: Option<Transit>,
    /// What its last advert as a master said.
    shown: Interval,
    demoted: bool,
    send_failures: u8,
    send_successes: u8,
}

impl Election {
    /// In INIT: it takes part from [`Election::start`] on.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Init,
            answering: Answering::default(),
            transit: None,
            shown: config.timing.interval,
            demoted: false,
            send_failures: 0,
            send_successes: 0,
        }
    }

    /// The host can take part. Every implementation goes to BACKUP first, never
    /// straight to MASTER.
    pub fn start(&mut self, reason: Reason, now: Instant) -> Outcome {
        match self.state {
            State::Init => self.become_backup(reason, None, now, now),
            State::Backup(_) | State::Master { .. } => Outcome::Nothing,
        }
    }

    /// The host takes part where an earlier daemon left off, as master. Only for
    /// one whose lease has not ended.
    pub fn resume(&mut self, now: Instant) -> Outcome {
        match self.state {
            State::Init => self.become_master(Reason::Resumed, now),
            State::Backup(_) | State::Master { .. } => Outcome::Nothing,
        }
    }

    /// The host cannot take part any more.
    pub fn halt(&mut self, reason: Reason) -> Outcome {
        match self.state {
            State::Init => Outcome::Nothing,
            State::Backup(_) | State::Master { .. } => self.become_init(reason),
        }
    }

    /// A believable advert was heard.
    pub fn advert(&mut self, peer: Peer, now: Instant) -> Outcome {
        if self.role() == Role::Init {
            return Outcome::Nothing;
        }
        let silent_at = self.silent_at(peer, now);
        if !self.answering.hear(peer, silent_at, now) {
            return Outcome::Nothing;
        }
        match self.state {
            State::Init => Outcome::Nothing,
            State::Backup(backup) => {
                self.state = State::Backup(self.follow(backup, peer, now));
                Outcome::Nothing
            }
            State::Master { .. } if peer.is_silent() => Outcome::Yielded,
            State::Master { .. } => match self.rank_against(peer) {
                Rank::Better => Outcome::Challenged,
                Rank::Worse(reason) => self.become_backup(reason, Some(peer), now, now),
            },
        }
    }

    /// Adverts came to this host that it could not take in, until now. As one that
    /// was asleep, it cannot tell a dead master from its own deafness: it listens
    /// for one interval more, however often that happens. A flood could otherwise
    /// make it a master beside one that is alive.
    pub fn missed(&mut self, now: Instant) {
        if let State::Backup(backup) = self.state
            && backup.because == Reason::MasterTimeout
        {
            let heard_by = now + self.interval_to_hear(backup);
            self.state = State::Backup(Backup {
                expires_at: backup.expires_at.max(heard_by),
                ..backup
            });
        }
    }

    /// The time that [`Election::poll_timeout`] named has come, or passed.
    pub fn deadline(&mut self, now: Instant) -> Outcome {
        match self.state {
            State::Init => Outcome::Nothing,
            State::Backup(backup) if now < backup.expires_at => Outcome::Nothing,
            State::Backup(backup) if self.woke_late(backup, now) => {
                // A host that was asleep cannot tell a dead master from its own
                // sleep: what was queued has been read, now it listens for one
                // interval more.
                let expires_at = now + self.interval_to_hear(backup);
                self.state = State::Backup(Backup {
                    expires_at,
                    ..backup
                });
                Outcome::Nothing
            }
            State::Backup(backup) => self.become_master(backup.because, now),
            State::Master { advertise_at } if now < advertise_at => Outcome::Nothing,
            State::Master { advertise_at } => {
                let period = self.beat();
                let on_beat = advertise_at + period;
                self.state = State::Master {
                    advertise_at: if on_beat > now { on_beat } else { now + period },
                };
                Outcome::Advertise
            }
        }
    }

    /// The operator wants another host to be master (UCARP's SIGUSR2). Not
    /// sticky: a preferred host that preempts is back after some seconds.
    pub fn step_down(&mut self, now: Instant) -> Outcome {
        match self.state {
            State::Init | State::Backup(_) => Outcome::Nothing,
            State::Master { .. } => {
                let held = now + STEP_DOWN_HOLD;
                self.become_backup(Reason::StepDown, None, held, held)
            }
        }
    }

    /// This master did not keep its promise: it goes back to listening.
    pub fn lapse(&mut self, reason: Reason, now: Instant) -> Outcome {
        let is_fault = matches!(reason, Reason::MapFault | Reason::AddressFault);
        let (listen_from, hold_until) = if is_fault {
            // Twice the time, for every healthy host to be first. Hosts that
            // share advbase differ by less than one interval.
            (now + self.waits().master_down(None), now + FAULT_HOLD)
        } else {
            (now, now)
        };
        match self.state {
            State::Init | State::Backup(_) => Outcome::Nothing,
            State::Master { .. } => self.become_backup(reason, None, listen_from, hold_until),
        }
    }

    /// An advert went out.
    pub fn sent(&mut self) {
        self.send_failures = 0;
        self.send_successes = self.send_successes.saturating_add(1);
        if self.send_successes >= SEND_STREAK {
            self.demoted = false;
        }
    }

    /// An advert could not be sent. After three in a row this host advertises
    /// itself as worse than every healthy one.
    pub fn send_failed(&mut self) {
        self.send_successes = 0;
        self.send_failures = self.send_failures.saturating_add(1);
        if self.send_failures >= SEND_STREAK {
            self.demoted = true;
        }
    }

    /// When [`Election::deadline`] wants to be called.
    /// When this host takes over, unless it hears of a reason not to.
    pub fn takes_over_at(&self) -> Option<Instant> {
        match self.state {
            State::Backup(backup) => Some(backup.expires_at),
            State::Init | State::Master { .. } => None,
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Init => None,
            State::Backup(backup) => Some(backup.expires_at),
            State::Master { advertise_at } => Some(advertise_at),
        }
    }

    /// Until when a master before this one may still answer. `None` if all have
    /// fallen silent, or are not known to keep to a lease: then CARP's rule holds,
    /// and the first advert takes the role.
    pub fn predecessor(&self) -> Option<Instant> {
        match self.state {
            State::Master { .. } => self.answering.until(),
            State::Init | State::Backup(_) => None,
        }
    }

    pub fn role(&self) -> Role {
        match self.state {
            State::Init => Role::Init,
            State::Backup(_) => Role::Backup,
            State::Master { .. } => Role::Master,
        }
    }

    /// The master this backup follows.
    pub fn master(&self) -> Option<Peer> {
        match self.state {
            State::Backup(backup) => backup.master,
            State::Init | State::Master { .. } => None,
        }
    }

    /// What goes into this host's adverts, demotion included.
    ///
    /// Differs: legacy hosts advertise as seldom as they say. This one keeps its
    /// beat: its lease counts on it, and sub-second timers leave no room.
    pub fn advertised_interval(&self) -> Interval {
        let configured = self.config.timing.interval;
        if self.demoted {
            configured.demoted()
        } else {
            configured
        }
    }

    /// What the advert says that is sent now.
    pub fn next_advert(&mut self) -> Interval {
        self.shown = self.advertised_interval();
        self.shown
    }

    pub fn is_demoted(&self) -> bool {
        self.demoted
    }

    /// The address in its adverts changed.
    pub fn set_address(&mut self, address: Ipv4Addr) {
        self.config.address = address;
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a backup makes of an advert.
    fn follow(&self, backup: Backup, peer: Peer, now: Instant) -> Backup {
        let timing = self.waits();
        let is_master = |master: Peer| master.address == peer.address;
        let is_followed = backup.master.is_none_or(is_master);

        if peer.is_bow_out() && !backup.master.is_some_and(is_master) {
            // Only the master can give the role away. This one had lost it, or
            // was never heard as one: another may be alive that was not either.
            return backup;
        }

        if peer.is_farewell() {
            // Its sender has heard a better master, and so will this host.
            return backup;
        }

        let own = self.advertised_interval();
        let followed = Backup {
            expires_at: now + timing.master_down(Some(peer.interval)),
            because: Reason::MasterTimeout,
            master: Some(peer),
            hold_until: backup.hold_until,
        };
        let because = if peer.is_bow_out() {
            Reason::MasterResigned
        } else if timing.will_time_out(peer.interval) {
            Reason::MasterTooSlow
        } else if self.config.preempt && own.outranks(peer.interval) && now >= backup.hold_until {
            Reason::Preempt
        } else {
            return followed;
        };
        if !is_followed {
            // Two masters are heard, or the master has just changed. The next
            // advert tells which; acting on this one could unseat a better
            // master that is alive.
            let waits_for = (because != Reason::MasterTooSlow).then_some(peer.interval);
            return Backup {
                expires_at: now + timing.master_down(waits_for),
                ..followed
            };
        }

        // Differs: legacy hosts take over at once here, all of them together.
        // Waiting out the own skew lets the best of them be first.
        let skew_over = now + timing.interval.skew();
        let soon = match self.answering.until() {
            // Not the only master: if the other one lives, it will be heard.
            Some(silent_at) if peer.is_bow_out() => {
                skew_over.max(silent_at + timing.interval.skew())
            }
            _ => skew_over,
        };
        let is_waiting = backup.because != Reason::MasterTimeout;
        Backup {
            // Further adverts do not put it off.
            expires_at: if is_waiting {
                backup.expires_at.min(soon)
            } else {
                soon
            },
            because,
            ..followed
        }
    }

    fn woke_late(&self, backup: Backup, now: Instant) -> bool {
        now.since(backup.expires_at) > self.config.timing.interval.period()
    }

    /// How long to listen to hear a master that is alive.
    fn interval_to_hear(&self, backup: Backup) -> Duration {
        let own = self.config.timing.interval.period();
        match backup.master {
            Some(master) if master.interval != Interval::BOW_OUT => {
                own.max(master.interval.period())
            }
            _ => own,
        }
    }

    fn rank_against(&self, peer: Peer) -> Rank {
        let own = self.advertised_interval();
        // A host that is well again is so for others from its next advert on:
        // before that, two would take themselves for the better one.
        let own = if own.outranks(self.shown) {
            self.shown
        } else {
            own
        };
        if own.outranks(peer.interval) {
            Rank::Better
        } else if peer.interval.outranks(own) {
            Rank::Worse(Reason::BetterMaster)
        } else if wins_tie(self.config.address, peer.address) {
            Rank::Better
        } else {
            Rank::Worse(Reason::TieLost)
        }
    }

    /// When a vipd master answers no more that was heard now and sends nothing
    /// further. Its lease counts from before it sent the advert. A later one that
    /// it sent at the end of that lease has arrived by then: it has the time that
    /// the lease is shorter than need be.
    fn silent_at(&self, master: Peer, now: Instant) -> Instant {
        let timing = Timing {
            interval: master.interval,
            dead_ratio: self.waits().dead_ratio,
        };
        now + timing.earliest_takeover()
    }

    fn become_init(&mut self, reason: Reason) -> Outcome {
        self.change(State::Init, reason, None)
    }

    fn become_backup(
        &mut self,
        reason: Reason,
        master: Option<Peer>,
        listen_from: Instant,
        hold_until: Instant,
    ) -> Outcome {
        let wait = self.waits().master_down(master.map(|peer| peer.interval));
        let backup = Backup {
            expires_at: listen_from + wait,
            because: Reason::MasterTimeout,
            master,
            hold_until,
        };
        self.change(State::Backup(backup), reason, master)
    }

    fn become_master(&mut self, reason: Reason, now: Instant) -> Outcome {
        let last = self.master();
        self.answering.forget_silent(now);
        self.shown = self.advertised_interval();
        let state = State::Master {
            // The first advert is the caller's immediate duty; this is the second.
            advertise_at: now + self.beat(),
        };
        self.change(state, reason, last)
    }

    /// The only writer of the state's kind.
    fn change(&mut self, state: State, reason: Reason, master: Option<Peer>) -> Outcome {
        let from = self.role();
        self.state = state;
        Outcome::Changed(Transition {
            from,
            to: self.role(),
            reason,
            master,
        })
    }
}

enum Rank {
    Better,
    Worse(Reason),
}

/// Which of two masters with the same interval stays: the lower address, read
/// as UCARP on a little-endian machine reads it, last octet first
/// (`carp.c:569` compares `s_addr` without `ntohl`). Two hosts with one address
/// both yield.
///
/// Differs: the order is the same on every machine.
fn wins_tie(own: Ipv4Addr, peer: Ipv4Addr) -> bool {
    u32::from_le_bytes(own.octets()) < u32::from_le_bytes(peer.octets())
}

#[cfg(test)]
mod tests;
