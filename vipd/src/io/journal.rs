//! systemd's journal in its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): entries of named fields, one to a
//! datagram.
//!
//! The crate `tracing-journald` speaks it too, and sends from the thread that logs:
//! a journal that does not read would hold up an election. Here who sends is the
//! caller's choice. Entries too long for a datagram are refused; the protocol would
//! have them in sealed memory, and vipd has none such.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Whether standard error is connected to the journal: `stream` is what the
/// environment variable `JOURNAL_STREAM` says, `DEVICE:INODE` (systemd.exec(5)).
/// Somebody may have redirected standard error since.
pub fn is_stderr(stream: &str) -> bool {
    let Ok(stderr) = rustix::fs::fstat(rustix::stdio::stderr()) else {
        return false;
    };
    let device_and_inode = stream.split_once(':');
    let numbers = device_and_inode.and_then(|(device, inode)| {
        let device: u64 = device.parse().ok()?;
        let inode: u64 = inode.parse().ok()?;
        Some((device, inode))
    });
    numbers == Some((stderr.st_dev, stderr.st_ino))
}

/// The way to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// Fails where nobody listens at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Not connected: the journal may be restarted. It discards what is empty.
        socket.send_to(&[], path)?;
        let path = path.to_owned();
        Ok(Self { socket, path })
    }

    /// Blocks while the journal does not read.
    pub fn send(&self, entry: &Entry) -> io::Result<()> {
        loop {
            match self.socket.send_to(&entry.bytes, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map(drop),
            }
        }
    }
}

/// One entry: fields in the order they were put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
}

impl Entry {
    /// Adds a field. The name is brought into the form that the journal takes; one of
    /// which nothing remains is left out.
    pub fn put(&mut self, name: &str, value: &str) {
        let name = field_name(name);
        if name.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            // A length of 64 bits, little endian, then the bytes.
            self.bytes.push(b'\n');
            let length = value.len() as u64;
            self.bytes.extend_from_slice(&length.to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }
}

/// Capitals, digits and underscores, the first a letter, 64 at most: the names that
/// begin with `_` are the journal's own (systemd.journal-fields(7)).
fn field_name(name: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .chars()
        .map(allowed)
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_arrives_as_the_protocol_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(Journal::open(&path).is_err(), "nobody listens there");
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open(&path).unwrap();
        let mut entry = Entry::default();
        entry.put("MESSAGE", "two\nlines");
        entry.put("group", "web");
        entry.put("_pid", "1");
        entry.put("a.b", "x=y");
        entry.put("9", "nothing");
        journal.send(&entry).unwrap();

        let mut buffer = [0; 256];
        assert_eq!(listener.recv(&mut buffer).unwrap(), 0);
        let length = listener.recv(&mut buffer).unwrap();
        let expected = b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nGROUP=web\nPID=1\nA_B=x=y\n";
        assert_eq!(&buffer[..length], expected);
    }

    #[test]
    fn standard_error_is_the_journal_only_if_device_and_inode_say_so() {
        let stderr = rustix::fs::fstat(rustix::stdio::stderr()).unwrap();
        let (device, inode) = (stderr.st_dev, stderr.st_ino);
        assert!(is_stderr(&format!("{device}:{inode}")));
        for other in [
            "",
            ":",
            "1",
            &format!("{device}:{}", inode + 1),
            &format!("{inode}"),
        ] {
            assert!(!is_stderr(other), "{other:?}");
        }
    }
}
