//! Whom we measure: vipd and its peers, each with its defaults and as fast as
//! it is stable.

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::lab::{Daemon, Host, Keepalived, KeepalivedOptions, Ucarp, UcarpOptions, Vipd};

use crate::scale::process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Vipd,
    VipdFast,
    Ucarp,
    UcarpFast,
    Keepalived,
    KeepalivedFast,
}

use Contender::{Keepalived as KeepalivedSlow, KeepalivedFast, UcarpFast, VipdFast};

impl Contender {
    pub(crate) const ALL: [Self; 6] = [
        Self::Vipd,
        Self::Ucarp,
        KeepalivedSlow,
        VipdFast,
        UcarpFast,
        KeepalivedFast,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Vipd => "vipd",
            VipdFast => "vipd-fast",
            Self::Ucarp => "ucarp",
            UcarpFast => "ucarp-fast",
            KeepalivedSlow => "keepalived",
            KeepalivedFast => "keepalived-fast",
        }
    }

    /// How it is told to run, on the preferred node and on the other.
    pub(crate) fn settings(self, fast: Fast) -> String {
        match self {
            Self::Vipd => "vipd run -b 1 -k 0|50 -P".to_owned(),
            VipdFast => format!("vipd run -b 0 -k 1|2 -r {} -P", fast.deadratio),
            Self::Ucarp => "ucarp -b 1 -k 0|50 -r 3 -P -z".to_owned(),
            UcarpFast => "ucarp -b 1 -k 0|1 -r 1 -P -z".to_owned(),
            KeepalivedSlow => "keepalived VRRPv3, advert_int 1, priority 200|100".to_owned(),
            KeepalivedFast => "keepalived VRRPv3, advert_int 0.01, priority 200|100".to_owned(),
        }
    }

    /// Between two adverts, more or less.
    pub(crate) const fn interval(self) -> Duration {
        match self {
            Self::Vipd | Self::Ucarp | UcarpFast | KeepalivedSlow => Duration::from_secs(1),
            VipdFast | KeepalivedFast => Duration::from_millis(10),
        }
    }

    /// How long a takeover without a farewell lasts, more or less.
    pub(crate) const fn takeover(self) -> Duration {
        match self {
            Self::Vipd | KeepalivedSlow => Duration::from_millis(3300),
            Self::Ucarp => Duration::from_millis(3900),
            UcarpFast => Duration::from_millis(1300),
            VipdFast | KeepalivedFast => Duration::from_millis(40),
        }
    }

    /// Starts it on a node; `passfile` is for vipd.
    pub(crate) fn start(self, host: &Host, node: Node, passfile: &Path, fast: Fast) -> Running {
        let second = node == Node::Second;
        match self {
            Self::Vipd | VipdFast => {
                // With advbase 0, skews 0 and 1 are the same interval.
                let (advbase, skews, deadratio) = if self == VipdFast {
                    ("0", ["1", "2"], fast.deadratio)
                } else {
                    ("1", ["0", "50"], 3)
                };
                let (vip, deadratio) = (VIP.to_string(), deadratio.to_string());
                let passfile = passfile.to_string_lossy();
                let skew = skews[usize::from(second)];
                Running::Vipd(Vipd::spawn(
                    host,
                    &[
                        "run", "-i", "eth0", "-v", "10", "-a", &vip, "-o", &passfile, "-b",
                        advbase, "-k", skew, "-r", &deadratio, "-P",
                    ],
                ))
            }
            Self::Ucarp | UcarpFast => {
                let (skew, deadratio) = if self == UcarpFast { (1, 1) } else { (50, 3) };
                Running::Ucarp(Ucarp::spawn(
                    host,
                    &UcarpOptions {
                        advskew: if second { skew } else { 0 },
                        deadratio,
                        preempt: true,
                        ..UcarpOptions::new(VIP)
                    },
                ))
            }
            KeepalivedSlow | KeepalivedFast => Running::Keepalived(Keepalived::spawn(
                host,
                &KeepalivedOptions {
                    routers: vec![(10, VIP)],
                    advert_int: if self == KeepalivedFast { "0.01" } else { "1" },
                    priority: if second { 100 } else { 200 },
                },
            )),
        }
    }
}

/// How fast vipd is when it is fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fast {
    /// The more, the longer a stall of the machine may last: the lease is a
    /// 256th of a second times this.
    pub(crate) deadratio: u8,
}

/// The nodes: the first is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    First,
    Second,
}

/// A daemon on a node.
pub(crate) enum Running {
    Vipd(Vipd),
    Ucarp(Ucarp),
    Keepalived(Keepalived),
}

impl Running {
    /// Its own process and all below.
    pub(crate) fn processes(&self) -> Vec<u32> {
        process::family(self.pid())
    }
}

impl Deref for Running {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        match self {
            Self::Vipd(vipd) => vipd,
            Self::Ucarp(ucarp) => ucarp,
            Self::Keepalived(keepalived) => keepalived,
        }
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Daemon {
        match self {
            Self::Vipd(vipd) => vipd,
            Self::Ucarp(ucarp) => ucarp,
            Self::Keepalived(keepalived) => keepalived,
        }
    }
}

/// Sends a signal to processes; those that ended meanwhile miss it.
pub(crate) fn signal_all(processes: &[u32], signal: Signal) {
    for process in processes {
        if let Some(pid) = Pid::from_raw(process.cast_signed()) {
            let _ = kill_process(pid, signal);
        }
    }
}

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
