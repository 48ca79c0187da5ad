//! Everything that can be found wrong before the host is touched.

use std::path::PathBuf;

use crate::config::{Config, Paths};
use crate::io::netlink::LinkInfo;
use crate::io::{netlink, xdp};

/// What was found out: the interfaces, in the configuration's order.
pub struct Checked {
    pub links: Vec<LinkInfo>,
}

/// Why it makes no sense to start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "vipd lacks {}: run it as root, or grant CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF to it",
        missing.join(", ")
    )]
    Capabilities { missing: Vec<&'static str> },
    #[error("cannot read {}, which tells the capabilities", path.display())]
    Capability {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Interface(#[from] netlink::Error),
    #[error("{interface} is no Ethernet interface: there is no ARP on it")]
    NoEthernet { interface: String },
    #[error(
        "{interface} has no IPv4 address to send adverts from: give it one, or name one with -s"
    )]
    NoAddress { interface: String },
    #[error(transparent)]
    Responder(#[from] xdp::Error),
}

/// Looks at the host, and touches nothing.
pub fn check(config: &Config, paths: &Paths) -> Result<Checked, Error> {
    check_capabilities()?;
    let mut links = Vec::new();
    for (interface, mode) in config.engine.interfaces.iter().zip(&config.xdp_modes) {
        links.push(check_one(config, paths, interface, *mode)?);
    }
    Ok(Checked { links })
}

/// The same for a daemon that runs: looks at the interfaces that are not `known` yet.
pub(super) fn check_new(
    config: &Config,
    paths: &Paths,
    known: &[String],
) -> Result<Vec<LinkInfo>, Error> {
    let mut links = Vec::new();
    for (interface, mode) in config.engine.interfaces.iter().zip(&config.xdp_modes) {
        if !known.contains(interface) {
            links.push(check_one(config, paths, interface, *mode)?);
        } else if let Ok(link) = netlink::lookup(interface) {
            // One that is away for a while is waited for.
            check_source(config, interface, &link)?;
        }
    }
    Ok(links)
}

fn check_one(
    config: &Config,
    paths: &Paths,
    interface: &str,
    mode: xdp::Mode,
) -> Result<LinkInfo, Error> {
    let link = netlink::lookup(interface)?;
    let Some(mac) = link.mac.filter(|mac| *mac != [0; 6]) else {
        return Err(Error::NoEthernet {
            interface: interface.to_owned(),
        });
    };
    check_source(config, interface, &link)?;
    xdp::check(&xdp::Attach {
        interface,
        ifindex: link.ifindex,
        mac,
        kind: link.kind.as_deref(),
        program: link.xdp_program,
        bpffs: &paths.bpffs,
        mode,
    })?;
    Ok(link)
}

/// Every group has an address to advertise from.
fn check_source(config: &Config, interface: &str, link: &LinkInfo) -> Result<(), Error> {
    let groups = config.engine.groups.iter().filter(|group| {
        config
            .engine
            .interfaces
            .get(group.interface.0 as usize)
            .is_some_and(|n| n == interface)
    });
    let is_vip = |address| {
        config
            .engine
            .groups
            .iter()
            .any(|group| group.vips.contains(address))
    };
    let has_address = link.addresses.iter().any(|(address, _)| !is_vip(address));
    for group in groups {
        if group.source.is_none() && !has_address {
            return Err(Error::NoAddress {
                interface: interface.to_owned(),
            });
        }
    }
    Ok(())
}

/// The capabilities vipd works with, by their bits (`linux/capability.h`).
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_BPF", 39)];

fn check_capabilities() -> Result<(), Error> {
    let path = PathBuf::from("/proc/self/status");
    let status = std::fs::read_to_string(&path).map_err(|source| Error::Capability {
        path: path.clone(),
        source,
    })?;
    let missing = missing_capabilities(&status);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Capabilities { missing })
    }
}

/// `status` as proc(5) has it; what cannot be read counts as missing.
pub(crate) fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    NEEDED
        .iter()
        .filter(|(_, bit)| effective & 1 << bit == 0)
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_named() {
        let cases: [(&str, &[&str]); 4] = [
            ("Name:\tvipd\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n", &[]),
            (
                "CapEff:\t0000000000000000\n",
                &["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"],
            ),
            ("CapEff:\t0000000000003000\n", &["CAP_BPF"]),
            ("garbage", &["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"]),
        ];
        for (status, missing) in cases {
            assert_eq!(missing_capabilities(status), missing, "{status:?}");
        }
    }
}
