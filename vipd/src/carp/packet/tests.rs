//! The codec against vectors. A to J and M were computed from the description
//! of the format with an independent HMAC; K is a header that C UCARP produced
//! and that carp-rs keeps in its tests.

use std::net::IpAddr;

use super::*;
use crate::carp::{Authenticator, Key};

struct Vector {
    name: &'static str,
    key: &'static str,
    vhid: u8,
    addresses: &'static [&'static str],
    counter: u64,
    interval: Interval,
    demote: u8,
    header: &'static str,
}

const VECTORS: &[Vector] = &[
    Vector {
        name: "A",
        key: "secret",
        vhid: 1,
        addresses: &["10.0.2.100"],
        counter: 0,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "210100070001ab0100000000000000006f63e23ba1082bf3e78c679992d41aa411d406e7",
    },
    Vector {
        name: "B",
        key: "secret",
        vhid: 1,
        addresses: &["10.0.2.100"],
        counter: 1,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "2101000700019e940000000000000001e13cde625c95a3a76c19ceb2a5b8a30efb84016c",
    },
    Vector {
        name: "C",
        key: "love",
        vhid: 42,
        addresses: &["10.1.1.252"],
        counter: 0x0123_4567_89ab_cdef,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "212a000700010ca60123456789abcdef055c5da8911cf2a311659afb98e4e262b116747e",
    },
    Vector {
        name: "D",
        key: "abcdefghijklmnopqrs",
        vhid: 255,
        addresses: &["192.0.2.10"],
        counter: u64::MAX,
        interval: Interval::new(3, 100),
        demote: 0,
        header: "21ff64070003489effffffffffffffffb98dac4b4f166956b73173c3b217dd787da3dae8",
    },
    Vector {
        name: "E",
        key: "mekmitasdigoat",
        vhid: 7,
        addresses: &["192.0.2.10", "10.0.0.1", "192.0.2.9"],
        counter: 0x1122_3344_5566_7788,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "210700070001898511223344556677886003e011e367f53a8c62dcf4475782d035f2c1ec",
    },
    Vector {
        name: "F",
        key: "mekmitasdigoat",
        vhid: 7,
        addresses: &["192.0.2.10", "2001:db8::10", "2001:db8::2"],
        counter: 0x1122_3344_5566_7788,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "210700070001b03c112233445566778882b59a9bd96e91586d36f8cbc10533408ba3af5a",
    },
    Vector {
        name: "I, a bow-out",
        key: "secret",
        vhid: 1,
        addresses: &["10.0.2.100"],
        counter: 0,
        interval: Interval::BOW_OUT,
        demote: 0,
        header: "2101ff0700ffab0200000000000000006f63e23ba1082bf3e78c679992d41aa411d406e7",
    },
    Vector {
        name: "J, OpenBSD demoted by 1",
        key: "secret",
        vhid: 1,
        addresses: &["10.0.2.100"],
        counter: 0,
        interval: Interval::new(1, 0),
        demote: 1,
        header: "210100070101aa0100000000000000006f63e23ba1082bf3e78c679992d41aa411d406e7",
    },
    Vector {
        name: "K, sent by UCARP",
        key: "secret",
        vhid: 1,
        addresses: &["127.0.0.1"],
        counter: 0x36d0_1332_6a79_99e8,
        interval: Interval::new(1, 1),
        demote: 0,
        header: "210101070001433c36d013326a7999e80be1a7af7ff321f553679839f0c215dba0b963e4",
    },
    Vector {
        name: "M, no password",
        key: "",
        vhid: 1,
        addresses: &["10.0.2.100"],
        counter: 0,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "210100070001700c00000000000000003c37dc0f85453872622073c8247e689526f10efe",
    },
    Vector {
        name: "N",
        key: "secret",
        vhid: 1,
        addresses: &["2001:db8::100"],
        counter: 0,
        interval: Interval::new(1, 0),
        demote: 0,
        header: "2101000700015e970000000000000000340a6a61fba703139ce65d07a68fccba72000400",
    },
];

