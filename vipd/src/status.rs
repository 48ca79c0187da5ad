//! What `vipd status --json` says: a snapshot, and the only place that decides
//! how it is spelt. Fields may be added, never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::carp::{DecodeError, Peer};
use crate::engine::{GroupCounters, GroupView, Rejected, Rejection};
use crate::time::{Duration, Instant};

pub mod event;

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// Whether the election has real-time priority and locked memory.
    pub realtime: bool,
    /// Whether the operator has taken this host out of service.
    #[serde(default)]
    pub maintenance: bool,
    /// When this was so: RFC 3339, UTC, milliseconds.
    #[serde(default)]
    pub now: String,
    pub groups: Vec<GroupStatus>,
    pub interfaces: Vec<InterfaceStatus>,
}

/// One group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupStatus {
    pub name: String,
    pub interface: String,
    /// What says who owns it: `carp`.
    pub decider: String,
    pub vhid: u8,
    pub vips: Vec<String>,
    /// `init`, `backup` or `master`.
    pub role: String,
    /// RFC 3339, UTC, milliseconds. Empty before the first role.
    pub since: String,
    pub reason: String,
    /// The MAC this host answers with; `null` while it does not answer.
    pub owner_mac: Option<String>,
    /// For how long it may still answer, in milliseconds.
    pub lease_ms: u64,
    /// The master, as far as this host knows.
    pub master: Option<MasterStatus>,
    /// Whether this host advertises itself as unfit.
    pub demoted: bool,
    /// By how much, in all; 0 is well.
    #[serde(default)]
    pub demotion: u8,
    /// Whether this host must not be master at all.
    #[serde(default)]
    pub withheld: bool,
    /// Whether this host would be master if it were as fit as can be.
    #[serde(default)]
    pub would_be_master: bool,
    /// What speaks against this host; the daemon knows.
    #[serde(default)]
    pub causes: Vec<CauseStatus>,
    /// Why it is not master, if but for the causes it would be.
    #[serde(default)]
    pub held_back: Option<String>,
    /// How adverts are signed and believed: `off`, `send` or `require`.
    pub auth: String,
    /// Number of the password that signs.
    pub key: u8,
    /// Addresses of the hosts whose signatures are believed.
    pub signing_peers: Vec<String>,
    pub preempt: bool,
    pub deadratio: u8,
    /// Where the addresses are put: `interface`, `loopback` or `none`.
    pub addresses: String,
    /// What is watched of the services and links behind the group.
    #[serde(default)]
    pub checks: Vec<CheckStatus>,
    pub counters: BTreeMap<String, u64>,
}

/// A reason against this host as master of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CauseStatus {
    /// `operator`, `maintenance`, or what was checked or tracked.
    pub name: String,
    /// `demote` or `give_up`.
    pub effect: String,
    pub demotion: u8,
    /// RFC 3339, UTC, milliseconds.
    pub since: String,
    pub text: String,
}

/// A check, or another link that the group depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The check's, or `link INTERFACE`.
    pub name: String,
    /// `passing`, `failing` or, before the first answer, `unknown`.
    pub state: String,
    /// Since when: RFC 3339, UTC, milliseconds.
    pub since: String,
    /// Why the last probe failed, which takes several to count; empty if it did not.
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterStatus {
    pub address: String,
    pub advbase: u8,
    pub advskew: u8,
}

/// One interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    pub name: String,
    /// `up`, `down` or `gone`.
    pub link: String,
    pub mac: Option<String>,
    /// `native`, `generic` or `none`.
    pub xdp_mode: String,
    /// Why that mode.
    pub xdp_reason: String,
    pub counters: BTreeMap<String, u64>,
}

impl GroupStatus {
    /// `wall_clock` tells a moment in RFC 3339.
    pub fn new(
        group: &GroupView<'_>,
        interface: &str,
        now: Instant,
        wall_clock: impl Fn(Instant) -> String,
    ) -> Self {
        let lease = group.lease.filter(|(_, until)| *until > now);
        Self {
            name: group.config.name.clone(),
            interface: interface.to_owned(),
            decider: "carp".to_owned(),
            vhid: group.config.vhid.value(),
            vips: group.config.vips.iter().map(ToString::to_string).collect(),
            role: group.role.as_str().to_owned(),
            since: group
                .since
                .map(|(at, _)| wall_clock(at))
                .unwrap_or_default(),
            reason: group
                .since
                .map(|(_, reason)| reason.as_str().to_owned())
                .unwrap_or_default(),
            owner_mac: lease.map(|(mac, _)| mac.to_string()),
            lease_ms: lease.map_or(0, |(_, until)| millis(until.since(now))),
            master: group.master.map(MasterStatus::from),
            demoted: group.is_demoted,
            demotion: group.fitness.demotion,
            withheld: group.fitness.withheld,
            would_be_master: group.would_be_master,
            causes: Vec::new(),
            held_back: None,
            auth: group.config.auth.policy.as_str().to_owned(),
            key: group.config.auth.keys.signs_with().0,
            signing_peers: group
                .signing_peers
                .iter()
                .map(|(address, _)| address.to_string())
                .collect(),
            preempt: group.config.preempt,
            deadratio: group.config.timing.dead_ratio,
            addresses: group.config.placement.as_str().to_owned(),
            checks: Vec::new(),
            counters: group_counters(group.counters),
        }
    }
}

