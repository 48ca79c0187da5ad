//! When to announce: gratuitous ARP, by which clients and switches learn who
//! answers for an address.

use crate::time::{Duration, Instant};

/// How often a takeover is announced in all. One announcement can be lost, and
/// a client may ignore one: Linux keeps a neighbour entry that is younger than
/// `locktime` (1 s, arp(7)) whatever it hears. UCARP announces twice, keepalived
/// ten times, MetalLB and CTDB at 1.1 s, for the locktime's sake, some times.
const REPEATS: u8 = 5;

/// Just above Linux's locktime.
const GAP: Duration = Duration::from_millis(1100);

/// Rounds that may follow on each other, and the time for which each then has to
/// be paid: others can provoke no more than that. UCARP announces for every
/// inferior advert: 10,000 replays made 10,001 announcements. But the first
/// provocations are answered at once: after a healed partition each moment counts
/// in which clients talk to the wrong host.
const BURST: u32 = 3;
const PRICE: Duration = Duration::from_secs(1);

/// How often a challenge is answered with announcements.
const CHALLENGE_REPEATS: u8 = 3;

/// The rounds of announcements that are still to be made.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    next: Option<Instant>,
    left: u8,
    /// What was left before the last round.
    owed: u8,
    /// Until when the rounds so far are paid for.
    paid_until: Option<Instant>,
}

impl Schedule {
    /// This host has taken over: announce now, and then some times more.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next = Some(now);
        self.left = REPEATS;
    }

    /// Somebody else claims what is ours: announce again, as soon as it is paid.
    pub(super) fn provoke(&mut self, now: Instant) {
        let soonest = match self.paid_until {
            Some(paid_until) => now.max(paid_until - PRICE * (BURST - 1)),
            None => now,
        };
        self.next = Some(self.next.map_or(soonest, |next| next.min(soonest)));
        self.left = self.left.max(CHALLENGE_REPEATS);
    }

    pub(super) fn stop(&mut self) {
        self.next = None;
        self.left = 0;
        self.owed = 0;
    }

    /// The last round did not get out, or not all of it: it is owed still.
    pub(super) fn failed(&mut self, now: Instant) {
        self.left = self.left.max(self.owed);
        if self.left > 0 {
            self.next.get_or_insert(now + GAP);
        }
    }

    /// Whether to announce now. Counts it as done.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        self.owed = self.left;
        self.left = self.left.saturating_sub(1);
        self.paid_until = Some(self.paid_until.map_or(now, |paid| paid.max(now)) + PRICE);
        self.next = (self.left > 0).then(|| now + GAP);
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_takeover_is_announced_five_times_each_beyond_the_locktime() {
        let mut schedule = Schedule::default();
        schedule.begin(at_ms(0));
        let mut times = Vec::new();
        while let Some(next) = schedule.poll_timeout() {
            assert!(!schedule.take(next - Duration::from_nanos(1)) || next == at_ms(0));
            times.push(next);
            schedule.take(next);
        }
        assert_eq!(times, [0, 1100, 2200, 3300, 4400].map(at_ms));
    }

    #[test]
    fn provocations_cannot_make_it_announce_more_than_once_a_second() {
        let mut schedule = Schedule::default();
        let mut announced = 0;
        for ms in 0..10_000 {
            schedule.provoke(at_ms(ms));
            announced += u32::from(schedule.take(at_ms(ms)));
        }
        assert_eq!(announced, 10 + BURST - 1);
    }

    #[test]
    fn a_provocation_just_after_a_takeover_is_answered_at_once() {
        let mut schedule = Schedule::default();
        schedule.begin(at_ms(0));
        schedule.take(at_ms(0));
        for ms in [10, 20] {
            schedule.provoke(at_ms(ms));
            assert!(schedule.take(at_ms(ms)), "{ms}");
        }
        schedule.provoke(at_ms(30));
        assert!(!schedule.take(at_ms(30)), "it has no credit left");
    }

    #[test]
    fn a_round_that_fails_is_made_again_and_no_sooner_than_the_next_one() {
        let mut schedule = Schedule::default();
        schedule.provoke(at_ms(0));
        let mut times = Vec::new();
        while let Some(next) = schedule.poll_timeout() {
            assert!(schedule.take(next));
            times.push(next);
            if next <= at_ms(4400) {
                // Each of its frames.
                schedule.failed(next);
                schedule.failed(next);
            }
        }
        let expected = [0, 1100, 2200, 3300, 4400, 5500, 6600, 7700];
        assert_eq!(times, expected.map(at_ms), "five that fail and three");
    }

    #[test]
    fn a_host_that_has_stopped_owes_nothing() {
        let mut schedule = Schedule::default();
        schedule.begin(at_ms(0));
        schedule.take(at_ms(0));
        schedule.stop();
        schedule.failed(at_ms(0));
        assert_eq!(schedule.poll_timeout(), None);
    }

    #[test]
    fn the_first_provocation_is_answered_at_once() {
        let mut schedule = Schedule::default();
        schedule.provoke(at_ms(7));
        assert!(schedule.take(at_ms(7)));
    }
}
