//! Addresses that sit on `lo` from start to stop, and what that asks of the
//! interface: the kernel must neither answer for them there (`arp_ignore`) nor
//! ask in their name (`arp_announce`), whether the responder is attached or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tracing::error;

use super::{Error, chain};
use crate::engine::{self, Placement};
use crate::io::sysctl;

pub(super) const DEVICE: &str = "lo";

/// Answer only for addresses of the interface itself, and never tell one that
/// is not (Linux `Documentation/networking/ip-sysctl.rst`).
const SETTINGS: [(&str, &str); 2] = [("arp_ignore", "1"), ("arp_announce", "2")];

pub(super) struct Loopback {
    /// Index of `lo`: 1 in every network namespace, told by netlink anyway.
    ifindex: u32,
    addresses: BTreeSet<Ipv4Addr>,
    interfaces: Vec<String>,
    state_dir: PathBuf,
}

impl Loopback {
    pub(super) fn new(config: &engine::Config, state_dir: &Path) -> Self {
        let groups = || {
            config
                .groups
                .iter()
                .filter(|group| group.placement == Placement::Loopback)
        };
        let names: BTreeSet<&String> = groups()
            .filter_map(|group| config.interfaces.get(usize::from(group.interface.0)))
            .collect();
        Self {
            ifindex: 1,
            addresses: groups()
                .flat_map(|group| group.vips.iter().copied())
                .collect(),
            interfaces: names.into_iter().cloned().collect(),
            state_dir: state_dir.to_owned(),
        }
    }

    pub(super) fn ifindex(&self) -> u32 {
        self.ifindex
    }

    pub(super) fn set_ifindex(&mut self, ifindex: u32) {
        self.ifindex = ifindex;
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.iter().copied()
    }

    /// Sets the interfaces' settings. What they were is on disk before the first
    /// one changes, so that it survives a crash.
    pub(super) fn set_up(&self) -> Result<(), Error> {
        for interface in &self.interfaces {
            let path = self.path(interface);
            let mut old = read(&path)?;
            for (name, value) in SETTINGS {
                let was = sysctl::get(interface, name)?;
                // An entry is there after a crash; then `was` is our own doing.
                old.entry(name.to_owned()).or_insert(was);
                write(&path, &old)?;
                sysctl::set(interface, name, value)?;
            }
        }
        Ok(())
    }

    /// Sets them back.
    pub(super) fn restore(&self) {
        for interface in &self.interfaces {
            let path = self.path(interface);
            let old = read(&path).unwrap_or_else(|problem| {
                error!("{}", chain(&problem));
                BTreeMap::new()
            });
            let mut is_restored = true;
            for (name, value) in &old {
                if let Err(problem) = sysctl::restore(interface, name, value) {
                    error!("{}", chain(&problem));
                    is_restored = false;
                }
            }
            if is_restored {
                // A file that stays would only repeat this.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    fn path(&self, interface: &str) -> PathBuf {
        self.state_dir.join(format!("sysctl-{interface}"))
    }
}

/// Lines of a name and a value.
fn read(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => {
            return Err(Error::State {
                path: path.to_owned(),
                source,
            });
        }
    };
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| SETTINGS.iter().any(|(known, _)| known == name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Replaces the file whole, or not at all.
fn write(path: &Path, settings: &BTreeMap<String, String>) -> Result<(), Error> {
    let failed = |source| Error::State {
        path: path.to_owned(),
        source,
    };
    let text: String = settings
        .iter()
        .map(|(name, value)| format!("{name} {value}\n"))
        .collect();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, text).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}
