//! What is pinned, looked at without aya: it takes a pin of any kind and shape
//! for what it is asked to open. And detaching a link at once, whoever else may
//! have it open, for which aya has no call.
#![expect(unsafe_code, reason = "bpf(2) has no safe binding for these commands")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Error;

/// Id of the program behind a pinned link, if that is there.
pub(super) fn program_id(path: &Path) -> Option<u32> {
    u32::try_from(Pinned::open(path).ok()?.number("prog_id")?).ok()
}

/// Whether a pinned link is on no interface any more, or its pin gone. What
/// cannot be looked at may well be there.
pub(super) fn is_detached(path: &Path) -> bool {
    match Pinned::open(path) {
        // The kernel tells 0 then.
        Ok(link) => link.number("ifindex") == Some(0),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Something that is pinned, as the kernel describes it in
/// /proc/PID/fdinfo/FD: a line `name:<tab>value` for each thing.
pub(super) struct Pinned {
    about: String,
}

impl Pinned {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path)?;
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        Ok(Self::from_text(about))
    }

    pub(super) const fn from_text(about: String) -> Self {
        Self { about }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let lines = self.about.lines();
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        pairs.find_map(|(key, value)| (key == name).then_some(value.trim()))
    }

    /// Decimal, or hexadecimal after `0x`.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }
}

/// Detaches a pinned link; where there is none, nothing is to do. Removing the
/// pin alone would detach it some time later: the kernel does that in a
/// work queue, and the next attach would find the interface occupied.
pub(super) fn detach(path: &Path) -> Result<(), Error> {
    let is_link = Pinned::open(path).is_ok_and(|pinned| pinned.text("link_type").is_some());
    if !is_link {
        return Ok(());
    }
    open(path)
        .and_then(|link| detach_fd(&link))
        .map_err(|source| Error::File {
            action: "detach the link",
            path: path.to_owned(),
            source,
        })
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, [path.as_ptr() as u64, 0])?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn detach_fd(link: &OwnedFd) -> io::Result<()> {
    // The kernel reads the first four bytes.
    let fd = u64::from(link.as_raw_fd().unsigned_abs());
    bpf(BPF_LINK_DETACH, [fd.to_le(), 0]).map(drop)
}

/// bpf(2) with the first words of its `union bpf_attr`; the rest is zero to the kernel.
fn bpf(command: libc::c_int, attr: [u64; 2]) -> io::Result<libc::c_int> {
    // SAFETY: both commands read no more than these words, and write nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as libc::c_int)
    }
}

/// `enum bpf_cmd` of linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;
