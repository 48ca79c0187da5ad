//! `vipd-bench daemon ...`: one vipd daemon with many groups, which `vipd run`
//! cannot be told to be by flags. The same code as the program's, from the
//! checks at the start to the loop; only its log is missing.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use vipd::carp::timers::Timing;
use vipd::carp::{DEFAULT_DEAD_RATIO, Interval, Key, Policy, Vhid};
use vipd::config::{Config, Paths};
use vipd::daemon::{Daemon, preflight};
use vipd::engine::{self, Auth, GroupConfig, InterfaceId, Placement};
use vipd::io::xdp;

/// Arguments: how many groups, advskew, and the directory for everything else.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let [groups, advskew, directory, bpffs] = words else {
        anyhow::bail!("usage: vipd-bench daemon GROUPS ADVSKEW DIRECTORY BPFFS");
    };
    let directory = PathBuf::from(directory);
    let config = config(groups.parse()?, advskew.parse()?)?;
    let paths = Paths {
        socket: directory.join("vipd.sock"),
        bpffs: bpffs.into(),
        state_dir: directory.join("state"),
    };
    let checked = preflight::check(&config, &paths)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let daemon = Daemon::start(config, &paths, checked).await?;
        daemon.run().await
    })?;
    Ok(())
}

fn config(groups: u8, advskew: u8) -> Result<Config> {
    let group = |number: u8| -> Result<GroupConfig> {
        Ok(GroupConfig {
            name: format!("eth0-{number}"),
            interface: InterfaceId(0),
            vhid: Vhid::new(number).context("groups are counted from 1")?,
            vips: vec![vip(number)],
            auth: Auth::new(Key::from_passphrase(b"secret")?, Policy::Send),
            timing: Timing {
                interval: Interval::new(1, advskew),
                dead_ratio: DEFAULT_DEAD_RATIO,
            },
            preempt: true,
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            tie: None,
            source: None,
            placement: Placement::Interface,
        })
    };
    let engine = engine::Config {
        interfaces: vec!["eth0".to_owned()],
        groups: (1..=groups).map(group).collect::<Result<_>>()?,
    };
    Ok(Config::new(engine, vec![xdp::Mode::Auto]))
}

/// The address of a group, for all contenders.
pub(crate) fn vip(group: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 1, group)
}
