//! A host that floods the LAN: as fast as one thread can, with ARP or with what
//! looks like adverts.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;
use vipd_common::arp::ArpFrame;

use super::{Host, Mac, Sniffer};
use crate::forger::{Forgery, forge};

/// What somebody without the password can flood with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// "Who has the VIP?"
    ArpForVip,
    /// Requests for other addresses, and gratuitous ARP of others.
    ArpForOthers,
    /// Gratuitous ARP that claims the VIP.
    ArpConflict,
    /// Adverts of the group with a wrong digest.
    WrongDigest,
    /// Adverts of another group.
    UnknownVhid,
    /// Adverts that were captured, as they are.
    Replayed,
    /// The same with a number that looks new: only the signature tells.
    WrongSignature,
    /// Introductions whose signature is wrong.
    WrongIntroduction,
    /// Introductions that were captured.
    ReplayedIntroduction,
    /// Random bytes, cut short, wrong checksums, a TTL of 1.
    Broken,
}

impl Flood {
    pub const ALL: [Self; 10] = [
        Self::ArpForVip,
        Self::ArpForOthers,
        Self::ArpConflict,
        Self::WrongDigest,
        Self::UnknownVhid,
        Self::Replayed,
        Self::WrongSignature,
        Self::WrongIntroduction,
        Self::ReplayedIntroduction,
        Self::Broken,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ArpForVip => "arp-for-vip",
            Self::ArpForOthers => "arp-for-others",
            Self::ArpConflict => "arp-conflict",
            Self::WrongDigest => "wrong-digest",
            Self::UnknownVhid => "unknown-vhid",
            Self::Replayed => "replayed",
            Self::WrongSignature => "wrong-signature",
            Self::WrongIntroduction => "wrong-introduction",
            Self::ReplayedIntroduction => "replayed-introduction",
            Self::Broken => "broken",
        }
    }

    /// The frames that `from` sends, over and over.
    pub fn frames(self, from: &Host, vip: Ipv4Addr, captured: &Captured) -> Vec<Vec<u8>> {
        let adverts = || captured.adverts.iter().cycle().take(VARIANTS).cloned();
        let introductions = || captured.introductions.iter().cycle().take(VARIANTS);
        let frames: Vec<Vec<u8>> = match self {
            Self::ArpForVip => vec![request(from, vip)],
            Self::ArpForOthers => arp_of_others(from, vip),
            Self::ArpConflict => vec![
                padded(ArpFrame::announce_request(from.mac(), vip.octets())),
                padded(ArpFrame::announce_reply(from.mac(), vip.octets())),
            ],
            Self::WrongDigest => {
                let wrong = |(place, mut frame): (usize, Vec<u8>)| {
                    frame[DIGEST] ^= 1 + place as u8;
                    mended(frame)
                };
                adverts().enumerate().map(wrong).collect()
            }
            Self::UnknownVhid => {
                let other = |mut frame: Vec<u8>| {
                    frame[VHID] = frame[VHID].wrapping_add(1).max(1);
                    mended(frame)
                };
                adverts().map(other).collect()
            }
            Self::Replayed => captured.adverts.clone(),
            Self::WrongSignature => {
                let newer = |(place, mut frame): (usize, Vec<u8>)| {
                    forge(&mut frame, Forgery::Number);
                    frame[NUMBER_END] ^= place as u8;
                    frame
                };
                adverts().enumerate().map(newer).collect()
            }
            Self::WrongIntroduction => {
                let wrong = |(place, frame): (usize, &Vec<u8>)| {
                    let mut frame = frame.clone();
                    if let Some(last) = frame.last_mut() {
                        *last ^= 1 + place as u8;
                    }
                    frame
                };
                introductions().enumerate().map(wrong).collect()
            }
            Self::ReplayedIntroduction => captured.introductions.clone(),
            Self::Broken => adverts().enumerate().map(broken).collect(),
        };
        assert!(!frames.is_empty(), "nothing was captured for {self:?}");
        frames
    }
}

/// What two daemons of a group said to each other.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    pub adverts: Vec<Vec<u8>>,
    pub introductions: Vec<Vec<u8>>,
}

