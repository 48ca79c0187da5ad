//! The responder as the daemon sees it: the XDP program on an interface, and
//! the maps that tell it what to answer.
//!
//! Program and maps are pinned, so that they outlive the daemon, and the next
//! one adopts them; only `Responder::detach` and `clean` take them away. It does
//! not read netlink, so that what must be known of the interface is in `Attach`;
//! and it knows nothing of who ought to own a group.

mod bpffs;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod left;
mod maps;
mod pinned;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use aya::{Ebpf, EbpfLoader};
use vipd_common::{Conflict, Counters, Group, map};

use bpffs::PinDir;
pub use error::Error;
use left::Left;
use maps::{Leases, Maps, SHAPES};

/// The eBPF object with the program and its maps, as the kernel gets it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("VIPD_EBPF_OBJECT"));

/// Name of the program in [`OBJECT`].
pub const PROGRAM: &str = "vipd";

/// Where to attach the responder.
#[derive(Clone, Copy, Debug)]
pub struct Attach<'a> {
    pub interface: &'a str,
    pub ifindex: u32,
    /// The interface's own MAC: Ethernet source of the replies.
    pub mac: [u8; 6],
    /// What kind of virtual device it is, by netlink's `IFLA_INFO_KIND`
    /// (`veth`, `bridge`, ...); `None` where it has a driver of its own.
    pub kind: Option<&'a str>,
    /// Id of the XDP program on the interface, by netlink's `IFLA_XDP`. It may
    /// be the responder that an earlier daemon left.
    pub program: Option<u32>,
    /// Base of the pins, `/sys/fs/bpf/vipd` as a rule.
    pub bpffs: &'a Path,
    pub mode: Mode,
}

/// Which kind of XDP to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Native where replies are known to leave, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the kernel's stack: slower, on every device.
    Generic,
}

/// How the program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub mode: &'static str,
    /// Why this one, for people.
    pub reason: String,
}

/// Finds out, touching nothing, whether [`Responder::open`] has a chance.
pub fn check(attach: &Attach<'_>) -> Result<(), Error> {
    check_interface(attach)?;
    let directory = bpffs::directory(attach.bpffs, attach.interface)?;
    bpffs::check(attach.bpffs)?;
    if let Some(holder) = bpffs::holder(&directory) {
        return Err(in_use(attach.interface, Some(holder)));
    }
    match attach.program {
        Some(program) if pinned::program_id(&directory.join(LINK)) != Some(program) => {
            Err(occupied(attach))
        }
        _ => Ok(()),
    }
}

/// Whether `base` is on a BPF file system, or will be once vipd has mounted one.
pub fn check_bpffs(base: &Path) -> Result<(), Error> {
    bpffs::check(base)
}

/// Id of the program behind the link that is pinned for an interface, if any.
pub fn pinned_program(base: &Path, interface: &str) -> Option<u32> {
    let directory = bpffs::directory(base, interface).ok()?;
    pinned::program_id(&directory.join(LINK))
}

/// The directory with the pins of an interface, if there are any.
pub fn pins(base: &Path, interface: &str) -> Option<std::path::PathBuf> {
    let directory = bpffs::directory(base, interface).ok()?;
    directory.join(LINK).exists().then_some(directory)
}

/// The group of VIPs that have none any more. No virtual host has this number, and the
/// group never has a lease.
const RETIRED: u32 = 0;

/// What an earlier daemon left, and this one goes on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Whom the earlier daemon answered for, and until when. Leases may have ended.
    pub groups: BTreeMap<u32, Group>,
    /// The addresses, by group.
    pub vips: BTreeMap<u32, BTreeSet<Ipv4Addr>>,
    /// Why nothing of what was there could be adopted; `None` where nothing was.
    pub fresh_because: Option<String>,
    /// Why the maps were made anew and this filled into them, where they were.
    pub refilled_because: Option<String>,
}

/// The XDP program on one interface, and its maps. When dropped it stays
/// attached and answers until the leases end; see [`Self::detach`].
pub struct Responder {
    attached: Attached,
    program_id: u32,
    maps: Maps,
    /// What the map of VIPs holds: each address's group.
    vips: BTreeMap<[u8; 4], u32>,
    /// Groups that an earlier daemon left and this one has not set yet.
    inherited: BTreeSet<u32>,
    directory: PinDir,
}

