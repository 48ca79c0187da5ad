//! Health: whether the services behind a group's addresses work, and the links it
//! depends on. What does not is a cause against this host.
//!
//! A thread of its own asks (`prober`); what its answers come to is decided here
//! (`judge`). A link is what netlink tells of it.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tracing::error;

use super::{Daemon, clock};
use crate::config::{CheckConfig, FailEffect, Probe, TrackConfig};
use crate::io::{command, netlink};
use crate::status::CheckStatus;
use crate::time::{Duration, Instant};

mod judge;
mod prober;

use judge::{Judge, Verdict};
pub(super) use prober::Answer;
use prober::{Asked, Prober, Question};

/// Answers that may wait for the loop; more make the thread wait.
const ANSWERS: usize = 64;

/// All groups' checks and tracked links.
pub(super) struct Health {
    groups: BTreeMap<String, Group>,
    /// Started with the first check that is configured.
    prober: Option<Prober>,
    answers: mpsc::Receiver<Answer>,
    /// Kept for the prober that is not started yet.
    tells: mpsc::Sender<Answer>,
    last_id: u64,
    /// What netlink last told of interfaces that some group depends on.
    links: BTreeMap<String, Link>,
}

#[derive(Default)]
struct Group {
    checks: Vec<Check>,
    tracks: Vec<TrackConfig>,
}

struct Check {
    id: u64,
    config: CheckConfig,
    judge: Judge,
    /// When the verdict was made.
    since: Instant,
    /// Why the last probe failed; empty if it did not.
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Link {
    state: LinkState,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    Up,
    Down,
    Gone,
}

/// A change of a group's causes.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Set {
        cause: String,
        effect: FailEffect,
        text: String,
    },
    Clear {
        cause: String,
    },
}

impl Health {
    pub(super) fn new() -> Self {
        let (tells, answers) = mpsc::channel(ANSWERS);
        Self {
            groups: BTreeMap::new(),
            prober: None,
            answers,
            tells,
            last_id: 0,
            links: BTreeMap::new(),
        }
    }

