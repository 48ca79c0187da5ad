//! The program: loaded, attached in a mode that works, replaced while attached.

use std::io;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpError, XdpMode};
use aya::{Ebpf, EbpfLoader};
use vipd_common::mode;

use super::bpffs::PinDir;
use super::{Attach, Attached, Error, LINK, Mode, OBJECT, PROGRAM, occupied};

/// Makes the maps of [`OBJECT`]; its program is yet to be verified.
pub(super) fn load(loader: &mut EbpfLoader<'_>) -> Result<Ebpf, Error> {
    loader.load(OBJECT).map_err(|source| Error::Load {
        source: Box::new(source),
    })
}

/// The same with the program verified.
pub(super) fn load_verified(loader: &mut EbpfLoader<'_>) -> Result<Ebpf, Error> {
    let mut ebpf = load(loader)?;
    program_of(&mut ebpf)?.load().map_err(Error::Program)?;
    Ok(ebpf)
}

fn program_of(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = ebpf
        .program_mut(PROGRAM)
        .ok_or(Error::Object { missing: PROGRAM })?;
    program.try_into().map_err(Error::Program)
}

/// Replaces the program of the pinned link by this one, in one step. Returns its id.
pub(super) fn switch(
    ebpf: &mut Ebpf,
    attach: &Attach<'_>,
    directory: &PinDir,
) -> Result<u32, Error> {
    let program = program_of(ebpf)?;
    let mut switched = || -> Result<u32, io::Error> {
        let link = PinnedLink::from_pin(directory.path().join(LINK)).map_err(link_errno)?;
        let link = XdpLink::try_from(FdLink::from(link)).map_err(link_errno)?;
        let link = program
            .attach_to_link(link)
            .and_then(|id| program.take_link(id))
            .map_err(errno)?;
        let link = FdLink::try_from(link).map_err(link_errno)?;
        Ok(link.info().map_err(link_errno)?.program_id())
    };
    switched().map_err(|source| Error::Replace {
        interface: attach.interface.to_owned(),
        source,
    })
}

/// Why the mode is the one that is wanted.
pub(super) fn reason(attach: &Attach<'_>) -> String {
    match (attach.mode, attach.kind) {
        (Mode::Native, _) | (Mode::Generic, _) => "as configured".to_owned(),
        (Mode::Auto, None) => "the driver offers it".to_owned(),
        (Mode::Auto, Some("veth")) => {
            "replies of a native program leave a veth only when its peer has one too".to_owned()
        }
        (Mode::Auto, Some(kind)) => {
            format!("replies of a native program are not known to leave a {kind} device")
        }
    }
}

/// Attaches in the mode that was asked for, or in the one that works; returns
/// also the mode as [`vipd_common::mode`] has it.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    attach: &Attach<'_>,
) -> Result<(Attached, u16, FdLink), Error> {
    let program = program_of(ebpf)?;
    let mut reason = reason(attach);
    let native = match (attach.mode, attach.kind) {
        (Mode::Native, _) | (Mode::Auto, None) => {
            Some(attach_as(program, attach.ifindex, XdpMode::Driver))
        }
        (Mode::Generic, _) | (Mode::Auto, Some(_)) => None,
    };
    let mut generic = || attach_as(program, attach.ifindex, XdpMode::Skb);
    let (name, mode, link) = match native {
        Some(Err(source)) if attach.mode == Mode::Auto && lacks_native(&source) => {
            reason = format!("the driver refuses a native program: {source}");
            ("generic", mode::NATIVE_REFUSED, generic())
        }
        Some(native) => ("native", mode::NATIVE, native),
        None => ("generic", mode::GENERIC, generic()),
    };
    let link = link.map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => occupied(attach),
        _ if mode == mode::NATIVE && lacks_native(&source) => Error::NoNative {
            interface: attach.interface.to_owned(),
            source,
        },
        _ => Error::Attach {
            interface: attach.interface.to_owned(),
            mode: name,
            source,
        },
    })?;
    Ok((Attached { mode: name, reason }, mode, link))
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

fn link_errno(error: LinkError) -> io::Error {
    match error {
        LinkError::SyscallError(error) => error.io_error,
        error @ (LinkError::InvalidLink | LinkError::UnknownLinkType(_)) => io::Error::other(error),
    }
}

/// Whether the driver said that it has no native XDP, or not for frames as long
/// as the interface's MTU allows (ERANGE).
fn lacks_native(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ERANGE))
}
