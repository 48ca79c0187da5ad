//! The clocks, read here and nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::time::Instant;

/// Now, on CLOCK_BOOTTIME: the clock the responder compares leases with.
pub(super) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is negative on a clock that began at zero.
    let seconds = time.tv_sec.unsigned_abs();
    let nanos = time.tv_nsec.unsigned_abs();
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Wakes the daemon at a moment on CLOCK_BOOTTIME. A timer of the kernel, since
/// tokio's own are whole milliseconds: a quarter of the shortest interval.
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    armed: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self {
            timer: register(timer)?,
            armed: None,
        })
    }

    /// Sleeps until then, for ever if never. It may return early or late: the
    /// caller compares the clock with the deadline.
    pub(super) async fn until(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return std::future::pending().await;
        };
        if let Err(error) = self.try_until(deadline).await {
            // No reason is known for which the kernel would refuse; a coarser
            // timer is better than none.
            tracing::debug!("the kernel's timer fails: {error}");
            tokio::time::sleep(deadline.since(now())).await;
        }
    }

    async fn try_until(&mut self, deadline: Instant) -> io::Result<()> {
        while now() < deadline {
            if self.armed != Some(deadline) {
                self.arm(deadline)?;
            }
            // Ready may still mean the moment that was set before this one.
            self.timer.readable().await?.clear_ready();
        }
        Ok(())
    }

    fn arm(&mut self, deadline: Instant) -> io::Result<()> {
        let nanos = deadline.as_nanos();
        let moment = Timespec {
            // No clock counts so far: 2^64 ns are 584 years.
            tv_sec: (nanos / 1_000_000_000).cast_signed(),
            // Zero would disarm it.
            tv_nsec: (nanos % 1_000_000_000).max(1).cast_signed(),
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: moment,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.armed = Some(deadline);
        Ok(())
    }
}

#[expect(
    unsafe_code,
    reason = "tokio offers no safe way to wait for a descriptor"
)]
fn register(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and
    // nobody else closes it.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
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
