//! The BPF file system: whether it is there, the directory that holds the pins
//! of one interface, and the lock by which one daemon at a time has it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, statfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::{Error, LINK, pinned};

/// `<base>/<interface>`. A BPF file system allows no dot in a name.
pub(super) fn directory(base: &Path, interface: &str) -> Result<PathBuf, Error> {
    // What Linux's dev_valid_name() refuses, and what would name another directory.
    if interface.is_empty() || interface.contains(['/', '\0']) {
        return Err(Error::BadName {
            interface: interface.to_owned(),
        });
    }
    Ok(base.join(interface.replace('.', "%2e")))
}

/// The directories in `base` that hold nothing but what a vipd pins, each with the
/// name of its interface.
pub(super) fn leftovers(base: &Path, is_ours: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let list = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let mut leftovers = Vec::new();
    for path in list(base) {
        let pins = list(&path);
        let only_ours = pins
            .iter()
            .all(|pin| name(pin).is_some_and(|name| is_ours(&name)));
        if let Some(name) = name(&path)
            && !pins.is_empty()
            && only_ours
        {
            leftovers.push((name.replace("%2e", "."), path));
        }
    }
    leftovers.sort();
    leftovers
}

/// Whether `base` is on a BPF file system, or will be once that is mounted at
/// its usual place.
pub(super) fn check(base: &Path) -> Result<(), Error> {
    // What does not exist is where its parent is.
    let existing = base.ancestors().find_map(|path| statfs(path).ok());
    let is_bpffs = existing.is_some_and(|stat| stat.f_type as u64 == BPF_FS_MAGIC);
    if is_bpffs || needs_default_mount(base) {
        return Ok(());
    }
    let mount_point = if base.starts_with(DEFAULT) {
        Path::new(DEFAULT)
    } else {
        base
    };
    Err(Error::NotBpffs {
        path: base.to_owned(),
        mount_point: mount_point.to_owned(),
    })
}

/// Mounts the BPF file system at its usual place where `base` wants it there and
/// nobody has, as bpftool and iproute2 do.
pub(super) fn mount_default(base: &Path) -> Result<(), Error> {
    if !needs_default_mount(base) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The mode that systemd gives it: what is pinned is root's business.
    mount("bpf", DEFAULT, "bpf", flags, Some(c"mode=700")).map_err(|source| Error::Mount {
        mount_point: DEFAULT.into(),
        source: source.into(),
    })
}

/// The process that has an interface's directory locked, if any. Takes no lock.
pub(super) fn holder(directory: &Path) -> Option<u32> {
    let metadata = fs::metadata(directory).ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let name = format!(
        "{:02x}:{:02x}:{inode}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| holder_in(line, &name))
}

/// The pid in a line of /proc/locks (proc_locks(5)), where that line is a lock by
/// flock(2) on the file `MAJOR:MINOR:INODE`:
/// `1: FLOCK  ADVISORY  WRITE 6782 fe:00:10018926 0 EOF`. One who waits for a
/// lock has `->` for the second word.
pub(super) fn holder_in(line: &str, file: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace();
    words.by_ref().nth(1).filter(|&kind| kind == "FLOCK")?;
    let pid = words.nth(2)?;
    words.next().filter(|&name| name == file)?;
    pid.parse().ok()
}

/// A directory of pins, ours for as long as this lives.
#[derive(Debug)]
pub(super) struct PinDir {
    path: PathBuf,
    /// Directories that were made, outermost first.
    made: Vec<PathBuf>,
    lock: File,
}

#[derive(Debug)]
pub(super) enum LockError {
    Held { pid: Option<u32> },
    Other(Error),
}

impl PinDir {
    /// Makes the directory where it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, LockError> {
        let file_error = |action, source| {
            LockError::Other(Error::File {
                action,
                path: path.to_owned(),
                source,
            })
        };
        let mut made = Vec::new();
        loop {
            made.extend(make(path).map_err(|error| file_error("make", error))?);
            let lock = match File::open(path) {
                Ok(lock) => lock,
                // Its last owner has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(file_error("open", error)),
            };
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(LockError::Held { pid: holder(path) }),
                Err(error) => return Err(file_error("lock", error.into())),
            }
            // It may have been removed, and made anew, before the lock was ours.
            if is_same(&lock, path) {
                return Ok(Self {
                    path: path.to_owned(),
                    made,
                    lock,
                });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Detaches the pinned link and removes every pin. Whatever can be removed
    /// is, and the first error told.
    pub(super) fn clear(&self) -> Result<(), Error> {
        let detached = pinned::detach(&self.path.join(LINK));
        detached.and(self.keep_only(&[]))
    }

    /// Removes every pin but those of these names.
    pub(super) fn keep_only(&self, names: &[&str]) -> Result<(), Error> {
        let is_kept = |pin: &Path| names.iter().any(|name| pin.ends_with(name));
        let removals = self.pins()?.into_iter().filter(|pin| !is_kept(pin));
        removals.map(|pin| remove(&pin)).fold(Ok(()), Result::and)
    }

    /// Removes a pin, if it is there.
    pub(super) fn remove_pin(&self, name: &str) -> Result<(), Error> {
        let pin = self.path.join(name);
        match pin.symlink_metadata() {
            Ok(_) => remove(&pin),
            Err(_) => Ok(()),
        }
    }

    /// Gives a pin another name. What has that name is removed.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.remove_pin(to)?;
        let to = self.path.join(to);
        fs::rename(self.path.join(from), &to).map_err(|source| Error::File {
            action: "rename a pin to",
            path: to,
            source,
        })
    }

    /// Clears the directory and removes it, with the ones made for it.
    pub(super) fn remove(&self) -> Result<(), Error> {
        let cleared = self.clear();
        let removed = fs::remove_dir(&self.path).map_err(|source| self.error("remove", source));
        for directory in self
            .made
            .iter()
            .rev()
            .filter(|&directory| *directory != self.path)
        {
            // Another interface's directory may be in there by now.
            let _: io::Result<()> = fs::remove_dir(directory);
        }
        cleared.and(removed)
    }

    fn pins(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(&self.path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|source| self.error("list", source))?;
        Ok(entries.into_iter().map(|entry| entry.path()).collect())
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::File {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        // Closing is not enough: a child that was just forked, to run a hook say,
        // shares the lock until it calls exec. That this fails is not possible.
        let _: rustix::io::Result<()> = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Removes a pin, or whatever else somebody put there.
fn remove(pin: &Path) -> Result<(), Error> {
    let is_directory = pin.symlink_metadata().is_ok_and(|about| about.is_dir());
    let removed = if is_directory {
        fs::remove_dir_all(pin)
    } else {
        fs::remove_file(pin)
    };
    removed.map_err(|source| Error::File {
        action: "remove",
        path: pin.to_owned(),
        source,
    })
}

/// Makes a directory and its parents, and tells which were missing. The pins in
/// it are for their owner alone.
fn make(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing: Vec<_> = path
        .ancestors()
        .take_while(|path| !path.exists())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    Ok(missing)
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// Whether `base` is at the usual place and nothing is mounted there.
fn needs_default_mount(base: &Path) -> bool {
    base.starts_with(DEFAULT) && statfs(DEFAULT).is_ok_and(|stat| stat.f_type as u64 == SYSFS_MAGIC)
}

/// Where a BPF file system is mounted as a rule.
const DEFAULT: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` and `SYSFS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
const SYSFS_MAGIC: u64 = 0x6265_6572;

#[cfg(test)]
mod tests;
