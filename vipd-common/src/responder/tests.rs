//! The rules of the responder, one test each.

use super::*;

const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const OWNER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const HOST_IP: [u8; 4] = [10, 0, 0, 10];
const VIP: [u8; 4] = [10, 0, 0, 100];
const NOW_NS: u64 = 1_000;
const INTERFACE: Interface = Interface {
    mac: [0x02, 0, 0, 0, 0, 0x02],
    mode: 0,
    abi: crate::ABI,
    ifindex: 1,
};

fn group(lease_until_ns: u64) -> Group {
    Group {
        lease_until_ns,
        owner_mac: OWNER,
        vhid: 1,
        pad: 0,
    }
}

/// What becomes of a frame where VIP belongs to `group`.
fn fate(frame: &ArpFrame, group: Option<Group>) -> (Verdict, Option<Counter>) {
    respond(
        &frame.to_bytes(),
        &INTERFACE,
        |address| (address == VIP).then_some(group),
        NOW_NS,
    )
}

#[test]
fn a_request_for_a_vip_is_answered_until_the_lease_ends() {
    let request = ArpFrame::request(HOST, HOST_IP, VIP);
    let answered = (
        Verdict::Tx(request.answer(INTERFACE.mac, OWNER)),
        Some(Counter::ArpAnswered),
    );
    let silenced = (Verdict::Drop, Some(Counter::ArpSilenced));
    for (what, group, expected) in [
        ("one nanosecond left", Some(group(NOW_NS + 1)), answered),
        ("just ended", Some(group(NOW_NS)), silenced),
        ("never leased", Some(group(0)), silenced),
        ("no group", None, silenced),
    ] {
        assert_eq!(fate(&request, group), expected, "{what}");
    }
}

#[test]
fn requests_that_are_not_ours_pass() {
    let passed = (Verdict::Pass, Some(Counter::ArpPassed));
    let to_another = ArpFrame {
        eth_dst: OWNER,
        ..ArpFrame::request(HOST, HOST_IP, VIP)
    };
    for frame in [
        ArpFrame::request(HOST, HOST_IP, [10, 0, 0, 101]),
        to_another,
    ] {
        assert_eq!(fate(&frame, Some(group(NOW_NS + 1))), passed);
    }
}

#[test]
fn a_claim_is_a_conflict_under_a_lease_only_and_from_another_only() {
    let conflict = (Verdict::Pass, Some(Counter::ArpConflict));
    let passed = (Verdict::Pass, Some(Counter::ArpPassed));
    let leased = Some(group(NOW_NS + 1));
    for announce in [ArpFrame::announce_request, ArpFrame::announce_reply] {
        assert_eq!(fate(&announce(HOST, VIP), leased), conflict);
        assert_eq!(fate(&announce(OWNER, VIP), leased), passed);
        assert_eq!(fate(&announce(HOST, VIP), Some(group(NOW_NS))), passed);
        assert_eq!(fate(&announce(HOST, VIP), None), passed);
        assert_eq!(fate(&announce(HOST, HOST_IP), leased), passed);
    }
}

#[test]
fn only_whole_carp_headers_count_as_carp() {
    let mut packet = [0; 34];
    packet[12] = 0x08;
    packet[23] = CARP;
    let fate = |bytes: &[u8]| respond(bytes, &INTERFACE, |_| None, NOW_NS);
    assert_eq!(fate(&packet), (Verdict::Pass, Some(Counter::CarpPassed)));
    assert_eq!(fate(&packet[..33]), (Verdict::Pass, None));
    assert_eq!(fate(&packet[..13]), (Verdict::Pass, None));
    packet[23] = 6;
    assert_eq!(fate(&packet), (Verdict::Pass, None));
}

#[test]
fn a_tagged_frame_is_nobodys_business() {
    for tag in [[0x81, 0x00], [0x88, 0xa8]] {
        let frame = ArpFrame {
            ethertype: tag,
            ..ArpFrame::request(HOST, HOST_IP, VIP)
        };
        assert_eq!(fate(&frame, Some(group(NOW_NS + 1))), (Verdict::Pass, None));
    }
}

#[test]
fn a_cut_request_is_malformed_and_passes() {
    let bytes = ArpFrame::request(HOST, HOST_IP, VIP).to_bytes();
    let fate = respond(&bytes[..41], &INTERFACE, |_| None, NOW_NS);
    assert_eq!(fate, (Verdict::Pass, Some(Counter::ArpMalformed)));
}