impl Responder {
    /// Puts the responder on the interface. Where an earlier daemon left one it
    /// is adopted with all it holds, and its program replaced by this daemon's
    /// while it is attached: no request meets neither. That is so too where the
    /// maps are of another ABI but the leases in them are understood: new maps are
    /// filled with them first. Where what was left is of no use, it gives way to an
    /// empty responder.
    ///
    /// When this fails nothing is there that was not before, and what was left
    /// answers on as it did; all but a responder without a usable link or in
    /// another mode, which had to go before the attempt.
    pub fn open(attach: &Attach<'_>) -> Result<(Self, Adopted), Error> {
        check(attach)?;
        bpffs::mount_default(attach.bpffs)?;
        let directory = bpffs::directory(attach.bpffs, attach.interface)?;
        let directory =
            PinDir::lock(&directory).map_err(|error| lock_error(attach.interface, error))?;
        match Left::look(directory.path(), attach) {
            Left::Nothing => match program::load_verified(&mut EbpfLoader::new()) {
                Ok(ebpf) => Self::attach_fresh(ebpf, attach, directory, None),
                Err(error) => {
                    // It may have been made for us. The first error is the one to tell.
                    let _: Result<(), Error> = directory.remove();
                    Err(error)
                }
            },
            Left::All { attached } => Self::adopt(attached, attach, directory),
            Left::Link {
                attached,
                mode,
                leases,
                because,
            } => Self::replace_maps(attached, mode, attach, directory, leases, because),
            Left::Unusable { because } => {
                let ebpf = program::load_verified(&mut EbpfLoader::new())?;
                Self::attach_fresh(ebpf, attach, directory, Some(because))
            }
        }
    }

    /// Attaches with empty maps, after removing what was left.
    fn attach_fresh(
        mut ebpf: Ebpf,
        attach: &Attach<'_>,
        directory: PinDir,
        fresh_because: Option<String>,
    ) -> Result<(Self, Adopted), Error> {
        let attached = directory.clear().and_then(|()| {
            let mut maps = Maps::take(&mut ebpf, |map| Some(directory.path().join(map)))?;
            // The mode shows when it is attached; until then nobody else may look.
            maps.set_interface(attach.mac, attach.ifindex, 0)?;
            let (attached, mode, link) = program::attach(&mut ebpf, attach)?;
            maps.set_interface(attach.mac, attach.ifindex, mode)?;
            let pin = |source| Error::File {
                action: "pin the link as",
                path: directory.path().join(LINK),
                source,
            };
            let about = link.info().map_err(|error| pin(io::Error::other(error)))?;
            link.pin(directory.path().join(LINK))
                .map_err(|error| pin(io::Error::other(error)))?;
            Ok((attached, about.program_id(), maps))
        });
        match attached {
            Ok((attached, program_id, maps)) => {
                let adopted = Adopted {
                    fresh_because,
                    ..Adopted::default()
                };
                Ok((Self::new(attached, program_id, maps, directory), adopted))
            }
            Err(error) => {
                // With every pin that is in it by then. The first error is the one to tell.
                let _: Result<(), Error> = directory.remove();
                Err(error)
            }
        }
    }

    /// Goes on with the maps as they are.
    fn adopt(
        attached: Attached,
        attach: &Attach<'_>,
        directory: PinDir,
    ) -> Result<(Self, Adopted), Error> {
        let mut loader = EbpfLoader::new();
        for shape in &SHAPES {
            // aya takes any map that is there; this one's shape is known to be right.
            loader.map_pin_path(shape.name, directory.path().join(shape.name));
        }
        let mut ebpf = program::load_verified(&mut loader)?;
        let mut maps = Maps::take(&mut ebpf, |_| None)?;
        let interface = maps.interface()?;
        let leases = maps.leases()?;
        let program_id = program::switch(&mut ebpf, attach, &directory)?;
        if interface.mac != attach.mac {
            maps.set_interface(attach.mac, attach.ifindex, interface.mode)?;
        }

        let mut responder = Self::new(attached, program_id, maps, directory);
        let adopted = responder.inherit(leases);
        Ok((responder, adopted))
    }

