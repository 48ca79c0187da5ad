//! What can go wrong with the responder, told to the operator: what happened,
//! to what, and what to do about it.

use std::error::Error as StdError;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum Error {
    #[error("there is no interface {interface} with index {ifindex}")]
    NoInterface { interface: String, ifindex: u32 },

    #[error("{interface:?} is no name of an interface")]
    BadName { interface: String },

    #[error(
        "{} is not on a BPF file system: mount one with `mount -t bpf bpf {}`, or name another directory",
        path.display(), mount_point.display()
    )]
    NotBpffs { path: PathBuf, mount_point: PathBuf },

    #[error("cannot mount a BPF file system: try `mount -t bpf bpf {}`", mount_point.display())]
    Mount {
        mount_point: PathBuf,
        source: io::Error,
    },

    #[error("another vipd{} runs on interface {interface}: stop it, or leave the interface to it", pid_words(*pid))]
    InUse { interface: String, pid: Option<u32> },

    #[error(
        "another XDP program{} is attached to interface {interface}: {}take it off with `ip link set dev {interface} xdp off`",
        id_words(*program), look_words(*program)
    )]
    Occupied {
        interface: String,
        program: Option<u32>,
    },

    #[error(
        "interface {interface} takes no native XDP program: use the mode auto or generic{}",
        mtu_words(source)
    )]
    NoNative {
        interface: String,
        source: io::Error,
    },

    #[error(
        "cannot attach the XDP program to interface {interface} in {mode} mode{}",
        capability_words(source)
    )]
    Attach {
        interface: String,
        mode: &'static str,
        source: io::Error,
    },

    #[error(
        "cannot replace the XDP program on interface {interface}{}",
        capability_words(source)
    )]
    Replace {
        interface: String,
        source: io::Error,
    },

    #[error("cannot load the eBPF object{}", capability_words(source.as_ref()))]
    Load { source: Box<EbpfError> },

    #[error("the kernel refuses the XDP program{}", capability_words(.0))]
    Program(#[source] ProgramError),

    #[error("the eBPF object has no {missing}: vipd was built with another one, build it anew")]
    Object { missing: &'static str },

    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error("cannot {action} the BPF map {map}")]
    Map {
        action: &'static str,
        map: &'static str,
        source: MapError,
    },

    #[error("cannot map the BPF map {map} into memory")]
    MapMemory {
        map: &'static str,
        source: io::Error,
    },

    #[error(
        "{group} is no key of a group: there are {} groups to an interface",
        vipd_common::MAX_GROUPS
    )]
    BadGroup { group: u32 },

    #[error("{address} belongs to group {group} already")]
    Taken { address: Ipv4Addr, group: u32 },
}

fn pid_words(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

fn id_words(program: Option<u32>) -> String {
    program.map(|id| format!(" (id {id})")).unwrap_or_default()
}

fn look_words(program: Option<u32>) -> String {
    program
        .map(|id| format!("see what it is with `bpftool prog show id {id}`, "))
        .unwrap_or_default()
}

fn mtu_words(source: &io::Error) -> &'static str {
    if source.raw_os_error() == Some(libc::ERANGE) {
        ", or a smaller MTU"
    } else {
        ""
    }
}

/// What to do where the kernel said that we may not.
fn capability_words(error: &(dyn StdError + 'static)) -> &'static str {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    let is_denied = chain.any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    if is_denied {
        ": vipd needs CAP_BPF and CAP_NET_ADMIN"
    } else {
        ""
    }
}
