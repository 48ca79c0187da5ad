//! What surrounds a group on this host: hooks that are run when its role
//! changes, checks of the service behind its addresses, links it depends on.
//!
//! Plain values, checked: who reads them need not doubt them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

/// What belongs to a group and is not the engine's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupExtras {
    pub hooks: Vec<HookConfig>,
    /// No two of a group have the same name.
    pub checks: Vec<CheckConfig>,
    /// No two of a group are of the same interface.
    pub tracks: Vec<TrackConfig>,
}

/// A program that is run when a group's role changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// Absolute.
    pub command: PathBuf,
    /// Before the arguments that vipd adds.
    pub args: Vec<String>,
    /// At which changes it is run; never empty, none twice.
    pub on: Vec<HookEvent>,
    pub arguments: HookArguments,
    /// UCARP's `--xparam`: one more argument, handed on as it is.
    pub xparam: Option<String>,
    /// After which it is killed, with all that it started; more than zero.
    pub timeout: Duration,
    /// Whether its failure demotes the group.
    pub gate: bool,
    /// Whether it keeps vipd's capabilities, which else are taken from it.
    pub privileged: bool,
}

impl HookConfig {
    /// [`HookConfig::timeout`] where none is given.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
}

/// The role that a group has come into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum HookEvent {
    Master,
    Backup,
    Init,
}

/// Which arguments a hook gets behind its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HookArguments {
    /// vipd's own.
    #[default]
    Vipd,
    /// UCARP's for its up and down scripts: interface, address, xparam.
    Ucarp,
    /// keepalived's for its notify scripts: `INSTANCE`, name, state, priority.
    Keepalived,
}

/// A question that is asked again and again: does the service work?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    pub name: String,
    pub probe: Probe,
    /// From the beginning of one probe to that of the next; more than zero.
    pub interval: Duration,
    /// After which a probe has failed; more than zero.
    pub timeout: Duration,
    /// Successes in a row after which a failing check is well again; at least 1.
    pub rise: u32,
    /// Failures in a row after which a check fails; at least 1.
    pub fall: u32,
    pub effect: FailEffect,
}

impl CheckConfig {
    /// With [`CheckConfig::DEFAULT_FALL`], a service that hangs is noticed in seconds.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
    pub const DEFAULT_RISE: u32 = 2;
    pub const DEFAULT_FALL: u32 = 3;
    /// Worse than the skews that hosts of a group usually differ by, better than
    /// [`TrackConfig::DEFAULT_DEMOTION`].
    pub const DEFAULT_DEMOTION: u8 = 100;
}

/// How a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A program: exit status 0 is success. The first word is its absolute path.
    Command { argv: Vec<String> },
    /// A TCP connection that is accepted.
    Tcp { addr: SocketAddr },
    /// `GET path` over plain HTTP/1.1, answered with this status.
    Http {
        addr: SocketAddr,
        /// For the header `Host`: what the URL has between `//` and `/`.
        host: String,
        /// With its query; begins with a slash, and holds only visible ASCII.
        path: String,
        /// 100 to 599.
        status: u16,
    },
}

/// An interface whose link a group depends on, beside its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackConfig {
    pub interface: String,
    pub effect: FailEffect,
}

impl TrackConfig {
    /// As a host that cannot send: behind every healthy one.
    pub const DEFAULT_DEMOTION: u8 = 240;
}

/// What a failing check or a link that is down does to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailEffect {
    /// Adds to its demotion; 1 to 254.
    Demote(u8),
    /// This host must not be master.
    GiveUp,
}
