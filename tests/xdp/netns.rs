//! A host of its own for a test: two network namespaces joined by a veth pair,
//! and a BPF file system. All of it goes when dropped.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

/// `ours` is where the responder stands, `theirs` is a client; `bpffs` is for
/// the pins.
pub(crate) struct Hosts {
    pub(crate) ours: NetNs,
    pub(crate) theirs: NetNs,
    pub(crate) bpffs: Bpffs,
}

impl Hosts {
    /// Interface [`OURS`] with [`OUR_MAC`], joined to [`THEIRS`] with an address.
    pub(crate) fn new() -> Self {
        let (ours, theirs) = (NetNs::new(), NetNs::new());
        let hosts = Self {
            ours,
            theirs,
            bpffs: Bpffs::mount(),
        };
        hosts.join();
        hosts
    }

    /// Makes the pair of interfaces. Without one of them the other is gone too.
    pub(crate) fn join(&self) {
        let veth = format!(
            "link add {OURS} address 02:00:00:00:00:02 type veth peer name {THEIRS} address 02:00:00:00:00:0a netns {}",
            self.theirs.name
        );
        self.ours.ip(&veth);
        self.ours.ip(&format!("link set {OURS} up"));
        self.theirs
            .ip(&format!("address add 10.0.0.10/24 dev {THEIRS}"));
        self.theirs.ip(&format!("link set {THEIRS} up"));
    }

    /// Id of the XDP program on our interface, as netlink tells it.
    pub(crate) fn program(&self) -> Option<u32> {
        let link = self.ours.link(OURS);
        link["xdp"]["prog"]["id"]
            .as_u64()
            .map(|id| u32::try_from(id).unwrap())
    }
}

/// A named network namespace.
pub(crate) struct NetNs {
    pub(crate) name: String,
}

impl NetNs {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vipd-xdp-{}-{count}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        Self { name }
    }

    /// Runs `ip` with these words on the namespace.
    pub(crate) fn ip(&self, words: &str) {
        let words: Vec<_> = words.split(' ').collect();
        run(&[&["ip", "-n", &self.name][..], &words].concat());
    }

    /// What `ip` knows of a link.
    pub(crate) fn link(&self, interface: &str) -> Value {
        let output = run(&[
            "ip", "-n", &self.name, "-json", "-details", "link", "show", "dev", interface,
        ]);
        let mut links: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        links.remove(0)
    }

    pub(crate) fn ifindex(&self, interface: &str) -> u32 {
        u32::try_from(self.link(interface)["ifindex"].as_u64().unwrap()).unwrap()
    }

    /// A command that runs in the namespace. `ip netns exec` would mount another
    /// /sys and so hide the BPF file system there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg(program);
        command
    }

    /// Moves this thread into the namespace, for the rest of its life.
    pub(crate) fn enter_here(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Calls `body` in a thread that is in the namespace.
    pub(crate) fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let body = || {
            self.enter_here();
            body()
        };
        thread::scope(|scope| match scope.spawn(body).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.name]);
    }
}

/// A BPF file system of the test's own.
pub(crate) struct Bpffs {
    directory: TempDir,
}

impl Bpffs {
    pub(crate) fn mount() -> Self {
        let directory = TempDir::with_prefix("vipd-xdp-").unwrap();
        run(&[
            "mount",
            "-t",
            "bpf",
            "bpf",
            directory.path().to_str().unwrap(),
        ]);
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        entries(self.path())
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Lazily: a child that another test has just forked holds what this process
        // had open until it calls exec.
        run(&["umount", "--lazy", self.path().to_str().unwrap()]);
    }
}

/// What is in a directory, sorted, without the two iterators that a BPF file
/// system has in its root from the start.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut entries: Vec<_> = entries
        .filter(|path| path.extension().is_none_or(|it| it != "debug"))
        .collect();
    entries.sort();
    entries
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn run(words: &[&str]) -> Output {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run {}: {error}: is it installed?", words[0]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A panic on a panic's way would take the whole run with it.
    assert!(
        output.status.success() || thread::panicking(),
        "{}: {stderr}",
        words.join(" ")
    );
    output
}

pub(crate) const OURS: &str = "vipd0";
pub(crate) const THEIRS: &str = "peer0";
pub(crate) const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub(crate) const THEIR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
