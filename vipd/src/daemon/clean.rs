//! `vipd clean`: undoes what a daemon left that could not undo it itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::ledger::{self, Ledger};
use super::{Error, STOP_PATIENCE};
use crate::config::Paths;
use crate::io::{netlink, xdp};

/// Undoes it on one interface, or on all, and tells what was undone. While a
/// daemon runs there, nothing is touched.
pub async fn clean(paths: &Paths, interface: Option<&str>) -> Result<Vec<String>, Error> {
    let responders = xdp::Leftovers::lock(&paths.bpffs, interface)?;
    let ledger = Ledger::left(&paths.state_dir, interface);
    let mut told: Vec<String> = Vec::new();

    // The responder goes last: it keeps the kernel silent until then.
    let mut addresses: BTreeMap<(String, u32, Ipv4Addr), u8> = BTreeMap::new();
    for (name, address) in ledger.left_on_interfaces()? {
        // An interface that is gone took its addresses along.
        let Ok(link) = netlink::lookup(&name) else {
            continue;
        };
        let placed = link.addresses.iter().find(|(placed, _)| *placed == address);
        if let Some((_, prefix_len)) = placed {
            addresses.insert((name, link.ifindex, address), *prefix_len);
        }
    }
    for address in ledger.left_on_loopback()? {
        addresses.insert((ledger::DEVICE.to_owned(), ledger.ifindex(), address), 32);
    }
    remove(&addresses).await?;
    for (interface, _, address) in addresses.keys() {
        told.push(format!("{interface}: removed the address {address}"));
    }
    for interface in ledger.restore() {
        told.push(format!("{interface}: put its settings back"));
    }
    let attached: Vec<String> = responders.interfaces().map(str::to_owned).collect();
    responders.remove()?;
    for interface in attached {
        told.push(format!("{interface}: removed the responder"));
    }
    Ok(told)
}

async fn remove(addresses: &BTreeMap<(String, u32, Ipv4Addr), u8>) -> Result<(), Error> {
    let (netlink, mut events) = netlink::Netlink::spawn(&[])?;
    let mut waits_for: BTreeSet<u64> = BTreeSet::new();
    for (token, ((_, ifindex, address), prefix_len)) in (0..).zip(addresses) {
        netlink.remove_address(token, *ifindex, *address, *prefix_len);
        waits_for.insert(token);
    }
    while !waits_for.is_empty() {
        let Some(netlink::Event::Done { token, result }) = events.recv().await else {
            break;
        };
        waits_for.remove(&token);
        let tokened = (0..)
            .zip(addresses.keys())
            .find(|(other, _)| *other == token);
        if let (Err(reason), Some((_, (interface, _, address)))) = (result, tokened) {
            return Err(Error::Leftover {
                interface: interface.clone(),
                address: *address,
                reason,
            });
        }
    }
    Ok(netlink.shutdown(STOP_PATIENCE).await?)
}
