//! `vipd clean`: what a killed daemon left is gone, what a living one has stays.

use std::net::Ipv4Addr;
use std::process::Output;

use vipd_tests::lab::{Host, Lab, Vipd, VipdOptions};

use crate::scene::{SOON, VIP, assert_untouched, pair, vipd, wait_for_address};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 101);

fn clean(host: &Host) -> Output {
    Vipd::command_on(host, &["clean"])
        .output()
        .expect("vipd can be started")
}

#[test]
fn what_a_killed_daemon_left_is_removed() {
    for addresses in ["interface", "loopback"] {
        let lab = Lab::new();
        let (n1, _n2, _client) = pair(&lab);
        let options = VipdOptions {
            addresses,
            ..vipd(0)
        };
        let setting = "/proc/sys/net/ipv4/conf/eth0/arp_ignore";
        let read = || n1.run_in(move || std::fs::read_to_string(setting).expect("it is there"));
        let before = read();
        let mut first = Vipd::start(&n1, &options);
        first.wait_for_role("master", SOON);
        if addresses == "interface" {
            wait_for_address(&n1, VIP, true);
        }
        first.kill();

        let output = clean(&n1);

        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(said.contains("10.99.0.100"), "{said}");
        assert!(said.contains("eth0: removed the responder"), "{said}");
        let socket = n1.directory().join("vipd.sock");
        std::fs::remove_file(socket).expect("a killed daemon leaves its socket");
        assert_untouched(&n1);
        assert_eq!(read(), before, "{addresses}");

        let again = clean(&n1);
        assert_eq!(again.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&again.stdout).contains("nothing"));
    }
}

#[test]
fn a_running_daemon_is_not_disturbed() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    wait_for_address(&n1, VIP, true);

    let output = clean(&n1);

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains(&first.pid().to_string()), "{said}");
    assert!(n1.addresses().contains(&VIP.into()));
    assert!(n1.xdp_program("eth0").is_some());
    assert_eq!(first.role(), "master");
}

#[test]
fn a_start_with_another_vip_takes_the_old_one_off_too() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let mut killed = Vipd::start(&n1, &vipd(0));
    killed.wait_for_lease(SOON);
    wait_for_address(&n1, VIP, true);
    killed.kill();

    let other = VipdOptions {
        vips: vec![OTHER],
        ..vipd(0)
    };
    let second = Vipd::start(&n1, &other);

    // Left there, the kernel would answer for it as long as the host lives.
    wait_for_address(&n1, VIP, false);
    second.wait_for_lease(SOON);
    wait_for_address(&n1, OTHER, true);
}
