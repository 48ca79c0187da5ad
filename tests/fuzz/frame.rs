//! Frames to the responder's rules in plain Rust, which the XDP program is
//! compared with elsewhere: an answer is given to a request for an address
//! under a valid lease, and to nothing else; nothing is dropped but requests
//! for addresses of ours. The first bytes say what is in the maps.

use vipd_common::arp::{ArpFrame, LEN};
use vipd_common::responder::{Verdict, respond};
use vipd_common::{ABI, Group, Interface};

use super::Said;
use super::bytes::Bytes;

pub(super) fn check(data: &[u8]) -> Said {
    let mut bytes = Bytes::new(data);
    let is_leased = bytes.byte() & 1 == 1;
    let has_group = bytes.byte() & 1 == 1;
    let owner_mac = bytes.array();
    let now_ns = u64::from(bytes.byte()) << 56;
    let frame = bytes.rest();

    if let Some(first) = frame.first_chunk::<LEN>() {
        assert_eq!(ArpFrame::from_bytes(first).to_bytes(), *first);
    }
    let group = has_group.then_some(Group {
        lease_until_ns: if is_leased {
            now_ns.saturating_add(1)
        } else {
            now_ns
        },
        owner_mac,
        vhid: 1,
        pad: 0,
    });
    let interface = Interface {
        mac: US,
        mode: 0,
        abi: ABI,
        ifindex: 1,
    };
    let group_of = |address| (address == VIP).then_some(group);
    let (verdict, counter) = respond(frame, &interface, group_of, now_ns);

    let asks = asks_us(frame);
    let may_answer = is_leased && has_group;
    match verdict {
        Verdict::Tx(reply) => {
            assert!(asks && may_answer);
            let reply = reply.to_bytes();
            assert_eq!(reply[..6], frame[22..28]);
            assert_eq!(reply[6..12], US);
            assert_eq!(reply[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
            assert_eq!(reply[22..28], owner_mac);
            assert_eq!(reply[28..32], VIP);
            assert_eq!(reply[32..42], frame[22..32]);
        }
        Verdict::Drop => assert!(asks && !may_answer),
        Verdict::Pass => assert!(!asks),
    }
    counter.is_some().into()
}

/// Whether it is an ARP request for our address that is to be answered, by RFC
/// 826 and byte by byte.
fn asks_us(frame: &[u8]) -> bool {
    let Some(frame) = frame.first_chunk::<LEN>() else {
        return false;
    };
    let (sender, to) = (&frame[22..28], &frame[..6]);
    frame[12..22] == [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]
        && frame[38..42] == VIP
        && frame[28..32] != VIP
        && sender != [0; 6]
        && sender[0] & 1 == 0
        && (to == US || to[0] & 1 == 1)
}

const US: [u8; 6] = [2, 0, 0, 0, 0, 2];
const VIP: [u8; 4] = [10, 0, 0, 100];
