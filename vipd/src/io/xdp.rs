//! The responder as the daemon sees it: the XDP program on an interface, and
//! the maps that tell it what to answer.
//!
//! Program and maps are pinned, so that they outlive the daemon; only
//! [`Responder::detach`] takes them away. It does not read netlink, so that what
//! must be known of the interface is in [`Attach`]; and it knows nothing of who
//! ought to own a group.

mod bpffs;
mod error;
mod link;
mod maps;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramError, Xdp, XdpError, XdpMode};
use aya::{Ebpf, EbpfLoader};
use vipd_common::{Conflict, Counters, Group};

use bpffs::PinDir;
pub use error::Error;
use maps::Maps;

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

/// Finds out, touching nothing, whether [`Responder::attach`] has a chance.
pub fn check(attach: &Attach<'_>) -> Result<(), Error> {
    check_interface(attach)?;
    let directory = bpffs::directory(attach.bpffs, attach.interface)?;
    bpffs::check(attach.bpffs)?;
    if let Some(holder) = bpffs::holder(&directory) {
        return Err(in_use(attach, Some(holder)));
    }
    match attach.program {
        Some(program) if link::program_id(&directory.join(LINK)) != Some(program) => {
            Err(occupied(attach))
        }
        _ => Ok(()),
    }
}

/// The XDP program on one interface, and its maps. When dropped it stays
/// attached and answers until the leases end; see [`Self::detach`].
pub struct Responder {
    attached: Attached,
    program_id: u32,
    maps: Maps,
    groups: BTreeMap<u32, Group>,
    vips: BTreeMap<u32, BTreeSet<[u8; 4]>>,
    link: PinnedLink,
    directory: PinDir,
}

impl Responder {
    /// Attaches the program with empty maps, and pins both. What an earlier
    /// daemon left is removed first. When this fails nothing is left behind.
    pub fn attach(attach: &Attach<'_>) -> Result<Self, Error> {
        check(attach)?;
        bpffs::mount_default(attach.bpffs)?;
        let directory = bpffs::directory(attach.bpffs, attach.interface)?;
        let directory = PinDir::lock(&directory).map_err(|error| match error {
            bpffs::LockError::Held { pid } => in_use(attach, pid),
            bpffs::LockError::Other(error) => error,
        })?;
        match Self::attach_fresh(attach, &directory) {
            Ok((attached, program_id, maps, link)) => Ok(Self {
                attached,
                program_id,
                maps,
                groups: BTreeMap::new(),
                vips: BTreeMap::new(),
                link,
                directory,
            }),
            Err(error) => {
                // With every pin that is in it by then. The first error is the one to tell.
                let _: Result<(), Error> = directory.remove();
                Err(error)
            }
        }
    }

    fn attach_fresh(
        attach: &Attach<'_>,
        directory: &PinDir,
    ) -> Result<(Attached, u32, Maps, PinnedLink), Error> {
        directory.clear()?;
        let mut ebpf = load()?;
        let mut maps = Maps::take(&mut ebpf, directory)?;
        maps.set_interface(attach.mac, attach.ifindex)?;

        let program = ebpf
            .program_mut(PROGRAM)
            .ok_or(Error::Object { missing: PROGRAM })?;
        let program: &mut Xdp = program.try_into().map_err(Error::Program)?;
        program.load().map_err(Error::Program)?;
        let (attached, link) = attach_program(program, attach)?;
        let unpinned = |source: io::Error| Error::File {
            action: "pin the link as",
            path: directory.path().join(LINK),
            source,
        };
        let program_id = link
            .info()
            .map_err(|error| unpinned(io::Error::other(error)))?
            .program_id();
        let link = link
            .pin(directory.path().join(LINK))
            .map_err(|error| unpinned(io::Error::other(error)))?;
        Ok((attached, program_id, maps, link))
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
    pub fn set_vips(&mut self, group: u32, vips: &[Ipv4Addr]) -> Result<(), Error> {
        let wanted: BTreeSet<_> = vips.iter().map(Ipv4Addr::octets).collect();
        for (&other, theirs) in self.vips.iter().filter(|&(&other, _)| other != group) {
            if let Some(&address) = theirs.intersection(&wanted).next() {
                return Err(Error::Taken {
                    address: address.into(),
                    group: other,
                });
            }
        }

        let has = self.vips.entry(group).or_default();
        let missing: Vec<_> = wanted.difference(has).copied().collect();
        for (added, &address) in missing.iter().enumerate() {
            if let Err(error) = self.maps.add_vip(address, group) {
                for &address in &missing[..added] {
                    // The first error is the one to tell.
                    let _: Result<(), Error> = self.maps.remove_vip(address);
                }
                return Err(error);
            }
        }
        has.extend(missing);
        let surplus: Vec<_> = has.difference(&wanted).copied().collect();
        for address in surplus {
            self.maps.remove_vip(address)?;
            has.remove(&address);
        }
        Ok(())
    }

    /// Has the responder answer for the group's VIPs with `owner_mac` until the
    /// lease ends, a nanosecond of `CLOCK_BOOTTIME`. This is one write: no
    /// request meets half of it.
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
        self.maps.set_group(group, value)?;
        self.groups.insert(group, value);
        Ok(())
    }

