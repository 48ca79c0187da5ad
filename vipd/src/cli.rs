//! The command line: what people type and what they read.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::carp::Policy;
use crate::config::{Config, GroupFlags, Paths, Process};
use crate::daemon::{self, Daemon, preflight};
use crate::engine::Placement;
use crate::io::control::{self, ClientError};
use crate::io::secret;
use crate::io::xdp::Mode;
use crate::log;
use crate::status::Status;

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
/// Two hosts are enough. On each, with the same password file:
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
    /// Run the daemon in the foreground, for one group
    Run(RunArgs),
    /// Show groups and interfaces of the running daemon
    Status {
        /// Only this group, by its name (eth0-42)
        group: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what a crashed daemon left: responder, addresses, settings
    Clean {
        /// Only on this interface
        #[arg(value_name = "IF")]
        interface: Option<String>,
    },
}

/// UCARP's letters and long names.
#[derive(Debug, Args)]
struct RunArgs {
    /// Interface on which the virtual addresses are answered
    #[arg(short, long, value_name = "IF")]
    interface: String,
    /// Number of the virtual host, the same on all hosts: 1 to 255
    #[arg(short, long, value_name = "VHID", value_parser = clap::value_parser!(u8).range(1..))]
    vhid: u8,
    /// Virtual addresses, the same on all hosts, with commas between
    #[arg(
        short,
        long,
        value_name = "VIP",
        required = true,
        value_delimiter = ','
    )]
    addr: Vec<Ipv4Addr>,
    /// File whose first line is the password, 1 to 19 bytes, the same on all hosts
    #[arg(short = 'o', long, value_name = "FILE")]
    passfile: PathBuf,
    /// Another password that is believed, under a number from 1 to 255 that all hosts
    /// give it; that of -o is number 0. May be given several times
    #[arg(long, value_name = "ID=FILE", value_parser = parse_key)]
    key: Vec<(u8, PathBuf)>,
    /// Number of the password with which this host signs
    #[arg(long, value_name = "ID", default_value_t = 0)]
    sign_with: u8,
    /// How adverts are signed and believed, beyond what legacy CARP does
    #[arg(long, value_name = "HOW", value_enum, default_value_t = AuthArg::Send)]
    auth: AuthArg,
    /// This host's own address, the source of its adverts [default: the interface's first]
    #[arg(short, long, value_name = "IP")]
    srcip: Option<Ipv4Addr>,
    /// Seconds between adverts, 0 to 255; 0 counts in advskew alone
    #[arg(short = 'b', long, value_name = "SECONDS", default_value_t = crate::carp::DEFAULT_ADVBASE)]
    advbase: u8,
    /// 256ths of a second added to advbase, 0 to 254: the smaller, the more preferred
    #[arg(short = 'k', long, value_name = "SKEW", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(..=254))]
    advskew: u8,
    /// Intervals of silence after which the master is taken for dead, 1 to 255
    #[arg(short = 'r', long, value_name = "RATIO", default_value_t = crate::carp::DEFAULT_DEAD_RATIO,
          value_parser = clap::value_parser!(u8).range(1..))]
    deadratio: u8,
    /// Take over from a living master that is less preferred
    #[arg(short = 'P', long)]
    preempt: bool,
    /// Where to put the virtual addresses
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = AddressesArg::Interface)]
    addresses: AddressesArg,
    /// How to attach the responder
    #[arg(long, value_name = "MODE", value_enum, default_value_t = XdpModeArg::Auto)]
    xdp_mode: XdpModeArg,
    /// Leave responder, leases and addresses in place at a stop, for a daemon
    /// that is started within the lease
    #[arg(long)]
    keep_on_exit: bool,
    /// Run the election with real-time priority and locked memory
    #[arg(long)]
    realtime: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AuthArg {
    /// Not at all: whoever has captured an advert can unseat a master
    Off,
    /// Sign; believe unsigned adverts of hosts that have never signed: UCARP, BSD
    Send,
    /// Sign; believe nothing that is not signed
    Require,
}

