//! A LAN in network namespaces: a bridge, hosts with one interface each, and
//! the programs that run on them. It needs root and touches nothing outside
//! the namespaces it makes.
//!
//! Whatever fails in here panics with what was tried: a lab serves tests and
//! the demonstration, which have nothing better to do.
//!
//! ```no_run
//! # use vipd_tests::lab::{Lab, Prober};
//! # use std::time::Duration;
//! let lab = Lab::new();
//! let n1 = lab.host("n1", "10.99.0.1/24");
//! let client = lab.host("client", "10.99.0.200/24");
//! let prober = Prober::start(&client, "10.99.0.1".parse().unwrap(), 50);
//! assert_eq!(prober.who_answers_within(Duration::from_secs(5)), Some(n1.mac()));
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::{fs, process};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

mod asker;
mod census;
mod daemon;
mod echo;
mod flooder;
mod forger;
mod host;
mod keepalived;
mod prober;
mod service;
mod sniffer;
mod ucarp;
mod vipd;
mod wait;

pub use asker::{Asked, Asker};
pub use census::{Census, Count};
pub use daemon::Daemon;
pub use echo::{Echo, Echoes};
pub use flooder::{Captured, Flood, Flooder};
pub use forger::{EVERYBODY, Forger, Storm};
pub use host::Host;
pub use keepalived::{Keepalived, KeepalivedOptions};
pub use prober::{Answer, Mac, Prober, Record};
pub use service::Service;
pub use sniffer::{Frame, Sniffer};
pub use ucarp::{Ucarp, UcarpOptions};
pub use vipd::{Vipd, VipdOptions, newer_source, vipd_program};
pub use wait::{now, wait_until};

/// One LAN. Dropping it ends every process in its namespaces, and removes them
/// and its directory, also when a test panics. What a killed test leaves
/// behind, the next lab removes.
pub struct Lab {
    prefix: String,
    directory: tempfile::TempDir,
    hosts: AtomicU8,
}

impl Lab {
    pub fn new() -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);

        remove_leftovers();
        let prefix = format!(
            "vipd-{}-{}-",
            process::id(),
            LABS.fetch_add(1, Ordering::Relaxed)
        );
        let directory = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .expect("cannot make a directory for the lab");
        let lab = Self {
            prefix,
            directory,
            hosts: AtomicU8::new(0),
        };
        let lan = lab.lan();
        ip(&["netns", "add", &lan]);
        // A bridge that snoops holds back multicasts nobody asked it for.
        ip(&[
            "-n",
            &lan,
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ]);
        ip(&["-n", &lan, "link", "set", "br0", "up"]);
        lab
    }

    /// A host on the LAN, with `eth0` up. Its MAC is 02:00:00:00:00:01 for the
    /// first host and counts on. `address` is one with its prefix length.
    pub fn host(&self, name: &str, address: &str) -> Host {
        assert_ne!(name, LAN, "this name is the bridge's");
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let directory = self.directory.path().join(name);
        fs::create_dir(&directory).expect("cannot make a directory for a host");
        Host::new(host::Place {
            name: name.to_owned(),
            namespace: format!("{}{name}", self.prefix),
            lan: self.lan(),
            mac: [2, 0, 0, 0, 0, number],
            address: address.to_owned(),
            directory,
        })
    }

    /// Gone when the lab is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Names of the namespaces that are there.
    pub fn namespaces(&self) -> Vec<String> {
        namespaces()
            .into_iter()
            .filter(|name| name.starts_with(&self.prefix))
            .collect()
    }

    fn lan(&self) -> String {
        format!("{}{LAN}", self.prefix)
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.namespaces() {
            remove_namespace(&namespace);
        }
        unmount_below(self.directory.path());
    }
}

/// Runs `ip` and returns what it prints.
pub(crate) fn ip(arguments: &[&str]) -> String {
    run(Command::new("ip").args(arguments))
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Best effort: it also runs while a panic unwinds, and two processes may
/// remove the same leftovers.
fn remove_namespace(namespace: &str) {
    if let Ok(output) = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output()
    {
        for pid in String::from_utf8_lossy(&output.stdout).lines() {
            // Threads of this very process may be in there.
            if let Some(pid) = parse_pid(pid)
                .filter(|pid| pid.as_raw_nonzero().get().cast_unsigned() != process::id())
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    // The namespace itself lives until its last process is reaped, the
    // interface need not.
    let _ = Command::new("ip")
        .args(["-n", namespace, "link", "del", "eth0"])
        .output();
    let _ = Command::new("ip")
        .args(["netns", "del", namespace])
        .output();
}

fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mounted in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mounted).starts_with(directory) {
            let _ = Command::new("umount").arg(mounted).output();
        }
    }
}

/// Removes the labs of processes that are no more.
fn remove_leftovers() {
    for namespace in namespaces() {
        if owner_is_dead(&namespace) {
            remove_namespace(&namespace);
        }
    }
    let entries = fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten();
    for directory in entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        if directory
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(owner_is_dead)
        {
            unmount_below(&directory);
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

/// Whether a name is one of ours, `vipd-PID-...`, and that process ended.
fn owner_is_dead(name: &str) -> bool {
    let mut parts = name.split('-');
    let (Some("vipd"), Some(pid), Some(lab)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let ours = lab.parse::<u32>().is_ok();
    ours && parse_pid(pid).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.trim().parse().ok().and_then(Pid::from_raw)
}

fn namespace_file(namespace: &str) -> PathBuf {
    Path::new(NAMESPACES).join(namespace)
}

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

/// Name of the namespace that holds the bridge.
const LAN: &str = "lan";
