//! What an operator is told who has set up the other host wrongly: a line that
//! says what is different, and a counter.

use std::net::Ipv4Addr;

use vipd_tests::lab::{
    Keepalived, KeepalivedOptions, Lab, Ucarp, UcarpOptions, Vipd, VipdOptions, wait_until,
};

use crate::scene::{SOON, VIP, count, pair, ucarp, vipd};

const SECOND_VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 101);

/// Waits until it is counted so often, and returns how often it is logged.
fn lines(vipd: &Vipd, counter: &str, times: u64, text: &str) -> usize {
    wait_until(counter, SOON, || {
        (vipd.counter(counter) >= times).then_some(())
    });
    count(vipd, text)
}

#[test]
fn another_password_and_other_addresses_are_told_apart_in_one_line_each() {
    let cases = [
        (
            UcarpOptions {
                password: "Secret".to_owned(),
                ..ucarp(50)
            },
            vec![VIP],
            "bad_digest",
            "the password differs",
        ),
        (
            UcarpOptions {
                vip: SECOND_VIP,
                ..ucarp(50)
            },
            vec![VIP],
            "bad_digest_addresses",
            "that host has the virtual address 10.99.0.101, and this one 10.99.0.100",
        ),
        (
            ucarp(50),
            vec![VIP, SECOND_VIP],
            "bad_digest_addresses",
            "that host has the virtual address 10.99.0.100 only",
        ),
    ];
    for (options, vips, counter, text) in cases {
        let lab = Lab::new();
        let (n1, n2, _client) = pair(&lab);
        let first = Vipd::start(&n1, &VipdOptions { vips, ..vipd(0) });
        // Neither hears the other, so both are master, and advertise.
        let _second = Ucarp::spawn(&n2, &options);
        assert_eq!(lines(&first, counter, 3, text), 1, "{}", first.log());
        assert_eq!(count(&first, "adverts do not verify"), 1);
        assert_eq!(first.counter("adverts_received"), 0);
    }
}

#[test]
fn a_vrrp_router_with_the_groups_number_is_named_once_and_harms_nobody() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let _router = Keepalived::spawn(
        &n2,
        &KeepalivedOptions {
            routers: vec![(42, Ipv4Addr::new(10, 99, 0, 150))],
            advert_int: "1",
            priority: 200,
        },
    );
    assert_eq!(
        lines(&first, "vrrp", 1, "a VRRP router uses the group's vhid"),
        1
    );
    assert_eq!(first.role(), "master");
    assert_eq!(first.group()["counters"]["transitions"], 2);
}

#[test]
fn a_host_with_our_own_source_address_is_named() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let arguments = vipd(50).arguments(&n2);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--srcip", "10.99.0.1"]);
    let second = Vipd::spawn(&n2, &arguments);
    let text = "another host advertises from our own address";
    second.wait_for_log(text, SOON);
    assert_eq!(count(&second, text), 1);
}
