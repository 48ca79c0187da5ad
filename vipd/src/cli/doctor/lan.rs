//! What was seen on the LAN: adverts that should have come, and who claims the
//! addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_common::arp::ArpFrame;

use super::{Finding, GroupStatus};
use crate::mac::MacAddr;

/// An advert on the wire, whether it verifies or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advert {
    pub(super) vhid: u8,
    pub(super) source: Ipv4Addr,
}

impl Advert {
    /// From an Ethernet frame with an IPv4 packet of protocol 112.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        Some(Self {
            // Behind version and type, as in CARP and in VRRP.
            vhid: *packet.get(header + 1)?,
            source: source.into(),
        })
    }
}

/// Who claimed to have which address.
pub(super) type Claims = BTreeMap<Ipv4Addr, BTreeSet<[u8; 6]>>;

/// All replies, and all that announces an address.
pub(super) fn claims(frames: &[Vec<u8>]) -> Claims {
    let mut claims = Claims::new();
    for frame in frames {
        let Ok(arp) = ArpFrame::parse(frame) else {
            continue;
        };
        let is_claim = arp.oper == REPLY || arp.spa == arp.tpa;
        if is_claim && arp.spa != [0; 4] {
            claims.entry(arp.spa.into()).or_default().insert(arp.sha);
        }
    }
    claims
}

/// The addresses that are asked for: as many of a group as are no flood.
pub(super) fn probed(group: &GroupStatus) -> impl Iterator<Item = Ipv4Addr> {
    let vips = group.vips.iter().filter_map(|vip| vip.parse().ok());
    vips.take(PROBED)
}

/// How long an advert of each master should take at most, in reason.
pub(super) fn patience<'a>(groups: impl Iterator<Item = &'a GroupStatus>) -> Duration {
    let intervals = groups
        .filter(|group| group.role == "backup")
        .filter_map(|group| group.master.as_ref())
        .map(|master| {
            let skew = Duration::from_secs(1) * u32::from(master.advskew) / 256;
            Duration::from_secs(u64::from(master.advbase)) + skew
        });
    let longest = intervals.max().unwrap_or_default();
    (longest * 2).clamp(LEAST, MOST)
}

/// Everything that the daemon heard with the group's number, be it believed or not.
pub(super) fn heard(group: &GroupStatus) -> u64 {
    HEARD
        .iter()
        .filter_map(|name| group.counters.get(*name))
        .sum()
}

/// `own` are this host's addresses, `heard` what the daemon heard meanwhile.
pub(super) fn adverts(
    group: &GroupStatus,
    seen: &[Advert],
    own: &[Ipv4Addr],
    heard: u64,
    within: Duration,
) -> Finding {
    let others: Vec<&Advert> = seen
        .iter()
        .filter(|advert| advert.vhid == group.vhid && !own.contains(&advert.source))
        .collect();
    let (name, seconds) = (&group.name, within.as_secs_f32());
    let sources: BTreeSet<Ipv4Addr> = others.iter().map(|advert| advert.source).collect();
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let sources = sources.join(", ");
    if !others.is_empty() && heard == 0 {
        return Finding::fail(
            "adverts",
            name,
            format!(
                "{} adverts of {sources} came to the interface in {seconds:.1} s, and the daemon heard none",
                others.len()
            ),
        )
        .advice(FIREWALL);
    }
    if group.role == "master" && !others.is_empty() {
        return Finding::warn(
            "adverts",
            name,
            format!("{sources} advertises too, while this host is master"),
        )
        .advice("with another password or other addresses each goes on alone: compare `vipd status --json` and the logs of both");
    }
    let master = group.master.as_ref().map(|master| &master.address);
    match master {
        Some(master) if group.role == "backup" && others.is_empty() => Finding::fail(
            "adverts",
            name,
            format!("no advert came in {seconds:.1} s, although {master} should be master"),
        )
        .advice("is the master there; do switches that snoop IGMP deliver 224.0.0.18 to this port"),
        _ if others.is_empty() => Finding::ok("adverts", name, "nobody else advertises"),
        _ => Finding::ok(
            "adverts",
            name,
            format!(
                "{} of {sources} in {seconds:.1} s, and the daemon heard them",
                others.len()
            ),
        ),
    }
}

/// `own` is this host's MAC.
pub(super) fn duplicates(
    group: &GroupStatus,
    claims: &Claims,
    own: Option<[u8; 6]>,
) -> Vec<Finding> {
    let is_answering = group.owner_mac.is_some();
    let none = BTreeSet::new();
    let mut findings = Vec::new();
    let mut silent = Vec::new();
    for vip in probed(group) {
        let all = claims.get(&vip).unwrap_or(&none);
        let others: Vec<String> = all
            .iter()
            .filter(|mac| Some(**mac) != own)
            .map(|mac| MacAddr(*mac).to_string())
            .collect();
        if others.len() > usize::from(!is_answering) {
            let who = if is_answering {
                format!(
                    "{} answers for {vip} beside this host",
                    others.join(" and ")
                )
            } else {
                format!("{} both answer for {vip}", others.join(" and "))
            };
            findings.push(Finding::fail("duplicate", &group.name, who).advice(
                "find the host by its MAC: it has the address without being in the group, or its daemon is dead and its address still there",
            ));
        } else if others.is_empty() && !is_answering {
            silent.push(vip);
        }
    }
    if let (Some(vip), true) = (silent.first(), group.master.is_some()) {
        let more = match silent.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        findings.push(
            Finding::warn(
                "duplicate",
                &group.name,
                format!("nobody answers for {vip}{more}"),
            )
            .advice("a takeover may be under way: run the doctor again"),
        );
    }
    if findings.is_empty() {
        let text = if is_answering {
            "nobody else answers for the addresses"
        } else {
            "one host answers for each address at most"
        };
        findings.push(Finding::ok("duplicate", &group.name, text));
    }
    findings
}

const FIREWALL: &str = "the firewall of this host drops them: nft insert rule inet filter input ip protocol 112 accept, or iptables -I INPUT -p 112 -j ACCEPT; or rp_filter does";

/// Counters of a group that grow with what was heard.
const HEARD: [&str; 8] = [
    "adverts_received",
    "bad_digest",
    "vrrp",
    "looped",
    "unsigned_refused",
    "bad_signature",
    "replayed",
    "strangers",
];

/// Bytes of an Ethernet header without a tag.
const ETHERNET: usize = 14;

/// ARP's operation of a reply.
const REPLY: [u8; 2] = [0, 2];

/// Addresses of one group that are asked for.
const PROBED: usize = 256;

/// How long to listen: for answers, and for the slowest master that is waited for.
const LEAST: Duration = Duration::from_millis(1500);
const MOST: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests;
