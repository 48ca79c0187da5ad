//! What a record says about one change of owners.

use std::time::Duration;

use serde_json::{Value, json};
use vipd_tests::lab::Mac;

use super::probe::{Record, Seen};

/// A change of owners: an event, and the time that was watched from it on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) old: Mac,
    pub(crate) new: Mac,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// What it looked like from outside. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Phase {
    /// Longest time without an echo reply.
    pub(crate) echo_outage: f64,
    /// Longest time without an ARP reply.
    pub(crate) arp_outage: f64,
    /// From the event to the new owner's first ARP reply.
    pub(crate) takeover: Option<f64>,
    /// ARP replies of the old owner after the new one's first.
    pub(crate) wrong: usize,
    /// ARP requests that both answered.
    pub(crate) dual: usize,
    /// Gratuitous ARP of the new owner.
    pub(crate) announcements: usize,
    /// From the event to the client's last packet to the old owner; 0 if there
    /// was none.
    pub(crate) client_on_old: f64,
    /// The client got no reply at the end of what was watched.
    pub(crate) blackholed_at_end: bool,
    /// The old owner still answered ARP then.
    pub(crate) dual_at_end: bool,
    /// How late the probe itself was, at worst.
    pub(crate) probe_late: f64,
}

impl Change {
    pub(crate) fn measure(self, record: &Record) -> Phase {
        let Self { old, new, from, to } = self;
        let inside = |seen: &&Seen| seen.at >= from && seen.at <= to;
        let answers: Vec<Seen> = record.answers.iter().filter(inside).copied().collect();
        let first = answers.iter().find(|seen| seen.mac == new);
        let by_old = |seen: &&Seen| seen.mac == old;
        let end = to.saturating_sub(END);
        let last_to_old = record.echo_requests.iter().filter(inside).rfind(by_old);
        Phase {
            echo_outage: self.longest_gap(&record.echo_replies),
            arp_outage: self.longest_gap(&record.answers),
            takeover: first.map(|seen| milliseconds(seen.at - from)),
            wrong: first.map_or(0, |first| {
                answers
                    .iter()
                    .filter(|seen| seen.mac == old && seen.at > first.at)
                    .count()
            }),
            dual: self.answered_by_both(&record.asked, &answers),
            announcements: record
                .announcements
                .iter()
                .filter(inside)
                .filter(|seen| seen.mac == new)
                .count(),
            client_on_old: last_to_old.map_or(0.0, |seen| milliseconds(seen.at - from)),
            blackholed_at_end: !record
                .echo_replies
                .iter()
                .any(|seen| seen.at >= end && seen.at <= to),
            dual_at_end: first.is_some()
                && answers.iter().any(|seen| seen.mac == old && seen.at >= end),
            probe_late: record
                .late
                .iter()
                .filter(|(at, _)| *at >= from && *at <= to + END)
                .map(|(_, late)| milliseconds(*late))
                .fold(0.0, f64::max),
        }
    }

    /// The longest time between two replies of which some lies in the change.
    fn longest_gap(self, replies: &[Seen]) -> f64 {
        let before = replies.iter().rfind(|seen| seen.at < self.from);
        let mut last = before.map_or(self.from, |seen| seen.at);
        let mut longest = Duration::ZERO;
        let inside = replies
            .iter()
            .map(|seen| seen.at)
            .filter(|at| *at >= self.from && *at <= self.to);
        for at in inside.chain([self.to]) {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        milliseconds(longest)
    }

    /// A reply belongs to the newest request before it.
    fn answered_by_both(self, asked: &[Duration], answers: &[Seen]) -> usize {
        let mut dual = 0;
        let mut at = 0;
        while at < answers.len() {
            let request = |seen: &Seen| asked.partition_point(|asked| *asked <= seen.at);
            let this = request(&answers[at]);
            let mut end = at;
            while end < answers.len() && request(&answers[end]) == this {
                end += 1;
            }
            let has = |mac: Mac| answers[at..end].iter().any(|seen| seen.mac == mac);
            if has(self.old) && has(self.new) {
                dual += 1;
            }
            at = end;
        }
        dual
    }
}

impl Phase {
    pub(crate) fn json(&self) -> Value {
        json!({
            "echo_outage_ms": self.echo_outage,
            "arp_outage_ms": self.arp_outage,
            "takeover_ms": self.takeover,
            "wrong_answers": self.wrong,
            "dual_answered": self.dual,
            "announcements": self.announcements,
            "client_on_old_ms": self.client_on_old,
            "blackholed_at_end": self.blackholed_at_end,
            "dual_at_end": self.dual_at_end,
            "probe_late_ms": self.probe_late,
        })
    }
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// What counts as the end of a watched time.
const END: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Mac = [2, 0, 0, 0, 0, 1];
    const NEW: Mac = [2, 0, 0, 0, 0, 2];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seen(mac: Mac, at: std::ops::Range<u64>) -> impl Iterator<Item = Seen> {
        at.map(move |at| Seen { at: ms(at), mac })
    }

    fn change(to: u64) -> Change {
        Change {
            old: OLD,
            new: NEW,
            from: ms(100),
            to: ms(to),
        }
    }

    #[test]
    fn an_outage_begins_with_the_last_reply_before_the_fault() {
        let record = Record {
            asked: (0..300).map(ms).collect(),
            answers: seen(OLD, 0..90).chain(seen(NEW, 150..300)).collect(),
            echo_replies: seen(OLD, 0..90).chain(seen(NEW, 160..300)).collect(),
            echo_requests: seen(OLD, 0..155).chain(seen(NEW, 155..300)).collect(),
            ..Record::default()
        };
        let phase = change(299).measure(&record);
        assert!((phase.arp_outage - 61.0).abs() < 0.01, "{phase:?}");
        assert!((phase.echo_outage - 71.0).abs() < 0.01, "{phase:?}");
        assert_eq!(phase.takeover, Some(50.0));
        assert!((phase.client_on_old - 54.0).abs() < 0.01, "{phase:?}");
        assert_eq!((phase.wrong, phase.dual), (0, 0));
        assert!(!phase.blackholed_at_end && !phase.dual_at_end);
    }

    #[test]
    fn an_outage_that_does_not_end_lasts_to_the_end() {
        let record = Record {
            echo_replies: seen(OLD, 0..100).collect(),
            ..Record::default()
        };
        let phase = change(300).measure(&record);
        assert!((phase.echo_outage - 201.0).abs() < 0.01, "{phase:?}");
        assert_eq!(phase.takeover, None);
        assert!(phase.blackholed_at_end);
    }

    #[test]
    fn requests_that_both_answer_are_counted_once() {
        let both = (0..300).flat_map(|at| {
            let late = Seen {
                at: ms(at) + Duration::from_micros(50),
                mac: NEW,
            };
            seen(OLD, at..at + 1).chain((at >= 200).then_some(late))
        });
        let record = Record {
            asked: (0..300).map(ms).collect(),
            answers: both.collect(),
            ..Record::default()
        };
        let phase = change(299).measure(&record);
        // The last reply of the new owner lies beyond the end.
        assert_eq!((phase.wrong, phase.dual), (99, 99));
        assert!(phase.dual_at_end);
    }
}
