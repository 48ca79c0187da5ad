//! Every rule of the responder, on frames written out.

use vipd_common::Group;
use vipd_common::arp::{ArpFrame, BROADCAST, LEN};
use vipd_common::responder::Counter;

use crate::kernel::{Kernel, Run, XDP_DROP, XDP_PASS, XDP_TX, boot_ns};

const US: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const HOST: [u8; 6] = [0x02, 0, 0, 0, 0x12, 0x0a];
const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0x34, 0x0b];
/// The virtual MAC of vhid 7: not the interface's, so that they can't be confused.
const OWNER: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x07];
const HOST_IP: [u8; 4] = [10, 0, 0, 10];
const OTHER_IP: [u8; 4] = [10, 0, 0, 11];

const LEASED: [u8; 4] = [10, 0, 0, 100];
const EXPIRED: [u8; 4] = [10, 0, 0, 101];
const SILENCED: [u8; 4] = [10, 0, 0, 102];
const GROUPLESS: [u8; 4] = [10, 0, 0, 103];

const LEASED_GROUP: u32 = 7;

fn kernel() -> Kernel {
    let mut kernel = Kernel::new(US);
    let group = |lease_until_ns| Group {
        lease_until_ns,
        owner_mac: OWNER,
        vhid: 7,
        pad: 0,
    };
    kernel.set_group(LEASED_GROUP, group(boot_ns() + HOUR_NS));
    kernel.set_group(8, group(boot_ns()));
    kernel.set_group(9, group(0));
    for (address, group) in [
        (LEASED, LEASED_GROUP),
        (EXPIRED, 8),
        (SILENCED, 9),
        (GROUPLESS, 10),
    ] {
        kernel.set_vip(address, group);
    }
    kernel
}

fn padded(frame: &ArpFrame) -> Vec<u8> {
    let mut bytes = frame.to_bytes().to_vec();
    bytes.extend((0..60 - LEN).map(|index| 0xa0 + index as u8));
    bytes
}

/// The frame is passed on as it came, and counted so.
#[track_caller]
fn assert_passed(kernel: &mut Kernel, what: &str, frame: &[u8], counter: Option<Counter>) {
    let expected = Run {
        verdict: XDP_PASS,
        frame: frame.to_vec(),
        counter,
    };
    assert_eq!(kernel.run(frame), expected, "{what}");
}

#[test]
fn a_request_for_a_leased_vip_becomes_the_reply() {
    let mut kernel = kernel();
    let expected = [
        0x02, 0, 0, 0, 0x12, 0x0a, 0x02, 0, 0, 0, 0, 0x02, 0x08, 0x06, // to HOST from US
        0, 1, 0x08, 0, 6, 4, 0, 2, // a reply
        0x00, 0x00, 0x5e, 0x00, 0x01, 0x07, 10, 0, 0, 100, // LEASED is at OWNER
        0x02, 0, 0, 0, 0x12, 0x0a, 10, 0, 0, 10, // says HOST
    ];
    let request = ArpFrame::request(HOST, HOST_IP, LEASED);
    let run = kernel.run(&request.to_bytes());
    assert_eq!(
        run,
        Run {
            verdict: XDP_TX,
            frame: expected.to_vec(),
            counter: Some(Counter::ArpAnswered)
        }
    );
}

#[test]
fn every_kind_of_request_for_a_leased_vip_is_answered() {
    let mut kernel = kernel();
    let request = ArpFrame::request(HOST, HOST_IP, LEASED);
    for (what, request) in [
        ("broadcast", request),
        ("a probe", ArpFrame::request(HOST, [0; 4], LEASED)),
        (
            "unicast to us",
            ArpFrame {
                eth_dst: US,
                ..request
            },
        ),
        (
            "to a group",
            ArpFrame {
                eth_dst: [0x33, 0x33, 0, 0, 0, 1],
                ..request
            },
        ),
        (
            "relayed by another station",
            ArpFrame {
                eth_src: OTHER,
                ..request
            },
        ),
        (
            "with a target address filled in",
            ArpFrame {
                tha: BROADCAST,
                ..request
            },
        ),
        (
            "from a VIP that is not ours to give",
            ArpFrame {
                spa: EXPIRED,
                ..request
            },
        ),
    ] {
        let reply = request.answer(US, OWNER);
        for (length, request, reply) in [
            ("42", request.to_bytes().to_vec(), reply.to_bytes().to_vec()),
            ("60", padded(&request), padded(&reply)),
        ] {
            let expected = Run {
                verdict: XDP_TX,
                frame: reply,
                counter: Some(Counter::ArpAnswered),
            };
            assert_eq!(kernel.run(&request), expected, "{what}, {length} bytes");
        }
    }
}

