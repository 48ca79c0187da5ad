//! Which hosts have ever signed their adverts: from them, unsigned ones are not
//! believed any more, not even by a daemon that was started anew.
//!
//! One file per group in the state directory, one address per line, only ever
//! appended to. Whoever takes signatures out of service again removes it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use tracing::warn;

/// The file of a group.
fn file(state_dir: &Path, group: &str) -> PathBuf {
    state_dir.join(format!("signers-{group}"))
}

/// What was written down of a group. What cannot be read is not known: the hosts
/// will be known as soon as they introduce themselves.
pub(super) fn read(state_dir: &Path, group: &str) -> Vec<Ipv4Addr> {
    let path = file(state_dir, group);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warn!(
                "cannot read {}, so unsigned adverts are believed of hosts that have signed before, until they do so again: {error}",
                path.display()
            );
            return Vec::new();
        }
    };
    // A line that a crash cut off is no address, or one that nobody has.
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Writes on a thread of its own: a disk may take its time.
pub(super) struct Signers {
    news: mpsc::Sender<(String, Ipv4Addr)>,
}

impl Signers {
    pub(super) fn spawn(state_dir: &Path) -> io::Result<Self> {
        let (news, to_write) = mpsc::channel::<(String, Ipv4Addr)>();
        let state_dir = state_dir.to_owned();
        thread::Builder::new()
            .name("signers".to_owned())
            .spawn(move || {
                for (group, signer) in to_write {
                    if let Err(error) = append(&state_dir, &group, signer) {
                        warn!(
                            "cannot write {}, so after a restart unsigned adverts from {signer} are believed until it signs again: {error}",
                            file(&state_dir, &group).display()
                        );
                    }
                }
            })?;
        Ok(Self { news })
    }

    pub(super) fn remember(&self, group: &str, signer: Ipv4Addr) {
        // The thread ends only with this.
        let _ = self.news.send((group.to_owned(), signer));
    }
}

fn append(state_dir: &Path, group: &str, signer: Ipv4Addr) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file(state_dir, group))?;
    file.write_all(format!("{signer}\n").as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_and_what_is_no_address_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert!(read(&state, "eth0-42").is_empty());
        let (one, two) = (Ipv4Addr::new(10, 99, 0, 1), Ipv4Addr::new(10, 99, 0, 2));
        append(&state, "eth0-42", one).unwrap();
        append(&state, "eth0-42", two).unwrap();
        fs::write(file(&state, "eth0-43"), "10.99.0.1\n10.99.\0\n\n10.9").unwrap();
        assert_eq!(read(&state, "eth0-42"), [one, two]);
        assert_eq!(read(&state, "eth0-43"), [one]);
    }
}