/// Vector A as UCARP puts it on the wire, from 10.0.2.30 with IP id 0.
const UCARP_FRAME: &str = "01005e00001200005e00000108004510003800004000ff708f150a00021ee0000012\
     210100070001ab0100000000000000006f63e23ba1082bf3e78c679992d41aa411d406e7";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

impl Vector {
    fn authenticator(&self) -> Authenticator {
        let key = match self.key {
            "" => Key::unset(),
            key => Key::from_passphrase(key.as_bytes()).unwrap(),
        };
        let addresses: Vec<IpAddr> = self.addresses.iter().map(|a| a.parse().unwrap()).collect();
        Authenticator::new(&key, Vhid::new(self.vhid).unwrap(), &addresses)
    }

    fn advertisement(&self) -> Advertisement {
        Advertisement {
            vhid: Vhid::new(self.vhid).unwrap(),
            interval: self.interval,
            demote: self.demote,
            hidden_advskew: 0,
            counter: self.counter,
            digest: self.authenticator().sign(self.counter),
            is_vipd: false,
        }
    }
}

/// A datagram that parses, to be damaged by the tests.
fn datagram() -> Vec<u8> {
    unhex(UCARP_FRAME)[ETHERNET_LEN..].to_vec()
}

/// Makes the IP header's checksum right again.
fn mend(mut datagram: Vec<u8>) -> Vec<u8> {
    datagram[10..12].fill(0);
    let sum = checksum(&datagram[..20]);
    datagram[10..12].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn with(offset: usize, value: u8) -> Vec<u8> {
    let mut datagram = datagram();
    datagram[offset] = value;
    mend(datagram)
}

#[test]
fn every_vector_is_emitted_to_the_byte() {
    for vector in VECTORS {
        assert_eq!(
            vector.advertisement().emit()[..],
            unhex(vector.header),
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_vector_is_read_back_and_verifies() {
    for vector in VECTORS {
        let mut datagram = datagram();
        datagram[20..].copy_from_slice(&unhex(vector.header));
        let (source, read) = Advertisement::parse(&datagram).unwrap();
        assert_eq!(source, Ipv4Addr::new(10, 0, 2, 30));
        assert_eq!(read, vector.advertisement(), "{}", vector.name);
        assert!(
            vector.authenticator().verify(read.counter, &read.digest),
            "{}",
            vector.name
        );
    }
}

#[test]
fn a_whole_frame_equals_ucarps() {
    let source = Source {
        mac: [0x00, 0x00, 0x5e, 0x00, 0x00, 0x01],
        address: Ipv4Addr::new(10, 0, 2, 30),
    };
    assert_eq!(
        VECTORS[0].advertisement().emit_frame(source, 0)[..],
        unhex(UCARP_FRAME)
    );
}

#[test]
fn each_flaw_has_its_name() {
    // UCARP `carp_packetcb`, `carp.c:398-533`, in the order of its checks.
    let cases: &[(&str, Vec<u8>, DecodeError)] = &[
        ("nothing", vec![], DecodeError::TooShort),
        (
            "half an IP header",
            datagram()[..19].to_vec(),
            DecodeError::TooShort,
        ),
        (
            "one byte missing",
            datagram()[..55].to_vec(),
            DecodeError::TooShort,
        ),
        ("total length too small", with(3, 55), DecodeError::TooShort),
        (
            "total length below the header's",
            with(3, 19),
            DecodeError::BadIpHeader,
        ),
        ("IP version 6", with(0, 0x65), DecodeError::BadIpHeader),
        ("IHL 4", with(0, 0x44), DecodeError::BadIpHeader),
        ("UDP", with(9, 17), DecodeError::OtherProtocol),
        ("more fragments", with(6, 0x20), DecodeError::Fragment),
        ("fragment offset", with(7, 1), DecodeError::Fragment),
        ("TTL 254", with(8, 254), DecodeError::BadTtl),
        ("to 224.0.0.19", with(19, 19), DecodeError::OtherDestination),
        ("VRRPv3", with(20, 0x31), DecodeError::Vrrp3),
        ("version 1", with(20, 0x11), DecodeError::BadVersion),
        ("type 2", with(20, 0x22), DecodeError::BadVersion),
        ("a changed byte", with(40, 0xee), DecodeError::BadChecksum),
        (
            "IP checksum",
            {
                let mut d = datagram();
                d[10] ^= 1;
                d
            },
            DecodeError::BadIpHeader,
        ),
    ];
    for (name, bytes, error) in cases {
        assert_eq!(Advertisement::parse(bytes), Err(*error), "{name}");
    }
}

#[test]
fn a_short_vrrp3_packet_is_named_and_a_short_vrrp2_packet_is_too_short() {
    let mut vrrp = datagram();
    vrrp.truncate(28);
    vrrp[3] = 28;
    vrrp[20] = 0x31;
    assert_eq!(
        Advertisement::parse(&mend(vrrp.clone())),
        Err(DecodeError::Vrrp3)
    );
    vrrp[20] = 0x21;
    assert_eq!(
        Advertisement::parse(&mend(vrrp)),
        Err(DecodeError::TooShort)
    );
}

#[test]
fn bytes_after_the_header_are_ignored() {
    // All three legacy implementations tolerate them, inside the IP length or as padding.
    let mut inside = datagram();
    inside.extend_from_slice(&[0xa5; 10]);
    inside[3] = 66;
    assert!(Advertisement::parse(&mend(inside)).is_ok());
    let mut padding = datagram();
    padding.extend_from_slice(&[0xa5; 10]);
    assert!(Advertisement::parse(&padding).is_ok());
}

#[test]
fn a_vipd_host_is_known_by_what_follows_the_header() {
    let source = Source {
        mac: [2, 0, 0, 0, 0, 1],
        address: Ipv4Addr::new(10, 0, 2, 30),
    };
    for (demote, hidden_advskew) in [(0, 0), (240, 7)] {
        let advert = Advertisement {
            demote,
            hidden_advskew,
            is_vipd: true,
            ..VECTORS[0].advertisement()
        };
        let frame = advert.emit_frame(source, 0);
        assert_eq!(frame.len(), 78);
        assert_eq!(
            Advertisement::parse(&frame[ETHERNET_LEN..]),
            Ok((source.address, advert))
        );
        // Wireshark and carp-rs sum up the whole payload.
        assert_eq!(checksum(&mark(hidden_advskew)), 0);
        assert_eq!(checksum(&frame[ETHERNET_LEN + IPV4_LEN..]), 0);
    }
    assert_eq!(mark(0), *b"vipd\x01\0\x18\x32");
    // The IP length decides, not what Ethernet padded the frame with.
    let legacy = VECTORS[0].advertisement().emit_frame(source, 0);
    let padded: Vec<u8> = legacy[ETHERNET_LEN..]
        .iter()
        .copied()
        .chain(mark(0))
        .collect();
    assert_eq!(
        Advertisement::parse(&padded).map(|(_, advert)| advert.is_vipd),
        Ok(false)
    );
}

#[test]
fn ip_options_are_stepped_over() {
    let mut datagram = datagram();
    datagram.splice(20..20, [1, 1, 1, 1]);
    datagram[0] = 0x46;
    datagram[3] = 60;
    datagram[10..12].fill(0);
    let sum = checksum(&datagram[..24]);
    datagram[10..12].copy_from_slice(&sum.to_be_bytes());
    assert!(Advertisement::parse(&datagram).is_ok());
}

#[test]
fn no_input_panics() {
    // Every truncation of every single-byte change.
    let whole = datagram();
    for offset in 0..whole.len() {
        for value in [0, 1, 0x0f, 0x7f, 0x80, 0xff] {
            let bytes = with(offset, value);
            for len in 0..=bytes.len() {
                let _ = Advertisement::parse(&bytes[..len]);
            }
        }
    }
}
