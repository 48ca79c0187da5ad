//! One host of the lab: a network namespace with `eth0`, plugged into the bridge.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use super::prober::Mac;
use super::wait::wait_until;
use super::{ip, namespace_file, run};

/// A handle: the host lives as long as its lab.
#[derive(Clone)]
pub struct Host {
    place: Arc<Place>,
}

pub(super) struct Place {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) lan: String,
    pub(super) mac: Mac,
    /// With its prefix length.
    pub(super) address: String,
    pub(super) directory: PathBuf,
}

impl Host {
    pub(super) fn new(place: Place) -> Self {
        ip(&["netns", "add", &place.namespace]);
        let host = Self {
            place: Arc::new(place),
        };
        host.ip(&["link", "set", "lo", "up"]);
        host.make_interface();
        host
    }

    /// A command that will run on this host.
    ///
    /// `ip netns exec` would not do: it mounts a `/sys` of its own, which hides
    /// the BPF file system.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!(
            "--net={}",
            namespace_file(&self.place.namespace).display()
        ));
        command.arg("--").arg(program);
        command
    }

    /// Runs `ip` on this host and returns what it prints.
    pub fn ip(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.place.namespace], arguments].concat())
    }

    /// Runs a closure on this host: on a thread of its own, as a namespace
    /// belongs to a thread.
    pub fn run_in<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let closure = || {
                self.enter();
                closure()
            };
            scope.spawn(closure).join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `run_in` for a future, on a tokio runtime of its own.
    pub fn run_in_async<T: Send>(&self, closure: impl AsyncFnOnce() -> T + Send) -> T {
        self.run_in(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(closure())
        })
    }

    /// Moves the calling thread to this host, for good.
    pub(super) fn enter(&self) {
        let file = namespace_file(&self.place.namespace);
        let namespace =
            File::open(&file).unwrap_or_else(|e| panic!("cannot open {}: {e}", file.display()));
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap_or_else(|e| panic!("cannot enter {}: {e}", file.display()));
    }

    /// Makes `eth0`, up, with the host's MAC and address, and plugs it in.
    pub fn make_interface(&self) {
        let Place {
            name,
            namespace,
            lan,
            mac,
            address,
            ..
        } = &*self.place;
        let mac = mac_text(*mac);
        ip(&[
            "-n", lan, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
            namespace, "address", &mac,
        ]);
        self.heal();
        self.carrier(true);
        self.add_address(address);
        self.link_up();
        self.wait_for_carrier();
    }

    /// Deletes `eth0`, as a driver does that is unloaded.
    pub fn remove_interface(&self) {
        self.ip(&["link", "del", "eth0"]);
    }

    /// `ip link set eth0 up`. It may be a moment until frames pass.
    pub fn link_up(&self) {
        self.ip(&["link", "set", "eth0", "up"]);
    }

    /// `ip link set eth0 down`, by the administrator.
    pub fn link_down(&self) {
        self.ip(&["link", "set", "eth0", "down"]);
    }

    /// The cable: `false` pulls it.
    pub fn carrier(&self, carrier: bool) {
        let state = if carrier { "up" } else { "down" };
        ip(&[
            "-n",
            &self.place.lan,
            "link",
            "set",
            &self.place.name,
            state,
        ]);
    }

    /// Waits until `eth0` is operational.
    pub fn wait_for_carrier(&self) {
        wait_until(
            &format!("{} has a carrier", self.place.name),
            Duration::from_secs(10),
            || {
                let link: Value =
                    serde_json::from_str(&self.ip(&["-j", "link", "show", "dev", "eth0"])).ok()?;
                (link[0]["operstate"] == "UP").then_some(())
            },
        );
    }

    /// Loses everything in both directions, with the carrier in place.
    pub fn cut(&self) {
        ip(&[
            "-n",
            &self.place.lan,
            "link",
            "set",
            &self.place.name,
            "nomaster",
        ]);
    }

    /// Loses everything that comes to it; what it sends arrives.
    pub fn cut_inbound(&self) {
        tc(
            &self.place.lan,
            &["replace", "dev", &self.place.name, "root", "blackhole"],
        );
    }

    /// Loses everything it sends, without its knowing; what comes arrives.
    ///
    /// A locked port of the bridge takes frames only from MACs it knows.
    pub fn cut_outbound(&self) {
        self.bridge_port(&["locked", "on", "learning", "off", "fdb_flush"]);
    }

    /// Ends every cut.
    pub fn heal(&self) {
        ip(&[
            "-n",
            &self.place.lan,
            "link",
            "set",
            &self.place.name,
            "master",
            "br0",
        ]);
        self.bridge_port(&["locked", "off", "learning", "on"]);
        // Back to what a veth has of itself, which is no queue at all.
        tc(
            &self.place.lan,
            &["replace", "dev", &self.place.name, "root", "noqueue"],
        );
    }

    /// Has `eth0` refuse every frame that a program sends: its queue holds none.
    /// What the responder answers does not pass the queue.
    pub fn refuse_to_send(&self) {
        tc(
            &self.place.namespace,
            &["replace", "dev", "eth0", "root", "pfifo", "limit", "0"],
        );
    }

    /// Ends `refuse_to_send`.
    pub fn send_again(&self) {
        tc(
            &self.place.namespace,
            &["replace", "dev", "eth0", "root", "noqueue"],
        );
    }

    fn bridge_port(&self, settings: &[&str]) {
        let Place { name, lan, .. } = &*self.place;
        let port = ["-n", lan, "link", "set", name, "type", "bridge_slave"];
        ip(&[&port, settings].concat());
    }

    /// Lays a cable to another host: an interface of one name on both, each with
    /// its address.
    pub fn connect(&self, interface: &str, address: &str, other: &Self, other_address: &str) {
        self.ip(&[
            "link",
            "add",
            interface,
            "type",
            "veth",
            "peer",
            "name",
            interface,
            "netns",
            &other.place.namespace,
        ]);
        for (host, address) in [(self, address), (other, other_address)] {
            host.ip(&["addr", "add", address, "dev", interface]);
            host.ip(&["link", "set", interface, "up"]);
        }
    }

    /// Id of the XDP program on an interface.
    pub fn xdp_program(&self, interface: &str) -> Option<u64> {
        let links: Value =
            serde_json::from_str(&self.ip(&["-j", "link", "show", "dev", interface]))
                .expect("ip prints JSON");
        links[0]["xdp"]["prog"]["id"].as_u64()
    }

    /// The MAC that this host's kernel sends to for an address.
    pub fn neighbour(&self, address: Ipv4Addr) -> Option<Mac> {
        let neighbours = self.ip(&["-j", "neigh", "show", &address.to_string(), "dev", "eth0"]);
        let neighbours: Value = serde_json::from_str(&neighbours).ok()?;
        let text = neighbours[0]["lladdr"].as_str()?;
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        bytes?.try_into().ok()
    }

    /// Has this host's kernel believe that an address is at a MAC, as it does
    /// that has not asked for a while.
    pub fn believe(&self, address: Ipv4Addr, mac: Mac) {
        let (address, mac) = (address.to_string(), mac_text(mac));
        self.ip(&[
            "neigh", "replace", &address, "lladdr", &mac, "nud", "stale", "dev", "eth0",
        ]);
    }

    /// Adds an address with its prefix length to `eth0`.
    pub fn add_address(&self, address: &str) {
        self.ip(&["addr", "add", address, "dev", "eth0"]);
    }

    pub fn remove_address(&self, address: &str) {
        self.ip(&["addr", "del", address, "dev", "eth0"]);
    }

    /// The addresses on `eth0`, ordered.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let links: Value = serde_json::from_str(&self.ip(&["-j", "addr", "show", "dev", "eth0"]))
            .expect("ip prints JSON");
        let mut addresses: Vec<IpAddr> = links[0]["addr_info"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|info| info["local"].as_str()?.parse().ok())
            .collect();
        addresses.sort_unstable();
        addresses
    }

    /// Whether an address answers this host's ping within a second or so.
    pub fn ping(&self, address: Ipv4Addr) -> bool {
        self.command("ping")
            .args(["-n", "-c", "1", "-W", "1", &address.to_string()])
            .output()
            .expect("ping is installed")
            .status
            .success()
    }

    pub fn name(&self) -> &str {
        &self.place.name
    }

    pub fn mac(&self) -> Mac {
        self.place.mac
    }

    /// The host's own address.
    pub fn address(&self) -> Ipv4Addr {
        let (address, _) = self
            .place
            .address
            .split_once('/')
            .expect("an address has its prefix length");
        address.parse().expect("the address is IPv4")
    }

    /// A directory of the host's own, gone with the lab.
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// A BPF file system of the host's own. It outlives the programs that pin
    /// something there, and is gone with the lab.
    pub fn bpffs(&self) -> PathBuf {
        let path = self.place.directory.join("bpffs");
        if !path.exists() {
            fs::create_dir(&path).expect("cannot make a directory for a BPF file system");
            run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&path));
        }
        path
    }
}

fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn tc(namespace: &str, qdisc: &[&str]) {
    run(Command::new("tc")
        .args(["-n", namespace, "qdisc"])
        .args(qdisc));
}
