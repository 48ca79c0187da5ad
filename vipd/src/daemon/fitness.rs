//! How fit this host is for each group, and why: whoever finds a reason against
//! it names a cause, and what all of them come to goes to the engine.
//!
//! Groups are known by their names, which outlive a change of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use tracing::info;

use super::{Daemon, clock};
use crate::carp::{Peer, Role};
use crate::config::FailEffect;
use crate::engine::{Fitness, GroupView, Input};
use crate::status::{CauseStatus, event::What};

/// A reason against this host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    effect: FailEffect,
    /// RFC 3339, as the status shows it.
    since: String,
    text: String,
}

/// All of them, by group and name.
#[derive(Debug, Default)]
pub(super) struct Causes(BTreeMap<String, BTreeMap<String, Cause>>);

impl Causes {
    /// Whether anything but the words changed.
    fn set(
        &mut self,
        group: &str,
        name: &str,
        effect: FailEffect,
        since: String,
        text: String,
    ) -> bool {
        let causes = self.0.entry(group.to_owned()).or_default();
        if let Some(known) = causes.get_mut(name) {
            known.text = text;
            return std::mem::replace(&mut known.effect, effect) != effect;
        }
        let cause = Cause {
            effect,
            since,
            text,
        };
        causes.insert(name.to_owned(), cause);
        true
    }

    /// Whether it was there.
    fn clear(&mut self, group: &str, name: &str) -> bool {
        let Some(causes) = self.0.get_mut(group) else {
            return false;
        };
        let was_there = causes.remove(name).is_some();
        if causes.is_empty() {
            self.0.remove(group);
        }
        was_there
    }

    fn of(&self, group: &str) -> impl Iterator<Item = (&String, &Cause)> {
        self.0.get(group).into_iter().flatten()
    }

    /// Demotions add up, as OpenBSD's do: of two hosts that are both unwell, the
    /// one with fewer causes is to be preferred.
    pub(super) fn fitness(&self, group: &str) -> Fitness {
        let mut fitness = Fitness::default();
        for (_, cause) in self.of(group) {
            match cause.effect {
                FailEffect::Demote(demotion) => {
                    fitness.demotion = fitness.demotion.saturating_add(demotion);
                }
                FailEffect::GiveUp => fitness.withheld = true,
            }
        }
        fitness
    }

    pub(super) fn status(&self, group: &str) -> Vec<CauseStatus> {
        let causes = self.of(group).map(|(name, cause)| {
            let (effect, demotion) = match cause.effect {
                FailEffect::Demote(demotion) => ("demote", demotion),
                FailEffect::GiveUp => ("give_up", 0),
            };
            CauseStatus {
                name: name.clone(),
                effect: effect.to_owned(),
                demotion,
                since: cause.since.clone(),
                text: cause.text.clone(),
            }
        });
        causes.collect()
    }

    /// Why this host is not master, if but for the causes it would be; or, where it
    /// does not preempt, would have stayed it.
    pub(super) fn held_back(&self, group: &GroupView<'_>) -> Option<String> {
        let own = group.config.timing.interval;
        let outranks = |master: Peer| own.outranks(master.interval);
        let texts = self.of(&group.config.name);
        let texts: Vec<&str> = texts.map(|(_, cause)| cause.text.as_str()).collect();
        let would = if group.would_be_master {
            "would be master"
        } else if group.role == Role::Backup
            && !texts.is_empty()
            && group.master.is_some_and(outranks)
        {
            "is preferred to the master"
        } else {
            return None;
        };
        let why = if texts.is_empty() {
            // What the engine adds by itself.
            "adverts could not be sent, or a group that it is tied to is held back".to_owned()
        } else {
            texts.join("; ")
        };
        Some(format!("{would}, but {why}"))
    }

    /// Forgets all groups but these.
    fn keep(&mut self, groups: &BTreeSet<String>) {
        self.0.retain(|group, _| groups.contains(group));
    }
}

