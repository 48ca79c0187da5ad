//! Addresses that sit on `lo` from start to stop, and what that asks of the
//! interface: the kernel must neither answer for them there (`arp_ignore`) nor
//! ask in their name (`arp_announce`), whether the responder is attached or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tracing::error;

use super::{Error, chain};
use crate::engine::{self, InterfaceId, Placement};
use crate::io::sysctl;

pub(super) const DEVICE: &str = "lo";

/// Answer only for addresses of the interface itself, and never tell one that
/// is not (Linux `Documentation/networking/ip-sysctl.rst`).
const SETTINGS: [(&str, &str); 2] = [("arp_ignore", "1"), ("arp_announce", "2")];

/// What stands before an address on disk.
const ADDRESS: &str = "address";

pub(super) struct Loopback {
    /// Index of `lo`: 1 in every network namespace, told by netlink anyway.
    ifindex: u32,
    /// For each interface the VIPs that are kept on `lo`; often none.
    addresses: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    state_dir: PathBuf,
}

/// What a daemon changed for one interface, as it is kept on disk from before
/// the first change until all is undone.
#[derive(Default)]
struct Changes {
    /// Settings, and what they were.
    settings: BTreeMap<String, String>,
    /// What was put on `lo`.
    addresses: BTreeSet<Ipv4Addr>,
}

impl Loopback {
    pub(super) fn new(config: &engine::Config, state_dir: &Path) -> Self {
        let addresses = (0..).zip(&config.interfaces).map(|(id, name)| {
            let on_loopback = |group: &&engine::GroupConfig| {
                group.placement == Placement::Loopback && group.interface == InterfaceId(id)
            };
            let groups = config.groups.iter().filter(on_loopback);
            let vips = groups.flat_map(|group| group.vips.iter().copied());
            (name.clone(), vips.collect())
        });
        Self {
            ifindex: 1,
            addresses: addresses.collect(),
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
        self.addresses.values().flatten().copied()
    }

    /// What an earlier daemon that was killed left on `lo`, and this one does
    /// not want there.
    pub(super) fn leftovers(&self) -> Result<BTreeSet<Ipv4Addr>, Error> {
        let mut left = BTreeSet::new();
        for interface in self.addresses.keys() {
            left.extend(read(&self.path(interface))?.addresses);
        }
        left.retain(|address| self.addresses().all(|wanted| wanted != *address));
        Ok(left)
    }

    /// Sets the interfaces' settings; those that an earlier daemon left and this
    /// one does not want are set back. To be called when the
    /// [`Self::leftovers`] are gone: this forgets them.
    pub(super) fn set_up(&self) -> Result<(), Error> {
        for interface in self.addresses.keys() {
            self.set_up_on(interface)?;
        }
        Ok(())
    }

    /// The same for one interface, which may have been made anew.
    pub(super) fn set_up_on(&self, interface: &str) -> Result<(), Error> {
        let Some(wanted) = self
            .addresses
            .get(interface)
            .filter(|vips| !vips.is_empty())
        else {
            self.restore_on(interface);
            return Ok(());
        };
        let path = self.path(interface);
        let mut changes = read(&path)?;
        changes.addresses.clone_from(wanted);
        for (name, value) in SETTINGS {
            let was = sysctl::get(interface, name)?;
            // After a crash the value is our own doing, and what it was is known.
            if was != value || !changes.settings.contains_key(name) {
                changes.settings.insert(name.to_owned(), was);
            }
        }
        // It is on disk before the first one changes, so that it survives a crash.
        write(&path, &changes)?;
        for (name, value) in SETTINGS {
            sysctl::set(interface, name, value)?;
        }
        Ok(())
    }

    /// Sets them back.
    pub(super) fn restore(&self) {
        for interface in self.addresses.keys() {
            self.restore_on(interface);
        }
    }

    fn restore_on(&self, interface: &str) {
        let path = self.path(interface);
        let changes = read(&path).unwrap_or_else(|problem| {
            error!("{}", chain(&problem));
            Changes::default()
        });
        let mut is_restored = true;
        for (name, value) in &changes.settings {
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

    fn path(&self, interface: &str) -> PathBuf {
        self.state_dir.join(format!("loopback-{interface}"))
    }
}

/// Lines of a setting's name and value, or of `address` and an address.
fn read(path: &Path) -> Result<Changes, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Changes::default()),
        Err(source) => {
            return Err(Error::State {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut changes = Changes::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        if name == ADDRESS {
            changes.addresses.extend(value.parse::<Ipv4Addr>().ok());
        } else if SETTINGS.iter().any(|(known, _)| *known == name) {
            changes.settings.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(changes)
}

/// Replaces the file whole, or not at all.
fn write(path: &Path, changes: &Changes) -> Result<(), Error> {
    let failed = |source| Error::State {
        path: path.to_owned(),
        source,
    };
    let settings = changes.settings.iter();
    let addresses = changes.addresses.iter();
    let text: String = settings
        .map(|(name, value)| format!("{name} {value}\n"))
        .chain(addresses.map(|address| format!("{ADDRESS} {address}\n")))
        .collect();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, text).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}