/// `ID=FILE`
fn parse_key(text: &str) -> Result<(u8, PathBuf), String> {
    let (id, path) = text
        .split_once('=')
        .ok_or("it is ID=FILE, as in 1=/etc/vipd/next-password")?;
    match id.parse() {
        Ok(id) if id > 0 && !path.is_empty() => Ok((id, path.into())),
        _ => Err("ID is a number from 1 to 255, FILE a path".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AddressesArg {
    /// On the interface, while this host is master
    Interface,
    /// On lo, from start to stop
    Loopback,
    /// Nowhere: they are there already, or somebody else puts them there
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum XdpModeArg {
    /// Native where replies are known to leave, else generic
    Auto,
    /// In the driver
    Native,
    /// In the kernel's network stack: slower, works everywhere
    Generic,
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Exit {
    match cli.verb {
        Verb::Run(args) => run_daemon(&args, &cli.common),
        Verb::Status { group, json } => show_status(&cli.common, group.as_deref(), json),
        Verb::Clean { interface } => clean(&cli.common, interface.as_deref()),
    }
}

fn run_daemon(args: &RunArgs, common: &Common) -> Exit {
    let paths = common.paths();
    let config = match Config::from_flags(&args.to_flags()) {
        Ok(config) => config,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let checked = match preflight::check(&config, &paths) {
        Ok(checked) => checked,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let _log = match log::init(common.log) {
        Ok(guard) => guard,
        Err(error) => return complain(&error, Exit::Failed),
    };
    if let Err(error) = secret::keep_from_core_dumps() {
        tracing::warn!("a core dump of this process would contain the passwords: {error}");
    }
    warn_of_gaps(&config);
    warn_of_exposed(&config);

    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, Exit::Failed),
    };
    let ended = runtime.block_on(async {
        let daemon = Daemon::start(config, &paths, checked).await?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        daemon.run().await
    });
    match ended {
        Ok(()) => Exit::Fine,
        Err(error) => {
            tracing::error!("{}", daemon::chain(&error));
            Exit::Failed
        }
    }
}

fn clean(common: &Common, interface: Option<&str>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, Exit::Failed),
    };
    match runtime.block_on(daemon::clean::clean(&common.paths(), interface)) {
        Ok(done) if done.is_empty() => say("there is nothing to clean\n"),
        Ok(done) => say(&(done.join("\n") + "\n")),
        Err(error) => complain(&error, Exit::Failed),
    }
}

/// Says which configurations leave no room for a lease without gaps.
fn warn_of_gaps(config: &Config) {
    for group in &config.engine.groups {
        if group.timing.has_gaps() {
            tracing::warn!(
                group = group.name,
                "with this advbase, advskew and deadratio a peer may take over before the next advert, so this host stops answering in between: use a larger deadratio"
            );
        }
    }
}

/// Says which passwords are no secret on this host.
fn warn_of_exposed(config: &Config) {
    for path in &config.exposed {
        tracing::warn!(
            "others than its owner may read the password file {}: use 'chmod 600'",
            path.display()
        );
    }
}

fn show_status(common: &Common, group: Option<&str>, json: bool) -> Exit {
    let parameters = match group {
        Some(group) => serde_json::json!({ "group": group }),
        None => serde_json::json!({}),
    };
    let answer = match control::call(&common.socket, "org.vipd.Status", parameters) {
        Ok(answer) => answer,
        Err(error @ ClientError::NoDaemon { .. }) => return complain(&error, Exit::NoDaemon),
        Err(ClientError::Failed { error, .. }) if error == "org.vipd.NotFound" => {
            let group = group.unwrap_or_default();
            eprintln!("vipd: there is no group {group}; 'vipd status' lists those there are");
            return Exit::Failed;
        }
        Err(error) => return complain(&error, Exit::Failed),
    };
    let text = if json {
        format!("{answer}\n")
    } else {
        match serde_json::from_value::<Status>(answer) {
            Ok(status) => table::render(&status),
            Err(error) => return complain(&error, Exit::Failed),
        }
    };
    say(&text)
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
    pub fn flags(&self) -> Option<GroupFlags> {
        match &self.verb {
            Verb::Run(args) => Some(args.to_flags()),
            Verb::Status { .. } | Verb::Clean { .. } => None,
        }
    }

    /// The status as people see it.
    pub fn render(status: &Status) -> String {
        table::render(status)
    }
}

impl RunArgs {
    fn to_flags(&self) -> GroupFlags {
        GroupFlags {
            interface: self.interface.clone(),
            vhid: self.vhid,
            vips: self.addr.clone(),
            passfile: self.passfile.clone(),
            keys: self.key.clone(),
            signs_with: self.sign_with,
            auth: match self.auth {
                AuthArg::Off => Policy::Off,
                AuthArg::Send => Policy::Send,
                AuthArg::Require => Policy::Require,
            },
            source: self.srcip,
            advbase: self.advbase,
            advskew: self.advskew,
            dead_ratio: self.deadratio,
            preempt: self.preempt,
            placement: match self.addresses {
                AddressesArg::Interface => Placement::Interface,
                AddressesArg::Loopback => Placement::Loopback,
                AddressesArg::None => Placement::None,
            },
            xdp_mode: match self.xdp_mode {
                XdpModeArg::Auto => Mode::Auto,
                XdpModeArg::Native => Mode::Native,
                XdpModeArg::Generic => Mode::Generic,
            },
            process: Process {
                realtime: self.realtime,
                keep_on_exit: self.keep_on_exit,
            },
        }
    }
}
