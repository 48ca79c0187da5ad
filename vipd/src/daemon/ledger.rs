//! What vipd changes on the host besides the responder, and keeps account of on
//! disk, so that it can be undone after a crash too; and with which passwords,
//! so that the next daemon knows whether a lease was its own.
//!
//! Addresses are put on the interface while this host is master, or on `lo` from
//! start to stop. The latter asks something of the interface: the kernel must
//! neither answer for them there (`arp_ignore`) nor ask in their name
//! (`arp_announce`), whether the responder is attached or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use tracing::{error, warn};

use seal::Seal;

use super::{Error, chain};
use crate::carp::{Keyring, Session};
use crate::engine::{self, InterfaceId, Placement};
use crate::io::sysctl;

mod seal;

pub(super) const DEVICE: &str = "lo";

/// Answer only for addresses of the interface itself, and never tell one that
/// is not (Linux `Documentation/networking/ip-sysctl.rst`).
const SETTINGS: [(&str, &str); 2] = [("arp_ignore", "1"), ("arp_announce", "2")];

/// What stands before an address on disk.
const ON_LOOPBACK: &str = "lo";
const ON_INTERFACE: &str = "interface";

/// What stands before a vhid and its seal.
const KEY: &str = "key";

/// What the name of an interface's file begins with.
const PREFIX: &str = "changes-";

#[derive(Clone)]
pub(super) struct Ledger {
    /// Index of `lo`: 1 in every network namespace, told by netlink anyway.
    ifindex: u32,
    /// For each interface the VIPs that are kept on `lo`; often none.
    on_loopback: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// For each interface the VIPs that are put on it.
    on_interface: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// For each interface the keys of its groups, by vhid.
    keys: BTreeMap<String, BTreeMap<u8, Keyring>>,
    state_dir: PathBuf,
}

/// What a daemon changed for one interface, as it is kept on disk from before
/// the first change until all is undone.
#[derive(Default)]
struct Changes {
    /// Settings, and what they were.
    settings: BTreeMap<String, String>,
    /// What was put on `lo`.
    on_loopback: BTreeSet<Ipv4Addr>,
    /// What may have been put on the interface.
    on_interface: BTreeSet<Ipv4Addr>,
    /// With whose key leases were taken, by vhid.
    seals: BTreeMap<u8, Seal>,
}

impl Ledger {
    pub(super) fn new(config: &engine::Config, state_dir: &Path) -> Self {
        let placed = |placement| -> BTreeMap<String, BTreeSet<Ipv4Addr>> {
            let vips = (0..).zip(&config.interfaces).map(|(id, name)| {
                let groups = config.groups.iter().filter(|group| {
                    group.placement == placement && group.interface == InterfaceId(id)
                });
                let vips = groups.flat_map(|group| group.vips.iter().copied());
                (name.clone(), vips.collect())
            });
            vips.collect()
        };
        let keys = (0..).zip(&config.interfaces).map(|(id, name)| {
            let groups = config.groups.iter();
            let groups = groups.filter(|group| group.interface == InterfaceId(id));
            let keys = groups.map(|group| (group.vhid.value(), group.auth.keys.clone()));
            (name.clone(), keys.collect())
        });
        Self {
            ifindex: 1,
            on_loopback: placed(Placement::Loopback),
            on_interface: placed(Placement::Interface),
            keys: keys.collect(),
            state_dir: state_dir.to_owned(),
        }
    }

