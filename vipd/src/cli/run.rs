//! `vipd run`: the daemon, in the foreground.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Common, Exit, complain};
use crate::carp::Policy;
use crate::config::{Config, GroupFlags, Process};
use crate::daemon::{self, Daemon, preflight};
use crate::engine::Placement;
use crate::io::secret;
use crate::io::xdp::Mode;
use crate::log;

/// UCARP's letters and long names.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
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
    /// Serve metrics for Prometheus over HTTP at this address, under /metrics;
    /// without it there is no listener
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
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

pub(super) fn run(args: &RunArgs, common: &Common) -> Exit {
    let paths = common.paths();
    let config = match Config::from_flags(&args.to_flags()) {
        Ok(config) => Config {
            metrics: args.metrics,
            ..config
        },
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

impl RunArgs {
    pub(super) fn to_flags(&self) -> GroupFlags {
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
