//! One line per episode: whatever repeats is told once, and again only after
//! it has been quiet for a while.

use std::collections::BTreeMap;

use crate::time::{Duration, Instant};

/// Quiet for this long, and the next occurrence is a new episode. Well above
/// any advertisement interval that is in use, so a wrong password is one line
/// for as long as it lasts.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    BadDigest,
    UnknownKey,
    NoPassword,
    OtherAddresses,
    OtherSet,
    VrrpRouter,
    UnsignedRefused,
    BadSignature,
    Replayed,
    Looped,
    SameSource,
    EqualTimers,
    Challenged,
    Conflict,
    AddressLost,
    SendFailed,
}

#[derive(Default)]
pub(super) struct Episodes(BTreeMap<Kind, Instant>);

impl Episodes {
    /// It happened; whether that is worth a line.
    pub(super) fn begins(&mut self, kind: Kind, now: Instant) -> bool {
        match self.0.insert(kind, now) {
            Some(last) => now.since(last) >= QUIET,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_told_once_until_it_has_been_quiet() {
        let mut episodes = Episodes::default();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        assert!(episodes.begins(Kind::BadDigest, at(0)));
        for second in 1..200 {
            assert!(!episodes.begins(Kind::BadDigest, at(second)));
        }
        assert!(
            episodes.begins(Kind::Looped, at(200)),
            "kinds do not hide each other"
        );
        assert!(episodes.begins(Kind::BadDigest, at(259)));
    }
}
