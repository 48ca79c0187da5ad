//! The command line: what people type and what they read.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::config::Paths;
use crate::daemon;

mod check;
mod clean;
mod events;
mod run;
mod status;
mod steer;
mod table;

/// How a program ends, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    Failed = 1,
    /// Wrong usage or configuration; the host was not touched.
    Usage = 2,
    /// No daemon at the socket.
    NoDaemon = 3,
}

/// Shares virtual IP addresses between hosts on a LAN: CARP elects the owner,
/// XDP answers ARP for it.
///
/// Two hosts are enough. On each, /etc/vipd/vipd.toml and `vipd run`; or, with
/// the same password file and without a configuration:
///
///   vipd run -i eth0 -v 42 -a 10.99.0.100 -o /etc/vipd/password
///
/// Give the preferred host -P and the others a larger advskew (-k 50, -k 100).
/// `vipd status` tells who is master. Peers may be UCARP or a BSD.
#[derive(Debug, Parser)]
#[command(name = "vipd", version, verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Control socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/vipd/vipd.sock"
    )]
    socket: PathBuf,
    /// Directory for the pinned maps and links, on a BPF file system
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/sys/fs/bpf/vipd"
    )]
    bpffs: PathBuf,
    /// Directory for what must survive a crash
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/vipd"
    )]
    state_dir: PathBuf,
    /// What to log: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Say all that is wrong with a configuration, and touch nothing
    Check(check::CheckArgs),
    /// Show groups and interfaces of the running daemon
    Status {
        /// Only this group, by its name (eth0-42)
        group: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Follow what happens: changes of role, and why; orders, and who gave them
    Events {
        /// Only this group
        group: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Prefer every other host for a group, until it is promoted
    Demote { group: String },
    /// Undo a demotion, and take over if this host is preferred to the master
    Promote { group: String },
    /// Prefer every other host for all groups, until it is over
    Maintenance {
        #[arg(value_enum)]
        switch: steer::Switch,
    },
    /// Tell the LAN once more where a group's addresses are
    Announce { group: String },
    /// Say by the exit status whether this host is master: 0 if it is, 1 if not,
    /// 3 if there is no daemon
    IsMaster { group: String },
    /// Read the configuration anew; what did not change goes on untouched
    Reload,
    /// Remove what a crashed daemon left: responder, addresses, settings
    Clean {
        /// Only on this interface
        #[arg(value_name = "IF")]
        interface: Option<String>,
    },
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Exit {
    match cli.verb {
        Verb::Run(args) => run::run(&args, &cli.common),
        Verb::Check(args) => check::check(&args),
        Verb::Status { group, json } => status::show(&cli.common, group.as_deref(), json),
        Verb::Events { group, json } => events::follow(&cli.common, group.as_deref(), json),
        Verb::Demote { group } => steer::demote(&cli.common, &group),
        Verb::Promote { group } => steer::promote(&cli.common, &group),
        Verb::Maintenance { switch } => steer::maintenance(&cli.common, switch),
        Verb::Announce { group } => steer::announce(&cli.common, &group),
        Verb::IsMaster { group } => steer::is_master(&cli.common, &group),
        Verb::Reload => steer::reload(&cli.common),
        Verb::Clean { interface } => clean::clean(&cli.common, interface.as_deref()),
    }
}

/// Writes to standard output.
fn say(text: &str) -> Exit {
    // Whoever reads may have left: `vipd status | head -1`.
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => complain(&error, Exit::Failed),
    }
}

fn complain(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("vipd: {}", daemon::chain(error));
    exit
}

impl Common {
    fn paths(&self) -> Paths {
        Paths {
            socket: self.socket.clone(),
            bpffs: self.bpffs.clone(),
            state_dir: self.state_dir.clone(),
        }
    }
}

/// Doors for the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
impl Cli {
    /// The group that the daemon is to run.
    pub fn flags(&self) -> Option<crate::config::GroupFlags> {
        match &self.verb {
            Verb::Run(args) => args.to_flags(),
            Verb::Check(_)
            | Verb::Status { .. }
            | Verb::Events { .. }
            | Verb::Demote { .. }
            | Verb::Promote { .. }
            | Verb::Maintenance { .. }
            | Verb::Announce { .. }
            | Verb::IsMaster { .. }
            | Verb::Reload
            | Verb::Clean { .. } => None,
        }
    }

    /// The status as people see it.
    pub fn render(status: &crate::status::Status) -> String {
        table::render(status)
    }
}
