//! What happens to the interface, and what becomes of the mastership.

use std::net::Ipv4Addr;

use serde_json::Value;
use vipd_tests::lab::{Host, Lab, Prober, Sniffer, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, pair, vipd, wait_for_address, wait_for_service};

/// A preferred master that preempts, and its backup.
fn master_and_backup(n1: &Host, n2: &Host) -> (Vipd, Vipd) {
    let preempting = VipdOptions {
        preempt: true,
        ..vipd(0)
    };
    let first = Vipd::start(n1, &preempting);
    first.wait_for_role("master", SOON);
    let second = Vipd::start(n2, &vipd(50));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    (first, second)
}

/// The link fails, the backup takes over; the link is back, and so is the master.
fn fails_over_and_back(fail: impl Fn(&Host), repair: impl Fn(&Host)) {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = master_and_backup(&n1, &n2);
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    fail(&n1);
    first.wait_for_role("init", SOON);
    let group = first.group();
    assert_eq!(group["reason"], "link_down");
    assert_eq!(group["owner_mac"], Value::Null);
    assert_eq!(first.interface()["link"], "down");
    wait_for_address(&n1, VIP, false);
    assert!(prober.answered_by_within(n2.mac(), SOON));
    wait_for_service(&client, &n2);

    repair(&n1);
    first.wait_for_role("master", SOON);
    assert_eq!(first.interface()["link"], "up");
    second.wait_for_role("backup", SOON);
    assert!(prober.answered_by_within(n1.mac(), SOON));
    wait_for_service(&client, &n1);
    let changes = prober.finish().changes();
    let macs: Vec<_> = changes.iter().map(|(_, mac)| *mac).collect();
    assert_eq!(macs, [n1.mac(), n2.mac(), n1.mac()]);
}

#[test]
fn a_master_whose_link_is_set_down_gives_up_and_contends_again() {
    fails_over_and_back(Host::link_down, Host::link_up);
}

#[test]
fn a_master_that_loses_its_carrier_gives_up_and_contends_again() {
    fails_over_and_back(|host| host.carrier(false), |host| host.carrier(true));
}

#[test]
fn a_master_in_the_dark_falls_silent_and_yields_when_it_is_healed() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = master_and_backup(&n1, &n2);
    let prober = Prober::start(&client, VIP, 50);
    n2.cut();
    second.wait_for_role("master", SOON);
    n2.heal();
    second.wait_for_role("backup", SOON);
    assert_eq!(second.group()["reason"], "better_master");
    assert_eq!(first.role(), "master");
    wait_for_service(&client, &n1);
    drop(prober);
}

#[test]
fn an_interface_that_is_made_anew_is_taken_again() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (mut first, second) = master_and_backup(&n1, &n2);
    let before = n1.xdp_program("eth0").expect("the responder is attached");

    n1.remove_interface();
    wait_until("the interface is gone", SOON, || {
        (first.interface()["link"] == "gone").then_some(())
    });
    assert_eq!(first.role(), "init");
    assert_eq!(first.interface()["xdp_mode"], "none");
    second.wait_for_role("master", SOON);
    n1.make_interface();
    first.wait_for_role("master", SOON);
    assert_eq!(first.interface()["link"], "up");
    assert_eq!(first.interface()["xdp_mode"], "generic");
    let after = n1.xdp_program("eth0").expect("the responder is attached");
    assert_ne!(before, after);
    second.wait_for_role("backup", SOON);
    wait_for_service(&client, &n1);
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    assert!(first.terminate(SOON).success());
    crate::scene::assert_untouched(&n1);
}

#[test]
fn a_backup_whose_interface_is_made_anew_follows_the_master_again() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let (_first, second) = master_and_backup(&n1, &n2);
    n2.remove_interface();
    second.wait_for_role("init", SOON);
    n2.make_interface();
    second.wait_for_role("backup", SOON);
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    assert!(n2.xdp_program("eth0").is_some());
}

#[test]
fn a_new_mac_is_answered_with_and_announced() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    let sniffer = Sniffer::start(&client);
    let new = [2, 0, 0, 0, 0, 0x99];
    n1.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:99"]);
    assert!(prober.answered_by_within(new, SOON));
    wait_until("announcements of it", SOON, || {
        let announcements = sniffer.announcements(VIP);
        let new = announcements
            .iter()
            .filter(|(_, arp)| arp.sha == new && arp.eth_src == new);
        (new.count() >= 4).then_some(())
    });
    wait_until("answers from it alone", SOON, || {
        let answers = prober.so_far().answers;
        let last = answers.last()?;
        (last.mac == new && last.ethernet_source == new).then_some(())
    });
    assert_eq!(first.group()["owner_mac"], "02:00:00:00:00:99");
    assert_eq!(first.interface()["mac"], "02:00:00:00:00:99");
    assert_eq!(first.role(), "master");
}

#[test]
fn adverts_come_from_the_address_the_host_has() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let sniffer = Sniffer::start(&client);
    let advertised_from = |address: &str| {
        let address: Ipv4Addr = address.parse().expect("an address");
        wait_until("adverts from the new address", SOON, || {
            let adverts = sniffer.adverts();
            (adverts.last()?.1 == address).then_some(())
        });
    };
    advertised_from("10.99.0.1");
    n1.remove_address("10.99.0.1/24");
    n1.add_address("10.99.0.11/24");
    advertised_from("10.99.0.11");
    // The other way round, without a moment that has none. A second address of
    // the same network would go with the first.
    n1.add_address("10.99.0.12/25");
    n1.remove_address("10.99.0.11/24");
    advertised_from("10.99.0.12");
    assert_eq!(first.group()["master"]["address"], "10.99.0.12");
    assert_eq!(first.role(), "master");
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    wait_for_address(&n1, VIP, true);
}

#[test]
fn an_interface_that_is_renamed_and_back_is_taken_again_with_its_address() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = master_and_backup(&n1, &n2);
    n1.link_down();
    n1.ip(&["link", "set", "eth0", "name", "eth5"]);
    wait_until("the interface is gone", SOON, || {
        (first.interface()["link"] == "gone").then_some(())
    });
    n1.ip(&["link", "set", "eth5", "name", "eth0"]);
    n1.link_up();
    first.wait_for_role("master", SOON);
    second.wait_for_role("backup", SOON);
    assert_eq!(first.group()["master"]["address"], "10.99.0.1");
    wait_for_service(&client, &n1);
}

#[test]
fn a_link_that_flaps_ends_as_it_began() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = master_and_backup(&n1, &n2);
    for _ in 0..10 {
        n1.link_down();
        n1.link_up();
    }
    for _ in 0..10 {
        n1.carrier(false);
        n1.carrier(true);
    }
    n1.wait_for_carrier();
    // It may have been noticed as one change, or as many, or not at all.
    first.wait_for_log("reason=link_down", SOON);
    first.wait_for_role("master", SOON);
    second.wait_for_role("backup", SOON);
    wait_for_address(&n1, VIP, true);
    wait_for_address(&n2, VIP, false);
    wait_for_service(&client, &n1);
}
