//! How long a backup waits, and how long a master may count on that.
//!
//! One file, because the two must fit: the lease ends before any correct peer
//! takes over.
//!
//! **While timers are changed on a living group** some hosts have the new ones and
//! some the old, and a host that was changed cannot know which. The lease fits only
//! if no host promises more than another waits for. So for a while after advbase or
//! deadratio were changed, a host counts with both, each time with the safer one:
//! as a master it leases, and advertises, by [`Timing::shorter`], as a backup it
//! waits by [`Timing::longer`].
//!
//! - *Changed master, backup as before.* The backup waits by the old timers, and by
//!   what is advertised, which are both no shorter than the shorter ones.
//! - *Master as before, changed backup.* Its lease is of the old timers, and the
//!   backup waits no less than those.
//! - *Both changed.* Shorter against longer.
//! - *The lease that is in the map at the moment of the change.* Peers have heard the
//!   advert that it stands on and wait by it, or longer; so it stays. But from the
//!   first advert on that says the new interval they may wait by that alone. So the
//!   master first cuts the lease to what it will have from now on, and only then
//!   advertises: between the two, too, nothing is promised that is not waited for.
//!
//! advskew needs none of this: the lease does not depend on it, and every host waits
//! for what the master advertises.

use std::time::Duration;

use super::{Interval, skews_to_duration};

/// What decides the waiting times of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What this host is configured to advertise.
    pub interval: Interval,
    /// Intervals of silence that mean the master is dead; at least 1.
    pub dead_ratio: u8,
}

/// Intervals that a vipd host waits at least.
const LEAST_RATIO: u8 = 2;

impl Timing {
    /// How long after the last advert a backup takes the master for dead.
    ///
    /// CARP's own rule is `ratio * advbase + advskew` (UCARP `carp.c:346`, both
    /// BSDs with ratio 3), and for advbase 0 `ratio * advskew`, at least
    /// `ratio / 256` (OpenBSD `carp_setrun`).
    ///
    /// Differs: never less than the ratio times the interval that the master
    /// *advertised*, plus the own skew (VRRPv3's idea, RFC 5798 section 6.1), so
    /// that a master knows how long vipd backups wait without knowing how they
    /// are configured. It is never earlier than CARP allows.
    ///
    /// Differs: a ratio of 1 counts as 2 here. One interval after an advert the
    /// next one is on its way, and a host that takes over then answers beside a
    /// master that is alive.
    pub fn master_down(self, master: Option<Interval>) -> Duration {
        let ratio = u32::from(self.dead_ratio.max(LEAST_RATIO));
        let own = match self.interval {
            Interval { advbase: 0, .. } => self.interval.period() * ratio,
            Interval { advbase, .. } => {
                Duration::from_secs(u64::from(advbase)) * ratio + self.interval.skew()
            }
        };
        match master {
            Some(master) => own.max(master.period() * ratio + self.interval.skew()),
            None => own,
        }
    }

    /// Whether a master that advertises every `master` cannot be waited for:
    /// this host would take it for dead between two of its adverts. Includes
    /// the bow-out. (UCARP `carp.c:618`, OpenBSD and FreeBSD `carp_proto_input_c`;
    /// OpenBSD leaves the rule out for advbase 0.)
    pub fn will_time_out(self, master: Interval) -> bool {
        self.interval.advbase != 0 && self.master_down(None) < master.period()
    }

