//! Adverts that belong together: one of each set of addresses. The lease is renewed
//! by all of them or not at all.

use std::collections::VecDeque;

use super::Instant;

/// Adverts that the engine has given out and not heard of again.
#[derive(Debug, Default)]
pub(super) struct Beats(VecDeque<Beat>);

#[derive(Debug)]
struct Beat {
    /// Not told of yet.
    left: usize,
    /// From just before the first of them was sent.
    first_at: Option<Instant>,
    is_whole: bool,
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// More of its adverts are on their way.
    NotYet,
    /// All have gone out, the first of them at this moment.
    Sent(Instant),
    /// Some have not.
    Failed,
}

impl Beats {
    /// So many adverts are given out.
    pub(super) fn begin(&mut self, adverts: usize) {
        if adverts > 0 {
            self.0.push_back(Beat {
                left: adverts,
                first_at: None,
                is_whole: true,
            });
        }
    }

    /// None of them is to be sent any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The next advert has gone out at this moment, or has not.
    pub(super) fn tell(&mut self, sent_at: Option<Instant>) -> Told {
        // One that nobody waits for is a beat of its own: whoever drives the engine
        // may have been about to send it as it was withdrawn.
        let Some(beat) = self.0.front_mut() else {
            return sent_at.map_or(Told::Failed, Told::Sent);
        };
        beat.left -= 1;
        match sent_at {
            Some(at) => _ = beat.first_at.get_or_insert(at),
            None => beat.is_whole = false,
        }
        if beat.left > 0 {
            return Told::NotYet;
        }
        let told = match beat.first_at.filter(|_| beat.is_whole) {
            Some(at) => Told::Sent(at),
            None => Told::Failed,
        };
        self.0.pop_front();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_counts_from_its_first_advert_and_only_when_all_have_gone_out() {
        let at = |ms: u64| Some(Instant::from_nanos(ms));
        let mut beats = Beats::default();
        beats.begin(1);
        assert_eq!(beats.tell(at(1)), Told::Sent(Instant::from_nanos(1)));
        beats.begin(2);
        beats.begin(2);
        assert_eq!(beats.tell(at(2)), Told::NotYet);
        assert_eq!(beats.tell(at(5)), Told::Sent(Instant::from_nanos(2)));
        assert_eq!(beats.tell(None), Told::NotYet);
        assert_eq!(beats.tell(at(6)), Told::Failed);
        for failed in [[at(7), None], [None, None]] {
            beats.begin(2);
            assert_eq!(beats.tell(failed[0]), Told::NotYet);
            assert_eq!(beats.tell(failed[1]), Told::Failed);
        }
    }
}
