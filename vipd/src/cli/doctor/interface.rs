//! One interface: its link, who holds its XDP hook, the kernel's settings, multicast,
//! VLANs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Finding, GroupStatus, LinkInfo};

/// What was seen of it.
pub(super) struct Facts<'a> {
    pub(super) link: &'a LinkInfo,
    /// The program whose link vipd has pinned.
    pub(super) pinned_program: Option<u32>,
    /// By the names under `net.ipv4.conf`, as they hold for the interface.
    pub(super) sysctls: BTreeMap<&'static str, u8>,
    /// `/proc/net/igmp`
    pub(super) igmp: String,
    /// `/proc/net/vlan/config`, empty without VLANs.
    pub(super) vlans: String,
    /// `None` where the driver does not tell.
    pub(super) strips_vlan_tags: Option<bool>,
}

/// `groups` are those that the daemon has on it; without a daemon there are none.
pub(super) fn examine(facts: &Facts<'_>, groups: &[&GroupStatus], findings: &mut Vec<Finding>) {
    findings.push(link(facts.link));
    findings.push(program(facts, !groups.is_empty()));
    if !groups.is_empty() {
        findings.push(membership(facts));
    }
    findings.extend(settings(facts, groups));
    findings.push(vlans(facts));
    for group in groups {
        findings.extend(addresses(facts.link, group));
    }
}

fn link(link: &LinkInfo) -> Finding {
    let name = &link.name;
    if link.mac.is_none_or(|mac| mac == [0; 6]) {
        return Finding::fail(
            "link",
            name,
            "it is no Ethernet interface: there is no ARP on it",
        );
    }
    if !link.up {
        return Finding::fail("link", name, "it is down or has no carrier").advice(format!(
            "ip link set {name} up; look at the cable and the switch"
        ));
    }
    if link.is_vlan {
        return Finding::warn("link", name, "it is a VLAN device")
            .advice("VLANs are not served properly yet: use an interface without tags");
    }
    if link.addresses.is_empty() {
        return Finding::warn("link", name, "up, but without an IPv4 address of its own").advice(
            format!("adverts need a source: give {name} an address, or vipd one with -s"),
        );
    }
    Finding::ok("link", name, format!("up, MTU {}", link.mtu))
}

fn program(facts: &Facts<'_>, is_served: bool) -> Finding {
    let name = &facts.link.name;
    match (facts.link.xdp_program, facts.pinned_program) {
        (Some(there), Some(ours)) if there == ours && is_served => {
            Finding::ok("xdp", name, format!("the responder is attached (program {ours})"))
        }
        (Some(there), Some(ours)) if there == ours => Finding::warn(
            "xdp",
            name,
            format!("a responder without a daemon is attached (program {ours})"),
        )
        .advice(format!("start vipd, which adopts it, or remove it: vipd clean {name}")),
        (Some(there), _) => Finding::fail(
            "xdp",
            name,
            format!("another XDP program holds the interface (program {there})"),
        )
        .advice(format!(
            "see whose it is: bpftool prog show id {there}; take it off: ip link set dev {name} xdp off"
        )),
        (None, _) if is_served => {
            Finding::fail("xdp", name, "no XDP program is attached, so nobody answers")
                .advice("the daemon's log says why; it tries again by itself")
        }
        (None, _) => Finding::ok("xdp", name, "no XDP program is in the way"),
    }
}

fn membership(facts: &Facts<'_>) -> Finding {
    let name = &facts.link.name;
    if is_member(&facts.igmp, name, CARP_GROUP) {
        return Finding::ok("multicast", name, "the kernel is a member of 224.0.0.18");
    }
    Finding::fail(
        "multicast",
        name,
        "the kernel is no member of 224.0.0.18 (/proc/net/igmp), so adverts do not arrive",
    )
    .advice("the interface's IPv4 was taken down and brought up again: restart vipd")
}

/// Whether `/proc/net/igmp` tells of a membership. An interface is a line with its
/// index and name, its groups are lines below, each the address as a number of the
/// machine's byte order, in hexadecimal.
fn is_member(igmp: &str, interface: &str, group: Ipv4Addr) -> bool {
    let group = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    let mut is_there = false;
    for line in igmp.lines().skip(1) {
        let mut words = line.split_whitespace();
        if line.starts_with(['\t', ' ']) {
            if is_there && words.next() == Some(&group) {
                return true;
            }
        } else {
            is_there = words.nth(1) == Some(interface);
        }
    }
    false
}

