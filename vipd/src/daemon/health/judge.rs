//! When a check counts as failing: one answer is no news, several in a row are.
//!
//! The first answer is another matter. A host that has just started knows nothing of
//! its service, and must not take an address over for one that it has never seen
//! work: until the first answer the check counts as failing, and that answer decides
//! at once, so that a service that works is held back for as long as one probe
//! takes. (keepalived assumes the best unless it is told `init_fail`, and a host that
//! boots before its service then takes the address for some seconds.)
//!
//! A daemon that goes on with the role of the one before it, and a check that is new
//! in the configuration of a daemon that runs, begin as passing: a restart and a
//! reload move no address.

/// What a check has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There was no answer yet; it counts as failing.
    Unknown,
    Passing,
    Failing,
}

impl Verdict {
    /// As the status spells it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Passing => "passing",
            Self::Failing => "failing",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judge {
    verdict: Verdict,
    /// Answers in a row against the verdict.
    against: u32,
    rise: u32,
    fall: u32,
}

impl Judge {
    /// `rise` successes in a row make a failing check pass, `fall` failures a passing
    /// one fail; both are at least 1.
    pub(super) fn new(rise: u32, fall: u32, verdict: Verdict) -> Self {
        Self {
            verdict,
            against: 0,
            rise,
            fall,
        }
    }

    /// One answer. The verdict, if it is another one now.
    pub(super) fn hear(&mut self, is_success: bool) -> Option<Verdict> {
        let (opposite, patience) = match (self.verdict, is_success) {
            (Verdict::Unknown, true) => (Verdict::Passing, 1),
            (Verdict::Unknown, false) => (Verdict::Failing, 1),
            (Verdict::Passing, false) => (Verdict::Failing, self.fall),
            (Verdict::Failing, true) => (Verdict::Passing, self.rise),
            (Verdict::Passing, true) | (Verdict::Failing, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        if self.against < patience {
            return None;
        }
        self.against = 0;
        self.verdict = opposite;
        Some(opposite)
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After each answer (`+` or `-`) the verdict: `?`, `P` or `F`.
    fn verdicts(rise: u32, fall: u32, begin: Verdict, answers: &str) -> String {
        let mut judge = Judge::new(rise, fall, begin);
        let mut heard = String::new();
        for answer in answers.chars() {
            let before = judge.verdict();
            let told = judge.hear(answer == '+');
            assert_eq!(told.is_some(), before != judge.verdict());
            heard.push(match judge.verdict() {
                Verdict::Unknown => '?',
                Verdict::Passing => 'P',
                Verdict::Failing => 'F',
            });
        }
        heard
    }

    #[test]
    fn answers_in_a_row_change_the_verdict_and_the_first_one_makes_it() {
        use Verdict::{Passing, Unknown};
        let cases = [
            (2, 3, Unknown, "+", "P"),
            (2, 3, Unknown, "-", "F"),
            (2, 3, Unknown, "-+-++", "FFFFP"),
            (2, 3, Unknown, "+--+---", "PPPPPPF"),
            (2, 3, Passing, "--+---", "PPPPPF"),
            (2, 3, Passing, "---+-++", "PPFFFFP"),
            (1, 1, Unknown, "-+-+", "FPFP"),
            (1, 1, Passing, "+-+", "PFP"),
            (3, 1, Passing, "-++-+++", "FFFFFFP"),
        ];
        for (rise, fall, begin, answers, expected) in cases {
            let heard = verdicts(rise, fall, begin, answers);
            assert_eq!(heard, expected, "{rise} {fall} {begin:?} {answers}");
        }
    }
}
