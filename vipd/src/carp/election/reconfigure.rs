//! An election whose configuration changes while it lives: role, deadlines and what
//! is known of others stay. [`super::super::timers`] says why the lease still fits.

use super::{Config, Duration, Election, State, Timing};
use crate::time::Instant;

/// By what a host counts while its peers may have other timers than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transit {
    /// As a master.
    pub shorter: Timing,
    /// As a backup.
    pub longer: Timing,
}

impl Transit {
    /// From `before`, perhaps in the middle of another one, to `after`.
    pub fn between(under_way: Option<Self>, before: Timing, after: Timing) -> Self {
        let from = under_way.unwrap_or(Self {
            shorter: before,
            longer: before,
        });
        Self {
            shorter: after.shorter(from.shorter),
            longer: after.longer(from.longer),
        }
    }
}

impl Election {
    /// What is configured from now on.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// To be set with [`Self::reconfigure`], and to be ended.
    pub fn set_transit(&mut self, transit: Option<Transit>) {
        self.transit = transit;
    }

    /// A master's caller advertises now, out of turn.
    pub fn begin_beat(&mut self, now: Instant) {
        let beat = self.beat();
        if let State::Master { advertise_at } = &mut self.state {
            *advertise_at = now + beat;
        }
    }

    /// By what it promises as a master.
    pub fn promises(&self) -> Timing {
        self.transit
            .map_or(self.config.timing, |transit| transit.shorter)
    }

    /// By what it waits as a backup.
    pub(super) fn waits(&self) -> Timing {
        self.transit
            .map_or(self.config.timing, |transit| transit.longer)
    }

    /// Time between two adverts of its own.
    pub(super) fn beat(&self) -> Duration {
        self.promises().interval.period()
    }
}