fn settings(facts: &Facts<'_>, groups: &[&GroupStatus]) -> Vec<Finding> {
    let name = &facts.link.name;
    let value = |setting: &str| facts.sysctls.get(setting).copied();
    let mut findings = Vec::new();
    let mut warn = |setting: &str, text: String, advice: String| {
        let text = format!("{setting} is {}: {text}", value(setting).unwrap_or(0));
        findings.push(Finding::warn("sysctl", name, text).advice(advice));
    };
    let set = |setting: &str, to: u8| format!("sysctl -w net.ipv4.conf.{name}.{setting}={to}");
    if value("arp_ignore") == Some(8) {
        let text = "the kernel answers no ARP at all, not for the host's own address either";
        warn("arp_ignore", text.to_owned(), set("arp_ignore", 0));
    }
    let is_known = |address: &str| address.parse().is_ok_and(|it| is_on_link(facts.link, it));
    let strangers: Vec<&str> = groups
        .iter()
        .filter_map(|group| Some(group.master.as_ref()?.address.as_str()))
        .filter(|address| !is_known(address))
        .collect();
    if let (Some(1), Some(peer)) = (value("rp_filter"), strangers.first()) {
        let text =
            format!("adverts of {peer}, which is in no network of this interface, may be dropped");
        warn("rp_filter", text, set("rp_filter", 2));
    }
    if groups.iter().any(|group| group.addresses == "loopback") {
        let held = [("arp_ignore", 1), ("arp_announce", 2)];
        for (setting, least) in held {
            if value(setting).is_some_and(|value| value < least) {
                let text = "with the addresses on lo the kernel answers for them when the responder is gone";
                warn(setting, text.to_owned(), set(setting, least));
            }
        }
        if value("accept_local") == Some(0) {
            let text = "with the addresses on lo, what the master sends from one is dropped here";
            warn(
                "accept_local",
                text.to_owned(),
                format!(
                    "only if the hosts talk to each other from a virtual address: {}",
                    set("accept_local", 1)
                ),
            );
        }
    }
    if findings.is_empty() {
        let values: Vec<String> = facts
            .sysctls
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        findings.push(Finding::ok("sysctl", name, values.join(" ")));
    }
    findings
}

/// Whether an address is in a network of the interface.
fn is_on_link(link: &LinkInfo, address: Ipv4Addr) -> bool {
    link.addresses.iter().any(|(own, prefix_len)| {
        let host_bits = 32_u32.saturating_sub(u32::from(*prefix_len));
        let network = |address: Ipv4Addr| u64::from(u32::from(address)) >> host_bits;
        network(*own) == network(address)
    })
}

/// Cards that take tags off hide from XDP which VLAN a request came from.
fn vlans(facts: &Facts<'_>) -> Finding {
    let name = &facts.link.name;
    // `eth0.7          | 7  | eth0`, behind two lines of headings.
    let parent = |line: &str| {
        line.split('|')
            .nth(2)
            .map(|parent| parent.trim().to_owned())
    };
    let is_trunk = facts
        .vlans
        .lines()
        .skip(2)
        .any(|line| parent(line).as_ref() == Some(name));
    match (facts.strips_vlan_tags, is_trunk) {
        (Some(true), true) => Finding::warn(
            "vlan",
            name,
            "it carries VLANs, and the card takes their tags off: a request from one of them looks like one from the LAN",
        )
        .advice(format!("ethtool -K {name} rxvlan off")),
        (Some(true), false) => Finding::ok(
            "vlan",
            name,
            format!("no VLANs here; if the switch port is a trunk: ethtool -K {name} rxvlan off"),
        ),
        (Some(false), _) => Finding::ok("vlan", name, "the card leaves VLAN tags where they are"),
        (None, true) => Finding::warn(
            "vlan",
            name,
            "it carries VLANs, and the driver does not tell whether it takes tags off",
        )
        .advice(format!("look at: ethtool -k {name} | grep rx-vlan-offload")),
        (None, false) => Finding::ok("vlan", name, "no VLANs here"),
    }
}

/// What is odd about the addresses of a group.
fn addresses(link: &LinkInfo, group: &GroupStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    let vips = || group.vips.iter().filter_map(|vip| vip.parse().ok());
    let is_here = |vip: &Ipv4Addr| link.addresses.iter().any(|(address, _)| address == vip);
    if let Some(vip) = vips().find(Ipv4Addr::is_link_local) {
        findings.push(
            Finding::warn("addresses", &group.name, format!("{vip} is link-local"))
                .advice("hosts choose such addresses by themselves (RFC 3927): use another"),
        );
    }
    if group.role != "master"
        && group.addresses == "interface"
        && let Some(vip) = vips().find(is_here)
    {
        findings.push(
            Finding::warn(
                "addresses",
                &group.name,
                format!("{vip} is on {}, and this host is {}", link.name, group.role),
            )
            .advice(format!(
                "unless vipd is about to take it off, somebody else put it there: ip addr del {vip} dev {}",
                link.name
            )),
        );
    }
    findings
}

/// Where adverts are sent.
const CARP_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

#[cfg(test)]
mod tests;
