//! Hooks: programs of the operator that are run when a group's role changes, beside
//! the election and never in its way.
//!
//! The loop decides whose turn it is (`turns`), what it is told (`words`), and reads
//! how it ended; threads of `io::command` start the programs and wait for them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::signals::{Command, Signals};
use super::{Daemon, clock};
use crate::carp::{Role, Transition};
use crate::config::{FailEffect, HookConfig};
use crate::engine::{GroupId, GroupView};
use crate::io::command::{Ended, How, Rights, Runner};
use crate::time::Instant;

mod turns;
mod words;

use turns::{End, Turns, Verdict};
use words::Scene;

/// How long a stop waits for the hooks of the last changes of role.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// By how much a gate that failed demotes: as a host that cannot send
/// (ip_carp.c of OpenBSD and FreeBSD, 240 for what keeps a host from its work).
const CLOSED: FailEffect = FailEffect::Demote(240);

/// The advertised skew from which on a master counts as demoted as well: no fit host
/// has it, and a demotion of 240 gives it.
const UNWELL_ADVSKEW: u8 = 240;

/// Ends that may wait for the loop; more make their threads wait.
const ENDS: usize = 64;

/// All groups' hooks.
pub(super) struct Hooks {
    groups: BTreeMap<String, Group>,
    runners: Runners,
    ends: mpsc::Receiver<(u64, Ended)>,
    /// Kept for the runner that is not started yet.
    tells: mpsc::Sender<(u64, Ended)>,
    last_token: u64,
}

/// Rights belong to threads, so there is one for each kind. It is started with the
/// first hook of that kind that is configured.
#[derive(Default)]
struct Runners {
    without: Option<Runner>,
    privileged: Option<Runner>,
}

impl Runners {
    fn of(&mut self, hook: &HookConfig) -> &mut Option<Runner> {
        match rights(hook) {
            Rights::None => &mut self.without,
            Rights::Kept => &mut self.privileged,
        }
    }
}

fn rights(hook: &HookConfig) -> Rights {
    if hook.privileged {
        Rights::Kept
    } else {
        Rights::None
    }
}

struct Group {
    scene: Scene,
    turns: Turns,
}

impl Hooks {
    pub(super) fn new() -> Self {
        let (tells, ends) = mpsc::channel(ENDS);
        Self {
            groups: BTreeMap::new(),
            runners: Runners::default(),
            ends,
            tells,
            last_token: 0,
        }
    }

    /// The next end of a hook.
    pub(super) async fn next_end(&mut self) -> Option<(u64, Ended)> {
        self.ends.recv().await
    }

    pub(super) fn try_next_end(&mut self) -> Option<(u64, Ended)> {
        self.ends.try_recv().ok()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let groups = self.groups.values();
        groups.filter_map(|group| group.turns.poll_timeout()).min()
    }