#[test]
fn requests_for_a_vip_without_a_valid_lease_are_dropped() {
    let mut kernel = kernel();
    for (what, vip) in [
        ("expired", EXPIRED),
        ("silenced", SILENCED),
        ("no group", GROUPLESS),
    ] {
        let request = ArpFrame::request(HOST, HOST_IP, vip);
        for frame in [
            request.to_bytes().to_vec(),
            padded(&request),
            ArpFrame {
                eth_dst: US,
                ..request
            }
            .to_bytes()
            .to_vec(),
            ArpFrame {
                eth_dst: [0x33, 0x33, 0, 0, 0, 1],
                ..request
            }
            .to_bytes()
            .to_vec(),
            ArpFrame::request(HOST, [0; 4], vip).to_bytes().to_vec(),
        ] {
            let run = kernel.run(&frame);
            assert_eq!(
                (run.verdict, run.counter),
                (XDP_DROP, Some(Counter::ArpSilenced)),
                "{what}"
            );
        }
    }
}

#[test]
fn a_lease_ends_by_itself() {
    let mut kernel = kernel();
    let request = ArpFrame::request(HOST, HOST_IP, LEASED).to_bytes();
    let until_ns = boot_ns() + 50_000_000;
    kernel.set_group(
        LEASED_GROUP,
        Group {
            lease_until_ns: until_ns,
            owner_mac: OWNER,
            vhid: 7,
            pad: 0,
        },
    );
    let mut answered = 0;
    loop {
        let (earliest_ns, verdict, latest_ns) =
            (boot_ns(), kernel.run(&request).verdict, boot_ns());
        // Whichever it was, it was right at some time between these two.
        if verdict == XDP_TX {
            assert!(
                earliest_ns < until_ns,
                "answered {} ns late",
                earliest_ns - until_ns
            );
            answered += 1;
        } else {
            assert!(
                latest_ns >= until_ns,
                "silent {} ns early",
                until_ns - latest_ns
            );
            break;
        }
    }
    assert!(answered > 0, "never answered");
}

#[test]
fn requests_that_are_not_for_us_pass() {
    let mut kernel = kernel();
    let request = ArpFrame::request(HOST, HOST_IP, LEASED);
    for (what, frame) in [
        (
            "another address",
            ArpFrame::request(HOST, HOST_IP, OTHER_IP),
        ),
        (
            "another address, unicast",
            ArpFrame {
                tpa: OTHER_IP,
                eth_dst: US,
                ..request
            },
        ),
        (
            "unicast to another",
            ArpFrame {
                eth_dst: OTHER,
                ..request
            },
        ),
        (
            "unicast to another, no lease",
            ArpFrame {
                eth_dst: OTHER,
                tpa: EXPIRED,
                ..request
            },
        ),
        (
            "unicast to nobody",
            ArpFrame {
                eth_dst: [0; 6],
                ..request
            },
        ),
    ] {
        assert_passed(
            &mut kernel,
            what,
            &frame.to_bytes(),
            Some(Counter::ArpPassed),
        );
        assert_passed(&mut kernel, what, &padded(&frame), Some(Counter::ArpPassed));
    }
}

#[test]
fn only_another_hosts_claim_to_a_leased_vip_is_a_conflict() {
    let (passed, conflict) = (Some(Counter::ArpPassed), Some(Counter::ArpConflict));
    for (what, frame, counter) in [
        (
            "gratuitous request of another",
            ArpFrame::announce_request(OTHER, LEASED),
            conflict,
        ),
        (
            "gratuitous reply of another",
            ArpFrame::announce_reply(OTHER, LEASED),
            conflict,
        ),
        (
            "reply of another",
            ArpFrame::request(HOST, HOST_IP, LEASED).answer(OTHER, OTHER),
            conflict,
        ),
        (
            "our own announcement",
            ArpFrame::announce_request(OWNER, LEASED),
            passed,
        ),
        (
            "our own reply",
            ArpFrame::request(HOST, HOST_IP, LEASED).answer(US, OWNER),
            passed,
        ),
        (
            "claim to an expired VIP",
            ArpFrame::announce_request(OTHER, EXPIRED),
            passed,
        ),
        (
            "claim to a silenced VIP",
            ArpFrame::announce_reply(OTHER, SILENCED),
            passed,
        ),
        (
            "claim to a VIP without a group",
            ArpFrame::announce_reply(OTHER, GROUPLESS),
            passed,
        ),
        (
            "claim to another address",
            ArpFrame::announce_request(OTHER, OTHER_IP),
            passed,
        ),
    ] {
        let mut kernel = kernel();
        let earliest_ns = boot_ns();
        assert_passed(&mut kernel, what, &frame.to_bytes(), counter);
        assert_passed(&mut kernel, what, &padded(&frame), counter);

        let Some(noted) = kernel.conflict(LEASED_GROUP) else {
            assert_ne!(counter, conflict, "{what} is not in the map");
            continue;
        };
        assert_eq!(counter, conflict, "{what} is in the map");
        assert_eq!(
            (noted.count, noted.mac, noted.address),
            (2, OTHER, LEASED),
            "{what}"
        );
        assert!(
            (earliest_ns..=boot_ns()).contains(&noted.last_ns),
            "{what}: {noted:?}"
        );
    }
}

