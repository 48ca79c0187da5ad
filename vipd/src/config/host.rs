//! This host as a configuration is compared with it: which interfaces there are,
//! with which addresses. It is looked at, nothing else.

use std::net::Ipv4Addr;

use crate::io::netlink::{self, LinkInfo};

/// What is known of it. A host of which nothing is known contradicts nothing.
#[derive(Default)]
pub(super) struct Host {
    links: Option<Vec<LinkInfo>>,
}

impl Host {
    /// As it is at this moment. Blocks.
    pub(super) fn look() -> Self {
        Self {
            links: netlink::survey().ok(),
        }
    }

    pub(super) fn lacks(&self, interface: &str) -> bool {
        let links = self.links.as_ref();
        links.is_some_and(|links| links.iter().all(|link| link.name != interface))
    }

    /// An address that the host has as its own, with the interface and the prefix
    /// length: every one of a network. One of a single address may be a VIP that
    /// this daemon put there, or one that was killed.
    pub(super) fn own(&self, address: Ipv4Addr) -> Option<(&str, u8)> {
        self.links.iter().flatten().find_map(|link| {
            let mut own = link.addresses.iter();
            let (_, prefix_len) = own.find(|(own, len)| *own == address && *len < 32)?;
            Some((link.name.as_str(), *prefix_len))
        })
    }
}

#[cfg(test)]
impl Host {
    pub(super) fn with(links: &[(&str, &[(Ipv4Addr, u8)])]) -> Self {
        let link = |(name, addresses): &(&str, &[(Ipv4Addr, u8)])| LinkInfo {
            ifindex: 1,
            name: (*name).to_owned(),
            mac: None,
            up: true,
            carrier_changes: 0,
            mtu: 1500,
            kind: None,
            is_vlan: false,
            xdp_program: None,
            addresses: addresses.to_vec(),
        };
        Self {
            links: Some(links.iter().map(link).collect()),
        }
    }
}
