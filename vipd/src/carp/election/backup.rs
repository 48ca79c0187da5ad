//! A backup: whom it follows, how long it waits, and what it takes the role for.

use super::{Duration, Election, Instant, Interval, Outcome, Peer, Reason, Standing, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backup {
    /// When to take over. `None` if that is over, and this host must not.
    pub(super) expires_at: Option<Instant>,
    /// What taking over then would be for.
    pub(super) because: Reason,
    /// When to take the master for dead.
    pub(super) dies_at: Instant,
    /// Who is master.
    pub(super) master: Option<Peer>,
    /// No takeover from a living master before.
    pub(super) hold_until: Instant,
    /// The operator wants this host to preempt once.
    pub(super) is_promoted: bool,
}

impl Election {
    /// What a backup makes of an advert.
    pub(super) fn follow(&self, backup: Backup, peer: Peer, now: Instant) -> Backup {
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

        let dies_at = now + timing.master_down(Some(peer.configured));
        let followed = Backup {
            expires_at: Some(dies_at),
            because: Reason::MasterTimeout,
            dies_at,
            master: Some(peer),
            ..backup
        };
        let because = if peer.is_bow_out() {
            Reason::MasterResigned
        } else if timing.will_time_out(peer.configured) {
            Reason::MasterTooSlow
        } else if let Some(reason) = self.reason_to_unseat(backup, peer, now) {
            reason
        } else {
            return Backup {
                // It had its chance.
                is_promoted: backup.is_promoted && !is_followed,
                ..followed
            };
        };
        if !is_followed {
            // Two masters are heard, or the master has just changed. The next
            // advert tells which; acting on this one could unseat a better
            // master that is alive.
            let waits_for = (because != Reason::MasterTooSlow).then_some(peer.configured);
            return Backup {
                expires_at: Some(now + timing.master_down(waits_for)),
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
            expires_at: match backup.expires_at {
                Some(expires_at) if is_waiting => Some(expires_at.min(soon)),
                Some(_) | None => Some(soon),
            },
            because,
            ..followed
        }
    }

    /// Why this backup takes the role from a master that is alive.
    pub(super) fn reason_to_unseat(
        &self,
        backup: Backup,
        master: Peer,
        now: Instant,
    ) -> Option<Reason> {
        let fitness = self.fitness();
        let (own, its) = Standing::of_both(self.config.timing, fitness.demotion, master);
        if fitness.withheld || now < backup.hold_until || !own.outranks(its) {
            return None;
        }
        let is_held = self.preempts_from.is_some_and(|from| now < from);
        if own.demotion < its.demotion {
            // OpenBSD `carp_proto_input_c`: whether it preempts or not.
            Some(Reason::MasterDemoted)
        } else if backup.is_promoted || self.preempts() && !is_held {
            Some(Reason::Preempt)
        } else {
            None
        }
    }

    pub(super) fn preempts(&self) -> bool {
        self.config.preempt || self.joins_tie
    }

    /// When it is time for this backup to act.
    pub(super) fn expires_at(&self, backup: Backup) -> Option<Instant> {
        let at = backup.expires_at?;
        Some(self.starts_at.map_or(at, |starts_at| at.max(starts_at)))
    }

    /// What this backup waited for did not come.
    pub(super) fn expire(&mut self, backup: Backup, expired_at: Instant, now: Instant) -> Outcome {
        if now.since(expired_at) > self.config.timing.interval.period() {
            // A host that was asleep cannot tell a dead master from its own
            // sleep: what was queued has been read, now it listens for one
            // interval more.
            let heard_by = now + self.interval_to_hear(backup);
            self.state = State::Backup(Backup {
                expires_at: Some(heard_by),
                ..backup
            });
            return Outcome::Nothing;
        }
        if self.fitness().withheld {
            self.state = State::Backup(Backup {
                expires_at: None,
                because: Reason::MasterTimeout,
                master: None,
                ..backup
            });
            return Outcome::Nothing;
        }
        self.become_master(backup.because, now)
    }

    /// A backup that was about to unseat its master may not be the better one any
    /// more.
    pub(super) fn call_off_if_unfit(&self, backup: Backup, now: Instant) -> Backup {
        let unseats = matches!(backup.because, Reason::Preempt | Reason::MasterDemoted);
        let Some(master) = backup.master.filter(|_| unseats) else {
            return backup;
        };
        match self.reason_to_unseat(backup, master, now) {
            Some(because) => Backup { because, ..backup },
            None => Backup {
                expires_at: Some(backup.dies_at),
                because: Reason::MasterTimeout,
                ..backup
            },
        }
    }

    /// How long to listen to hear a master that is alive.
    pub(super) fn interval_to_hear(&self, backup: Backup) -> Duration {
        let own = self.config.timing.interval.period();
        match backup.master {
            Some(master) if master.interval != Interval::BOW_OUT => {
                own.max(master.configured.period())
            }
            Some(_) => own,
            // It may be slower than this host: as after a start.
            None => self.waits().master_down(None),
        }
    }
}