    /// Keeps the link and gives it this daemon's program with maps of its own,
    /// which are made beside the old ones and filled with the leases, if these
    /// are known.
    fn replace_maps(
        attached: Attached,
        mode: u16,
        attach: &Attach<'_>,
        directory: PinDir,
        leases: Option<Leases>,
        because: String,
    ) -> Result<(Self, Adopted), Error> {
        let mut ebpf = program::load_verified(&mut EbpfLoader::new())?;
        let new_names = SHAPES.map(|shape| format!("{}{NEW}", shape.name));
        let remove_new = || {
            new_names
                .iter()
                .map(|name| directory.remove_pin(name))
                .fold(Ok(()), Result::and)
        };
        remove_new()?;
        let switched = Maps::take(&mut ebpf, |map| {
            Some(directory.path().join(format!("{map}{NEW}")))
        })
        .and_then(|mut maps| {
            maps.set_interface(attach.mac, attach.ifindex, mode)?;
            if let Some(leases) = &leases {
                maps.fill(leases)?;
            }
            let program_id = program::switch(&mut ebpf, attach, &directory)?;
            Ok((program_id, maps))
        });
        let (program_id, maps) = switched.inspect_err(|_| {
            // The first error is the one to tell.
            let _: Result<(), Error> = remove_new();
        })?;
        for (shape, new_name) in SHAPES.iter().zip(&new_names) {
            directory.rename(new_name, shape.name)?;
        }
        directory.keep_only(&ALL_NAMES)?;
        let mut responder = Self::new(attached, program_id, maps, directory);
        let adopted = match leases {
            Some(leases) => Adopted {
                refilled_because: Some(because),
                ..responder.inherit(leases)
            },
            None => Adopted {
                fresh_because: Some(because),
                ..Adopted::default()
            },
        };
        Ok((responder, adopted))
    }

    /// Takes note of the leases that the maps hold already.
    fn inherit(&mut self, leases: Leases) -> Adopted {
        let mut vips: BTreeMap<u32, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for (&address, &group) in &leases.vips {
            vips.entry(group).or_default().insert(address.into());
        }
        self.inherited = leases.groups.keys().chain(vips.keys()).copied().collect();
        self.vips = leases.vips;
        Adopted {
            groups: leases.groups,
            vips,
            ..Adopted::default()
        }
    }

    const fn new(attached: Attached, program_id: u32, maps: Maps, directory: PinDir) -> Self {
        Self {
            attached,
            program_id,
            maps,
            vips: BTreeMap::new(),
            inherited: BTreeSet::new(),
            directory,
        }
    }

    /// How the program is attached, and why so.
    #[must_use]
    pub const fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Id of the program in the kernel, as `bpftool prog show` lists it.
    #[must_use]
    pub const fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Makes these the VIPs of a group; those it had besides are removed. They
    /// are silent until the group has an owner and a lease. When one cannot be
    /// added, none is, and none is removed.
    ///
    /// An address of a group that an earlier daemon left, and this one has not
    /// set yet, changes over to this group.
    pub fn set_vips(&mut self, group: u32, vips: &[Ipv4Addr]) -> Result<(), Error> {
        let wanted: BTreeSet<_> = vips.iter().map(Ipv4Addr::octets).collect();
        let (mut missing, mut inherited_from) = (Vec::new(), BTreeMap::new());
        for &address in &wanted {
            match self.vips.get(&address) {
                Some(&other) if other == group => continue,
                Some(&other) if other == RETIRED || self.inherited.contains(&other) => {
                    inherited_from.insert(address, other);
                }
                Some(&other) => {
                    return Err(Error::Taken {
                        address: address.into(),
                        group: other,
                    });
                }
                None => {}
            }
            missing.push(address);
        }

        for (added, &address) in missing.iter().enumerate() {
            if let Err(error) = self.maps.add_vip(address, group) {
                for address in &missing[..added] {
                    // The first error is the one to tell.
                    let _: Result<(), Error> = match inherited_from.get(address) {
                        Some(&other) => self.maps.add_vip(*address, other),
                        None => self.maps.remove_vip(*address),
                    };
                }
                return Err(error);
            }
        }
        self.vips
            .extend(missing.iter().map(|&address| (address, group)));
        let has = self.vips.iter().filter(|&(_, &its)| its == group);
        let surplus: Vec<_> = has
            .map(|(&address, _)| address)
            .filter(|address| !wanted.contains(address))
            .collect();
        for address in surplus {
            self.maps.remove_vip(address)?;
            self.vips.remove(&address);
        }
        self.inherited.remove(&group);
        Ok(())
    }

