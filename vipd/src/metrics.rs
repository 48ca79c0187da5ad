//! The status in Prometheus' text format, version 0.0.4: a pure function of a
//! snapshot, so that it can be served by whoever has one.
//!
//! There is no registry and no library: nothing is counted here. Names keep to
//! Prometheus' conventions: counters end in `_total`, times are seconds, and what
//! has a state is a gauge for each state, 0 or 1, so that a change of role makes
//! no new series.

use std::fmt::Write as _;

use crate::status::{GroupStatus, InterfaceStatus, Status};

/// What an HTTP answer with this text calls itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a snapshot says in numbers.
pub fn text(status: &Status) -> String {
    let mut page = Page::default();
    page.family(
        "vipd_build_info",
        Kind::Gauge,
        "The daemon's version; always 1.",
    );
    page.sample("vipd_build_info", &[("version", &status.version)], 1);
    page.family(
        "vipd_realtime",
        Kind::Gauge,
        "Whether the election has real-time priority and locked memory.",
    );
    page.sample("vipd_realtime", &NO_LABELS, u64::from(status.realtime));
    page.family(
        "vipd_maintenance",
        Kind::Gauge,
        "Whether the operator has put this host in maintenance.",
    );
    page.sample(
        "vipd_maintenance",
        &NO_LABELS,
        u64::from(status.maintenance),
    );
    group_gauges(&mut page, &status.groups);
    counters(
        &mut page,
        "vipd_group",
        status
            .groups
            .iter()
            .map(|group| (group_labels(group), &group.counters)),
    );
    interface_gauges(&mut page, &status.interfaces);
    interface_counters(&mut page, &status.interfaces);
    page.text
}

fn group_labels(group: &GroupStatus) -> Vec<(&'static str, String)> {
    vec![
        ("group", group.name.clone()),
        ("interface", group.interface.clone()),
        ("vhid", group.vhid.to_string()),
    ]
}

fn group_gauges(page: &mut Page, groups: &[GroupStatus]) {
    type Value = fn(&GroupStatus) -> u64;
    page.family(
        "vipd_group_state",
        Kind::Gauge,
        "The group's role on this host: 1 for the role it has, 0 for the others.",
    );
    for group in groups {
        for role in ROLES {
            let mut labels = group_labels(group);
            labels.push(("state", role.to_owned()));
            page.sample("vipd_group_state", &labels, u64::from(group.role == role));
        }
    }
    let gauges: [(&str, &str, Value); 4] = [
        (
            "vipd_group_answers",
            "Whether this host has the right to answer for the group's addresses.",
            |group| u64::from(group.owner_mac.is_some()),
        ),
        (
            "vipd_group_demotion",
            "How unfit this host says it is for the group: 0 is well.",
            |group| u64::from(group.demotion),
        ),
        (
            "vipd_group_withheld",
            "Whether this host must not be master of the group at all.",
            |group| u64::from(group.withheld),
        ),
        (
            "vipd_group_addresses",
            "Virtual addresses of the group.",
            |group| group.vips.len() as u64,
        ),
    ];
    for (name, help, value) in gauges {
        page.family(name, Kind::Gauge, help);
        for group in groups {
            page.sample(name, &group_labels(group), value(group));
        }
    }
    page.family(
        "vipd_group_check_passing",
        Kind::Gauge,
        "Whether a check of the group, or a link it depends on, passes.",
    );
    for group in groups {
        for check in &group.checks {
            let mut labels = group_labels(group);
            labels.push(("check", check.name.clone()));
            let passes = u64::from(check.state == "passing");
            page.sample("vipd_group_check_passing", &labels, passes);
        }
    }
    page.family(
        "vipd_group_lease_seconds",
        Kind::Gauge,
        "For how long this host may still answer; 0 while it does not.",
    );
    for group in groups {
        let seconds = format!("{}.{:03}", group.lease_ms / 1000, group.lease_ms % 1000);
        page.sample("vipd_group_lease_seconds", &group_labels(group), seconds);
    }
}

fn interface_gauges(page: &mut Page, interfaces: &[InterfaceStatus]) {
    page.family(
        "vipd_interface_up",
        Kind::Gauge,
        "Whether the interface can carry frames.",
    );
    for interface in interfaces {
        let up = u64::from(interface.link == "up");
        page.sample("vipd_interface_up", &[("interface", &interface.name)], up);
    }
    page.family(
        "vipd_interface_xdp_mode",
        Kind::Gauge,
        "How the responder is attached: 1 for the mode it has, 0 for the others.",
    );
    for interface in interfaces {
        for mode in XDP_MODES {
            let labels = [("interface", interface.name.as_str()), ("mode", mode)];
            let is_it = u64::from(interface.xdp_mode == mode);
            page.sample("vipd_interface_xdp_mode", &labels, is_it);
        }
    }
}