    /// How long after *sending* an advert, measured from just before the send,
    /// this host may answer for its addresses. Zero: not at all.
    ///
    /// Why no correct peer that heard the advert takes over within it: a peer
    /// starts its clock when it receives the advert, so not before the send,
    /// and then waits at least
    ///
    /// - vipd: `ratio * (advbase + advskew)` of this host, by
    ///   [`Timing::master_down`];
    /// - UCARP, OpenBSD, FreeBSD: `ratio * advbase + own advskew`, which is at
    ///   least `ratio * advbase` (UCARP rounds up to its poll interval);
    ///   OpenBSD with advbase 0: `ratio * advskew`, at least `ratio / 256`.
    ///
    /// A demoted host shows others a longer interval than it has, and keeps its
    /// beat; by its configured interval, which its adverts carry, vipd hosts wait
    /// as for any other. Legacy hosts wait by their own. So demotion is nowhere in
    /// this.
    ///
    /// What unseats a master that is alive does not wait for the lease: a
    /// preemption, or a takeover from one that is less fit. There the successor
    /// waits, before it answers, for the farewell or for the end of the lease
    /// ([`super::Election::predecessor`]).
    ///
    /// The lease is the smallest of these, less a 64th for clocks that do not
    /// run alike (they differ by less than a thousandth) and for the kernel's
    /// timers. It assumes that peers share advbase and ratio, as CARP does.
    ///
    /// With a ratio of 1, or advbase 0 and an advskew above 1, the lease is
    /// shorter than the interval: the host then falls silent between its
    /// adverts. Safety first: see [`Timing::has_gaps`].
    pub fn lease(self) -> Duration {
        self.earliest_takeover() - self.guard()
    }

    /// What a lease is shorter than need be.
    pub fn guard(self) -> Duration {
        self.earliest_takeover() / 64
    }

    /// How long after an advert of this host no peer takes it for dead.
    pub fn earliest_takeover(self) -> Duration {
        let ratio = u64::from(self.dead_ratio);
        match self.interval.advbase {
            0 => skews_to_duration(ratio),
            base => Duration::from_secs(u64::from(base) * ratio),
        }
    }

    /// How long after its last advert a master must admit that it is none: when
    /// its lease has ended. Where the lease has gaps by configuration, their
    /// coming is no news, and two missed adverts are.
    pub fn lapse(self) -> Duration {
        if self.has_gaps() {
            // Earlier than a backup may wait, as with the lease.
            let missed = self.interval.period() * 2;
            missed - missed / 64
        } else {
            self.lease()
        }
    }

    /// Whether a host with the other timers waits, or promises, something else.
    pub fn differs(self, other: Self) -> bool {
        (self.interval.advbase, self.dead_ratio) != (other.interval.advbase, other.dead_ratio)
    }

    /// By which a master promises no more than it would with either of the two.
    #[must_use]
    pub fn shorter(self, other: Self) -> Self {
        let rank = |timing: &Self| (timing.interval.advbase, timing.interval.advskew);
        let faster = std::cmp::min_by_key(self, other, rank);
        Self {
            interval: faster.interval,
            dead_ratio: self.dead_ratio.min(other.dead_ratio),
        }
    }

