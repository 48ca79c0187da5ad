//! What the scenarios of checks and hooks share: a group with more than flags can say,
//! scripts, and what scripts wrote down.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vipd_tests::lab::{Host, Vipd, wait_until};

use crate::scene::{SOON, VIP};

/// The group `web` of a host, and what surrounds it.
pub(crate) struct Group {
    pub(crate) advskew: u8,
    pub(crate) preempt: bool,
    /// Tables of the file: `[[group.check]]` and its kind.
    pub(crate) tables: String,
}

impl Group {
    pub(crate) fn new(advskew: u8) -> Self {
        Self {
            advskew,
            preempt: false,
            tables: String::new(),
        }
    }

    /// With one more table.
    pub(crate) fn with(mut self, table: &str) -> Self {
        writeln!(self.tables, "{table}").expect("text can be written to");
        self
    }

    /// Starts a daemon with it, and waits until it takes part.
    pub(crate) fn start(&self, host: &Host) -> Vipd {
        let directory = host.directory();
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).expect("it is ours");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
            path
        };
        let passfile = write("password", "secret\n".to_owned());
        let Self {
            advskew,
            preempt,
            tables,
        } = self;
        let text = format!(
            "[[group]]\n\
             name = \"web\"\n\
             interface = \"eth0\"\n\
             vhid = 42\n\
             vips = [\"{VIP}\"]\n\
             passfile = \"{}\"\n\
             advskew = {advskew}\n\
             preempt = {preempt}\n\
             {tables}",
            passfile.display()
        );
        let file = write("vipd.toml", text);
        let vipd = Vipd::spawn(host, &["run", &format!("--config={}", file.display())]);
        vipd.wait_for_log("ready", SOON);
        vipd
    }
}

/// An executable script in a directory of the host's.
pub(crate) fn script(host: &Host, name: &str, text: &str) -> PathBuf {
    let path = host.directory().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("it is ours");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// What was written to a file so far, line by line.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until a file's last line is this.
pub(crate) fn wait_for_line(path: &Path, line: &str) {
    let what = format!("{line:?} at the end of {}", path.display());
    wait_until(&what, SOON, || {
        (lines(path).last().map(String::as_str) == Some(line)).then_some(())
    });
}

/// Waits until the status of the group holds this.
pub(crate) fn wait_for_group(vipd: &Vipd, what: &str, holds: impl Fn(&Value) -> bool) {
    wait_until(what, SOON, || {
        let status = vipd.status()?;
        holds(&status["groups"][0]).then_some(())
    });
}

/// Whether the daemon says that it is held back, in words that contain these.
pub(crate) fn is_held_back(group: &Value, words: &str) -> bool {
    group["held_back"]
        .as_str()
        .is_some_and(|text| text.contains(words))
}

/// Waits until a daemon has sent some more adverts.
pub(crate) fn wait_for_adverts(master: &Vipd, more: u64) {
    let sent = master.counter("adverts_sent");
    wait_until("adverts", SOON, || {
        (master.counter("adverts_sent") >= sent + more).then_some(())
    });
}
