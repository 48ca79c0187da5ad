//! Real-time priority and locked memory for the thread that runs the election,
//! so that a busy host does not keep it waiting.
//!
//! Other threads stay as they are: what the election starts inherits nothing.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot get real-time priority: vipd needs CAP_SYS_NICE, or a limit on rtprio of at least {PRIORITY}"
    )]
    Priority { source: io::Error },
    #[error("cannot lock vipd's memory: vipd needs CAP_IPC_LOCK, or a larger limit on memlock")]
    Memory { source: io::Error },
}

/// Gives the calling thread real-time priority and locks the process's memory,
/// what it will need later included.
pub fn enter() -> Result<(), Error> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(|source| Error::Memory {
        source: source.into(),
    })?;
    set_priority().map_err(|source| Error::Priority { source })
}

#[expect(unsafe_code, reason = "no safe wrapper sets a scheduling policy")]
fn set_priority() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameters live through the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Above all ordinary threads and below the kernel's own at 50 (interrupts).
const PRIORITY: libc::c_int = 20;