    /// By which a backup waits no less than it would with either of the two. The
    /// skew is this one's: it orders the backups.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        let advbase = self.interval.advbase.max(other.interval.advbase);
        Self {
            interval: Interval::new(advbase, self.interval.advskew),
            dead_ratio: self.dead_ratio.max(other.dead_ratio),
        }
    }

    /// Whether the lease can end before the next advert renews it.
    pub fn has_gaps(self) -> bool {
        self.lease() <= self.interval.period()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(advbase: u8, advskew: u8, dead_ratio: u8) -> Timing {
        Timing {
            interval: Interval::new(advbase, advskew),
            dead_ratio,
        }
    }

    /// What a legacy peer with its own skew, and the same advbase and ratio, waits.
    fn legacy_master_down(advbase: u8, advskew: u8, ratio: u8) -> Duration {
        let (base, skew, ratio) = (u64::from(advbase), u64::from(advskew), u64::from(ratio));
        match base {
            0 => skews_to_duration(ratio * skew.max(1)),
            base => Duration::from_secs(ratio * base) + skews_to_duration(skew),
        }
    }

    #[test]
    fn a_backup_waits_the_ratio_times_advbase_plus_its_skew() {
        // UCARP `carp.c:346`; the README's "three times the interval" is loose.
        assert_eq!(timing(1, 0, 3).master_down(None), Duration::from_secs(3));
        assert_eq!(
            timing(1, 128, 3).master_down(None),
            Duration::from_millis(3500)
        );
        assert_eq!(timing(2, 0, 5).master_down(None), Duration::from_secs(10));
    }

    #[test]
    fn no_backup_takes_over_while_the_next_advert_is_on_its_way() {
        // Found by the simulator: deadratio 1, and a better backup.
        for (advbase, ratio) in [(0, 1), (1, 1), (3, 1), (1, 2)] {
            let master = Interval::new(advbase, 200);
            let wait = timing(advbase, 0, ratio).master_down(Some(master));
            assert_eq!(wait, master.period() * 2);
        }
        assert_eq!(timing(1, 0, 1).master_down(None), Duration::from_secs(2));
    }

    #[test]
    fn advbase_zero_counts_in_skews() {
        // OpenBSD `carp_setrun`.
        assert_eq!(timing(0, 0, 3).master_down(None), skews_to_duration(3));
        assert_eq!(timing(0, 10, 3).master_down(None), skews_to_duration(30));
    }

    #[test]
    fn a_slow_masters_interval_is_respected() {
        let backup = timing(1, 0, 3);
        assert_eq!(
            backup.master_down(Some(Interval::new(1, 128))),
            Duration::from_millis(4500)
        );
        assert_eq!(
            backup.master_down(Some(Interval::new(1, 0))),
            Duration::from_secs(3)
        );
    }

    #[test]
    fn nobody_waits_for_a_bow_out() {
        assert!(timing(1, 0, 3).will_time_out(Interval::BOW_OUT));
        assert!(timing(84, 254, 3).will_time_out(Interval::BOW_OUT));
        assert!(!timing(1, 0, 3).will_time_out(Interval::new(3, 0)));
        assert!(timing(1, 0, 3).will_time_out(Interval::new(3, 1)));
        assert!(
            !timing(0, 1, 3).will_time_out(Interval::new(3, 1)),
            "OpenBSD: not for advbase 0"
        );
    }

    #[test]
    fn the_lease_ends_before_any_peer_of_any_skew_takes_over() {
        for advbase in 0..=255 {
            for ratio in [1, 2, 3, 10, 255] {
                for advskew in 0..=Interval::MAX_ADVSKEW {
                    let lease = timing(advbase, advskew, ratio).lease();
                    assert!(lease > Duration::ZERO);
                    for peer_skew in [0, 1, 2, 100, 254] {
                        let vipd = timing(advbase, peer_skew, ratio)
                            .master_down(Some(Interval::new(advbase, advskew)));
                        let legacy = legacy_master_down(advbase, peer_skew, ratio);
                        let case = (advbase, advskew, ratio, peer_skew);
                        assert!(lease < vipd.min(legacy), "{case:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn while_timers_are_changed_no_host_promises_more_than_another_waits_for() {
        let timings = [
            (0, 1, 3),
            (0, 3, 20),
            (1, 0, 1),
            (1, 0, 3),
            (1, 200, 5),
            (3, 0, 2),
        ];
        let timings = timings.map(|(advbase, advskew, ratio)| timing(advbase, advskew, ratio));
        for (old, new) in timings
            .iter()
            .flat_map(|old| timings.map(|new| (*old, new)))
        {
            // Each of the two is as before, was changed, or was started with the new ones.
            let leases = [
                (old, old),
                (new.shorter(old), old),
                (new.shorter(old), new),
                (new, new),
            ];
            for ((promise, advertised), waits) in leases
                .into_iter()
                .flat_map(|lease| [old, new.longer(old)].map(|waits| (lease, waits)))
            {
                // One that is past the change beside one that is before it is no rollout.
                if promise == new && waits == old && new.differs(old) {
                    continue;
                }
                let wait = waits.master_down(Some(advertised.interval));
                assert!(
                    promise.lease() < wait,
                    "{old:?} to {new:?}: {promise:?}, {waits:?}"
                );
            }
            // A host started with the new timers waits by what is advertised.
            let wait = new.master_down(Some(new.interval));
            assert!(new.shorter(old).lease() < wait, "{old:?} to {new:?}");
        }
    }

    #[test]
    fn the_lease_outlasts_the_interval_wherever_the_protocol_leaves_room() {
        for advbase in 1..=255 {
            for advskew in 0..=Interval::MAX_ADVSKEW {
                assert!(!timing(advbase, advskew, 3).has_gaps());
            }
        }
        assert!(!timing(0, 1, 3).has_gaps());
        assert!(
            timing(1, 0, 1).has_gaps(),
            "no room: a backup waits as long as the interval"
        );
        assert!(timing(0, 10, 3).has_gaps());
    }
}
