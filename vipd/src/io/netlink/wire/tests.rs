//! Netlink messages read.

use rtnetlink::packet_route::link::XdpAttached;

use super::*;

fn message(attributes: &[LinkAttribute]) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 5;
    message.header.flags = LinkFlags::Up | LinkFlags::Running;
    message.attributes = vec![
        LinkAttribute::IfName("eth0".to_owned()),
        LinkAttribute::Mtu(1500),
    ];
    message.attributes.extend_from_slice(attributes);
    message
}

#[test]
fn up_is_what_both_the_administrator_and_the_carrier_say() {
    for (state, up) in [
        (State::Up, true),
        (State::Unknown, true),
        (State::Down, false),
        (State::LowerLayerDown, false),
        (State::Dormant, false),
        (State::NotPresent, false),
        (State::Testing, false),
    ] {
        let mut message = message(&[LinkAttribute::OperState(state)]);
        assert_eq!(link(&message).unwrap().up, up, "{state:?}");
        message.header.flags = LinkFlags::Up;
        assert!(!link(&message).unwrap().up, "{state:?}");
    }
}

#[test]
fn changes_of_the_carrier_are_counted() {
    let count = |attributes: &[_]| link(&message(attributes)).unwrap().carrier_changes;
    assert_eq!(count(&[LinkAttribute::CarrierChanges(7)]), 7);
    assert_eq!(count(&[]), 0);
}

#[test]
fn a_vlan_is_known_by_its_kind() {
    let kind = |kind| link(&message(&[LinkAttribute::LinkInfo(vec![Info::Kind(kind)])])).unwrap();
    let vlan = kind(InfoKind::Vlan);
    assert!(vlan.is_vlan);
    assert_eq!(vlan.kind.as_deref(), Some("vlan"));
    assert!(!kind(InfoKind::Bond).is_vlan);
    assert_eq!(link(&message(&[])).unwrap().kind, None);
}

#[test]
fn an_xdp_program_is_found_in_whatever_mode() {
    let program = |xdp| {
        link(&message(&[LinkAttribute::Xdp(xdp)]))
            .unwrap()
            .xdp_program
    };
    assert_eq!(program(vec![LinkXdp::Attached(XdpAttached::None)]), None);
    assert_eq!(
        program(vec![
            LinkXdp::Attached(XdpAttached::Driver),
            LinkXdp::ProgId(7)
        ]),
        Some(7)
    );
    let several = [
        LinkXdp::Attached(XdpAttached::Multiple),
        LinkXdp::DrvProgId(8),
        LinkXdp::SkbProgId(9),
    ];
    assert_eq!(program(several.to_vec()), Some(8));
}

#[test]
fn a_mac_of_another_length_is_none() {
    let mac = |bytes: &[u8]| {
        link(&message(&[LinkAttribute::Address(bytes.to_vec())]))
            .unwrap()
            .mac
    };
    assert_eq!(mac(&[2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 1]));
    assert_eq!(mac(&[0; 20]), None);
    assert_eq!(mac(&[]), None);
}

#[test]
fn what_does_not_describe_an_interface_is_ignored() {
    let mut port = message(&[]);
    port.header.interface_family = AddressFamily::Bridge;
    assert_eq!(link(&port), None);

    let mut wireless = message(&[]);
    wireless.attributes.truncate(1);
    assert_eq!(link(&wireless), None);
}
