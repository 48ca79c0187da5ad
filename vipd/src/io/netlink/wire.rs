//! What netlink messages say, as plain values; and the questions asked.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo as Info, LinkMessage, LinkXdp, State,
};
use rtnetlink::{Error, Handle};

use super::LinkInfo;

/// Reads one interface with its addresses; `None` if there is none of the name.
pub(super) async fn find(handle: &Handle, interface: &str) -> Result<Option<LinkInfo>, Error> {
    let mut answers = Box::pin(handle.link().get().match_name(interface).execute());
    let message = match answers.next().await {
        Some(Ok(message)) => message,
        Some(Err(e)) if errno(&e) == Some(libc::ENODEV) => return Ok(None),
        Some(Err(e)) => return Err(e),
        None => return Err(Error::RequestFailed),
    };
    let Some(mut link) = link(&message) else {
        return Ok(None);
    };

    // The kernel filters a dump of addresses by family only.
    let mut request = handle.address().get().set_link_index_filter(link.ifindex);
    request.message_mut().header.family = AddressFamily::Inet;
    let mut dump = Box::pin(request.execute());
    while let Some(message) = dump.try_next().await? {
        if let Some((_, address, prefix_len)) = address(&message) {
            link.addresses.push((address, prefix_len));
        }
    }
    link.addresses.sort_unstable();
    Ok(Some(link))
}

/// Reads all interfaces with their addresses.
pub(super) async fn all(handle: &Handle) -> Result<Vec<LinkInfo>, Error> {
    let mut links = Vec::new();
    let mut dump = Box::pin(handle.link().get().execute());
    while let Some(message) = dump.try_next().await? {
        links.extend(link(&message));
    }
    let mut request = handle.address().get();
    request.message_mut().header.family = AddressFamily::Inet;
    let mut dump = Box::pin(request.execute());
    while let Some(message) = dump.try_next().await? {
        let Some((ifindex, address, prefix_len)) = address(&message) else {
            continue;
        };
        if let Some(link) = links.iter_mut().find(|link| link.ifindex == ifindex) {
            link.addresses.push((address, prefix_len));
        }
    }
    Ok(links)
}

/// `None` for a message that describes no interface: those of a bridge about
/// its ports (`AF_BRIDGE`), where even a deletion only means that the port left
/// the bridge, and those of the wireless extensions, which carry little more
/// than a name.
pub(super) fn link(message: &LinkMessage) -> Option<LinkInfo> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let (mut name, mut mac, mut mtu, mut state) = (None, None, None, State::Unknown);
    let (mut kind, mut xdp_program, mut carrier_changes) = (None, None, 0);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the kernel tells much more than is asked here"
        )]
        match attribute {
            LinkAttribute::IfName(n) => name = Some(n.clone()),
            LinkAttribute::Address(address) => mac = <[u8; 6]>::try_from(address.as_slice()).ok(),
            LinkAttribute::Mtu(bytes) => mtu = Some(*bytes),
            LinkAttribute::OperState(s) => state = *s,
            LinkAttribute::CarrierChanges(count) => carrier_changes = *count,
            LinkAttribute::LinkInfo(infos) => kind = infos.iter().find_map(info_kind),
            LinkAttribute::Xdp(xdp) => xdp_program = xdp.iter().find_map(program),
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(LinkInfo {
        ifindex: message.header.index,
        name: name?,
        mac,
        up: flags.contains(LinkFlags::Up | LinkFlags::Running)
            && matches!(state, State::Up | State::Unknown),
        carrier_changes,
        mtu: mtu?,
        is_vlan: kind == Some(&InfoKind::Vlan),
        kind: kind.map(ToString::to_string),
        xdp_program,
        addresses: Vec::new(),
    })
}

fn info_kind(info: &Info) -> Option<&InfoKind> {
    if let Info::Kind(kind) = info {
        Some(kind)
    } else {
        None
    }
}

/// `IFLA_XDP_PROG_ID` is left out where programs are attached in several modes.
fn program(xdp: &LinkXdp) -> Option<u32> {
    if let LinkXdp::ProgId(id)
    | LinkXdp::DrvProgId(id)
    | LinkXdp::SkbProgId(id)
    | LinkXdp::HwProgId(id) = xdp
    {
        Some(*id).filter(|id| *id != 0)
    } else {
        None
    }
}

/// Index of the interface, address and prefix length; `None` if not IPv4.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, Ipv4Addr, u8)> {
    // On a point-to-point interface `IFA_ADDRESS` is the peer's.
    let local = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
            Some(*address)
        } else {
            None
        }
    })?;
    Some((message.header.index, local, message.header.prefix_len))
}

/// The error number with which the kernel refused.
pub(super) fn errno(error: &Error) -> Option<i32> {
    if let Error::NetlinkError(refusal) = error {
        Some(refusal.raw_code().abs())
    } else {
        None
    }
}

/// The kernel's words where they are the kernel's.
pub(super) fn reason(error: &Error) -> String {
    match errno(error) {
        Some(libc::EPERM) => "it needs the capability CAP_NET_ADMIN".to_owned(),
        Some(number) => std::io::Error::from_raw_os_error(number).to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
