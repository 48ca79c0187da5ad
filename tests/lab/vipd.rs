//! vipd itself, the binary.

use std::env;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{Daemon, Host};

/// A daemon with a socket, pins and state of its host's own: they are the same
/// for the next daemon on that host.
pub struct Vipd {
    daemon: Daemon,
    host: Host,
}

impl Vipd {
    /// `arguments` begin with the subcommand, which is `run`.
    pub fn spawn(host: &Host, arguments: &[&str]) -> Self {
        let mut command = Self::command_on(host, arguments);
        let daemon = Daemon::spawn(&format!("vipd on {}", host.name()), &mut command);
        Self {
            daemon,
            host: host.clone(),
        }
    }

    /// A vipd command on a host, with the paths of that host.
    pub fn command_on(host: &Host, arguments: &[&str]) -> Command {
        let mut command = host.command(binary());
        command.args(arguments);
        command
            .arg("--socket")
            .arg(host.directory().join("vipd.sock"));
        command.arg("--bpffs").arg(host.bpffs());
        command
            .arg("--state-dir")
            .arg(host.directory().join("state"));
        command
    }

    /// A vipd command beside this daemon, such as `["demote", "eth0-42"]`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        Self::command_on(&self.host, arguments)
    }

    /// `vipd status --json`; `None` if it fails, as it does until the daemon is
    /// there.
    pub fn status(&self) -> Option<Value> {
        let output = self
            .command(&["status", "--json"])
            .output()
            .expect("vipd can be started");
        if !output.status.success() {
            return None;
        }
        Some(serde_json::from_slice(&output.stdout).expect("status is JSON"))
    }
}

impl Deref for Vipd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Vipd {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// What `VIPD_BIN` says, or what was built with this test: it lies one
/// directory above `deps`.
fn binary() -> PathBuf {
    if let Some(path) = env::var_os("VIPD_BIN") {
        return path.into();
    }
    let test = env::current_exe().expect("a test knows its path");
    let built = test
        .ancestors()
        .skip(1)
        .map(|directory| directory.join("vipd"))
        .find(|path| path.is_file());
    built.unwrap_or_else(|| {
        panic!(
            "no vipd above {}: build it, or set VIPD_BIN",
            test.display()
        )
    })
}
