//! What an operator asks for, checked: the only place that may say "invalid".
//! Everything past it believes.
//!
//! Flags and files come to one description (`described`), with the place where
//! each value was said; one set of checks makes a [`Config`] of it (`whole`). All
//! that is wrong is collected and said at once (`fault`).
//!
//! Files are read and the host is looked at; nothing is changed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::carp::{Policy, Vhid};
use crate::engine::{self, Placement};
use crate::io::xdp;

mod described;
mod fault;
mod file;
mod host;
mod password;
mod service;
mod table;
pub mod value;
mod whole;

pub use fault::{Fault, Faults, Severity};
pub use service::{
    CheckConfig, FailEffect, GroupExtras, HookArguments, HookConfig, HookEvent, Probe, TrackConfig,
};

use described::Described;
use host::Host;

/// Where the configuration is unless somebody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/vipd/vipd.toml";

/// A whole configuration.
pub struct Config {
    pub engine: engine::Config,
    /// What surrounds each of the engine's groups, in their order.
    pub extras: Vec<GroupExtras>,
    /// How to attach the responder, for each of the engine's interfaces.
    pub xdp_modes: Vec<xdp::Mode>,
    pub process: Process,
    /// Where metrics are served; nowhere if not given.
    pub metrics: Option<SocketAddr>,
    /// The group whose members may change things by the control socket, besides
    /// root and the daemon's user.
    pub admin_group: Option<String>,
    /// What may not be meant as it is; no errors.
    pub warnings: Faults,
}

/// How the daemon runs and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Whether the election gets real-time priority and locked memory.
    pub realtime: bool,
    /// Whether a stop leaves everything in place for a daemon that is started
    /// next: responder, leases and addresses.
    pub keep_on_exit: bool,
}

/// Where the daemon keeps things on the host.
#[derive(Clone, Debug)]
pub struct Paths {
    pub socket: PathBuf,
    pub bpffs: PathBuf,
    pub state_dir: PathBuf,
}

/// One group, as flags describe it; each value by itself is what it may be.
#[derive(Clone, Debug)]
pub struct GroupFlags {
    pub interface: String,
    pub vhid: Vhid,
    pub vips: Vec<Ipv4Addr>,
    pub passfile: PathBuf,
    /// More passwords; that of `passfile` has id 0.
    pub keys: Vec<(u8, PathBuf)>,
    pub signs_with: u8,
    pub auth: Policy,
    pub source: Option<Ipv4Addr>,
    pub advbase: u8,
    pub advskew: u8,
    pub dead_ratio: u8,
    pub preempt: bool,
    pub placement: Placement,
    pub xdp_mode: xdp::Mode,
    pub process: Process,
}

impl Config {
    /// Groups with nothing around them, and a daemon with its defaults.
    pub fn new(engine: engine::Config, xdp_modes: Vec<xdp::Mode>) -> Self {
        Self {
            extras: vec![GroupExtras::default(); engine.groups.len()],
            engine,
            xdp_modes,
            process: Process::default(),
            metrics: None,
            admin_group: None,
            warnings: Faults::default(),
        }
    }

    /// The configuration of a file and of `conf.d/*.toml` beside it.
    ///
    /// Blocks: it reads these files and the password files, and asks the kernel for
    /// interfaces and addresses. It changes nothing, whatever the outcome, so that
    /// a running daemon can see whether it would do.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let reader = table::Reader::new();
        let described = file::read(path, &reader);
        Self::from_described(described, &Host::look(), reader.faults.into_inner())
    }

    /// A configuration of one group, named after its interface and vhid. Blocks as
    /// [`Config::load`] does.
    pub fn from_flags(flags: &GroupFlags) -> Result<Self, Faults> {
        Self::from_described(flags.into(), &Host::look(), Faults::default())
    }

    fn from_described(
        described: Described,
        host: &Host,
        mut faults: Faults,
    ) -> Result<Self, Faults> {
        let config = whole::assemble(described, host, &mut faults);
        faults.sort();
        match config {
            Some(config) => Ok(Self {
                warnings: faults,
                ..config
            }),
            None => Err(faults),
        }
    }
}

/// The keys that a file may have, by the tables they are in, as these are written:
/// `[[group.check]]` has `name`. Tables of the operator's choice are `NAME`, the
/// file itself is `the file`.
pub fn keys() -> std::collections::BTreeMap<String, Vec<&'static str>> {
    file::keys()
}

/// Doors for the fuzz targets: nothing is asked of this host.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{Config, Described, Faults, GroupFlags, Host, file, table};

    pub fn from_flags(flags: &GroupFlags) -> Result<Config, Faults> {
        Config::from_described(flags.into(), &Host::default(), Faults::default())
    }

    pub fn from_text(text: &str) -> Result<Config, Faults> {
        let reader = table::Reader::new();
        let source = reader
            .faults
            .borrow_mut()
            .add_source("vipd.toml".as_ref(), text.to_owned());
        let mut described = Described::default();
        file::read_text(text, source, &reader, &mut described);
        Config::from_described(described, &Host::default(), reader.faults.into_inner())
    }
}

#[cfg(test)]
mod documents;
#[cfg(test)]
mod tests;
