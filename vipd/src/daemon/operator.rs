//! What the operator has ordered until he undoes it: groups that are demoted,
//! and maintenance. It is kept in a file of the state directory, so that a daemon
//! that is started anew holds to it.
//!
//! The file is written by a thread of its own, in the order of the orders, and each
//! is answered when it is on disk.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use serde::{Deserialize, Serialize};
use tracing::warn;

const FILE: &str = "operator.json";

/// Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orders {
    /// Since when this host is in maintenance.
    #[serde(default)]
    pub(super) maintenance: Option<String>,
    /// The groups that are demoted, and since when. They need not be configured.
    #[serde(default)]
    pub(super) demoted: BTreeMap<String, String>,
}

/// What an earlier daemon was told; and what is wrong with the file, if anything.
///
/// A file that cannot be read counts as maintenance. That is the safe side: the
/// operator may have taken this host out of service, and then it must not come
/// back because of a bad disk; if he has not, others take over that are as good,
/// and with no others this host is master all the same.
pub(super) fn read(state_dir: &Path, now: &str) -> (Orders, Option<String>) {
    let path = state_dir.join(FILE);
    let what = match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(orders) => return (orders, None),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(error) => error.to_string(),
    };
    let what = format!("{} cannot be read: {what}", path.display());
    warn!(
        "{what}; so it is not known what the operator has ordered, and this host goes into maintenance until 'vipd maintenance off'"
    );
    let orders = Orders {
        maintenance: Some(now.to_owned()),
        demoted: BTreeMap::new(),
    };
    (orders, Some(what))
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Writes them.
pub(super) struct Writer {
    path: PathBuf,
    orders: mpsc::Sender<(Orders, Done)>,
}

impl Writer {
    pub(super) fn spawn(state_dir: &Path) -> io::Result<Self> {
        let (orders, to_write) = mpsc::channel::<(Orders, Done)>();
        let directory = state_dir.to_owned();
        thread::Builder::new()
            .name("operator".to_owned())
            .spawn(move || {
                for (orders, done) in to_write {
                    done(write(&directory, &orders));
                }
            })?;
        Ok(Self {
            path: state_dir.join(FILE),
            orders,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `done` is called by the thread, when the orders are on disk or cannot be.
    pub(super) fn write(
        &self,
        orders: &Orders,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) {
        // The thread ends only with this.
        let _ = self.orders.send((orders.clone(), Box::new(done)));
    }
}

/// Replaces the file: whoever reads it finds the old orders or the new ones, after a
/// loss of power too.
fn write(state_dir: &Path, orders: &Orders) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)?;
    let new = state_dir.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(serde_json::to_string_pretty(orders)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, state_dir.join(FILE))?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T08:00:00.000Z";

    #[test]
    fn what_was_ordered_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert_eq!(read(&state, NOW), (Orders::default(), None));
        let mut orders = Orders {
            maintenance: Some(NOW.to_owned()),
            demoted: BTreeMap::from([("web".to_owned(), NOW.to_owned())]),
        };
        write(&state, &orders).unwrap();
        assert_eq!(read(&state, "later"), (orders.clone(), None));
        orders.maintenance = None;
        write(&state, &orders).unwrap();
        assert_eq!(read(&state, "later"), (orders, None));
        let names = fs::read_dir(&state).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_read_counts_as_maintenance() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for damaged in ["", "{", "[1]", "{\"maintenance\":7}", "\0\0\0\0"] {
            fs::write(&path, damaged).unwrap();
            let (orders, what) = read(directory.path(), NOW);
            assert_eq!(orders.maintenance.as_deref(), Some(NOW), "{damaged:?}");
            assert!(what.unwrap().contains("operator.json"));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(read(directory.path(), NOW).0.maintenance.is_some());
    }

    #[test]
    fn orders_are_answered_when_they_are_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let writer = Writer::spawn(directory.path()).unwrap();
        let (told, hear) = mpsc::channel();
        for number in 0..3 {
            let orders = Orders {
                maintenance: Some(number.to_string()),
                ..Orders::default()
            };
            let (told, state) = (told.clone(), directory.path().to_owned());
            writer.write(&orders, move |result| {
                result.unwrap();
                told.send(read(&state, NOW).0.maintenance).unwrap();
            });
        }
        for number in 0..3 {
            assert_eq!(hear.recv().unwrap(), Some(number.to_string()));
        }
    }
}
