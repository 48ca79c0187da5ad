//! The pinned XDP link. aya attaches and pins it; detaching it at once, whoever
//! else may have it open, is something that aya has no call for.
#![expect(unsafe_code, reason = "bpf(2) has no safe binding for these commands")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};

use super::Error;

/// Id of the program behind a pinned link, if that is there.
pub(super) fn program_id(path: &Path) -> Option<u32> {
    let link = PinnedLink::from_pin(path).ok()?;
    Some(FdLink::from(link).info().ok()?.program_id())
}

/// Detaches a pinned link; where it is not there, nothing is to do. Removing the
/// pin alone would detach it some time later: the kernel does that in a
/// work queue, and the next attach would find the interface occupied.
pub(super) fn detach(path: &Path) -> Result<(), Error> {
    match open(path).and_then(|link| detach_fd(&link)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::File {
            action: "detach the link",
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
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
