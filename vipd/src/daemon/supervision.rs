//! What the service manager hears of the daemon.
//!
//! Proof of life comes from the loop itself, after its timers have fired and
//! none is overdue: a loop that hangs, or that cannot keep up with the election,
//! is restarted. Its leases have ended by then, and a successor answers.

use super::{Daemon, clock};
use crate::carp::Role;
use crate::io::systemd::{ServiceManager, Word};
use crate::time::Instant;

/// What it was told last.
pub(super) struct Supervision {
    manager: ServiceManager,
    /// Whether roles have changed since it was told of them.
    is_outdated: bool,
    /// When it wants a sign of life.
    alive_at: Option<Instant>,
}

impl Supervision {
    pub(super) fn new(manager: ServiceManager) -> Self {
        let alive_at = manager.watchdog().map(|_| clock::now());
        Self {
            manager,
            is_outdated: true,
            alive_at,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.alive_at
    }

    /// A role has changed.
    pub(super) fn note_change(&mut self) {
        self.is_outdated = true;
    }

    pub(super) fn tell(&self, word: Word) {
        self.manager.tell(word);
    }
}

impl Daemon {
    /// Says that the daemon lives, if that is due and true, and what it does, if
    /// that has changed.
    pub(super) fn report_to_manager(&mut self) {
        let now = clock::now();
        if let (Some(at), Some(interval)) = (
            self.supervision.alive_at,
            self.supervision.manager.watchdog(),
        ) && at <= now
        {
            // The engine's deadlines were fired just before: one that is long over
            // still was not.
            let overdue = self.engine.poll_timeout();
            if overdue.is_none_or(|due| now <= due + interval) {
                self.supervision.tell(Word::Alive);
            }
            self.supervision.alive_at = Some(now + interval);
        }
        if std::mem::take(&mut self.supervision.is_outdated) {
            self.supervision.tell(Word::Status(self.in_one_line()));
        }
    }

    /// `2 groups: 1 master, 1 backup`
    fn in_one_line(&self) -> String {
        let count = |role| {
            self.engine
                .groups()
                .filter(|group| group.role == role)
                .count()
        };
        let roles = [Role::Master, Role::Backup, Role::Init].map(|role| (count(role), role));
        let all = roles.iter().map(|(count, _)| count).sum::<usize>();
        let parts: Vec<_> = roles
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, role)| format!("{count} {}", role.as_str()))
            .collect();
        let groups = if all == 1 { "group" } else { "groups" };
        format!("{all} {groups}: {}", parts.join(", "))
    }
}