    /// Drops every request for the group's VIPs, also where the kernel itself
    /// would answer it. A group without an owner is silent anyway.
    pub fn silence(&mut self, group: u32) -> Result<(), Error> {
        let Some(&Group {
            owner_mac, vhid, ..
        }) = self.groups.get(&group)
        else {
            return Ok(());
        };
        self.set_group(group, owner_mac, 0, vhid)
    }

    /// Forgets a group and its VIPs: requests for them are the kernel's again.
    pub fn remove_group(&mut self, group: u32) -> Result<(), Error> {
        // The group first: its VIPs fall silent before they are the kernel's.
        if self.groups.contains_key(&group) {
            self.maps.remove_group(group)?;
            self.groups.remove(&group);
        }
        self.set_vips(group, &[])?;
        self.vips.remove(&group);
        self.maps.remove_conflict(group)
    }

    /// Changes the Ethernet source of the replies.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), Error> {
        let ifindex = self.maps.interface()?.ifindex;
        self.maps.set_interface(mac, ifindex)
    }

    /// What became of frames since the program was attached.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.maps.counters()
    }

    /// The last claim by another host to an address of the group, if ever.
    pub fn conflict(&self, group: u32) -> Result<Option<Conflict>, Error> {
        self.maps.conflict(group)
    }

    /// Takes the program off the interface and removes every pin. Whatever can
    /// be removed is, also when something else cannot.
    pub fn detach(self) -> Result<(), Error> {
        let removed = self.directory.remove();
        drop(self.link);
        removed
    }
}

/// Loads [`OBJECT`] into the kernel, attached to nothing and pinned nowhere; its
/// maps are made, its program is yet to be verified.
pub fn load() -> Result<Ebpf, Error> {
    EbpfLoader::new()
        .load(OBJECT)
        .map_err(|source| Error::Load {
            source: Box::new(source),
        })
}

/// Attaches in the mode that was asked for, or in the one that works.
fn attach_program(program: &mut Xdp, attach: &Attach<'_>) -> Result<(Attached, FdLink), Error> {
    let mut reason = match (attach.mode, attach.kind) {
        (Mode::Native, _) | (Mode::Generic, _) => "as configured".to_owned(),
        (Mode::Auto, None) => "the driver offers it".to_owned(),
        (Mode::Auto, Some("veth")) => {
            "replies of a native program leave a veth only when its peer has one too".to_owned()
        }
        (Mode::Auto, Some(kind)) => {
            format!("replies of a native program are not known to leave a {kind} device")
        }
    };
    let native = match (attach.mode, attach.kind) {
        (Mode::Native, _) | (Mode::Auto, None) => {
            Some(attach_as(program, attach.ifindex, XdpMode::Driver))
        }
        (Mode::Generic, _) | (Mode::Auto, Some(_)) => None,
    };
    let (mode, link) = match native {
        Some(Err(source)) if attach.mode == Mode::Auto && lacks_native(&source) => {
            reason = format!("the driver refuses a native program: {source}");
            ("generic", attach_as(program, attach.ifindex, XdpMode::Skb))
        }
        Some(native) => ("native", native),
        None => ("generic", attach_as(program, attach.ifindex, XdpMode::Skb)),
    };
    let link = link.map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => occupied(attach),
        _ if mode == "native" && lacks_native(&source) => Error::NoNative {
            interface: attach.interface.to_owned(),
            source,
        },
        _ => Error::Attach {
            interface: attach.interface.to_owned(),
            mode,
            source,
        },
    })?;
    Ok((Attached { mode, reason }, link))
}

fn attach_as(program: &mut Xdp, ifindex: u32, mode: XdpMode) -> Result<FdLink, io::Error> {
    let link = program
        .attach_to_if_index(ifindex, mode)
        .and_then(|id| program.take_link(id))
        .map_err(errno)?;
    // It is no such link where aya fell back to netlink, which cannot be pinned;
    // Linux has had XDP links since 5.9.
    link.try_into()
        .map_err(|_| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// The system's error in aya's, where there is one.
fn errno(error: ProgramError) -> io::Error {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "aya's enum; most of it cannot occur here"
    )]
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        ProgramError::XdpError(XdpError::NetlinkError(ref netlink)) => match netlink.raw_os_error()
        {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

/// Whether the driver said that it has no native XDP, or not for frames as long
/// as the interface's MTU allows (ERANGE).
fn lacks_native(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ERANGE))
}

fn check_interface(attach: &Attach<'_>) -> Result<(), Error> {
    let missing = || Error::NoInterface {
        interface: attach.interface.to_owned(),
        ifindex: attach.ifindex,
    };
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .map_err(|_| missing())?;
    let name =
        rustix::net::netdevice::index_to_name(&socket, attach.ifindex).map_err(|_| missing())?;
    if name == attach.interface {
        Ok(())
    } else {
        Err(missing())
    }
}

fn in_use(attach: &Attach<'_>, pid: Option<u32>) -> Error {
    Error::InUse {
        interface: attach.interface.to_owned(),
        pid,
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
