//! Frames to compare the program with its model on: right ones, everything that
//! is one step away from a right one, and chance.

use vipd_common::arp::{ArpFrame, BROADCAST, LEN};

pub(crate) const US: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub(crate) const OWNER: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x07];
const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
/// Six VIPs and what is none.
pub(crate) const ADDRESSES: [[u8; 4]; 8] = [
    [10, 0, 0, 100],
    [10, 0, 0, 101],
    [10, 0, 1, 100],
    [10, 0, 0, 103],
    [10, 0, 0, 104],
    [10, 0, 0, 105],
    [10, 0, 0, 10],
    [0, 0, 0, 0],
];
const HOST_IP: [u8; 4] = ADDRESSES[6];

/// The kernel runs XDP on nothing that lacks an Ethernet header.
pub(crate) const SHORTEST: usize = 14;
/// The shortest frame on a wire, which network cards pad to, and the longest.
const PADDED: usize = 60;
const WHOLE: usize = 1514;

/// One of each kind that the rules tell apart, and some that they do not.
pub(crate) fn bases() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for address in ADDRESSES {
        let request = ArpFrame::request(HOST, HOST_IP, address);
        frames.push(request);
        frames.push(ArpFrame::announce_request(HOST, address));
        frames.push(ArpFrame::announce_reply(OWNER, address));
    }
    let request = ArpFrame::request(HOST, HOST_IP, ADDRESSES[0]);
    let probe = ArpFrame::request(HOST, [0; 4], ADDRESSES[0]);
    let to = |eth_dst| ArpFrame { eth_dst, ..request };
    let from = |sha| ArpFrame { sha, ..request };
    frames.extend([probe, to(US), to(HOST), to(GROUP), to([0; 6])]);
    frames.extend([from(US), from(OWNER), from([0; 6]), from(GROUP)]);
    frames.push(request.answer(US, OWNER));
    frames.push(ArpFrame {
        tha: BROADCAST,
        eth_src: OWNER,
        ..request
    });

    let mut frames: Vec<Vec<u8>> = frames.iter().map(|arp| arp.to_bytes().to_vec()).collect();
    frames.push(padded(&frames[0], PADDED));
    frames.push(advert());
    frames.push([&advert()[..12], &[0x86, 0xdd], &advert()[14..]].concat());
    frames.extend(tagged(&frames[0]));
    frames.extend(tagged(&advert()));
    frames
}

/// Every frame that differs from `base` in one thing. `longest` is the longest
/// frame that the kernel runs the program on.
pub(crate) fn neighbours(base: &[u8], longest: usize) -> impl Iterator<Item = Vec<u8>> {
    let cut = (SHORTEST..=base.len()).map(|len| base[..len].to_vec());
    let longer = [PADDED, PADDED + 1, WHOLE, WHOLE + 4, longest];
    let longer = longer.into_iter().chain(base.len()..base.len() + 32);
    let longer = longer
        .filter(move |len| (base.len()..=longest).contains(len))
        .map(|len| padded(base, len));
    let bytes = (0..base.len().min(PADDED))
        .flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte)))
        .map(|(at, byte)| {
            let mut frame = base.to_vec();
            frame[at] = byte;
            frame
        });
    cut.chain(longer)
        .chain(bytes)
        .chain(steps(base))
        .chain(tagged(base))
}

/// Every field of an ARP frame one more and one less, and every two of them.
fn steps(base: &[u8]) -> Vec<Vec<u8>> {
    let whole = base.len() >= LEN;
    let mut frames = Vec::new();
    for (index, first) in FIELDS.iter().enumerate().filter(|_| whole) {
        for by in [1, -1] {
            let mut one = base.to_vec();
            step(&mut one[first.0..first.1], by);
            for second in &FIELDS[index + 1..] {
                for by in [1, -1] {
                    let mut two = one.clone();
                    step(&mut two[second.0..second.1], by);
                    frames.push(two);
                }
            }
            frames.push(one);
        }
    }
    frames
}

/// Adds to a number in network order; it wraps around.
fn step(field: &mut [u8], by: i64) {
    let mut bytes = [0; 8];
    let start = bytes.len() - field.len();
    bytes[start..].copy_from_slice(field);
    let stepped = u64::from_be_bytes(bytes).wrapping_add_signed(by);
    field.copy_from_slice(&stepped.to_be_bytes()[start..]);
}

/// Behind one VLAN tag of either kind, and behind two.
fn tagged(frame: &[u8]) -> Vec<Vec<u8>> {
    let tags: [&[u8]; 5] = [
        &[0x81, 0, 0, 10],
        &[0x81, 0, 0, 0],
        &[0x88, 0xa8, 0, 10],
        &[0x91, 0, 0xff, 0xff],
        &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20],
    ];
    tags.map(|tag| [&frame[..12], tag, &frame[12..]].concat())
        .to_vec()
}

fn padded(frame: &[u8], len: usize) -> Vec<u8> {
    let padding = (frame.len()..len).map(|index| index as u8);
    frame.iter().copied().chain(padding).collect()
}

/// An advertisement that UCARP sent.
fn advert() -> Vec<u8> {
    const ADVERT: &[u8] = b"\x01\0\x5e\0\0\x12\0\0\x5e\0\x01\x08\x08\0\x45\x10\0\x38\0\0\x40\0\
        \xff\x70\x8f\x15\x0a\0\x02\x1e\xe0\0\0\x12\x21\x01\0\x07\0\x01\xab\x01\0\0\0\0\0\0\0\0\
        \x6f\x63\xe2\x3b\xa1\x08\x2b\xf3\xe7\x8c\x67\x99\x92\xd4\x1a\xa4\x11\xd4\x06\xe7";
    ADVERT.to_vec()
}

/// Where the fields of an ARP frame begin and end.
const FIELDS: [(usize, usize); 12] = [
    (0, 6),
    (6, 12),
    (12, 14),
    (14, 16),
    (16, 18),
    (18, 19),
    (19, 20),
    (20, 22),
    (22, 28),
    (28, 32),
    (32, 38),
    (38, 42),
];

/// SplitMix64 (Steele, Lea and Flood, 2014): the next number for every seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A frame put together from parts that mean something, or one of `bases`;
    /// then spoilt in some bytes, grown or cut, mostly not at all.
    pub(crate) fn frame(&mut self, bases: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut bytes = match self.below(3) {
            0 => bases[self.below(bases.len())].clone(),
            _ => self.parts(),
        };
        let (little, any) = (self.below(100), self.below(longest));
        let len = self.pick(&[0, 0, 0, PADDED, bytes.len() + little, any]);
        bytes = padded(&bytes, len.min(longest));
        for _ in 0..self.pick(&[0, 0, 1, 3]) {
            // Most of a long frame is padding, which is not where the rules look.
            let among = self.pick(&[LEN, bytes.len()]).min(bytes.len());
            let index = self.below(among);
            bytes[index] = self.next() as u8;
        }
        if self.below(8) == 0 {
            let kept = SHORTEST + self.below(LEN - SHORTEST + 1);
            bytes.truncate(kept);
        }
        bytes
    }

    /// Mostly ARP, mostly right, and mostly about our addresses.
    fn parts(&mut self) -> Vec<u8> {
        let frame = ArpFrame {
            eth_dst: self.pick(&[BROADCAST, BROADCAST, US, OWNER, HOST, GROUP]),
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
