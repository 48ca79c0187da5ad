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
//! A preferred host takes over from a master that is alive, if it preempts; and a
//! fit one from a master that is less fit ([`Fitness`]), even if it does not. If
//! that one is a vipd host too, it says when it has fallen silent, or its lease
//! tells: until then there is a [`Election::predecessor`], and two would answer.
//!
//! It is told what happened and when, and says what follows. It sends nothing,
//! owns nothing and reads no clock. A deadline lives in the state that needs
//! it, so no backup can hold an advertisement timer.

use std::net::Ipv4Addr;
use std::time::Duration;

mod answering;
mod backup;
mod fitness;
mod reason;
mod reconfigure;

pub use fitness::Fitness;
pub use reason::Reason;
pub use reconfigure::Transit;

use super::Interval;
use super::timers::Timing;
use crate::time::Instant;
use answering::Answering;
use backup::Backup;
use fitness::{Condition, Standing, wins_tie};

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
    /// For how long not to, after the host has come to take part, or is fit again.
    pub preempt_delay: Duration,
    /// For how long not to take over for whatever reason, after the start.
    pub startup_delay: Duration,
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

/// Another host, as its last advert showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: Ipv4Addr,
    /// As it is advertised, demotion included.
    pub interval: Interval,
    /// As it is configured: the beat of a vipd host, demoted or not.
    pub configured: Interval,
    /// Of a vipd host, how unfit it is.
    pub demotion: u8,
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
    /// This host is master and less fit than before: the others should know.
    Worsened,
    Changed(Transition),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Init,
    Backup(Backup),
    Master { advertise_at: Instant },
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
    condition: Condition,
    /// Nobody is preempted before.
    preempts_from: Option<Instant>,
    /// No takeover before, for any reason.
    starts_at: Option<Instant>,
    /// Another group of the tie is master here, so this one preempts.
    joins_tie: bool,
}

