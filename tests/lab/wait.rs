//! Waiting for what must happen, no longer than it may take.

use std::thread;
use std::time::{Duration, Instant};

/// The one clock of the lab.
#[expect(clippy::disallowed_methods, reason = "real daemons run in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until there is an answer, and panics when that takes
/// longer than `timeout`.
pub fn wait_until<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < deadline, "not within {timeout:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);