    /// What earlier daemons wrote down, of one interface or of all.
    pub(super) fn left(state_dir: &Path, interface: Option<&str>) -> Self {
        let names = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix(PREFIX).map(str::to_owned)
        });
        let wanted = |name: &String| interface.is_none_or(|wanted| wanted == name);
        let none = |name: String| (name, BTreeSet::new());
        let names: BTreeSet<String> = names.filter(wanted).collect();
        Self {
            ifindex: 1,
            on_loopback: names.iter().cloned().map(none).collect(),
            on_interface: names.into_iter().map(none).collect(),
            keys: BTreeMap::new(),
            state_dir: state_dir.to_owned(),
        }
    }

    pub(super) fn ifindex(&self) -> u32 {
        self.ifindex
    }

    pub(super) fn set_ifindex(&mut self, ifindex: u32) {
        self.ifindex = ifindex;
    }

    /// The same, which vouches for nothing.
    pub(super) fn without_keys(&self) -> Self {
        Self {
            keys: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Writes down what is about to be done on the interfaces besides what is written
    /// there, and sets the settings, before another configuration is applied.
    pub(super) fn widen(&self) -> Result<(), Error> {
        for interface in self.on_interface.keys() {
            let path = self.path(interface);
            let mut changes = read(&path)?;
            let on_loopback = self.on_loopback.get(interface).into_iter().flatten();
            let on_interface = self.on_interface.get(interface).into_iter().flatten();
            let before = (changes.on_loopback.len(), changes.on_interface.len());
            changes.on_loopback.extend(on_loopback);
            changes.on_interface.extend(on_interface);
            if before == (changes.on_loopback.len(), changes.on_interface.len()) {
                continue;
            }
            match write(&path, &changes) {
                // As in `set_up_on`.
                Err(problem) if changes.on_loopback.is_empty() => {
                    warn!(
                        "'vipd clean' will not know the addresses: {}",
                        chain(&problem)
                    );
                }
                written => written?,
            }
        }
        Ok(())
    }

    /// Sets the settings of one interface back.
    pub(super) fn restore_one(&self, interface: &str) {
        self.restore_on(interface);
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.on_loopback.values().flatten().copied()
    }

    /// What an earlier daemon that was killed left on `lo`, and this one does
    /// not want there.
    pub(super) fn left_on_loopback(&self) -> Result<BTreeSet<Ipv4Addr>, Error> {
        let mut left = BTreeSet::new();
        for interface in self.on_loopback.keys() {
            left.extend(read(&self.path(interface))?.on_loopback);
        }
        left.retain(|address| self.addresses().all(|wanted| wanted != *address));
        Ok(left)
    }

    /// What an earlier daemon may have put on the interfaces.
    pub(super) fn left_on_interfaces(&self) -> Result<Vec<(String, Ipv4Addr)>, Error> {
        let mut left = Vec::new();
        for interface in self.on_interface.keys() {
            let addresses = read(&self.path(interface))?.on_interface;
            left.extend(
                addresses
                    .into_iter()
                    .map(|address| (interface.clone(), address)),
            );
        }
        Ok(left)
    }

    /// The vhids of the groups whose leases stand on adverts that were signed
    /// with the keys of this daemon, if it is the XDP program `program` that they
    /// were left with; and the sessions in which they were signed.
    ///
    /// What is missing or cannot be read vouches for nothing. Peers that do not
    /// believe this daemon take over in any case, so that going on with a lease in
    /// doubt could mean two answers; not going on means none until they do.
    pub(super) fn vouched_for(
        &self,
        interface: &str,
        program: Option<u32>,
    ) -> BTreeMap<u8, Session> {
        let changes = read(&self.path(interface)).unwrap_or_default();
        let (Some(program), Some(keys)) = (program, self.keys.get(interface)) else {
            return BTreeMap::new();
        };
        let seals = changes.seals.iter();
        let own = seals.filter(|(vhid, seal)| {
            let key = keys.get(vhid);
            key.is_some_and(|key| seal.is_of(key, program))
        });
        own.map(|(vhid, seal)| (*vhid, seal.session())).collect()
    }

    /// Writes down what is done on an interface, which may have been made anew,
    /// and sets its settings; those that an earlier daemon left and this one does
    /// not want are set back. `program` is the responder's, `sessions` are those of
    /// the groups there.
    ///
    /// To be called when the [`Self::left_on_loopback`] are gone: this forgets
    /// them. And when leases that are not [`Self::vouched_for`] are ended, before
    /// any is taken: this vouches for all that `program` has.
    pub(super) fn set_up_on(
        &self,
        interface: &str,
        program: Option<u32>,
        sessions: &BTreeMap<u8, Session>,
    ) -> Result<(), Error> {
        let vips = |placed: &BTreeMap<String, BTreeSet<Ipv4Addr>>| {
            placed.get(interface).cloned().unwrap_or_default()
        };
        let (on_loopback, on_interface) = (vips(&self.on_loopback), vips(&self.on_interface));
        if on_loopback.is_empty() {
            self.restore_on(interface);
        }
        let path = self.path(interface);
        let mut changes = read(&path)?;
        if !on_loopback.is_empty() {
            for (name, value) in SETTINGS {
                let was = sysctl::get(interface, name)?;
                // After a crash the value is our own doing, and what it was is known.
                if was != value || !changes.settings.contains_key(name) {
                    changes.settings.insert(name.to_owned(), was);
                }
            }
        }
        let has_settings = !on_loopback.is_empty();
        changes.on_loopback = on_loopback;
        changes.on_interface = on_interface;
        changes.seals = program.map_or_else(BTreeMap::new, |program| {
            let keys = self.keys.get(interface).into_iter().flatten();
            let seal = |(vhid, key): (&u8, &Keyring)| {
                Some((*vhid, Seal::new(key, *sessions.get(vhid)?, program)))
            };
            keys.filter_map(seal).collect()
        });
        // It is on disk before the first one changes, so that it survives a crash.
        match write(&path, &changes) {
            // The addresses alone are known to the next daemon as well, and what
            // is there still is not for this program.
            Err(problem) if !has_settings => {
                warn!(
                    "'vipd clean' will not know the addresses, and a restart will be a failover: {}",
                    chain(&problem)
                );
            }
            written => written?,
        }
        if has_settings {
            for (name, value) in SETTINGS {
                sysctl::set(interface, name, value)?;
            }
        }
        Ok(())
    }

    /// Sets them back, and tells on which interfaces there was something to set.
    pub(super) fn restore(&self) -> Vec<String> {
        let interfaces = self.on_loopback.keys();
        let changed = interfaces.filter(|interface| self.restore_on(interface));
        changed.cloned().collect()
    }

    /// Whether settings were changed there.
    fn restore_on(&self, interface: &str) -> bool {
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
        !changes.settings.is_empty()
    }

    fn path(&self, interface: &str) -> PathBuf {
        self.state_dir.join(format!("{PREFIX}{interface}"))
    }
}

impl Changes {
    /// Lines of a setting's name and value, of a place and an address there, or of
    /// a vhid and its seal. Others are somebody else's.
    fn parse(text: &str) -> Self {
        let mut changes = Self::default();
        let lines = text.lines().map(str::trim_end);
        for (name, value) in lines.filter_map(|line| line.split_once(' ')) {
            if name == ON_LOOPBACK {
                changes.on_loopback.extend(value.parse::<Ipv4Addr>().ok());
            } else if name == ON_INTERFACE {
                changes.on_interface.extend(value.parse::<Ipv4Addr>().ok());
            } else if name == KEY {
                let seal = value
                    .split_once(' ')
                    .and_then(|(vhid, seal)| Some((vhid.parse().ok()?, Seal::parse(seal)?)));
                changes.seals.extend(seal);
            } else if SETTINGS.iter().any(|(known, _)| *known == name) {
                changes.settings.insert(name.to_owned(), value.to_owned());
            }
        }
        changes
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.settings {
            writeln!(f, "{name} {value}")?;
        }
        for address in &self.on_loopback {
            writeln!(f, "{ON_LOOPBACK} {address}")?;
        }
        for address in &self.on_interface {
            writeln!(f, "{ON_INTERFACE} {address}")?;
        }
        for (vhid, seal) in &self.seals {
            writeln!(f, "{KEY} {vhid} {seal}")?;
        }
        Ok(())
    }
}

/// What is written down again of what was read, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub fn reread(text: &str) -> String {
    Changes::parse(text).to_string()
}

fn read(path: &Path) -> Result<Changes, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Changes::parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Changes::default()),
        Err(source) => Err(Error::State {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Replaces the file whole, or not at all. It is for its owner alone, as the
/// password is.
fn write(path: &Path, changes: &Changes) -> Result<(), Error> {
    let failed = |source| Error::State {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!("new-{name}"));
    // A file that is there keeps its mode.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&new);
    file.and_then(|mut file| file.write_all(changes.to_string().as_bytes()))
        .map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

#[cfg(test)]
mod tests;
