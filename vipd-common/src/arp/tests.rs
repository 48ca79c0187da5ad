//! Frames built and read, byte by byte.

use super::*;

const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const OWNER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const INTERFACE: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const HOST_IP: [u8; 4] = [10, 0, 0, 10];
const VIP: [u8; 4] = [10, 0, 0, 100];

const REQUEST_BYTES: [u8; LEN] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x0a, 0x08, 0x06, // Ethernet
    0, 1, 0x08, 0, 6, 4, 0, 1, // a request
    0x02, 0, 0, 0, 0, 0x0a, 10, 0, 0, 10, // from HOST
    0, 0, 0, 0, 0, 0, 10, 0, 0, 100, // for VIP
];

#[test]
fn a_request_reads_and_writes_the_same_bytes() {
    let request = ArpFrame::request(HOST, HOST_IP, VIP);
    assert_eq!(request.to_bytes(), REQUEST_BYTES);
    assert_eq!(ArpFrame::parse(&REQUEST_BYTES), Ok(request));
}

#[test]
fn every_byte_keeps_its_place() {
    let bytes = core::array::from_fn(|index| index as u8 + 1);
    assert_eq!(ArpFrame::from_bytes(&bytes).to_bytes(), bytes);
}

#[test]
fn padding_is_no_part_of_a_frame() {
    let mut padded = [0xa5; 60];
    padded[..LEN].copy_from_slice(&REQUEST_BYTES);
    assert_eq!(ArpFrame::parse(&padded), ArpFrame::parse(&REQUEST_BYTES));
}

#[test]
fn an_answer_goes_to_the_sender_from_the_interface_and_names_the_owner() {
    let mut request = ArpFrame::request(HOST, HOST_IP, VIP);
    // A request that came by way of another station.
    request.eth_src = [0x02, 0, 0, 0, 0, 0x77];
    assert_eq!(
        request.answer(INTERFACE, OWNER).to_bytes(),
        [
            0x02, 0, 0, 0, 0, 0x0a, 0x02, 0, 0, 0, 0, 0x02, 0x08,
            0x06, // to HOST from INTERFACE
            0, 1, 0x08, 0, 6, 4, 0, 2, // a reply
            0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 100, // VIP is at OWNER
            0x02, 0, 0, 0, 0, 0x0a, 10, 0, 0, 10,
        ]
    );
}

#[test]
fn announcements_go_to_everybody_and_claim_the_vip() {
    for (frame, oper, tha) in [
        (ArpFrame::announce_request(OWNER, VIP), REQUEST, [0; 6]),
        (ArpFrame::announce_reply(OWNER, VIP), REPLY, OWNER),
    ] {
        assert_eq!((frame.eth_dst, frame.eth_src), (BROADCAST, OWNER));
        assert_eq!((frame.oper, frame.tha), (oper, tha));
        assert_eq!((frame.sha, frame.spa, frame.tpa), (OWNER, VIP, VIP));
        assert_eq!(frame.fields().kind(), Kind::Claim);
    }
}

#[test]
fn every_length_under_a_whole_frame_is_malformed() {
    for len in 0..LEN {
        assert_eq!(
            ArpFrame::parse(&REQUEST_BYTES[..len]),
            Err(Malformed),
            "{len} bytes"
        );
    }
}

#[test]
fn every_changed_byte_of_the_fixed_part_is_malformed() {
    for index in 12..22 {
        let mut bytes = REQUEST_BYTES;
        bytes[index] ^= 0x40;
        assert_eq!(ArpFrame::parse(&bytes), Err(Malformed), "byte {index}");
        if index >= 14 {
            assert_eq!(
                ArpFrame::from_bytes(&bytes).fields().kind(),
                Kind::Malformed,
                "byte {index}"
            );
        }
    }
}

#[test]
fn frames_are_sorted_by_who_may_be_answered() {
    let request = ArpFrame::request(HOST, HOST_IP, VIP);
    let reply = request.answer(INTERFACE, OWNER);
    for (what, frame, kind) in [
        ("a request", request, Kind::Request),
        (
            "a probe",
            ArpFrame::request(HOST, [0; 4], VIP),
            Kind::Request,
        ),
        (
            "a gratuitous request",
            ArpFrame::request(HOST, VIP, VIP),
            Kind::Claim,
        ),
        ("a reply", reply, Kind::Claim),
        (
            "a reply of a group's MAC",
            ArpFrame {
                sha: BROADCAST,
                ..reply
            },
            Kind::Claim,
        ),
        (
            "a request from zero",
            ArpFrame {
                sha: [0; 6],
                ..request
            },
            Kind::Malformed,
        ),
        (
            "a request from everybody",
            ArpFrame {
                sha: BROADCAST,
                ..request
            },
            Kind::Malformed,
        ),
        (
            "a request from a group",
            ArpFrame {
                sha: [1, 0, 0x5e, 0, 0, 0x12],
                ..request
            },
            Kind::Malformed,
        ),
        (
            "a request from an odd host",
            ArpFrame {
                sha: [0, 0, 0, 0, 0, 1],
                ..request
            },
            Kind::Request,
        ),
    ] {
        assert_eq!(frame.fields().kind(), kind, "{what}");
    }
}

#[test]
fn a_request_is_for_this_host_when_sent_to_it_or_to_a_group() {
    let request = ArpFrame::request(HOST, HOST_IP, VIP);
    for (eth_dst, is_to) in [
        (BROADCAST, true),
        ([0x33, 0x33, 0, 0, 0, 1], true),
        (INTERFACE, true),
        (OWNER, false),
        ([0; 6], false),
    ] {
        let frame = ArpFrame { eth_dst, ..request };
        assert_eq!(
            frame.fields().is_to(mac_word(INTERFACE)),
            is_to,
            "{eth_dst:x?}"
        );
    }
}
