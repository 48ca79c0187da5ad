//! How fit the hosts are, as somebody knows who looks at all of them, and what
//! must follow from it.

use vipd::carp::timers::Timing;
use vipd::carp::{Fitness, Interval, Reason, Role};

use super::checker::Checker;
use super::host::Waiting;
use super::setup::{Nanos, Program};
use super::world::World;

impl World {
    /// The daemon is told at once, unless it is stopped.
    pub(super) fn become_fit(&mut self, host: usize, group: usize, fitness: Fitness) {
        let is_well = |world: &Self| {
            let view = world.view(host, group);
            view.is_some_and(|view| view.fitness == Fitness::WELL)
        };
        let was_well = is_well(self);
        self.hosts[host].fitness.insert(group, fitness);
        self.deliver(host, Waiting::Fitness { group, fitness });
        if is_well(self) && !was_well {
            self.delay_preemption(host, |other| other == group);
        }
    }

    /// From now on it must not preempt in these groups for a while.
    pub(super) fn delay_preemption(&mut self, host: usize, of: impl Fn(usize) -> bool) {
        let until = self.now + self.setup.hosts[host].preempt_delay;
        for g in (0..self.setup.groups.len()).filter(|g| of(*g)) {
            self.hosts[host].preempts_from.insert(g, until);
        }
    }

    /// Groups that move together with this one, itself among them.
    pub(super) fn tied_with(&self, g: usize) -> Vec<usize> {
        match self.setup.is_tied {
            true => (0..self.setup.groups.len()).collect(),
            false => vec![g],
        }
    }

    pub(super) fn told(&self, host: usize, g: usize) -> Fitness {
        let told = self.hosts[host].fitness.get(&g).copied();
        told.unwrap_or(Fitness::WELL)
    }

    /// By how much a host is demoted: as it says, and not less than it should be.
    fn demotion(&self, host: usize, g: usize) -> u8 {
        let of_tied = |other: usize| {
            let told = self.told(host, other);
            let lan = self.setup.groups[other].lan;
            if self.hosts[host].file.absent.contains(&other) {
                return 0;
            }
            let is_unable = told.withheld || !self.hosts[host].kernel.nics[lan].up;
            match is_unable && other != g {
                true => told.demotion.max(Interval::DEMOTED_ADVSKEW),
                false => told.demotion,
            }
        };
        let due = self.tied_with(g).into_iter().map(of_tied).max();
        let said = self.view(host, g).map(|view| view.fitness.demotion);
        due.max(said).unwrap_or(0)
    }

    /// The group is answered by `owner`, and has been for a while. Whether one of
    /// the others should rather do so.
    pub(super) fn judge_fitness(&mut self, g: usize, owner: usize, able: &[usize], since: Nanos) {
        if self.told(owner, g).withheld {
            let what = format!("host{owner} answers for group {g} and must not");
            return self.violated(Checker::TheFitAnswers, what);
        }
        for rival in able.iter().copied().filter(|rival| *rival != owner) {
            if let Some(checker) = self.should_unseat(g, rival, owner) {
                let what = format!("host{owner} answers for group {g}, not host{rival}");
                return self.violated(checker, what);
            }
        }
        let others = self.tied_with(g).into_iter().filter(|other| *other != g);
        for other in others.collect::<Vec<_>>() {
            let answered = self.last_answers.get(&other).map(|(at, _)| *at);
            if let Some(its) = self.owner(other).filter(|_| answered >= Some(since))
                && its != owner
                && self.divides_tie(g, owner, its)
            {
                let what = format!(
                    "host{owner} answers for group {g} and host{its} for group {other}, tied"
                );
                return self.violated(Checker::TiedMoveTogether, what);
            }
        }
    }

    fn should_unseat(&self, g: usize, rival: usize, owner: usize) -> Option<Checker> {
        let interval = |h: usize| self.setup.hosts[h].intervals[g];
        let is_vipd = |h: usize| self.setup.hosts[h].program == Program::Vipd;
        let (its, owners) = (self.demotion(rival, g), self.demotion(owner, g));
        let all_preempt = self.setup.hosts.iter().all(|host| host.preempt);
        if !is_vipd(rival) || !is_vipd(owner) {
            let shown = |h: usize, demotion| interval(h).demoted_by(demotion);
            let is_better = shown(rival, its).outranks(shown(owner, owners));
            return (is_better && all_preempt).then_some(Checker::ThePreferredAnswers);
        }
        let waits_for = |one: usize, other: usize| {
            let timing = Timing {
                interval: interval(one),
                dead_ratio: self.setup.groups[g].dead_ratio,
            };
            !timing.will_time_out(interval(other))
        };
        let is_better = interval(rival).outranks(interval(owner)) && all_preempt;
        if !waits_for(owner, rival) || !waits_for(rival, owner) || its == owners {
            return is_better.then_some(Checker::ThePreferredAnswers);
        }
        (its < owners).then_some(Checker::TheFitAnswers)
    }

    /// Two healthy hosts have a part each, though one could have it all.
    fn divides_tie(&self, g: usize, one: usize, other: usize) -> bool {
        let is_whole = |h: usize| {
            let can = |g: usize| {
                let lan = self.setup.groups[g].lan;
                let is_well = self.demotion(h, g) == 0 && !self.told(h, g).withheld;
                is_well && self.hosts[h].kernel.nics[lan].up
            };
            self.hosts[h].is_running() && self.tied_with(g).into_iter().all(can)
        };
        let (a, b) = (
            self.setup.hosts[one].intervals[g],
            self.setup.hosts[other].intervals[g],
        );
        is_whole(one) && is_whole(other) && (a.outranks(b) || b.outranks(a))
    }

    /// The first advert of a term, which was not there before the daemon.
    pub(super) fn check_patience(&mut self, host: usize, g: usize, reason: Option<Reason>) {
        let setup = &self.setup.hosts[host];
        let starts_at = self.hosts[host].listens_since + setup.startup_delay;
        if self.now < starts_at {
            let what = format!("host{host} takes group {g} before its start-up delay is over");
            return self.violated(Checker::PatienceIsKept, what);
        }
        if reason != Some(Reason::Preempt) || self.hosts[host].promoted.contains(&g) {
            return;
        }
        let joins = self.setup.is_tied;
        let from = self.hosts[host].preempts_from.get(&g).copied();
        let is_early = from.is_some_and(|from| self.now < from);
        if is_early || !setup.preempt && !joins {
            let what = format!("host{host} preempts in group {g}");
            self.violated(Checker::PatienceIsKept, what);
        }
    }

    /// Whether the daemon knows that a link is down.
    pub(super) fn knows_of_no_link(&self, host: usize, lan: usize) -> bool {
        let of_lan = |g: &usize| self.setup.groups[*g].lan == lan;
        let groups = (0..self.setup.groups.len()).filter(of_lan);
        let mut roles = groups.map(|g| self.role(host, g));
        roles.all(|role| role == Some(Role::Init))
    }
}
