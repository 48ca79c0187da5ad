//! The clocks, read here and nowhere else.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::time::Instant;

/// Now, on CLOCK_BOOTTIME: the clock the responder compares leases with.
pub(super) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is negative on a clock that began at zero.
    let seconds = time.tv_sec.unsigned_abs();
    let nanos = time.tv_nsec.unsigned_abs();
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Sleeps until then, for ever if never. It may return early or late: the
/// caller compares the clock with the deadline.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(now())).await,
        None => std::future::pending().await,
    }
}

/// A moment as people write it: RFC 3339, UTC, milliseconds.
pub(super) fn wall_clock(at: Instant) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module that reads clocks"
    )]
    let wall = SystemTime::now();
    let ago: Duration = now().since(at);
    humantime::format_rfc3339_millis(wall.checked_sub(ago).unwrap_or(wall)).to_string()
}

/// A number that no other start of any daemon has.
pub(super) fn seed() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // The kernel gives up to 256 bytes whole or fails (getrandom(2)); the
        // time and the process then tell starts and hosts apart well enough.
        _ => now().as_nanos() ^ u64::from(std::process::id()) << 32,
    }
}