    /// What became of a group's hooks, by the names that the status has.
    pub(super) fn counters(&self, group: &str) -> BTreeMap<String, u64> {
        let group = self.groups.get(group);
        let turns::Counters {
            runs,
            failures,
            timeouts,
            outdated,
        } = group
            .map(|group| group.turns.counters())
            .unwrap_or_default();
        let counters = [
            ("hook_runs", runs),
            ("hook_failures", failures),
            ("hook_timeouts", timeouts),
            ("hook_outdated", outdated),
        ];
        counters
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// One group, as it is from now on. Names the causes that are gone.
    fn configure(&mut self, scene: Scene, hooks: Vec<HookConfig>) -> Vec<Verdict> {
        // Most have none, and are not to be looked through.
        if hooks.is_empty() && !self.groups.contains_key(&scene.group) {
            return Vec::new();
        }
        for hook in &hooks {
            let runner = self.runners.of(hook);
            if runner.is_none() {
                match Runner::spawn(rights(hook), self.tells.clone()) {
                    Ok(started) => *runner = Some(started),
                    Err(error) => error!("cannot start a thread for hooks: {error}"),
                }
            }
        }
        let group = self.groups.entry(scene.group.clone());
        let group = group.or_insert_with(|| Group {
            scene: scene.clone(),
            turns: Turns::default(),
        });
        group.scene = scene;
        group.turns.configure(hooks)
    }

    fn change(&mut self, group: &str, change: Transition, now: Instant) {
        if let Some(group) = self.groups.get_mut(group) {
            group.turns.change(change, now);
        }
        self.begin();
    }

    /// Starts what is due.
    fn begin(&mut self) {
        for Group { scene, turns } in self.groups.values_mut() {
            let token = self.last_token + 1;
            let Some(turn) = turns.begin(token) else {
                continue;
            };
            self.last_token = token;
            // Without a thread it has begun for ever, which was said at the start.
            if let Some(runner) = self.runners.of(&turn.hook) {
                runner.run(token, words::command(turn, scene));
            }
        }
    }

    /// A hook ended. The group and what follows for it.
    fn end(&mut self, token: u64, ended: &Ended, now: Instant) -> Option<(String, Verdict)> {
        let end = match &ended.how {
            How::Exited(0) => End::Success,
            How::Exited(_) | How::Killed(_) | How::NotStarted(_) => End::Failure,
            How::TimedOut(_) => End::Timeout,
        };
        let mut found = None;
        for (name, group) in &mut self.groups {
            if let Some((turn, verdict)) = group.turns.end(token, end, now) {
                let (hook, role) = (turns::name(&turn.hook), turn.change.to.as_str());
                if end == End::Success {
                    info!(group = name, hook, role, "hook done: {ended}");
                } else {
                    warn!(group = name, hook, role, "hook failed: {ended}");
                }
                found = verdict.map(|verdict| (name.clone(), verdict));
                break;
            }
        }
        self.begin();
        found
    }

    fn is_idle(&self) -> bool {
        self.groups.values().all(|group| group.turns.is_idle())
    }

    /// At the end: waits for what runs and what is due, but not for ever. A second
    /// signal ends it. What still runs is killed.
    pub(super) async fn finish(mut self, mut signals: Signals) {
        if self.is_idle() {
            return;
        }
        info!("waiting for hooks");
        let patience = tokio::time::sleep(STOP_PATIENCE);
        tokio::pin!(patience);
        while !self.is_idle() {
            tokio::select! {
                biased;
                command = signals.next() => {
                    if matches!(command, Command::Stop(_)) {
                        break;
                    }
                }
                () = &mut patience => break,
                Some((token, ended)) = self.ends.recv() => {
                    // There is no role left that a gate could cost.
                    let _ = self.end(token, &ended, clock::now());
                }
            }
        }
        if !self.is_idle() {
            warn!("hooks are still running; killing them");
        }
    }
}

impl Daemon {
    /// The hooks of a group, from now on.
    pub(super) fn configure_hooks(&mut self, group: GroupId, hooks: Vec<HookConfig>) {
        let Some(view) = self.engine.group(group) else {
            return;
        };
        let scene = Scene {
            group: view.config.name.clone(),
            interface: self.engine.interface_name(view.config.interface).to_owned(),
            vhid: view.config.vhid.value(),
            vips: view.config.vips.clone(),
            advskew: view.config.timing.interval.advskew,
        };
        let name = scene.group.clone();
        for verdict in self.hooks.configure(scene, hooks) {
            self.obey_gate(&name, verdict, None);
        }
    }

    /// The group is not configured any more. What runs for it runs to its end.
    pub(super) fn forget_hooks(&mut self, group: &str) {
        self.hooks.groups.remove(group);
    }

    pub(super) fn run_hooks(&mut self, group: GroupId, change: Transition) {
        if let Some(view) = self.engine.group(group) {
            self.hooks.change(&view.config.name, change, clock::now());
        }
    }

    pub(super) fn handle_hook_end(&mut self, token: u64, ended: &Ended) {
        if let Some((group, verdict)) = self.hooks.end(token, ended, clock::now()) {
            self.obey_gate(&group, verdict, Some(ended));
        }
    }

    pub(super) fn fire_gates(&mut self, now: Instant) {
        let mut heard = Vec::new();
        for (name, group) in &mut self.hooks.groups {
            if group.turns.poll_timeout().is_none_or(|at| now < at) {
                continue;
            }
            let mut views = self.engine.groups();
            let view = views.find(|view| view.config.name == *name);
            let is_master_well = view.is_some_and(|view| hears_fit_master(&view));
            let verdicts = group.turns.fire(is_master_well, now);
            heard.extend(verdicts.into_iter().map(|verdict| (name.clone(), verdict)));
        }
        self.hooks.begin();
        for (group, verdict) in heard {
            self.obey_gate(&group, verdict, None);
        }
    }

    fn obey_gate(&mut self, group: &str, verdict: Verdict, ended: Option<&Ended>) {
        match verdict {
            Verdict::Closed(hook) => {
                let why = ended.map(ToString::to_string).unwrap_or_default();
                let text = format!("hook {hook} failed: {why}");
                self.set_cause(group, &cause(&hook), CLOSED, text);
            }
            Verdict::Open(hook) => self.clear_cause(group, &cause(&hook)),
        }
    }
}

fn cause(hook: &str) -> String {
    format!("hook {hook}")
}

/// Whether somebody else is master who is not demoted himself.
fn hears_fit_master(view: &GroupView<'_>) -> bool {
    view.role == Role::Backup
        && view
            .master
            .is_some_and(|master| master.interval.advskew < UNWELL_ADVSKEW)
}