impl Daemon {
    /// There is a reason against this host, from now on. `name` tells the causes of
    /// a group apart; `text` goes on after "would be master, but". To be called
    /// again when the words change.
    pub(super) fn set_cause(
        &mut self,
        group: &str,
        name: &str,
        effect: FailEffect,
        text: impl Into<String>,
    ) {
        self.set_cause_since(group, name, effect, clock::wall_clock(clock::now()), text);
    }

    /// As [`Self::set_cause`], for what has been so for longer.
    pub(super) fn set_cause_since(
        &mut self,
        group: &str,
        name: &str,
        effect: FailEffect,
        since: String,
        text: impl Into<String>,
    ) {
        let text = text.into();
        if self.causes.set(group, name, effect, since, text.clone()) {
            info!(group, cause = name, "less fit to be master: {text}");
            self.tell(What::Cause {
                group: group.to_owned(),
                cause: name.to_owned(),
                set: true,
                text,
            });
            self.apply_fitness(group);
        }
    }

    /// The reason is gone, if it was there.
    pub(super) fn clear_cause(&mut self, group: &str, name: &str) {
        if self.causes.clear(group, name) {
            info!(group, cause = name, "this holds nothing back any more");
            self.tell(What::Cause {
                group: group.to_owned(),
                cause: name.to_owned(),
                set: false,
                text: String::new(),
            });
            self.apply_fitness(group);
        }
    }

    /// The groups are others, or the engine knows them by other numbers: what is known
    /// of those that are gone is forgotten, and the engine told of the rest.
    pub(super) fn reapply_fitness(&mut self) {
        let groups = self.engine.groups();
        let groups: BTreeSet<String> = groups.map(|group| group.config.name.clone()).collect();
        self.causes.keep(&groups);
        for group in &groups {
            self.apply_fitness(group);
        }
    }

    /// Tells the engine of one group.
    pub(super) fn apply_fitness(&mut self, name: &str) {
        let found = self.engine.groups().find(|group| group.config.name == name);
        if let Some(group) = found.map(|group| group.id) {
            let fitness = self.causes.fitness(name);
            self.handle(Input::Fitness { group, fitness });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: &str = "2026-11-21T08:00:00.000Z";

    fn set(causes: &mut Causes, name: &str, effect: FailEffect, text: &str) -> bool {
        causes.set("web", name, effect, SINCE.to_owned(), text.to_owned())
    }

    #[test]
    fn demotions_add_up_and_never_overflow() {
        let mut causes = Causes::default();
        assert_eq!(causes.fitness("web"), Fitness::default());
        assert!(set(&mut causes, "a", FailEffect::Demote(100), ""));
        assert_eq!(causes.fitness("web").demotion, 100);
        assert!(set(&mut causes, "b", FailEffect::Demote(100), ""));
        assert!(set(&mut causes, "c", FailEffect::Demote(100), ""));
        assert_eq!(causes.fitness("web").demotion, 255);
        assert!(!causes.fitness("web").withheld);
        assert!(set(&mut causes, "d", FailEffect::GiveUp, ""));
        assert!(causes.fitness("web").withheld);
        assert_eq!(causes.fitness("mail"), Fitness::default());
        for name in ["a", "b", "c", "d"] {
            assert!(causes.clear("web", name));
            assert!(!causes.clear("web", name));
        }
        assert_eq!(causes.fitness("web"), Fitness::default());
        assert!(causes.0.is_empty());
    }

    #[test]
    fn a_cause_that_is_set_again_keeps_its_time_and_takes_the_new_words() {
        let mut causes = Causes::default();
        assert!(set(&mut causes, "a", FailEffect::Demote(1), "refused"));
        let again = causes.set(
            "web",
            "a",
            FailEffect::Demote(1),
            "later".to_owned(),
            "timed out".to_owned(),
        );
        assert!(!again, "nothing follows from words");
        let [status] = &causes.status("web")[..] else {
            panic!("there is one");
        };
        assert_eq!((&*status.since, &*status.text), (SINCE, "timed out"));
        assert!(set(&mut causes, "a", FailEffect::GiveUp, "timed out"));
    }
}