impl Election {
    /// In INIT: it takes part from [`Election::start`] on.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Init,
            answering: Answering::default(),
            transit: None,
            condition: Condition::default(),
            preempts_from: None,
            starts_at: None,
            joins_tie: false,
        }
    }

    /// The daemon started, whether or not the host can take part yet.
    pub fn begin(&mut self, now: Instant) {
        self.preempts_from = Some(now + self.config.preempt_delay);
        if !self.config.startup_delay.is_zero() {
            // The skew orders hosts that were switched on together.
            let delay = self.config.startup_delay + self.config.timing.interval.skew();
            self.starts_at = Some(now + delay);
        }
    }

    /// The host can take part. Every implementation goes to BACKUP first, never
    /// straight to MASTER.
    pub fn start(&mut self, reason: Reason, now: Instant) -> Outcome {
        match self.state {
            State::Init => {
                self.preempts_from = Some(now + self.config.preempt_delay);
                self.become_backup(reason, None, now, now)
            }
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
    /// was asleep, it cannot tell a dead master from its own deafness, nor whether the
    /// one that it is about to unseat, or that has left, is the last one: it listens
    /// for one interval more, however often that happens. A flood could otherwise
    /// make it a master beside one that is alive.
    pub fn missed(&mut self, now: Instant) {
        if let State::Backup(backup) = self.state
            && let Some(expires_at) = backup.expires_at
        {
            let heard_by = now + self.interval_to_hear(backup);
            self.state = State::Backup(Backup {
                expires_at: Some(expires_at.max(heard_by)),
                ..backup
            });
        }
    }

    /// The time that [`Election::poll_timeout`] named has come, or passed.
    pub fn deadline(&mut self, now: Instant) -> Outcome {
        match self.state {
            State::Init => Outcome::Nothing,
            State::Backup(backup) => match self.expires_at(backup) {
                Some(at) if now >= at => self.expire(backup, at, now),
                Some(_) | None => Outcome::Nothing,
            },
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
        self.condition.sent();
    }

    /// An advert could not be sent. After three in a row this host advertises
    /// itself as worse than every healthy one.
    pub fn send_failed(&mut self) {
        self.condition.send_failed();
    }

    /// This host is as fit as this, from now on.
    pub fn set_fitness(&mut self, fitness: Fitness, now: Instant) -> Outcome {
        self.reconsider(now, |condition| condition.told = fitness)
    }

    /// Gives the role up if this host must not have it.
    pub fn leave_if_withheld(&mut self, now: Instant) -> Outcome {
        match self.state {
            State::Master { .. } if self.fitness().withheld => {
                self.become_backup(Reason::Unfit, None, now, now)
            }
            State::Init | State::Backup(_) | State::Master { .. } => Outcome::Nothing,
        }
    }

    /// The other groups of its tie are demoted by so much; and whether one of them
    /// is master here.
    pub fn set_tie(&mut self, demotion: u8, has_master: bool, now: Instant) -> Outcome {
        self.joins_tie = has_master;
        self.reconsider(now, |condition| condition.tied = demotion)
    }

    /// The operator wants this host to take over from the next master it hears, if
    /// that one is less preferred: once, and whatever it waits for.
    pub fn promote(&mut self, now: Instant) {
        if let State::Backup(backup) = self.state {
            self.preempts_from = None;
            self.state = State::Backup(Backup {
                hold_until: now,
                is_promoted: true,
                ..backup
            });
        }
    }

    /// When this host takes over, unless it hears of a reason not to.
    pub fn takes_over_at(&self) -> Option<Instant> {
        match self.state {
            State::Backup(backup) if !self.fitness().withheld => self.expires_at(backup),
            State::Init | State::Backup(_) | State::Master { .. } => None,
        }
    }

    /// When [`Election::deadline`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Init => None,
            State::Backup(backup) => self.expires_at(backup),
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
        configured.demoted_by(self.fitness().demotion)
    }

    /// What the advert says that is sent now.
    pub fn next_advert(&mut self) -> Interval {
        self.condition.shown = self.fitness().demotion;
        self.advertised_interval()
    }

    /// How fit this host is, all told.
    pub fn fitness(&self) -> Fitness {
        self.condition.fitness()
    }

    /// Whether its adverts fail to be sent.
    pub fn cannot_send(&self) -> bool {
        self.condition.cannot_send
    }

    /// How much it is demoted for its own part, without its tie.
    pub fn own_demotion(&self) -> u8 {
        self.condition.own_demotion()
    }

    /// Whether this host is backup for no other reason than that it is not fit: it
    /// would take over from the present master, or there is none.
    pub fn would_be_master(&self) -> bool {
        let State::Backup(backup) = self.state else {
            return false;
        };
        let Some(master) = backup.master else {
            return self.fitness().withheld && backup.expires_at.is_none();
        };
        let (well, its) = Standing::of_both(self.config.timing, 0, master);
        self.fitness() != Fitness::WELL
            && well.outranks(its)
            && (its.demotion > 0 || self.preempts())
    }

    /// The address in its adverts changed.
    pub fn set_address(&mut self, address: Ipv4Addr) {
        self.config.address = address;
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// This host is another than it was.
    fn reconsider(&mut self, now: Instant, change: impl FnOnce(&mut Condition)) -> Outcome {
        let before = self.fitness();
        change(&mut self.condition);
        let after = self.fitness();
        if after == before {
            return Outcome::Nothing;
        }
        if after == Fitness::WELL {
            self.preempts_from = Some(now + self.config.preempt_delay);
        }
        match self.state {
            State::Init => Outcome::Nothing,
            State::Master { .. } if after.withheld => self.leave_if_withheld(now),
            State::Master { .. } if after.demotion > before.demotion => Outcome::Worsened,
            State::Master { .. } => Outcome::Nothing,
            State::Backup(backup) if before.withheld && !after.withheld => {
                // What it made of what it heard was not meant to be acted upon.
                let master = backup.master.filter(|master| !master.is_bow_out());
                let waits_for = master.map(|master| master.configured);
                let dies_at = now + self.waits().master_down(waits_for);
                self.state = State::Backup(Backup {
                    expires_at: Some(dies_at),
                    because: Reason::MasterTimeout,
                    dies_at,
                    master,
                    ..backup
                });
                Outcome::Nothing
            }
            State::Backup(backup) => {
                self.state = State::Backup(self.call_off_if_unfit(backup, now));
                Outcome::Nothing
            }
        }
    }

    fn rank_against(&self, peer: Peer) -> Rank {
        // A host that is well again is so for others from its next advert on:
        // before that, two would take themselves for the better one.
        let demotion = self.fitness().demotion.max(self.condition.shown);
        let (own, its) = Standing::of_both(self.config.timing, demotion, peer);
        if own.outranks(its) {
            Rank::Better
        } else if its.outranks(own) {
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
            interval: master.configured,
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
        let wait = self.waits().master_down(master.map(|peer| peer.configured));
        let dies_at = listen_from + wait;
        let backup = Backup {
            expires_at: Some(dies_at),
            because: Reason::MasterTimeout,
            dies_at,
            master,
            hold_until,
            is_promoted: false,
        };
        self.change(State::Backup(backup), reason, master)
    }

    fn become_master(&mut self, reason: Reason, now: Instant) -> Outcome {
        let last = self.master();
        self.answering.forget_silent(now);
        self.condition.shown = self.fitness().demotion;
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

#[cfg(test)]
mod tests;
