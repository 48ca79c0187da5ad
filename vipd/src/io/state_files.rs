//! `/run/vipd/state/GROUP`: the state of each group as a file, for path units, shells
//! and whoever cannot speak with the control socket.
//!
//! Each file holds one JSON object and is replaced by renaming, so that a reader
//! sees the old one or the new one, whole. A thread of its own writes: a file
//! system may take its time, and of several states of a group only the last is
//! written then. Files are not synced: they say what is, and nothing after a crash.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use serde_json::Value;
use tracing::warn;

/// The way to the thread that writes. Dropping it removes the files.
#[derive(Debug)]
pub struct StateFiles {
    news: Option<SyncSender<News>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct News {
    group: String,
    /// `None` for a group that is no more.
    state: Option<Value>,
}

/// The news could not be taken, because the thread is behind: they are to be offered
/// again later, or newer ones.
#[derive(Debug, PartialEq, Eq)]
pub struct Behind;

impl StateFiles {
    /// Makes the directory, with mode 0755, and removes from it what an earlier
    /// daemon left: files that are the state of a group, and no others.
    pub fn open(directory: &Path) -> io::Result<Self> {
        if !directory.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)?;
            // Whatever the umask took away.
            fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        }
        let directory = directory.to_owned();
        remove_stale(&directory)?;
        let (news, to_write) = sync_channel(BACKLOG);
        let thread = thread::Builder::new()
            .name("state files".to_owned())
            .spawn(move || write_all(&directory, &to_write))?;
        Ok(Self {
            news: Some(news),
            thread: Some(thread),
        })
    }

    /// Has the file of a group replaced. It never waits.
    pub fn write(&self, group: &str, state: Value) -> Result<(), Behind> {
        self.send(group, Some(state))
    }

    /// Has the file of a group removed. It never waits.
    pub fn remove(&self, group: &str) -> Result<(), Behind> {
        self.send(group, None)
    }

    fn send(&self, group: &str, state: Option<Value>) -> Result<(), Behind> {
        let Some(news) = &self.news else {
            return Ok(());
        };
        let group = group.to_owned();
        match news.try_send(News { group, state }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Behind),
            // The thread ends only with this, or with what it has said itself.
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        drop(self.news.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes the latest of what is there, until nobody has more to say; then removes
/// what it wrote.
fn write_all(directory: &Path, to_write: &Receiver<News>) {
    let mut written: BTreeMap<String, PathBuf> = BTreeMap::new();
    while let Ok(first) = to_write.recv() {
        let latest: BTreeMap<String, Option<Value>> = std::iter::once(first)
            .chain(to_write.try_iter().take(BACKLOG))
            .map(|news| (news.group, news.state))
            .collect();
        for (group, state) in latest {
            let path = directory.join(file_name(&group));
            let done = match state {
                Some(state) => {
                    written.insert(group, path.clone());
                    replace(&path, &state)
                }
                None => {
                    written.remove(&group);
                    remove(&path)
                }
            };
            if let Err(error) = done {
                warn!("cannot keep {}: {error}", path.display());
            }
        }
    }
    for path in written.values() {
        if let Err(error) = remove(path) {
            warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Replaces a file by one that everybody may read.
fn replace(path: &Path, state: &Value) -> io::Result<()> {
    let new = temporary(path);
    // One that was left half written, or that somebody put there, is not followed.
    remove(&new)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&new)?;
    // Whatever the umask takes away.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(format!("{state}\n").as_bytes())?;
    fs::rename(&new, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Beside the file and hidden, so that a pattern such as `state/*` does not show it.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{NEW}"))
}

/// The name of a group as the name of a file: letters, digits, `-`, `_`, and a `.`
/// that is not the first are as they are, other bytes are `%` and two digits.
pub fn file_name(group: &str) -> String {
    let mut name = String::new();
    for (index, byte) in group.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric()
            || byte == b'-'
            || byte == b'_'
            || (byte == b'.' && index > 0);
        if is_plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// Removes what is the state of a group, and what was to become one.
fn remove_stale(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if is_state(&path) || is_temporary(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Whether a file is one that [`replace`] wrote: it holds the name of its group.
fn is_state(path: &Path) -> bool {
    let is_small =
        fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() <= STATE_LIMIT);
    let text = is_small.then(|| fs::read_to_string(path).ok()).flatten();
    let state: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
    let group = state.as_ref().and_then(|state| state["name"].as_str());
    group.is_some_and(|group| path.file_name() == Some(file_name(group).as_ref()))
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_file = fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
    is_file && name.starts_with('.') && name.ends_with(NEW)
}

/// How the name of a file ends that is not finished.
const NEW: &str = ".vipd-new";

/// States that may wait to be written. At the bound they are offered again.
const BACKLOG: usize = 256;

/// Bytes of a state: some hundred for each of 65,536 addresses.
const STATE_LIMIT: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn listed(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_state_is_there_until_the_end_and_readable_by_all() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let files = StateFiles::open(&state).unwrap();
        files
            .write("web", json!({"name": "web", "role": "backup"}))
            .unwrap();
        files.write("gone", json!({"name": "gone"})).unwrap();
        files.remove("gone").unwrap();
        files
            .write("web", json!({"name": "web", "role": "master"}))
            .unwrap();
        let is_master = || {
            let text = fs::read_to_string(state.join("web")).unwrap_or_default();
            text == "{\"name\":\"web\",\"role\":\"master\"}\n"
        };
        for _ in 0..1000 {
            if is_master() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert!(is_master());
        assert_eq!(listed(&state), ["web"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state.join("web")), 0o644);
        assert_eq!(mode(&state), 0o755);
        drop(files);
        assert!(listed(&state).is_empty());
    }

    #[test]
    fn what_an_earlier_daemon_left_goes_and_what_is_no_state_stays() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("web", "{\"name\":\"web\"}\n");
        write("a%2Fb", "{\"name\":\"a/b\"}\n");
        write(".web.vipd-new", "{\"na");
        write("changes-eth0", "{\"name\":\"web\"}\n");
        write("notes", "buy milk\n");
        fs::create_dir(directory.path().join("folder")).unwrap();
        let files = StateFiles::open(directory.path()).unwrap();
        assert_eq!(
            listed(directory.path()),
            ["changes-eth0", "folder", "notes"]
        );
        drop(files);
        assert_eq!(
            listed(directory.path()),
            ["changes-eth0", "folder", "notes"]
        );
    }

    #[test]
    fn no_name_leaves_the_directory() {
        for (group, name) in [
            ("eth0-42", "eth0-42"),
            (
                "../../etc/passwd",
                "%2E./../etc/passwd".replace('/', "%2F").as_str(),
            ),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("a%2Fb", "a%252Fb"),
            ("eth0.7-1", "eth0.7-1"),
            ("b\u{fc}ro", "b%C3%BCro"),
        ] {
            assert_eq!(file_name(group), name);
        }
    }

    #[test]
    fn a_link_in_place_of_the_new_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let state = directory.path().join("web");
        std::os::unix::fs::symlink(&precious, temporary(&state)).unwrap();
        replace(&state, &json!({"name": "web"})).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&state).unwrap(), "{\"name\":\"web\"}\n");
    }
}
