//! What notifications make of the table of interfaces.

use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

fn eth0(ifindex: u32, addresses: &[(Ipv4Addr, u8)]) -> LinkInfo {
    LinkInfo {
        ifindex,
        name: "eth0".to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        up: true,
        carrier_changes: 2,
        mtu: 1500,
        kind: Some("veth".to_owned()),
        is_vlan: false,
        xdp_program: None,
        addresses: addresses.to_vec(),
    }
}

fn gone() -> Event {
    Event::LinkGone {
        name: "eth0".to_owned(),
    }
}

fn table(addresses: &[(Ipv4Addr, u8)]) -> Table {
    let mut table = Table::new(&["eth0"]);
    let link = eth0(5, addresses);
    assert_eq!(table.found("eth0", Some(link.clone())), [Event::Link(link)]);
    table
}

#[test]
fn an_interface_that_is_missing_at_the_start_is_told_of() {
    assert_eq!(Table::new(&["eth0"]).found("eth0", None), [gone()]);
}

#[test]
fn a_repeated_notification_is_no_news() {
    let mut table = table(&[(OWN, 24)]);
    assert_eq!(table.link(eth0(5, &[])), []);
    assert_eq!(table.found("eth0", Some(eth0(5, &[(OWN, 24)]))), []);
    assert_eq!(table.address_added(5, OWN, 24), []);
    assert_eq!(table.address_removed(5, VIP, 32), []);
}

#[test]
fn a_link_that_was_down_and_is_up_again_is_news() {
    let mut table = table(&[(OWN, 24)]);
    let back = LinkInfo {
        carrier_changes: 4,
        ..eth0(5, &[(OWN, 24)])
    };
    assert_eq!(table.link(back.clone()), [Event::Link(back)]);
}

#[test]
fn a_changed_link_keeps_its_addresses() {
    let mut table = table(&[(OWN, 24)]);
    let down = LinkInfo {
        up: false,
        ..eth0(5, &[(OWN, 24)])
    };
    assert_eq!(
        table.link(LinkInfo {
            addresses: Vec::new(),
            ..down.clone()
        }),
        [Event::Link(down)]
    );
    let moved = LinkInfo {
        mac: Some([2, 0, 0, 0, 0, 9]),
        ..eth0(5, &[(OWN, 24)])
    };
    assert_eq!(table.link(moved.clone()), [Event::Link(moved)]);
}

#[test]
fn an_interface_made_anew_is_gone_first() {
    let mut table = table(&[(OWN, 24)]);
    assert_eq!(table.link_removed(5), [gone()]);
    assert_eq!(table.link_removed(5), []);
    assert_eq!(table.link(eth0(7, &[])), [Event::Link(eth0(7, &[]))]);
    assert_eq!(table.address_added(5, OWN, 24), []);
    assert_eq!(
        table.address_added(7, OWN, 24),
        [Event::AddressAdded {
            ifindex: 7,
            address: OWN
        }]
    );
    // The same with the deletion unheard of.
    assert_eq!(
        table.link(eth0(9, &[])),
        [gone(), Event::Link(eth0(9, &[]))]
    );
    let eleven = eth0(11, &[(OWN, 24)]);
    assert_eq!(
        table.found("eth0", Some(eleven.clone())),
        [gone(), Event::Link(eleven)]
    );
    assert_eq!(table.address_added(11, OWN, 24), []);
}

#[test]
fn a_renamed_interface_is_gone_from_its_old_name() {
    let mut table = Table::new(&["eth0", "lan"]);
    table.found("eth0", Some(eth0(5, &[])));
    let lan = LinkInfo {
        name: "lan".to_owned(),
        ..eth0(5, &[])
    };
    assert_eq!(table.link(lan.clone()), [gone(), Event::Link(lan)]);
    let other = LinkInfo {
        name: "other".to_owned(),
        ..eth0(5, &[])
    };
    assert_eq!(
        table.link(other),
        [Event::LinkGone {
            name: "lan".to_owned()
        }]
    );
}

#[test]
fn an_address_lives_as_long_as_its_last_prefix_length() {
    let mut table = table(&[]);
    assert_eq!(
        table.address_added(5, VIP, 32),
        [Event::AddressAdded {
            ifindex: 5,
            address: VIP
        }]
    );
    assert_eq!(table.address_added(5, VIP, 24), []);
    assert_eq!(table.address_removed(5, VIP, 32), []);
    assert_eq!(
        table.address_removed(5, VIP, 24),
        [Event::AddressRemoved {
            ifindex: 5,
            address: VIP
        }]
    );
}

#[test]
fn reading_everything_anew_tells_the_differences() {
    let mut table = table(&[(OWN, 24), (VIP, 32)]);
    let other = Ipv4Addr::new(10, 99, 0, 200);
    let mut found = eth0(5, &[(OWN, 24), (other, 32)]);
    found.mtu = 9000;
    let told = table.found("eth0", Some(found.clone()));
    assert_eq!(
        told,
        [
            Event::Link(LinkInfo {
                addresses: vec![(OWN, 24), (VIP, 32)],
                ..found
            }),
            Event::AddressRemoved {
                ifindex: 5,
                address: VIP
            },
            Event::AddressAdded {
                ifindex: 5,
                address: other
            },
        ]
    );
    assert_eq!(table.found("eth0", None), [gone()]);
}