/// Rejected packets are one family with the reason as its label; what else is
/// counted has a family each.
fn interface_counters(page: &mut Page, interfaces: &[InterfaceStatus]) {
    let is_rejected = |name: &str| name.starts_with(REJECTED);
    let others: Vec<_> = interfaces
        .iter()
        .map(|interface| {
            let mut counters = interface.counters.clone();
            counters.retain(|name, _| !is_rejected(name));
            (vec![("interface", interface.name.clone())], counters)
        })
        .collect();
    counters(
        page,
        "vipd_interface",
        others
            .iter()
            .map(|(labels, counters)| (labels.clone(), counters)),
    );
    page.family(
        "vipd_interface_rejected_total",
        Kind::Counter,
        "Packets of IP protocol 112 that no group took, by reason.",
    );
    for interface in interfaces {
        for (name, count) in &interface.counters {
            if let Some(reason) = name.strip_prefix(REJECTED) {
                let labels = [("interface", interface.name.as_str()), ("reason", reason)];
                page.sample("vipd_interface_rejected_total", &labels, *count);
            }
        }
    }
}

/// A family for each counter that any of them has, as the format wants the
/// samples of one family together.
fn counters<'a>(
    page: &mut Page,
    prefix: &str,
    of: impl Iterator<
        Item = (
            Vec<(&'static str, String)>,
            &'a std::collections::BTreeMap<String, u64>,
        ),
    >,
) {
    let of: Vec<_> = of.collect();
    let mut names: Vec<&str> = of
        .iter()
        .flat_map(|(_, counters)| counters.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let family = format!("{prefix}_{name}_total");
        page.family(&family, Kind::Counter, help(name));
        for (labels, counters) in &of {
            if let Some(count) = counters.get(name) {
                page.sample(&family, labels, *count);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// `name` is one of ours, or made of names from a status.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let name = metric_name(name);
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, impl AsRef<str>)],
        value: impl std::fmt::Display,
    ) {
        self.text.push_str(&metric_name(name));
        for (index, (label, value)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let value = escaped(value.as_ref());
            let _ = write!(self.text, "{opening}{label}=\"{value}\"");
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }
}

/// What the format does not allow in a name becomes a `_`: a status may come from a
/// daemon of another version.
fn metric_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

/// The value of a label between its quotes.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// What a counter of the status counts.
fn help(name: &str) -> &'static str {
    let known = HELP.iter().find(|(known, _)| *known == name);
    known.map_or("A counter of vipd's status.", |(_, help)| help)
}

const NO_LABELS: [(&str, &str); 0] = [];
const ROLES: [&str; 3] = ["init", "backup", "master"];
const XDP_MODES: [&str; 3] = ["native", "generic", "none"];

/// How the counters of rejected packets begin.
const REJECTED: &str = "rejected_";

const HELP: [(&str, &str); 32] = [
    (
        "adverts_sent",
        "Adverts that went out, farewells and bow-outs included.",
    ),
    ("adverts_received", "Adverts of others that verified."),
    (
        "bad_digest",
        "Adverts with the group's vhid that do not verify.",
    ),
    (
        "bad_digest_unknown_key",
        "Adverts made with a key that this host does not have.",
    ),
    ("bad_digest_no_password", "Adverts made without a password."),
    (
        "bad_digest_addresses",
        "Adverts made with other virtual addresses.",
    ),
    (
        "vrrp",
        "Packets of VRRP routers with the group's vhid as their id.",
    ),
    ("looped", "This host's own adverts, come back."),
    (
        "other_set",
        "Messages of peers that were made for the addresses of the other configuration, while both are believed.",
    ),
    (
        "unsigned_refused",
        "Unsigned adverts where signed ones are due.",
    ),
    (
        "bad_signature",
        "Adverts and introductions whose signature is wrong.",
    ),
    (
        "replayed",
        "Adverts and introductions that were heard before.",
    ),
    (
        "strangers",
        "Signed adverts of hosts that had not introduced themselves.",
    ),
    ("introductions", "Introductions that were sent."),
    ("send_errors", "Adverts that could not be sent."),
    ("map_errors", "Leases that could not be written."),
    ("address_errors", "Times the addresses could not be placed."),
    (
        "addresses_lost",
        "Addresses that somebody removed from the interface.",
    ),
    ("announcements", "Gratuitous ARP frames."),
    (
        "conflicts",
        "Claims of the group's addresses by other hosts' ARP.",
    ),
    (
        "challenges",
        "Adverts of less preferred hosts heard as a master.",
    ),
    ("transitions", "Changes of role."),
    ("hook_runs", "Hooks that were started."),
    ("hook_failures", "Hooks that ended with a failure."),
    (
        "hook_timeouts",
        "Hooks that were ended for taking too long.",
    ),
    (
        "hook_outdated",
        "Hooks that were not run, because the role had changed again.",
    ),
    (
        "arp_answered",
        "ARP requests for virtual addresses that were answered.",
    ),
    (
        "arp_silenced",
        "ARP requests for virtual addresses that are not this host's to answer.",
    ),
    (
        "arp_passed",
        "ARP for other addresses, passed to the kernel.",
    ),
    ("arp_malformed", "ARP that is none, passed to the kernel."),
    (
        "arp_conflict",
        "ARP by which another host claims an address that this host owns.",
    ),
    (
        "carp_passed",
        "IPv4 packets of protocol 112, passed to the kernel.",
    ),
];

#[cfg(test)]
mod tests;
