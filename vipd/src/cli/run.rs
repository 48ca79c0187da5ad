//! `vipd run`: the daemon, in the foreground.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::{Common, Exit, complain};
use crate::carp::Vhid;
use crate::config::value::{
    ADDRESS, ADVBASE, ADVSKEW, AddressesName, AuthName, DEADRATIO, FILE, INTERFACE, KEY_ID,
    SIGN_WITH, VHID, XdpModeName,
};
use crate::config::{Config, DEFAULT_PATH, Faults, GroupFlags, Process};
use crate::daemon::{self, Daemon, Source, preflight};
use crate::io::secret;
use crate::log;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Configuration; conf.d/*.toml beside it belongs to it [default: /etc/vipd/vipd.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "flags")]
    config: Option<PathBuf>,
    /// Serve metrics for Prometheus over HTTP at this address, under /metrics;
    /// without it, or 'metrics' in the file, there is no listener
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    flags: Flags,
}

/// One group without a file: UCARP's letters and long names.
#[derive(Debug, Args)]
#[group(id = "flags", multiple = true, requires_all = ["interface", "vhid", "addr", "passfile"])]
#[command(next_help_heading = "One group without a file")]
struct Flags {
    /// Interface on which the virtual addresses are answered
    #[arg(short, long, value_name = "IF", value_parser = |text: &str| INTERFACE.parse(text))]
    interface: Option<String>,
    /// Number of the virtual host, the same on all hosts: 1 to 255
    #[arg(short, long, value_name = "VHID", value_parser = |text: &str| VHID.parse(text))]
    vhid: Option<Vhid>,
    /// Virtual addresses, the same on all hosts, with commas between
    #[arg(short, long, value_name = "VIP", value_delimiter = ',',
          value_parser = |text: &str| ADDRESS.parse(text))]
    addr: Vec<Ipv4Addr>,
    /// File whose first line is the password, 1 to 19 bytes, the same on all hosts
    #[arg(short = 'o', long, value_name = "FILE", value_parser = |text: &str| FILE.parse(text))]
    passfile: Option<PathBuf>,
    /// Another password that is believed, under a number from 1 to 255 that all hosts
    /// give it; that of -o is number 0. May be given several times
    #[arg(long, value_name = "ID=FILE", value_parser = parse_key)]
    key: Vec<(u8, PathBuf)>,
    /// Number of the password with which this host signs
    #[arg(long, value_name = "ID", default_value = "0",
          value_parser = |text: &str| SIGN_WITH.parse(text))]
    sign_with: u8,
    /// How adverts are signed and believed, beyond what legacy CARP does
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    auth: AuthName,
    /// This host's own address, the source of its adverts [default: the interface's first]
    #[arg(short, long, value_name = "IP", value_parser = |text: &str| ADDRESS.parse(text))]
    srcip: Option<Ipv4Addr>,
    /// Seconds between adverts, 0 to 255; 0 counts in advskew alone
    #[arg(short = 'b', long, value_name = "SECONDS", default_value_t = crate::carp::DEFAULT_ADVBASE,
          value_parser = |text: &str| ADVBASE.parse(text))]
    advbase: u8,
    /// 256ths of a second added to advbase, 0 to 254: the smaller, the more preferred
    #[arg(short = 'k', long, value_name = "SKEW", default_value_t = 0,
          value_parser = |text: &str| ADVSKEW.parse(text))]
    advskew: u8,
    /// Intervals of silence after which the master is taken for dead, 1 to 255
    #[arg(short = 'r', long, value_name = "RATIO", default_value_t = crate::carp::DEFAULT_DEAD_RATIO,
          value_parser = |text: &str| DEADRATIO.parse(text))]
    deadratio: u8,
    /// Take over from a living master that is less preferred
    #[arg(short = 'P', long)]
    preempt: bool,
    /// Where to put the virtual addresses
    #[arg(long, value_name = "WHERE", value_enum, default_value_t)]
    addresses: AddressesName,
    /// How to attach the responder
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    xdp_mode: XdpModeName,
    /// Leave responder, leases and addresses in place at a stop, for a daemon
    /// that is started within the lease
    #[arg(long)]
    keep_on_exit: bool,
    /// Run the election with real-time priority and locked memory
    #[arg(long)]
    realtime: bool,
}

/// `ID=FILE`
fn parse_key(text: &str) -> Result<(u8, PathBuf), String> {
    let (id, path) = text
        .split_once('=')
        .ok_or("expected ID=FILE, as in 1=/etc/vipd/next-password")?;
    Ok((KEY_ID.parse(id)?, FILE.parse(path)?))
}

pub(super) fn run(args: &RunArgs, common: &Common) -> Exit {
    let paths = common.paths();
    let file = args.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let flags = args.to_flags();
    // Flags cannot change.
    let source: Option<Source> = flags.is_none().then(|| {
        let file = file.to_owned();
        let source = move || Config::load(&file).map_err(|faults| faults.to_string());
        Arc::new(source) as Source
    });
    let config = match flags {
        Some(flags) => Config::from_flags(&flags),
        None => Config::load(file),
    };
    let config = match config {
        Ok(config) => Config {
            metrics: args.metrics.or(config.metrics),
            ..config
        },
        Err(faults) => return refuse(&faults),
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
    for warning in config.warnings.iter() {
        tracing::warn!("{}", config.warnings.line(warning));
    }

    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, Exit::Failed),
    };
    let ended = runtime.block_on(async {
        let mut daemon = Daemon::start(config, &paths, checked).await?;
        if let Some(source) = source {
            daemon = daemon.reloading(source);
        }
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

/// Says what is wrong with a configuration.
pub(super) fn refuse(faults: &Faults) -> Exit {
    for fault in faults
        .iter()
        .filter(|fault| faults.position(fault).is_none())
    {
        eprintln!("vipd: {}", faults.line(fault));
    }
    if faults.iter().any(|fault| faults.position(fault).is_some()) {
        eprint!("{}", shown(faults, std::io::stderr().is_terminal()));
    }
    Exit::Usage
}

/// In colours on a terminal.
pub(super) fn shown(faults: &Faults, is_terminal: bool) -> String {
    if is_terminal {
        faults.styled()
    } else {
        faults.to_string()
    }
}

impl RunArgs {
    /// The group that is described by flags, if one is.
    pub(super) fn to_flags(&self) -> Option<GroupFlags> {
        let flags = &self.flags;
        Some(GroupFlags {
            interface: flags.interface.clone()?,
            vhid: flags.vhid?,
            vips: flags.addr.clone(),
            passfile: flags.passfile.clone()?,
            keys: flags.key.clone(),
            signs_with: flags.sign_with,
            auth: flags.auth.into(),
            source: flags.srcip,
            advbase: flags.advbase,
            advskew: flags.advskew,
            dead_ratio: flags.deadratio,
            preempt: flags.preempt,
            placement: flags.addresses.into(),
            xdp_mode: flags.xdp_mode.into(),
            process: Process {
                realtime: flags.realtime,
                keep_on_exit: flags.keep_on_exit,
            },
        })
    }
}
