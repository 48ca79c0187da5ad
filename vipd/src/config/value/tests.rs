use super::*;

#[test]
fn numbers_end_where_they_are_said_to_end() {
    for (text, is_good) in [("1", true), ("255", true), ("0", false), ("256", false)] {
        assert_eq!(VHID.parse(text).is_ok(), is_good, "vhid {text}");
        assert_eq!(KEY_ID.parse(text).is_ok(), is_good, "key {text}");
        assert_eq!(DEADRATIO.parse(text).is_ok(), is_good, "deadratio {text}");
    }
    for (text, is_good) in [("0", true), ("254", true), ("255", false), ("-1", false)] {
        assert_eq!(ADVSKEW.parse(text).is_ok(), is_good, "advskew {text}");
    }
    for (text, is_good) in [("0", true), ("255", true), ("256", false), ("x", false)] {
        assert_eq!(ADVBASE.parse(text).is_ok(), is_good, "advbase {text}");
        assert_eq!(SIGN_WITH.parse(text).is_ok(), is_good, "sign_with {text}");
    }
    for (text, is_good) in [("1", true), ("254", true), ("0", false), ("255", false)] {
        assert_eq!(DEMOTION.parse(text).is_ok(), is_good, "demote {text}");
    }
    for (text, is_good) in [("1", true), ("1000", true), ("0", false), ("1001", false)] {
        assert_eq!(IN_A_ROW.parse(text).is_ok(), is_good, "rise {text}");
    }
    for (text, is_good) in [("100", true), ("599", true), ("99", false), ("600", false)] {
        assert_eq!(HTTP_STATUS.parse(text).is_ok(), is_good, "status {text}");
    }
    assert_eq!(
        VHID.parse("0").unwrap_err(),
        "expected a number from 1 to 255"
    );
}

#[test]
fn an_address_that_no_host_of_a_lan_has_is_refused_with_the_reason() {
    for (text, reason) in [
        ("0.0.0.0", "no host"),
        ("127.0.0.1", "loopback"),
        ("224.0.0.18", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("10.99.0.256", "such as"),
        ("fe80::1", "IPv4"),
        ("", "such as"),
    ] {
        let said = ADDRESS.parse(text).unwrap_err();
        assert!(said.contains(reason), "{text}: {said}");
    }
    assert!(ADDRESS.parse("10.99.0.100").is_ok());
}

#[test]
fn a_url_is_an_address_with_a_port_and_a_path() {
    for (text, addr, host, path) in [
        (
            "http://127.0.0.1:8080/health?a=b",
            "127.0.0.1:8080",
            "127.0.0.1:8080",
            "/health?a=b",
        ),
        ("http://10.0.0.1", "10.0.0.1:80", "10.0.0.1", "/"),
        ("http://10.0.0.1?x", "10.0.0.1:80", "10.0.0.1", "/?x"),
        ("http://[::1]/", "[::1]:80", "[::1]", "/"),
        ("http://[::1]:81/", "[::1]:81", "[::1]:81", "/"),
    ] {
        let url = HTTP.parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(url.addr, addr.parse().unwrap());
        assert_eq!((url.host.as_str(), url.path.as_str()), (host, path));
    }
    for (text, reason) in [
        ("https://127.0.0.1/", "command"),
        ("http://localhost/", "not looked up"),
        ("127.0.0.1", "such as"),
        ("http://", "such as"),
        ("http://127.0.0.1:0/", "such as"),
        ("http://127.0.0.1:99999/", "such as"),
        ("http://user@127.0.0.1/", "such as"),
        ("http://::1/", "such as"),
        ("http://127.0.0.1/a b", "visible"),
        ("http://127.0.0.1/a\r\nHost: x", "visible"),
        ("http://127.0.0.1/#a", "#"),
    ] {
        let said = HTTP.parse(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(said.contains(reason), "{text}: {said}");
    }
}

#[test]
fn times_end_where_they_are_said_to_end() {
    for (text, is_good) in [
        ("10ms", true),
        ("1h", true),
        ("9ms", false),
        ("61m", false),
        ("1", false),
    ] {
        assert_eq!(PERIOD.parse(text).is_ok(), is_good, "{text}");
    }
    for (text, is_good) in [
        ("0s", true),
        ("1day", true),
        ("25h", false),
        ("-1s", false),
        ("", false),
    ] {
        assert_eq!(DELAY.parse(text).is_ok(), is_good, "{text}");
    }
}

#[test]
fn names_can_be_names_of_files() {
    for (text, is_good) in [
        ("web", true),
        ("eth0.5-42", true),
        ("7", true),
        ("", false),
        ("..", false),
        ("-x", false),
        ("a/b", false),
        ("a b", false),
        ("caf\u{e9}", false),
    ] {
        assert_eq!(NAME.parse(text).is_ok(), is_good, "{text:?}");
    }
    assert!(NAME.parse(&"a".repeat(64)).is_ok() && NAME.parse(&"a".repeat(65)).is_err());
    for (text, is_good) in [
        ("eth0", true),
        ("eth0.5", true),
        ("a-name-of-16-chs", false),
        ("a b", false),
        ("..", false),
    ] {
        assert_eq!(INTERFACE.parse(text).is_ok(), is_good, "{text:?}");
    }
}

#[test]
fn what_is_meant_is_found_and_what_is_not_is_not() {
    let keys = ["advbase", "advskew", "vips", "preempt", "preempt_delay"];
    for (word, meant) in [
        ("advskwe", Some("advskew")),
        ("Advskew", Some("advskew")),
        ("prempt", Some("preempt")),
        ("preempt-delay", Some("preempt_delay")),
        ("vip", Some("vips")),
        ("colour", None),
        ("", None),
    ] {
        assert_eq!(nearest(word, keys.into_iter()), meant, "{word:?}");
    }
}
