//! What the kernel and the pinned maps say, from text and numbers instead, for
//! the fuzz targets.

use std::path::Path;

use super::{Attach, Attached, Mode, bpffs, left, pinned};

/// The value of `name` in a file of /proc/PID/fdinfo, as it is and as a number.
pub fn described(fdinfo: &str, name: &str) -> (Option<String>, Option<u64>) {
    let pinned = pinned::Pinned::from_text(fdinfo.to_owned());
    (pinned.text(name).map(str::to_owned), pinned.number(name))
}

/// Who holds the lock on `file`, by a line of /proc/locks.
pub fn lock_holder(line: &str, file: &str) -> Option<u32> {
    bpffs::holder_in(line, file)
}

/// Whether what is attached in the mode `found`, a value of
/// `vipd_common::mode`, is taken over where `mode` is wanted.
pub fn adopted(mode: Mode, kind: Option<&str>, found: u16) -> Result<Attached, String> {
    let attach = Attach {
        interface: "eth0",
        ifindex: 2,
        mac: [2, 0, 0, 0, 0, 1],
        kind,
        program: None,
        bpffs: Path::new("."),
        mode,
    };
    left::adopted(&attach, found)
}
