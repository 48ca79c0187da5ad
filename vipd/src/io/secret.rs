//! Passwords stay in this process.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// No core dump of this process is written, and no other process of its user may
/// look into its memory (prctl(2), PR_SET_DUMPABLE).
pub fn keep_from_core_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
