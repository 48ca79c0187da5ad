//! Whose turn it is among the hooks of one group, and what a gate has come to.
//!
//! One at a time, and the latest change of role wins: what another change has made
//! outdated is not begun any more. What has begun runs to its end, and the hooks of
//! the latest change are always the last to run.
//!
//! **Gates.** A hook that must succeed is a gate of the role `master`. While it runs
//! the role goes on. When it has failed, this host is demoted, so that another one
//! takes over. It stays demoted
//!
//! * as master, if nobody else is there, until the hook has succeeded: it is run again
//!   after a hold of [`HOLD`], which doubles up to [`LONGEST_HOLD`];
//! * as backup, until that hold is over *and* the master is not demoted itself. So
//!   two hosts whose gates both fail do not throw the role to and fro: the one that
//!   came last keeps it, and tries again.
//!
//! Pure: no clock, no process.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::carp::{Role, Transition};
use crate::config::{HookConfig, HookEvent};
use crate::time::Instant;

/// How long a gate that failed stays closed at least.
pub(super) const HOLD: Duration = Duration::from_secs(60);

/// What that grows to when it fails again and again: for a peer that does not say
/// how fit it is (UCARP), each hold ends in another try.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// What became of the hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Ended, however that was.
    pub(super) runs: u64,
    /// Ended with a status but 0, or by a signal, or could not be started.
    pub(super) failures: u64,
    /// Took too long.
    pub(super) timeouts: u64,
    /// Not run: the role had changed again before their turn came.
    pub(super) outdated: u64,
}

/// A hook that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) token: u64,
    pub(super) hook: HookConfig,
    pub(super) change: Transition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Success,
    Failure,
    Timeout,
}

/// What follows from a gate, under the name of its hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Closed(String),
    Open(String),
}

#[derive(Clone, Debug, Default)]
struct Gate {
    /// In a row.
    failures: u32,
    is_closed: bool,
    /// When a master tries again, or a backup counts as well.
    next_at: Option<Instant>,
}

impl Gate {
    fn hold(&self) -> Duration {
        let doubled = HOLD.saturating_mul(1 << self.failures.saturating_sub(1).min(8));
        doubled.min(LONGEST_HOLD)
    }
}

/// The hooks of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    hooks: Vec<HookConfig>,
    /// The latest.
    change: Option<Transition>,
    /// Hooks of the latest change that are still to be run.
    due: VecDeque<HookConfig>,
    running: Option<Turn>,
    gates: BTreeMap<String, Gate>,
    counters: Counters,
}

impl Turns {
    /// From now on these are the group's. Names the gates that are gone.
    pub(super) fn configure(&mut self, hooks: Vec<HookConfig>) -> Vec<Verdict> {
        self.due.retain(|hook| hooks.contains(hook));
        let is_there = |gate: &String| hooks.iter().any(|hook| hook.gate && name(hook) == *gate);
        let gone = self.gates.extract_if(.., |name, _| !is_there(name));
        let verdicts = gone
            .filter(|(_, gate)| gate.is_closed)
            .map(|(name, _)| Verdict::Open(name))
            .collect();
        self.hooks = hooks;
        verdicts
    }

    /// The role changed.
    pub(super) fn change(&mut self, change: Transition, now: Instant) {
        self.counters.outdated += self.due.len() as u64;
        let event = event(change.to);
        let hooks = self.hooks.iter().filter(|hook| hook.on.contains(&event));
        self.due = hooks.cloned().collect();
        self.change = Some(change);
        for gate in self.gates.values_mut() {
            gate.next_at = match change.to {
                Role::Backup => Some(now + gate.hold()),
                // A master tries it now, and in `init` there is no role to have.
                Role::Master | Role::Init => None,
            };
        }
    }

    /// Begins the next one, under this token, if there is one and no other runs.
    pub(super) fn begin(&mut self, token: u64) -> Option<&Turn> {
        if self.running.is_some() {
            return None;
        }
        let (hook, change) = (self.due.pop_front()?, self.change?);
        Some(self.running.insert(Turn {
            token,
            hook,
            change,
        }))
    }

    /// What runs under this token has ended.
    pub(super) fn end(
        &mut self,
        token: u64,
        end: End,
        now: Instant,
    ) -> Option<(Turn, Option<Verdict>)> {
        let turn = self.running.take_if(|turn| turn.token == token)?;
        self.counters.runs += 1;
        match end {
            End::Success => {}
            End::Failure => self.counters.failures += 1,
            End::Timeout => self.counters.timeouts += 1,
        }
        let verdict = self.judge(&turn, end, now);
        Some((turn, verdict))
    }

    fn judge(&mut self, turn: &Turn, end: End, now: Instant) -> Option<Verdict> {
        let is_configured = self.hooks.contains(&turn.hook);
        if !turn.hook.gate || turn.change.to != Role::Master || !is_configured {
            return None;
        }
        let name = name(&turn.hook);
        if end == End::Success {
            let gate = self.gates.remove(&name)?;
            return gate.is_closed.then_some(Verdict::Open(name));
        }
        // Of a role that is gone it says nothing: it may be what it failed from.
        if self.role() != Some(Role::Master) {
            return None;
        }
        let gate = self.gates.entry(name.clone()).or_default();
        gate.failures += 1;
        gate.is_closed = true;
        gate.next_at = Some(now + gate.hold());
        Some(Verdict::Closed(name))
    }

    /// Time went by. `is_master_well` says that the master this host hears is not
    /// demoted.
    pub(super) fn fire(&mut self, is_master_well: bool, now: Instant) -> Vec<Verdict> {
        let role = self.role();
        let mut opened = Vec::new();
        for (name, gate) in &mut self.gates {
            if gate.next_at.is_none_or(|at| now < at) {
                continue;
            }
            gate.next_at = None;
            match role {
                Some(Role::Master) => {
                    let is_it = |hook: &&HookConfig| hook.gate && self::name(hook) == *name;
                    self.due.extend(self.hooks.iter().find(is_it).cloned());
                }
                Some(Role::Backup) if is_master_well => {
                    gate.is_closed = false;
                    opened.push(Verdict::Open(name.clone()));
                }
                Some(Role::Backup) => gate.next_at = Some(now + gate.hold()),
                Some(Role::Init) | None => {}
            }
        }
        opened
    }

    /// When to call [`Self::fire`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.gates.values().filter_map(|gate| gate.next_at).min()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.due.is_empty()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    fn role(&self) -> Option<Role> {
        self.change.map(|change| change.to)
    }
}

/// What a hook is called in causes and log lines: its program's name and its own
/// arguments.
pub(super) fn name(hook: &HookConfig) -> String {
    let program = hook.command.file_name().unwrap_or_default();
    let mut name = program.to_string_lossy().into_owned();
    for argument in &hook.args {
        name.push(' ');
        name.push_str(argument);
    }
    name
}

fn event(role: Role) -> HookEvent {
    match role {
        Role::Init => HookEvent::Init,
        Role::Backup => HookEvent::Backup,
        Role::Master => HookEvent::Master,
    }
}

#[cfg(test)]
mod tests;