    /// Gives a group more VIPs, as [`Self::set_vips`].
    pub fn add_vips(&mut self, group: u32, vips: &[Ipv4Addr]) -> Result<(), Error> {
        let known = self.vips.iter().filter(|&(_, &its)| its == group);
        let known = known.map(|(&address, _)| Ipv4Addr::from(address));
        let all: Vec<_> = known.chain(vips.iter().copied()).collect();
        self.set_vips(group, &all)
    }

    /// Takes VIPs from their group: nobody answers for them any more, not the kernel
    /// either, until they are [`Self::release`]d or given to another group. Whatever
    /// can be taken is, and the first error told.
    pub fn retire(&mut self, vips: &[Ipv4Addr]) -> Result<(), Error> {
        let mut retired = Ok(());
        for address in vips.iter().map(Ipv4Addr::octets) {
            if let Some(group) = self.vips.get_mut(&address) {
                match self.maps.add_vip(address, RETIRED) {
                    Ok(()) => *group = RETIRED,
                    Err(error) => retired = retired.and(Err(error)),
                }
            }
        }
        retired
    }

    /// Requests for a VIP that was retired, and is still, are the kernel's again.
    pub fn release(&mut self, vip: Ipv4Addr) -> Result<(), Error> {
        if self.vips.get(&vip.octets()) == Some(&RETIRED) {
            self.maps.remove_vip(vip.octets())?;
            self.vips.remove(&vip.octets());
        }
        Ok(())
    }

    /// Has the responder answer for the group's VIPs with `owner_mac` until the
    /// lease ends, a nanosecond of `CLOCK_BOOTTIME`. Renewing it is one store into
    /// memory; see [`Group`] for what a request may meet where the owner changes.
    pub fn set_group(
        &mut self,
        group: u32,
        owner_mac: [u8; 6],
        lease_until_ns: u64,
        vhid: u8,
    ) -> Result<(), Error> {
        let value = Group {
            lease_until_ns,
            owner_mac,
            vhid,
            pad: 0,
        };
        self.maps.groups().set(group, value)
    }

    /// Drops every request for the group's VIPs, also where the kernel itself
    /// would answer it. A group without an owner is silent anyway.
    pub fn silence(&mut self, group: u32) -> Result<(), Error> {
        self.maps.groups().end_lease(group)
    }

    /// Forgets a group and its VIPs: requests for them are the kernel's again.
    pub fn remove_group(&mut self, group: u32) -> Result<(), Error> {
        // The group first: its VIPs fall silent before they are the kernel's.
        self.maps.groups().remove(group)?;
        self.set_vips(group, &[])?;
        self.maps.remove_conflict(group)
    }

    /// Forgets every group but these: what an earlier daemon left of groups that
    /// are not configured any more. Whatever can be removed is, and the first
    /// error told.
    pub fn forget_others(&mut self, groups: &[u32]) -> Result<(), Error> {
        let mut others: BTreeSet<_> = self.maps.groups().all().into_keys().collect();
        others.extend(self.vips.values());
        others.extend(self.maps.conflicts()?);
        others.retain(|other| !groups.contains(other));
        let removals = others.into_iter().map(|other| self.remove_group(other));
        removals.fold(Ok(()), Result::and)
    }

