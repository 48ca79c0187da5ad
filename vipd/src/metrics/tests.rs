//! The text format, line by line. `promtool check metrics` reads the text of a
//! real daemon in the tier `netns`.

use std::collections::BTreeMap;

use super::*;

fn group(name: &str, role: &str) -> GroupStatus {
    let json = serde_json::json!({
        "name": name, "interface": "eth0", "decider": "carp", "vhid": 42,
        "vips": ["10.99.0.100", "10.99.0.101"], "role": role,
        "since": "2026-11-20T12:00:00.123Z", "reason": "master_timeout",
        "owner_mac": (role == "master").then_some("02:00:00:00:00:01"), "lease_ms": 2045,
        "master": null, "demoted": false, "demotion": 100, "auth": "send", "key": 0, "signing_peers": [],
        "preempt": true, "deadratio": 3, "addresses": "interface",
        "counters": {"adverts_sent": 12, "transitions": 2},
        "checks": [{"name": "nginx", "state": "passing", "since": "", "text": ""}],
    });
    serde_json::from_value(json).expect("a group")
}

fn status(groups: Vec<GroupStatus>) -> Status {
    let counters = BTreeMap::from(
        [("arp_answered", 5), ("rejected_ttl", 1)].map(|(name, count)| (name.to_owned(), count)),
    );
    let json = serde_json::json!({"version": "0.1.0", "realtime": false, "groups": [], "interfaces": [
        {"name": "eth0", "link": "up", "mac": null, "xdp_mode": "native", "xdp_reason": "", "counters": counters},
    ]});
    let status: Status = serde_json::from_value(json).expect("a status");
    Status { groups, ..status }
}

#[test]
fn a_role_is_one_of_three_gauges() {
    let text = text(&status(vec![group("web", "master")]));
    for (state, value) in [("init", 0), ("backup", 0), ("master", 1)] {
        let line = format!(
            "vipd_group_state{{group=\"web\",interface=\"eth0\",vhid=\"42\",state=\"{state}\"}} {value}\n"
        );
        assert!(text.contains(&line), "{text} lacks {line}");
    }
}

#[test]
fn what_the_status_counts_is_there_by_group_and_by_interface() {
    let text = text(&status(vec![group("web", "master"), group("db", "backup")]));
    for line in [
        "vipd_build_info{version=\"0.1.0\"} 1\n",
        "vipd_group_adverts_sent_total{group=\"db\",interface=\"eth0\",vhid=\"42\"} 12\n",
        "vipd_group_transitions_total{group=\"web\",interface=\"eth0\",vhid=\"42\"} 2\n",
        "vipd_group_answers{group=\"web\",interface=\"eth0\",vhid=\"42\"} 1\n",
        "vipd_group_answers{group=\"db\",interface=\"eth0\",vhid=\"42\"} 0\n",
        "vipd_group_demotion{group=\"db\",interface=\"eth0\",vhid=\"42\"} 100\n",
        "vipd_group_check_passing{group=\"db\",interface=\"eth0\",vhid=\"42\",check=\"nginx\"} 1\n",
        "vipd_group_lease_seconds{group=\"web\",interface=\"eth0\",vhid=\"42\"} 2.045\n",
        "vipd_interface_arp_answered_total{interface=\"eth0\"} 5\n",
        "vipd_interface_rejected_total{interface=\"eth0\",reason=\"ttl\"} 1\n",
        "vipd_interface_xdp_mode{interface=\"eth0\",mode=\"native\"} 1\n",
    ] {
        assert!(text.contains(line), "{text} lacks {line}");
    }
    let families = |name: &str| text.matches(&format!("# TYPE {name} ")).count();
    assert_eq!(families("vipd_group_adverts_sent_total"), 1);
    assert_eq!(families("vipd_group_state"), 1);
}

#[test]
fn no_name_can_break_out_of_its_quotes() {
    let text = text(&status(vec![group("a\"} 1\n# \\", "backup")]));
    assert!(
        text.contains("group=\"a\\\"} 1\\n# \\\\\",interface"),
        "{text}"
    );
    for line in text.lines() {
        assert!(
            line.starts_with("vipd_") || line.starts_with("# HELP ") || line.starts_with("# TYPE "),
            "{line}"
        );
    }
}

#[test]
fn every_counter_of_the_status_has_a_help_of_its_own() {
    use crate::engine::GroupCounters;
    use crate::status::{group_counters, responder_counters};
    let counters = group_counters(&GroupCounters::default());
    let responder = responder_counters(&vipd_common::Counters::default());
    for name in counters.keys().chain(responder.keys()) {
        assert!(
            HELP.iter().any(|(known, _)| known == name),
            "{name} has none"
        );
    }
    for (name, _) in HELP {
        // Hooks are counted by the daemon itself.
        assert!(
            name.starts_with("hook_")
                || counters.contains_key(name)
                || responder.contains_key(name),
            "{name} is no counter"
        );
    }
}

#[test]
fn every_metric_is_in_the_document() {
    let document = include_str!("../../../docs/observing.md");
    let text = text(&status(vec![group("web", "master")]));
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for family in families.filter_map(|line| line.split(' ').next()) {
        let counter = family.strip_suffix("_total").map(|name| {
            let end = name.match_indices('_').nth(1).map_or(0, |(at, _)| at);
            format!("`{}_NAME_total`", &name[..end])
        });
        let is_told = document.contains(&format!("`{family}"))
            || counter.is_some_and(|counter| document.contains(&counter));
        assert!(is_told, "{family} is not told of");
    }
}