#[test]
fn arp_that_is_not_ipv4_over_ethernet_is_malformed_and_passes() {
    let mut kernel = kernel();
    let request = ArpFrame::request(HOST, HOST_IP, LEASED);
    let malformed = [
        (
            "hardware type 6",
            ArpFrame {
                htype: [0, 6],
                ..request
            },
        ),
        (
            "hardware type 256",
            ArpFrame {
                htype: [1, 0],
                ..request
            },
        ),
        (
            "protocol type IPv6",
            ArpFrame {
                ptype: [0x86, 0xdd],
                ..request
            },
        ),
        ("hardware length 8", ArpFrame { hlen: 8, ..request }),
        (
            "protocol length 16",
            ArpFrame {
                plen: 16,
                ..request
            },
        ),
        (
            "operation 0",
            ArpFrame {
                oper: [0, 0],
                ..request
            },
        ),
        (
            "operation 3, RARP",
            ArpFrame {
                oper: [0, 3],
                ..request
            },
        ),
        (
            "operation 257",
            ArpFrame {
                oper: [1, 1],
                ..request
            },
        ),
        (
            "from zero",
            ArpFrame {
                sha: [0; 6],
                ..request
            },
        ),
        (
            "from everybody",
            ArpFrame {
                sha: BROADCAST,
                ..request
            },
        ),
        (
            "from a group",
            ArpFrame {
                sha: [0x01, 0, 0x5e, 0, 0, 0x12],
                ..request
            },
        ),
        (
            "gratuitous from a group",
            ArpFrame {
                sha: BROADCAST,
                spa: LEASED,
                ..request
            },
        ),
    ];
    for (what, frame) in malformed {
        assert_passed(
            &mut kernel,
            what,
            &frame.to_bytes(),
            Some(Counter::ArpMalformed),
        );
        assert_passed(
            &mut kernel,
            what,
            &padded(&frame),
            Some(Counter::ArpMalformed),
        );
    }
}

#[test]
fn a_request_cut_anywhere_is_malformed_and_passes() {
    let mut kernel = kernel();
    let request = ArpFrame::request(HOST, HOST_IP, LEASED).to_bytes();
    // The kernel hands no frame to XDP that lacks an Ethernet header.
    for len in 0..ETHERNET {
        assert!(!kernel.takes(&request[..len]), "{len} bytes");
    }
    for len in ETHERNET..LEN {
        assert_passed(
            &mut kernel,
            &format!("{len} bytes"),
            &request[..len],
            Some(Counter::ArpMalformed),
        );
    }
    assert_eq!(kernel.run(&request).verdict, XDP_TX);
}

#[test]
fn frames_of_other_protocols_pass_uncounted_and_carp_counted() {
    let mut kernel = kernel();
    let request = ArpFrame::request(HOST, HOST_IP, LEASED);
    let with_ethertype = |ethertype, payload: &[u8]| {
        let mut frame = request.to_bytes()[..ETHERNET].to_vec();
        frame[12..].copy_from_slice(ethertype);
        frame.extend(payload);
        frame
    };
    // Version and header length, ..., lifetime 255, protocol, no checksum, addresses.
    let ipv4 = |protocol| {
        [
            0x45, 0, 0, 56, 0, 0, 0x40, 0, 255, protocol, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18,
        ]
    };
    let mut long = ipv4(112).to_vec();
    long.extend([0x5a; 36]);
    for (what, frame, counter) in [
        (
            "CARP",
            with_ethertype(&[0x08, 0x00], &long),
            Some(Counter::CarpPassed),
        ),
        (
            "CARP's header alone",
            with_ethertype(&[0x08, 0x00], &ipv4(112)),
            Some(Counter::CarpPassed),
        ),
        (
            "CARP cut in the header",
            with_ethertype(&[0x08, 0x00], &ipv4(112)[..19]),
            None,
        ),
        ("TCP", with_ethertype(&[0x08, 0x00], &ipv4(6)), None),
        (
            "IPv4 without anything",
            with_ethertype(&[0x08, 0x00], &[]),
            None,
        ),
        ("IPv6", with_ethertype(&[0x86, 0xdd], &long), None),
        (
            "a VLAN",
            with_ethertype(&[0x81, 0x00], &tagged(&request)),
            None,
        ),
        (
            "a service VLAN",
            with_ethertype(&[0x88, 0xa8], &tagged(&request)),
            None,
        ),
        (
            "RARP",
            with_ethertype(&[0x80, 0x35], &request.to_bytes()[ETHERNET..]),
            None,
        ),
        (
            "an ethertype of swapped bytes",
            with_ethertype(&[0x06, 0x08], &request.to_bytes()[ETHERNET..]),
            None,
        ),
        (
            "an Ethernet header alone",
            with_ethertype(&[0x12, 0x34], &[]),
            None,
        ),
    ] {
        assert_passed(&mut kernel, what, &frame, counter);
    }
}

/// What follows the tag's ethertype: VLAN 10, and the request.
fn tagged(request: &ArpFrame) -> Vec<u8> {
    [&[0, 10][..], &request.to_bytes()[12..]].concat()
}

const ETHERNET: usize = 14;
const HOUR_NS: u64 = 3_600_000_000_000;