    /// Changes the Ethernet source of the replies.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), Error> {
        let interface = self.maps.interface()?;
        self.maps
            .set_interface(mac, interface.ifindex, interface.mode)
    }

    /// Whether somebody took the program off the interface, which is there still.
    /// The kernel tells nobody of it.
    #[must_use]
    pub fn is_detached(&self, interface: &str) -> bool {
        pinned::is_detached(&self.directory.path().join(LINK))
            && self
                .maps
                .interface()
                .is_ok_and(|about| exists(interface, about.ifindex))
    }

    /// What became of frames since the program was attached.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.maps.counters()
    }

    /// The last claim by another host to an address of the group, if ever.
    pub fn conflict(&self, group: u32) -> Result<Option<Conflict>, Error> {
        self.maps.conflict(group)
    }

    /// Leaves it as it is for the next daemon: it answers until the leases end.
    pub fn leave(self) {
        drop(self);
    }

    /// Takes the program off the interface and removes every pin. Whatever can
    /// be removed is, also when something else cannot.
    pub fn detach(self) -> Result<(), Error> {
        self.directory.remove()
    }
}

/// Responders that crashed daemons left, none of which a daemon holds.
pub struct Leftovers(Vec<(String, PinDir)>);

impl Leftovers {
    /// Those on one interface, or on all. Fails if a daemon runs on one of them:
    /// then nothing is to be removed.
    pub fn lock(bpffs: &Path, interface: Option<&str>) -> Result<Self, Error> {
        lock_leftovers(bpffs, interface).map(Self)
    }

    /// The interfaces they are on.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(interface, _)| interface.as_str())
    }

    /// Takes them off.
    pub fn remove(self) -> Result<(), Error> {
        self.0
            .into_iter()
            .try_for_each(|(_, directory)| directory.remove())
    }
}

fn lock_leftovers(bpffs: &Path, interface: Option<&str>) -> Result<Vec<(String, PinDir)>, Error> {
    let leftovers = match interface {
        Some(interface) => {
            let directory = bpffs::directory(bpffs, interface)?;
            let exists = directory.exists();
            exists
                .then(|| (interface.to_owned(), directory))
                .into_iter()
                .collect()
        }
        // The base may be somebody else's too, so that all is only what is surely ours.
        None => bpffs::leftovers(bpffs, |name| {
            ALL_NAMES.contains(&name.strip_suffix(NEW).unwrap_or(name))
        }),
    };
    let mut locked = Vec::new();
    for (interface, directory) in leftovers {
        let directory = PinDir::lock(&directory).map_err(|error| lock_error(&interface, error))?;
        locked.push((interface, directory));
    }
    Ok(locked)
}

/// Loads [`OBJECT`] into the kernel, attached to nothing and pinned nowhere; its
/// maps are made, its program is yet to be verified.
pub fn load() -> Result<Ebpf, Error> {
    program::load(&mut EbpfLoader::new())
}

fn check_interface(attach: &Attach<'_>) -> Result<(), Error> {
    if exists(attach.interface, attach.ifindex) {
        Ok(())
    } else {
        Err(Error::NoInterface {
            interface: attach.interface.to_owned(),
            ifindex: attach.ifindex,
        })
    }
}

fn exists(interface: &str, ifindex: u32) -> bool {
    let (family, kind) = (
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
    );
    let socket = rustix::net::socket(family, kind, None);
    let name = socket.and_then(|socket| rustix::net::netdevice::index_to_name(&socket, ifindex));
    name.is_ok_and(|name| name == interface)
}

fn in_use(interface: &str, pid: Option<u32>) -> Error {
    Error::InUse {
        interface: interface.to_owned(),
        pid,
    }
}

fn lock_error(interface: &str, error: bpffs::LockError) -> Error {
    match error {
        bpffs::LockError::Held { pid } => in_use(interface, pid),
        bpffs::LockError::Other(error) => error,
    }
}

fn occupied(attach: &Attach<'_>) -> Error {
    Error::Occupied {
        interface: attach.interface.to_owned(),
        program: attach.program,
    }
}

/// Name of the pinned link, beside the maps.
const LINK: &str = "link";

/// What a pinned map's name ends in until the program that uses it is attached.
const NEW: &str = "-new";

/// Every name under which something is pinned.
const ALL_NAMES: [&str; 6] = [
    LINK,
    map::CONFLICTS,
    map::COUNTERS,
    map::GROUPS,
    map::INTERFACE,
    map::VIPS,
];
