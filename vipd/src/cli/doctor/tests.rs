//! How findings are told.

use super::*;

/// A group of a daemon's status on `eth0`, changed by the test.
pub(super) fn group(change: impl FnOnce(&mut serde_json::Value)) -> GroupStatus {
    let mut json = serde_json::json!({
        "name": "web", "interface": "eth0", "decider": "carp", "vhid": 42,
        "vips": ["10.99.0.100"], "role": "backup", "since": "2026-11-20T12:00:00.123Z",
        "reason": "start", "owner_mac": null, "lease_ms": 0,
        "master": {"address": "10.99.0.1", "advbase": 1, "advskew": 128},
        "demoted": false, "auth": "send", "key": 0, "signing_peers": [], "preempt": true,
        "deadratio": 3, "addresses": "interface", "counters": {},
    });
    change(&mut json);
    serde_json::from_value(json).expect("a group")
}

#[test]
fn a_finding_is_a_line_with_what_to_do_below_and_none_is_too_wide() {
    let report = Report {
        findings: vec![
            Finding::ok("kernel", "", "Linux 6.18"),
            Finding::fail(
                "xdp",
                "eth0",
                "another program holds the interface, and so on and so forth",
            )
            .advice("take it off"),
        ],
        bpftool: vec!["bpftool link".to_owned()],
    };
    let screen = Screen {
        width: 50,
        colour: false,
    };
    let text = render(&report, screen);
    let expected = "ok    kernel: Linux 6.18\n\
                    FAIL  eth0 xdp: another program holds the\n      interface, and so on and so forth\n      -> take it off\n\n\
                    The kernel's half, as root:\n      bpftool link\n\n\
                    1 well, 0 to look at, 1 wrong\n";
    assert_eq!(text, expected);
}