    pub(super) async fn next_answer(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    pub(super) fn try_next_answer(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Names of the groups that are known, also of those that nothing is watched for.
    pub(super) fn groups(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    /// The checks and links of a group, for its status.
    pub(super) fn status(&self, group: &str) -> Vec<CheckStatus> {
        let Some(group) = self.groups.get(group) else {
            return Vec::new();
        };
        let checks = group.checks.iter().map(|check| CheckStatus {
            name: check.config.name.clone(),
            state: check.judge.verdict().as_str().to_owned(),
            since: clock::wall_clock(check.since),
            text: check.text.clone(),
        });
        let tracks = group.tracks.iter().map(|track| {
            let link = self.links.get(&track.interface);
            let (state, text) = match link.map(|link| link.state) {
                None => (Verdict::Unknown, String::new()),
                Some(LinkState::Up) => (Verdict::Passing, String::new()),
                Some(state @ (LinkState::Down | LinkState::Gone)) => {
                    (Verdict::Failing, link_text(&track.interface, state))
                }
            };
            CheckStatus {
                name: link_cause(&track.interface),
                state: state.as_str().to_owned(),
                since: link
                    .map(|link| clock::wall_clock(link.since))
                    .unwrap_or_default(),
                text,
            }
        });
        checks.chain(tracks).collect()
    }

    /// The checks and links of a group from now on. What did not change goes on as
    /// it is; what is new begins as `new`.
    fn configure(
        &mut self,
        name: &str,
        checks: Vec<CheckConfig>,
        tracks: Vec<TrackConfig>,
        new: Verdict,
        now: Instant,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let old = self.groups.remove(name).unwrap_or_default();
        let mut group = Group {
            checks: Vec::new(),
            tracks,
        };
        let (mut kept, gone): (Vec<_>, Vec<_>) = old
            .checks
            .into_iter()
            .partition(|check| checks.contains(&check.config));
        for check in gone {
            self.end(check.id);
            let cause = check_cause(&check.config.name);
            changes.push(Change::Clear { cause });
        }
        for config in checks {
            if let Some(index) = kept.iter().position(|check| check.config == config) {
                group.checks.push(kept.swap_remove(index));
                continue;
            }
            self.last_id += 1;
            let check = Check {
                id: self.last_id,
                judge: Judge::new(config.rise, config.fall, new),
                since: now,
                text: String::new(),
                config,
            };
            self.begin(name, &check);
            if new == Verdict::Unknown {
                changes.push(Change::Set {
                    cause: check_cause(&check.config.name),
                    effect: check.config.effect,
                    text: format!("check {} has not been answered yet", check.config.name),
                });
            }
            group.checks.push(check);
        }
        let is_tracked = |track: &TrackConfig| {
            group
                .tracks
                .iter()
                .any(|new| new.interface == track.interface)
        };
        for track in old.tracks.iter().filter(|track| !is_tracked(track)) {
            let cause = link_cause(&track.interface);
            changes.push(Change::Clear { cause });
        }
        for track in &group.tracks {
            if let Some(link) = self.links.get(&track.interface) {
                changes.push(link_change(track, link.state));
            }
        }
        self.groups.insert(name.to_owned(), group);
        changes
    }

    fn begin(&mut self, group: &str, check: &Check) {
        if self.prober.is_none() {
            match Prober::spawn(self.tells.clone()) {
                Ok(prober) => self.prober = Some(prober),
                Err(error) => error!("nothing is checked: cannot start a thread for it: {error}"),
            }
        }
        if let Some(prober) = &self.prober {
            prober.begin(check.id, asked(group, &check.config));
        }
    }

    fn end(&self, id: u64) {
        if let Some(prober) = &self.prober {
            prober.end(id);
        }
    }

    /// A probe was answered. The group that it is about, and what follows for it.
    fn hear(&mut self, answer: Answer, now: Instant) -> Option<(String, Change)> {
        let of_id = |check: &&mut Check| check.id == answer.id;
        let (name, check) = self.groups.iter_mut().find_map(|(name, group)| {
            let check = group.checks.iter_mut().find(of_id)?;
            Some((name, check))
        })?;
        let verdict = check.judge.hear(answer.result.is_ok());
        if verdict.is_some() {
            check.since = now;
        }
        check.text = answer.result.err().unwrap_or_default();
        let cause = check_cause(&check.config.name);
        let change = match (verdict, check.judge.verdict()) {
            (Some(Verdict::Passing), _) => Change::Clear { cause },
            // The words may be others, also when the verdict is the same.
            (_, Verdict::Failing) if !check.text.is_empty() => Change::Set {
                cause,
                effect: check.config.effect,
                text: format!("check {} fails: {}", check.config.name, check.text),
            },
            (_, Verdict::Unknown | Verdict::Passing | Verdict::Failing) => return None,
        };
        Some((name.clone(), change))
    }

    /// What a link is like now. The groups that depend on it, and what follows.
    fn hear_link(&mut self, name: &str, state: LinkState, now: Instant) -> Vec<(String, Change)> {
        if self.links.get(name).is_some_and(|link| link.state == state) {
            return Vec::new();
        }
        self.links
            .insert(name.to_owned(), Link { state, since: now });
        let mut changes = Vec::new();
        for (group, watched) in &self.groups {
            let tracks = watched.tracks.iter();
            for track in tracks.filter(|track| track.interface == name) {
                changes.push((group.clone(), link_change(track, state)));
            }
        }
        changes
    }
}

impl Daemon {
    /// The checks and links of a group, from now on. `is_new` says that nothing is
    /// known of the group: it has just come, and does not go on with a role.
    pub(super) fn configure_health(
        &mut self,
        group: &str,
        checks: Vec<CheckConfig>,
        tracks: Vec<TrackConfig>,
        is_new: bool,
    ) {
        let new = if is_new {
            Verdict::Unknown
        } else {
            Verdict::Passing
        };
        let now = clock::now();
        for change in self.health.configure(group, checks, tracks, new, now) {
            self.obey(group, change);
        }
    }

    /// The group is not configured any more.
    pub(super) fn forget_health(&mut self, group: &str) {
        self.configure_health(group, Vec::new(), Vec::new(), false);
        self.health.groups.remove(group);
    }

    pub(super) fn handle_answer(&mut self, answer: Answer) {
        if let Some((group, change)) = self.health.hear(answer, clock::now()) {
            self.obey(&group, change);
        }
    }

    /// What netlink tells of an interface, for those groups that depend on it.
    pub(super) fn track(&mut self, event: &netlink::Event) {
        let (name, state) = match event {
            netlink::Event::Link(link) if link.up => (&link.name, LinkState::Up),
            netlink::Event::Link(link) => (&link.name, LinkState::Down),
            netlink::Event::LinkGone { name } => (name, LinkState::Gone),
            netlink::Event::AddressAdded { .. }
            | netlink::Event::AddressRemoved { .. }
            | netlink::Event::Done { .. } => return,
        };
        for (group, change) in self.health.hear_link(name, state, clock::now()) {
            self.obey(&group, change);
        }
    }

    fn obey(&mut self, group: &str, change: Change) {
        match change {
            Change::Set {
                cause,
                effect,
                text,
            } => self.set_cause(group, &cause, effect, text),
            Change::Clear { cause } => self.clear_cause(group, &cause),
        }
    }
}

fn check_cause(check: &str) -> String {
    format!("check {check}")
}

fn link_cause(interface: &str) -> String {
    format!("link {interface}")
}

fn link_text(interface: &str, state: LinkState) -> String {
    let how = match state {
        LinkState::Up => "up",
        LinkState::Down => "down",
        LinkState::Gone => "gone",
    };
    format!("link {interface} is {how}")
}

fn link_change(track: &TrackConfig, state: LinkState) -> Change {
    let cause = link_cause(&track.interface);
    match state {
        LinkState::Up => Change::Clear { cause },
        LinkState::Down | LinkState::Gone => Change::Set {
            cause,
            effect: track.effect,
            text: link_text(&track.interface, state),
        },
    }
}

/// What the thread is to ask.
fn asked(group: &str, check: &CheckConfig) -> Asked {
    let question = match &check.probe {
        Probe::Command { argv } => {
            let mut words = argv.iter().cloned();
            Question::Command(command::Command {
                program: words.next().unwrap_or_default().into(),
                arguments: words.collect(),
                environment: vec![
                    ("VIPD_GROUP".to_owned(), group.to_owned()),
                    ("VIPD_CHECK".to_owned(), check.name.clone()),
                ],
                timeout: check.timeout,
                // Nothing is lost with a check that is killed.
                grace: Duration::ZERO,
                ends_group: true,
            })
        }
        Probe::Tcp { addr } => Question::Tcp(*addr),
        Probe::Http {
            addr,
            host,
            path,
            status,
        } => Question::Http {
            address: *addr,
            host: host.clone(),
            path: path.clone(),
            status: *status,
        },
    };
    Asked {
        question,
        interval: check.interval,
        timeout: check.timeout,
    }
}

#[cfg(test)]
mod tests;