impl From<Peer> for MasterStatus {
    fn from(peer: Peer) -> Self {
        Self {
            address: peer.address.to_string(),
            advbase: peer.interval.advbase,
            advskew: peer.interval.advskew,
        }
    }
}

/// Counters by the names they have in the output.
pub(crate) fn group_counters(counters: &GroupCounters) -> BTreeMap<String, u64> {
    // Taken apart, so that a counter that is added cannot be forgotten here.
    let GroupCounters {
        adverts_sent,
        adverts_received,
        bad_digest,
        bad_digest_unknown_key,
        bad_digest_no_password,
        bad_digest_addresses,
        other_set,
        vrrp,
        looped,
        unsigned_refused,
        bad_signature,
        replayed,
        strangers,
        introductions,
        send_errors,
        map_errors,
        address_errors,
        addresses_lost,
        announcements,
        conflicts,
        challenges,
        transitions,
    } = *counters;
    named([
        ("adverts_sent", adverts_sent),
        ("adverts_received", adverts_received),
        ("bad_digest", bad_digest),
        ("bad_digest_unknown_key", bad_digest_unknown_key),
        ("bad_digest_no_password", bad_digest_no_password),
        ("bad_digest_addresses", bad_digest_addresses),
        ("other_set", other_set),
        ("vrrp", vrrp),
        ("looped", looped),
        ("unsigned_refused", unsigned_refused),
        ("bad_signature", bad_signature),
        ("replayed", replayed),
        ("strangers", strangers),
        ("introductions", introductions),
        ("send_errors", send_errors),
        ("map_errors", map_errors),
        ("address_errors", address_errors),
        ("addresses_lost", addresses_lost),
        ("announcements", announcements),
        ("conflicts", conflicts),
        ("challenges", challenges),
        ("transitions", transitions),
    ])
}

/// What the responder counted.
pub fn responder_counters(counters: &vipd_common::Counters) -> BTreeMap<String, u64> {
    let vipd_common::Counters {
        arp_answered,
        arp_silenced,
        arp_passed,
        arp_malformed,
        arp_conflict,
        carp_passed,
    } = *counters;
    named([
        ("arp_answered", arp_answered),
        ("arp_silenced", arp_silenced),
        ("arp_passed", arp_passed),
        ("arp_malformed", arp_malformed),
        ("arp_conflict", arp_conflict),
        ("carp_passed", carp_passed),
    ])
}

/// Packets of protocol 112 that no group took, by reason; each reason is listed.
pub fn rejected_counters(rejected: &Rejected) -> BTreeMap<String, u64> {
    let reasons = [
        (
            "rejected_too_short",
            Rejection::Decode(DecodeError::TooShort),
        ),
        (
            "rejected_ip_header",
            Rejection::Decode(DecodeError::BadIpHeader),
        ),
        (
            "rejected_other_protocol",
            Rejection::Decode(DecodeError::OtherProtocol),
        ),
        (
            "rejected_fragment",
            Rejection::Decode(DecodeError::Fragment),
        ),
        ("rejected_ttl", Rejection::Decode(DecodeError::BadTtl)),
        (
            "rejected_destination",
            Rejection::Decode(DecodeError::OtherDestination),
        ),
        ("rejected_vrrp3", Rejection::Decode(DecodeError::Vrrp3)),
        (
            "rejected_version",
            Rejection::Decode(DecodeError::BadVersion),
        ),
        (
            "rejected_vhid_zero",
            Rejection::Decode(DecodeError::BadVhid),
        ),
        (
            "rejected_checksum",
            Rejection::Decode(DecodeError::BadChecksum),
        ),
        ("rejected_unknown_vhid", Rejection::UnknownVhid),
    ];
    named(reasons.map(|(name, reason)| (name, rejected.get(&reason).copied().unwrap_or(0))))
}

fn named<const N: usize>(counters: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counters
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
