//! What people see at night: every mark, every age, and nothing too wide.

use super::*;

const PLAIN: Screen = Screen {
    width: 100,
    colour: false,
};

fn status(change: impl FnOnce(&mut serde_json::Value)) -> Status {
    let mut json = serde_json::json!({
        "version": "0.1.0", "realtime": false, "now": "2026-11-20T15:12:07.500Z",
        "groups": [{
            "name": "web", "interface": "eth0", "decider": "carp", "vhid": 42,
            "vips": ["10.99.0.100"], "role": "master", "since": "2026-11-20T12:00:00.123Z",
            "reason": "master_timeout", "owner_mac": "02:00:00:00:00:01", "lease_ms": 2045,
            "master": {"address": "10.99.0.1", "advbase": 1, "advskew": 0},
            "demoted": false, "auth": "send", "key": 0, "signing_peers": [], "preempt": true,
            "deadratio": 3, "addresses": "interface", "counters": {},
        }],
        "interfaces": [{"name": "eth0", "link": "up", "mac": null, "xdp_mode": "generic",
            "xdp_reason": "", "counters": {"arp_answered": 12}}],
    });
    change(&mut json);
    serde_json::from_value(json).expect("a status")
}

#[test]
fn a_group_is_one_line_with_its_age_and_its_reason_in_words() {
    let table = render(&status(|_| {}), PLAIN);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "GROUP  ROLE    FOR         BECAUSE                       MASTER             ADDRESSES",
            "web    master  3 h 12 min  no master was heard any more  10.99.0.1 (1.000)  10.99.0.100",
        ]
    );
    assert!(
        table.contains("eth0       up    generic  12        0         0\n"),
        "{table}"
    );
}

#[test]
fn what_is_wrong_stands_below() {
    let table = render(
        &status(|json| {
            json["maintenance"] = true.into();
            let group = &mut json["groups"][0];
            group["role"] = "backup".into();
            group["demotion"] = 100.into();
            group["held_back"] =
                "would be master, but check nginx fails: connection refused".into();
            group["causes"] = serde_json::json!([{"name": "nginx", "effect": "demote",
                "demotion": 100, "since": "2026-11-20T15:10:00.000Z", "text": "connection\u{1b}refused"}]);
        }),
        PLAIN,
    );
    for words in [
        "This host is in maintenance",
        "backup (demoted 100)",
        "\n    would be master, but check nginx fails: connection refused\n",
        "\n    nginx demotes by 100: connection?refused, for 2 min 7 s\n",
    ] {
        assert!(table.contains(words), "{table} does not say {words:?}");
    }
    let withheld = render(
        &status(|json| json["groups"][0]["withheld"] = true.into()),
        PLAIN,
    );
    assert!(withheld.contains("master (withheld)"), "{withheld}");
    let mute = render(
        &status(|json| json["groups"][0]["owner_mac"] = serde_json::Value::Null),
        PLAIN,
    );
    assert!(mute.contains("does not answer"), "{mute}");
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let many: Vec<String> = (0..60).map(|n| format!("10.99.0.{n}")).collect();
    let status = status(|json| {
        json["groups"][0]["vips"] = many.into();
        json["groups"][0]["held_back"] = "word ".repeat(50).into();
    });
    for width in [60, 80, 100, 200] {
        let screen = Screen {
            width,
            colour: false,
        };
        let table = render(&status, screen);
        for line in table.lines() {
            assert!(line.chars().count() <= width, "{line:?} in {width}");
        }
        assert!(table.contains("10.99.0.0 +59") || width > 80, "{table}");
        assert!(table.contains("+"), "{table}");
    }
}

#[test]
fn colour_is_on_a_screen_that_has_it_and_nowhere_else() {
    let coloured = Screen {
        colour: true,
        ..PLAIN
    };
    let status = status(|_| {});
    assert!(render(&status, coloured).contains("\x1b[32mweb "));
    assert!(!render(&status, PLAIN).contains('\x1b'));
}

#[test]
fn an_age_has_its_two_largest_units() {
    for (seconds, words) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (7_200, "2 h"),
        (90_061, "1 d 1 h"),
        (86_460, "1 d"),
    ] {
        assert_eq!(human(Duration::from_secs(seconds)), words);
    }
    assert_eq!(
        age("2026-11-20T15:12:07.500Z", "2026-11-20T15:00:00.000Z").as_deref(),
        Some("0 s")
    );
    assert_eq!(age("", "2026-11-20T15:00:00.000Z"), None);
}
