//! Which groups' files in `/run/vipd/state` are out of date, and bringing them up to
//! date. A file says what its group was when its role, its fitness or its right to
//! answer last changed; its counters and its lease are those of that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::clock;
use crate::engine::{Engine, GroupId};
use crate::io::state_files::StateFiles;
use crate::status::GroupStatus;

/// Where the files are: beside the control socket.
pub(super) fn directory(socket: &Path) -> PathBuf {
    socket.with_file_name("state")
}

pub(super) struct States {
    /// `None` where they cannot be: nobody's address depends on them.
    files: Option<StateFiles>,
    outdated: BTreeSet<GroupId>,
    /// Groups that this host answers for, as the files have it.
    answering: BTreeSet<GroupId>,
    /// Groups that have a file.
    written: BTreeMap<GroupId, String>,
}

impl States {
    pub(super) fn open(socket: &Path, groups: impl Iterator<Item = GroupId>) -> Self {
        let directory = directory(socket);
        let files = StateFiles::open(&directory);
        if let Err(error) = &files {
            warn!(
                "cannot keep the groups' states in {}: {error}",
                directory.display()
            );
        }
        Self {
            files: files.ok(),
            outdated: groups.collect(),
            answering: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// Its role or its fitness is another, or the group itself.
    pub(super) fn changed(&mut self, group: GroupId) {
        self.outdated.insert(group);
    }

    /// This host may answer for the group from now on, or may not.
    pub(super) fn answers(&mut self, group: GroupId, answers: bool) {
        let is_news = if answers {
            self.answering.insert(group)
        } else {
            self.answering.remove(&group)
        };
        if is_news {
            self.changed(group);
        }
    }

    /// Hands what is out of date to the thread that writes. What that cannot take is
    /// offered again at the next event.
    pub(super) fn publish(&mut self, engine: &Engine) {
        let Some(files) = &self.files else {
            return self.outdated.clear();
        };
        while let Some(id) = self.outdated.first().copied() {
            let sent = match engine.group(id) {
                Some(view) => {
                    let interface = engine.interface_name(view.config.interface);
                    let now = clock::now();
                    let state = GroupStatus::new(&view, interface, now, clock::wall_clock);
                    let name = view.config.name.clone();
                    let renamed = self.written.insert(id, name.clone());
                    let gone = renamed.filter(|old| *old != name);
                    gone.map_or(Ok(()), |old| files.remove(&old))
                        .and_then(|()| match serde_json::to_value(state) {
                            Ok(state) => files.write(&name, state),
                            // Nothing in it cannot be JSON.
                            Err(_) => Ok(()),
                        })
                }
                None => self
                    .written
                    .remove(&id)
                    .map_or(Ok(()), |name| files.remove(&name)),
            };
            if sent.is_err() {
                return;
            }
            self.outdated.remove(&id);
        }
    }
}
