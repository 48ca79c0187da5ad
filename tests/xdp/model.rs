//! The program against the same rules in plain Rust, on random frames.

use std::collections::BTreeMap;

use vipd_common::arp::{ArpFrame, BROADCAST, LEN};
use vipd_common::responder::{Verdict, respond};
use vipd_common::{ABI, Group, Interface};

use crate::kernel::{COUNTERS, Kernel, Run, XDP_DROP, XDP_PASS, XDP_TX};

#[test]
fn the_program_does_what_the_model_says() {
    let mut kernel = Kernel::new(US);
    let interface = Interface {
        mac: US,
        mode: 0,
        abi: ABI,
        ifindex: 1,
    };
    for (&address, &(id, group)) in &vips() {
        kernel.set_vip(address, id);
        if let Some(group) = group {
            kernel.set_group(id, group);
        }
    }

    let mut seen = BTreeMap::new();
    for seed in FIRST_SEED..FIRST_SEED + FRAMES {
        let frame = Random(seed).frame();
        let group_of = |address| vips().get(&address).map(|&(_, group)| group);
        // Leases end at once or never, so that one time is as good as another.
        let (verdict, counter) = respond(&frame, &interface, group_of, 1);
        let (verdict, out) = match verdict {
            Verdict::Pass => (XDP_PASS, frame.clone()),
            Verdict::Drop => (XDP_DROP, frame.clone()),
            Verdict::Tx(reply) => (XDP_TX, [&reply.to_bytes(), &frame[LEN..]].concat()),
        };
        let expected = Run {
            verdict,
            frame: out,
            counter,
        };
        assert_eq!(kernel.run(&frame), expected, "seed {seed}: {frame:02x?}");
        *seen.entry(counter).or_insert(0) += 1;
    }

    // Frames that never get anywhere prove nothing.
    for counter in COUNTERS.map(Some).into_iter().chain([None]) {
        let times = seen.get(&counter).copied().unwrap_or(0);
        assert!(
            times > 100,
            "{counter:?} occurred {times} times only: {seen:?}"
        );
    }
}

/// Address to group, and what the group's entry is.
fn vips() -> BTreeMap<[u8; 4], (u32, Option<Group>)> {
    let group = |lease_until_ns, owner_mac| Group {
        lease_until_ns,
        owner_mac,
        vhid: 1,
        pad: 0,
    };
    BTreeMap::from([
        (ADDRESSES[0], (1, Some(group(u64::MAX, OWNER)))),
        (ADDRESSES[1], (1, Some(group(u64::MAX, OWNER)))),
        (ADDRESSES[2], (2, Some(group(u64::MAX, US)))),
        (ADDRESSES[3], (3, Some(group(1, OWNER)))),
        (ADDRESSES[4], (4, Some(group(0, OWNER)))),
        (ADDRESSES[5], (5, None)),
    ])
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the next number for every seed.
struct Random(u64);

impl Random {
    /// A frame that is mostly ARP, mostly right, and mostly about our addresses.
    fn frame(&mut self) -> Vec<u8> {
        let frame = ArpFrame {
            eth_dst: self.pick(&[
                BROADCAST,
                BROADCAST,
                US,
                OWNER,
                HOST,
                [1, 0, 0x5e, 0, 0, 0x12],
            ]),
            eth_src: self.pick(&[HOST, OWNER]),
            oper: self.pick(&[[0, 1], [0, 1], [0, 2], [0, 3]]),
            sha: self.pick(&[HOST, HOST, OWNER, US, [0; 6], BROADCAST]),
            tha: self.pick(&[[0; 6], BROADCAST, US]),
            tpa: self.pick(&ADDRESSES),
            ..ArpFrame::request(HOST, self.pick(&ADDRESSES), ADDRESSES[0])
        };
        let mut bytes = frame.to_bytes().to_vec();
        if self.below(8) == 0 {
            let ethertype = self.pick(&[[0x08, 0x00], [0x08, 0x00], [0x86, 0xdd], [0x81, 0x00]]);
            bytes[12..14].copy_from_slice(&ethertype);
            bytes[23] = self.pick(&[112, 112, 6]);
        }
        let any = self.below(100);
        let padding = self.pick(&[0, 0, 18, any]);
        bytes.extend((0..padding).map(|_| self.next() as u8));
        for _ in 0..self.pick(&[0, 0, 1, 3]) {
            let index = self.below(bytes.len());
            bytes[index] = self.next() as u8;
        }
        if self.below(8) == 0 {
            bytes.truncate(SHORTEST + self.below(LEN - SHORTEST + 1));
        }
        bytes
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const FIRST_SEED: u64 = 0;
const FRAMES: u64 = 20_000;
/// The kernel runs XDP on nothing that lacks an Ethernet header.
const SHORTEST: usize = 14;

const US: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const OWNER: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x07];
/// Six VIPs and what is none.
const ADDRESSES: [[u8; 4]; 8] = [
    [10, 0, 0, 100],
    [10, 0, 0, 101],
    [10, 0, 1, 100],
    [10, 0, 0, 103],
    [10, 0, 0, 104],
    [10, 0, 0, 105],
    [10, 0, 0, 10],
    [0, 0, 0, 0],
];
