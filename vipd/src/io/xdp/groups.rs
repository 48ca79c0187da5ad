//! The map of groups in this process's memory, so that renewing a lease is one
//! store. The system call would copy a whole row over the old one in place, in
//! steps of the kernel's choice, and a request might meet half of it.
#![expect(
    unsafe_code,
    reason = "memory shared with the kernel is reached through a raw pointer"
)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use vipd_common::{Group, MAX_GROUPS, map};

use super::Error;

pub(super) struct Groups {
    rows: NonNull<Row>,
}

/// A [`Group`] as the kernel and this process share it.
#[repr(C)]
struct Row {
    lease_until_ns: AtomicU64,
    /// `owner_mac` and what follows it.
    owner: AtomicU64,
}

const _: () = {
    assert!(size_of::<Row>() == size_of::<Group>());
    assert!(std::mem::offset_of!(Group, lease_until_ns) == 0);
    assert!(std::mem::offset_of!(Group, owner_mac) == 8);
};

// SAFETY: the mapping belongs to no thread, and its words are atomic.
unsafe impl Send for Groups {}
// SAFETY: as above.
unsafe impl Sync for Groups {}

impl Groups {
    /// Maps the whole map, which must be of the shape that the responder's has.
    /// The mapping lasts without the descriptor.
    pub(super) fn new(map: &MapData) -> Result<Self, Error> {
        let fd = map.fd().as_fd().as_raw_fd();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), LEN, access, libc::MAP_SHARED, fd, 0) };
        let rows = NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED);
        let rows = rows.ok_or_else(|| Error::MapMemory {
            map: map::GROUPS,
            source: io::Error::last_os_error(),
        })?;
        Ok(Self { rows })
    }

    /// Every group that there is: a row of zeros is none.
    pub(super) fn all(&self) -> BTreeMap<u32, Group> {
        let groups = (0..).zip(self.rows()).map(|(key, row)| (key, row.read()));
        groups.filter(|(_, group)| *group != NO_GROUP).collect()
    }

    pub(super) fn set(&self, key: u32, group: Group) -> Result<(), Error> {
        self.row(key)?.write(group);
        Ok(())
    }

    /// Ends the lease and keeps the owner.
    pub(super) fn end_lease(&self, key: u32) -> Result<(), Error> {
        self.row(key)?.lease_until_ns.store(0, Ordering::Release);
        Ok(())
    }

    pub(super) fn remove(&self, key: u32) -> Result<(), Error> {
        self.set(key, NO_GROUP)
    }

    fn row(&self, key: u32) -> Result<&Row, Error> {
        let row = usize::try_from(key)
            .ok()
            .and_then(|key| self.rows().get(key));
        row.ok_or(Error::BadGroup { group: key })
    }

    fn rows(&self) -> &[Row] {
        // SAFETY: so many rows are mapped until this is dropped, and all access is atomic.
        unsafe { slice::from_raw_parts(self.rows.as_ptr(), MAX_GROUPS as usize) }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // SAFETY: it was mapped at this address and length, and no reference outlives this.
        unsafe { libc::munmap(self.rows.as_ptr().cast(), LEN) };
    }
}

impl Row {
    fn read(&self) -> Group {
        let lease_until_ns = self.lease_until_ns.load(Ordering::Acquire);
        let [a, b, c, d, e, f, vhid, pad] = self.owner.load(Ordering::Acquire).to_ne_bytes();
        Group {
            lease_until_ns,
            owner_mac: [a, b, c, d, e, f],
            vhid,
            pad,
        }
    }

    /// In the order that [`Group`] promises to its reader.
    fn write(&self, group: Group) {
        let [a, b, c, d, e, f] = group.owner_mac;
        let owner = u64::from_ne_bytes([a, b, c, d, e, f, group.vhid, group.pad]);
        if self.owner.load(Ordering::Relaxed) != owner {
            self.lease_until_ns.store(0, Ordering::Release);
            self.owner.store(owner, Ordering::Release);
        }
        self.lease_until_ns
            .store(group.lease_until_ns, Ordering::Release);
    }
}

const LEN: usize = MAX_GROUPS as usize * size_of::<Group>();

/// A row of zeros.
pub(super) const NO_GROUP: Group = Group {
    lease_until_ns: 0,
    owner_mac: [0; 6],
    vhid: 0,
    pad: 0,
};
