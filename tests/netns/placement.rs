//! Where the VIPs are put, and that everything is put back.

use std::fs;

use vipd_tests::lab::{Host, Lab, Prober, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, pair, vipd, wait_for_address, wait_for_service};

fn placed(advskew: u8, addresses: &'static str) -> VipdOptions {
    VipdOptions {
        addresses,
        ..vipd(advskew)
    }
}

fn on_loopback(host: &Host) -> bool {
    host.ip(&["addr", "show", "dev", "lo"])
        .contains("inet 10.99.0.100/32")
}

/// `arp_ignore` and `arp_announce` of `eth0`.
fn settings(host: &Host) -> [String; 2] {
    host.run_in(|| {
        ["arp_ignore", "arp_announce"].map(|name| {
            let path = format!("/proc/sys/net/ipv4/conf/eth0/{name}");
            let value = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            value.trim().to_owned()
        })
    })
}

fn wait_for_loopback(host: &Host) {
    wait_until("the VIP is on lo", SOON, || on_loopback(host).then_some(()));
}

#[test]
fn on_the_interface_the_address_comes_and_goes_with_the_role() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &placed(0, "interface"));
    first.wait_for_role("master", SOON);
    wait_for_address(&n1, VIP, true);
    assert!(
        n1.ip(&["addr", "show", "dev", "eth0"])
            .contains("inet 10.99.0.100/32")
    );
    let mut second = Vipd::start(&n2, &placed(50, "interface"));
    wait_for_service(&client, &n1);
    assert!(!n2.addresses().contains(&VIP.into()));
    assert!(first.terminate(SOON).success());
    assert_untouched(&n1);
    second.wait_for_role("master", SOON);
    wait_for_address(&n2, VIP, true);
    wait_for_service(&client, &n2);
    assert!(second.terminate(SOON).success());
    assert_untouched(&n2);
}

#[test]
fn an_address_somebody_removes_from_the_interface_is_put_back() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &placed(0, "interface"));
    first.wait_for_role("master", SOON);
    wait_for_address(&n1, VIP, true);
    let prober = Prober::start(&client, VIP, 50);
    n1.remove_address("10.99.0.100/32");
    first.wait_for_log("somebody removed the address from the interface", SOON);
    wait_for_address(&n1, VIP, true);
    assert_eq!(first.counter("addresses_lost"), 1);
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    wait_for_service(&client, &n1);
}

#[test]
fn on_the_loopback_device_the_address_stays_from_start_to_stop() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let before = settings(&n1);
    assert_ne!(before, ["1", "2"]);
    let mut first = Vipd::start(&n1, &placed(0, "loopback"));
    first.wait_for_role("master", SOON);
    let mut second = Vipd::start(&n2, &placed(50, "loopback"));
    for host in [&n1, &n2] {
        wait_for_loopback(host);
        assert_eq!(settings(host), ["1", "2"]);
        assert!(!host.addresses().contains(&VIP.into()));
    }
    wait_for_service(&client, &n1);
    assert_eq!(second.role(), "backup");
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    // Somebody removes it, on the master and on the backup.
    for (host, daemon) in [(&n1, &first), (&n2, &second)] {
        host.ip(&["addr", "del", "10.99.0.100/32", "dev", "lo"]);
        daemon.wait_for_log("somebody removed the address from lo", SOON);
        wait_for_loopback(host);
    }

    assert!(first.terminate(SOON).success());
    assert_untouched(&n1);
    assert_eq!(settings(&n1), before);
    second.wait_for_role("master", SOON);
    assert!(prober.answered_by_within(n2.mac(), SOON));
    wait_for_service(&client, &n2);
    let record = prober.finish();
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
    assert!(second.terminate(SOON).success());
    assert_untouched(&n2);
    assert_eq!(settings(&n2), before);
}

#[test]
fn the_settings_from_before_a_crash_are_restored_by_the_next_daemon() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let sysctl = n1.run_in(|| fs::write("/proc/sys/net/ipv4/conf/eth0/arp_announce", "1"));
    sysctl.expect("root may change it");
    let before = settings(&n1);
    let mut first = Vipd::start(&n1, &placed(0, "loopback"));
    wait_for_loopback(&n1);
    assert_eq!(settings(&n1), ["1", "2"]);
    first.kill();
    assert!(on_loopback(&n1));
    assert_eq!(settings(&n1), ["1", "2"]);

    let mut second = Vipd::start(&n1, &placed(0, "loopback"));
    second.wait_for_role("master", SOON);
    assert_eq!(settings(&n1), ["1", "2"]);
    assert!(second.terminate(SOON).success());
    assert_eq!(settings(&n1), before);
    assert_untouched(&n1);
}

#[test]
fn a_daemon_with_another_placement_clears_up_after_a_killed_one() {
    for (before, after) in [("loopback", "interface"), ("interface", "loopback")] {
        let lab = Lab::new();
        let (n1, _n2, _client) = pair(&lab);
        let original = settings(&n1);
        let mut first = Vipd::start(&n1, &placed(0, before));
        first.wait_for_role("master", SOON);
        first.kill();
        let mut second = Vipd::start(&n1, &placed(0, after));
        second.wait_for_role("master", SOON);
        match after {
            "interface" => {
                wait_for_address(&n1, VIP, true);
                assert!(!on_loopback(&n1));
                assert_eq!(settings(&n1), original);
            }
            _ => {
                wait_for_loopback(&n1);
                assert!(!n1.addresses().contains(&VIP.into()));
            }
        }
        assert!(second.terminate(SOON).success());
        assert_untouched(&n1);
        assert_eq!(settings(&n1), original);
    }
}

#[test]
fn an_interface_that_is_made_anew_gets_the_settings_too() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let before = settings(&n1);
    let mut first = Vipd::start(&n1, &placed(0, "loopback"));
    first.wait_for_role("master", SOON);
    n1.remove_interface();
    first.wait_for_role("init", SOON);
    n1.make_interface();
    first.wait_for_role("master", SOON);
    assert_eq!(settings(&n1), ["1", "2"]);
    assert!(first.terminate(SOON).success());
    assert_eq!(settings(&n1), before);
    assert_untouched(&n1);
}

#[test]
fn placed_nowhere_the_addresses_are_the_operators_business() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let before = settings(&n1);
    // As somebody does who has the VIP on a device of his own.
    n2.ip(&["link", "add", "own", "type", "bridge"]);
    n2.ip(&["link", "set", "own", "up"]);
    n2.ip(&["addr", "add", "10.99.0.100/32", "dev", "own"]);
    let mut first = Vipd::start(&n1, &placed(0, "none"));
    first.wait_for_role("master", SOON);
    let mut second = Vipd::start(&n2, &placed(50, "none"));
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    for host in [&n1, &n2] {
        assert!(!host.addresses().contains(&VIP.into()));
        assert!(!on_loopback(host));
        assert_eq!(settings(host), before);
    }
    assert!(first.terminate(SOON).success());
    assert_untouched(&n1);
    second.wait_for_role("master", SOON);
    wait_for_service(&client, &n2);
    assert!(second.terminate(SOON).success());
    assert!(
        n2.ip(&["addr", "show", "dev", "own"])
            .contains("inet 10.99.0.100/32")
    );
    assert_untouched(&n2);
}