impl Captured {
    pub fn of(sniffer: &Sniffer) -> Self {
        let frames = sniffer.frames().into_iter().map(|frame| frame.bytes);
        let (introductions, adverts) = frames
            .filter(|frame| frame.len() > DIGEST && frame[12..14] == IPV4 && frame[PROTOCOL] == 112)
            .partition(|frame| frame[VHID] == 0);
        Self {
            adverts,
            introductions,
        }
    }
}

/// Sends on a thread of its own until it is stopped or dropped.
pub struct Flooder {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Flooder {
    pub fn start(host: &Host, frames: Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (host, stop) = (host.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                host.enter();
                let eth0 = netlink::lookup("eth0").expect("a host has eth0");
                let socket = FrameSocket::open("eth0", eth0.ifindex).expect("a socket opens");
                let mut sent = 0;
                let mut frames = frames.iter().cycle();
                while !stop.load(Ordering::Relaxed) {
                    // A full queue is what a flood makes.
                    let is_sent = |frame: &&Vec<u8>| socket.send(frame).is_ok();
                    sent += frames.by_ref().take(BURST).filter(is_sent).count() as u64;
                }
                sent
            })
        };
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// How many frames were sent.
    pub fn stop(mut self) -> u64 {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take()?.join();
        assert!(ended.is_ok() || thread::panicking(), "the flooder panicked");
        ended.ok()
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Requests for all of the /24 but the VIP, and announcements of addresses in it
/// that no host of a lab has.
fn arp_of_others(from: &Host, vip: Ipv4Addr) -> Vec<Vec<u8>> {
    let [a, b, c, _] = from.address().octets();
    let all = (1..=254).map(|d| Ipv4Addr::new(a, b, c, d));
    let requests = all
        .filter(|address| *address != vip)
        .map(|address| request(from, address));
    let announcements = (240..=254_u8).flat_map(|d| {
        let (mac, address): (Mac, _) = ([2, 0xff, 0, 0, 0, d], [a, b, c, d]);
        [
            padded(ArpFrame::announce_request(mac, address)),
            padded(ArpFrame::announce_reply(mac, address)),
        ]
    });
    requests.chain(announcements).collect()
}

fn request(from: &Host, address: Ipv4Addr) -> Vec<u8> {
    let own = from.address().octets();
    padded(ArpFrame::request(from.mac(), own, address.octets()))
}

fn padded(arp: ArpFrame) -> Vec<u8> {
    let mut frame = arp.to_bytes().to_vec();
    frame.resize(SHORTEST_FRAME, 0);
    frame
}

/// One of four ways to break an advert, vhid and IP header in order, so that it
/// reaches a daemon.
fn broken((place, mut frame): (usize, Vec<u8>)) -> Vec<u8> {
    match place % 4 {
        0 => {
            for (at, byte) in frame.iter_mut().enumerate().skip(CARP) {
                if at != VHID {
                    // Weyl's sequence by a prime: no pattern that means anything.
                    *byte = (at + 7 * place).wrapping_mul(197) as u8;
                }
            }
            frame
        }
        1 => {
            frame[IP_LENGTH..IP_LENGTH + 2].copy_from_slice(&30_u16.to_be_bytes());
            mended(frame)
        }
        2 => {
            frame[CARP_CHECKSUM] ^= 0x55;
            frame
        }
        _ => {
            frame[TTL] = 1;
            mended(frame)
        }
    }
}

/// With right checksums.
fn mended(mut frame: Vec<u8>) -> Vec<u8> {
    forge(&mut frame, Forgery::None);
    frame
}

/// Different frames of one kind, less than 255.
const VARIANTS: usize = 64;

/// Frames between two looks at whether to go on.
const BURST: usize = 256;

/// Offsets into a frame with IPv4 and CARP.
const IP_LENGTH: usize = 16;
const TTL: usize = 22;
const PROTOCOL: usize = 23;
const CARP: usize = 34;
const VHID: usize = CARP + 1;
const CARP_CHECKSUM: usize = CARP + 6;
const DIGEST: usize = CARP + 16;
/// The last byte of the number in the trailer.
const NUMBER_END: usize = CARP + 36 + 27;

const IPV4: [u8; 2] = [0x08, 0x00];

/// Without its checksum (IEEE 802.3, 4.4.2).
const SHORTEST_FRAME: usize = 60;
