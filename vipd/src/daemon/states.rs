//! Which groups' files in `/run/vipd/state` are out of date, and bringing them up to
//! date. A file says what its group was when its role, its fitness or its right to
//! answer last changed; its counters and its lease are those of that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::{Daemon, report};
use crate::engine::GroupId;
use crate::io::state_files::{Behind, StateFiles};
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

    /// The groups whose files are out of date; none where there are no files.
    pub(super) fn outdated(&self) -> Vec<GroupId> {
        if self.files.is_some() {
            self.outdated.iter().copied().collect()
        } else {
            Vec::new()
        }
    }

    /// Hands the state of a group to the thread that writes, or that the group is no
    /// more. What the thread cannot take is to be offered again at the next event.
    pub(super) fn write(&mut self, id: GroupId, state: Option<GroupStatus>) -> Result<(), Behind> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let name = state.as_ref().map(|state| state.name.clone());
        if let Some(old) = self.written.get(&id)
            && Some(old) != name.as_ref()
        {
            files.remove(old)?;
            self.written.remove(&id);
        }
        // Nothing in a status cannot be JSON.
        let state = state.and_then(|state| serde_json::to_value(state).ok());
        if let (Some(name), Some(state)) = (name, state) {
            files.write(&name, state)?;
            self.written.insert(id, name);
        }
        self.outdated.remove(&id);
        Ok(())
    }
}

impl Daemon {
    /// Brings the files up to date.
    pub(super) fn publish_states(&mut self) {
        for id in self.states.outdated() {
            let group = self.engine.group(id);
            let state = group.map(|group| report::group_status(self, &group));
            if self.states.write(id, state).is_err() {
                return;
            }
        }
    }
}
