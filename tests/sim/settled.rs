//! What must hold once nothing has happened for a while: one host answers, the
//! right one, and the clients know it.

use vipd::carp::Interval;
use vipd::mac::MacAddr;

use super::checker::Checker;
use super::client::Ask;
use super::faults::Fault;
use super::host::Placing;
use super::setup::{HostSetup, Nanos, Program, SECOND, STRANGER_MAC, nanos};
use super::world::World;

impl World {
    /// How long a settled world may take to settle: whoever was not heard is
    /// waited for, and who wins is waited for once more, by whoever woke late.
    pub fn settling_time(&self) -> Nanos {
        let hosts = self.setup.hosts.iter();
        let intervals = hosts.flat_map(|host| host.intervals.iter().enumerate());
        let times = intervals.map(|(g, interval)| {
            // vipd waits two intervals at least.
            let ratio = u64::from(self.setup.groups[g].dead_ratio.max(2));
            let slowest = if interval.advbase == 0 {
                *interval
            } else {
                interval.demoted_by(Interval::DEMOTED_ADVSKEW)
            };
            let period = nanos(slowest.period());
            // The slowest is waited for, and then its first advert preempted.
            ratio * period + period + nanos(slowest.skew())
        });
        let has_ucarp = |host: &HostSetup| host.program == Program::Ucarp;
        let grid = if self.setup.hosts.iter().any(has_ucarp) {
            // UCARP looks at its timer once an interval.
            2 * SECOND * 2
        } else {
            0
        };
        let wire = 4 * self.reaction();
        let delays = self.setup.hosts.iter().map(|host| host.preempt_delay);
        times.max().unwrap_or(0) + grid + wire + delays.max().unwrap_or(0)
    }

    /// Nobody hears of a request any more.
    pub(super) fn judge(&mut self, ask: &Ask) {
        let Some(g) = self.setup.group_of(ask.lan, ask.vip) else {
            return;
        };
        self.record_answers(g, ask);
        if ask.answered_by.is_empty() {
            self.checks.unanswered += 1;
        } else {
            self.checks.served_at[g] = ask.asked_at;
        }
        let able: Vec<usize> = (0..self.hosts.len())
            .filter(|h| {
                let host = &self.hosts[*h];
                let is_up = host.is_running() && host.kernel.nics[ask.lan].up;
                let has_group = !host.file.absent.contains(&g);
                is_up && has_group && !host.sends_fail && !self.told(*h, g).withheld
            })
            .collect();
        let is_settled = self.quiet_from + self.settling_time() <= ask.asked_at;
        if !self.active.iter().all(Fault::excuses_nobody) {
            return self.judge_gap(ask, g, &able);
        }
        if !is_settled {
            return;
        }
        self.checks.judged += 1;
        let macs = &ask.answered_by;
        if macs.len() > 1 {
            return self.violated(
                Checker::OneAnswers,
                format!("{macs:?} answer for group {g}"),
            );
        }
        let Some(mac) = macs.first().copied() else {
            // Where the configuration leaves no room, the lease has gaps.
            let has_gaps = (0..self.hosts.len()).any(|h| self.timing(h, g).has_gaps());
            if !able.is_empty() && !has_gaps {
                self.violated(
                    Checker::SomebodyAnswers,
                    format!("nobody answers for group {g}"),
                );
            }
            return;
        };
        let may_own = |h: &usize| {
            let is_able = able.contains(h) || self.told(*h, g).withheld;
            is_able && self.hosts[*h].kernel.nics[ask.lan].mac == mac
        };
        let Some(owner) = (0..self.hosts.len()).find(may_own) else {
            return self.violated(
                Checker::SomebodyAnswers,
                format!("{mac} answers for group {g}"),
            );
        };
        let since = self.quiet_from + self.settling_time();
        self.judge_fitness(g, owner, &able, since);
        self.judge_listener(ask, g, mac);
    }

    /// Some host cannot keep its promise. It may try, and the address be without
    /// an owner meanwhile, but not for longer than a failover takes.
    fn judge_gap(&mut self, ask: &Ask, g: usize, able: &[usize]) {
        let is_moment = |fault: &Fault| fault.excuses_nobody() || fault.excuses_moments();
        let is_whole =
            |h: &usize| !self.hosts[*h].map_fails && self.hosts[*h].placing == Placing::Quick;
        let since = self.checks.served_at[g].max(self.quiet_from);
        if self.active.iter().all(is_moment)
            && able.iter().any(is_whole)
            && !(0..self.hosts.len()).any(|h| self.timing(h, g).has_gaps())
            && since + self.settling_time() < ask.asked_at
        {
            self.violated(
                Checker::SomebodyAnswers,
                format!("nobody answers for group {g}"),
            );
        }
    }

    fn judge_listener(&mut self, ask: &Ask, g: usize, mac: MacAddr) {
        // The locktime hides an announcement; the third after it does not.
        let settled = self.quiet_from + self.settling_time() + 4 * SECOND;
        if settled > ask.asked_at {
            return;
        }
        let entry = self.client.entry(ask.lan, ask.vip);
        if entry == Some(STRANGER_MAC) && self.checks.unnoticed.contains(&ask.vip) {
            return;
        }
        if entry != Some(mac) {
            self.violated(
                Checker::ClientFollows,
                format!("the client sends to {entry:?}, {mac} has group {g}"),
            );
        } else if !self.reaches(ask.lan, ask.vip, mac) {
            self.violated(
                Checker::ClientReaches,
                format!("{mac} does not take packets for group {g}"),
            );
        }
    }
}
