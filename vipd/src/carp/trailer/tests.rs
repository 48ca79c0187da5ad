//! The trailer on the wire: vectors, and that every bit of a packet is signed.

use super::*;
use crate::carp::packet::{Advertisement, Body, Packet, Source, emit_frame, introduction_header};
use crate::carp::{Authenticator, Interval};

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;

const SOURCE: Source = Source {
    mac: [2, 0, 0, 0, 0, 1],
    address: Ipv4Addr::new(10, 0, 2, 30),
};

fn key() -> Key {
    Key::from_passphrase(b"secret").unwrap()
}

fn vips() -> [IpAddr; 1] {
    [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 100))]
}

fn vhid() -> Vhid {
    Vhid::new(1).unwrap()
}

fn advert() -> Advertisement {
    Advertisement {
        vhid: vhid(),
        interval: Interval::new(1, 0),
        demote: 0,
        hidden_advskew: 0,
        counter: 0,
        digest: Authenticator::new(&key(), vhid(), &vips()).sign(0),
        is_vipd: true,
    }
}

fn unsigned(kind: Kind) -> Trailer {
    Trailer {
        kind,
        key: KeyId(3),
        vhid: vhid(),
        hidden_advskew: 0,
        session: Session(0x0123_4567_89ab_cdef),
        number: 0x1122_3344_5566_7788,
        signature: [0; SIGNATURE_LEN],
    }
}

/// Behind its header, from the Ethernet header on.
fn frame(kind: Kind) -> Vec<u8> {
    let header = match kind {
        Kind::Advert => advert().emit(),
        Kind::Introduction { .. } => introduction_header(),
    };
    let trailer = Signer::new(&key(), &vips()).sign(unsigned(kind), SOURCE.address, &header);
    emit_frame(SOURCE, 0, &header, &trailer.emit())
}

fn question() -> Kind {
    Kind::Introduction {
        asks: Some(Challenge(0x1111_2222_3333_4444)),
        answers: Some(Challenge(0x5555_6666_7777_8888)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a receiver with the key finds a right signature in the datagram.
fn verifies(datagram: &[u8]) -> bool {
    let Ok(packet) = Packet::parse(datagram) else {
        return false;
    };
    let trailer = match packet.body {
        Body::Advert { trailer, .. } => trailer,
        Body::Introduction(trailer) => Some(trailer),
    };
    let signer = Signer::new(&key(), &vips());
    trailer.is_some_and(|trailer| {
        trailer.key == KeyId(3) && signer.verify(&trailer, packet.source, &packet.header)
    })
}

#[test]
fn the_vectors_of_the_documentation_are_emitted_to_the_byte() {
    // Computed by another program, from the description in
    // `docs/signed-adverts.md`: Python's hmac and hashlib.
    assert_eq!(
        hex(&frame(Kind::Advert)[ETHERNET_LEN + IPV4_LEN..]),
        ADVERT_VECTOR
    );
    assert_eq!(
        hex(&frame(question())[ETHERNET_LEN + IPV4_LEN..]),
        INTRODUCTION_VECTOR
    );
}

#[test]
fn what_is_written_is_read_back() {
    for kind in [
        Kind::Advert,
        question(),
        Kind::Introduction {
            asks: None,
            answers: None,
        },
    ] {
        let trailer = unsigned(kind);
        assert_eq!(Trailer::parse(&trailer.emit()), Some(trailer));
        assert!(verifies(&frame(kind)[ETHERNET_LEN..]));
    }
}

#[test]
fn legacy_hosts_see_the_advert_that_they_know() {
    let frame = frame(Kind::Advert);
    let bare = Advertisement {
        is_vipd: false,
        ..advert()
    };
    let bare = bare.emit_frame(SOURCE, 0);
    // Their checks and checksums cover the 36 bytes, which are the same.
    let (from, to) = (
        ETHERNET_LEN + IPV4_LEN,
        ETHERNET_LEN + IPV4_LEN + HEADER_LEN,
    );
    assert_eq!(frame[from..to], bare[from..to]);
    // Those who take the sum over the whole payload find it right.
    for kind in [Kind::Advert, question()] {
        let frame = self::frame(kind);
        assert_eq!(checksum(&frame[ETHERNET_LEN + IPV4_LEN..]), 0);
    }
}

#[test]
fn no_bit_of_a_signed_packet_can_be_changed() {
    // Bits that a receiver does not look at, or that routers may change: the type
    // of service, the identification, flags, and the checksums, which are mended.
    let is_free = |offset: usize| matches!(offset, 1 | 4..=6 | 10..=11 | 26..=27 | 62..=63);
    for kind in [Kind::Advert, question()] {
        let datagram = frame(kind)[ETHERNET_LEN..].to_vec();
        for offset in 0..datagram.len() {
            for bit in 0..8 {
                let mut forged = datagram.clone();
                forged[offset] ^= 1 << bit;
                forged[10..12].fill(0);
                let sum = checksum(&forged[..IPV4_LEN]);
                forged[10..12].copy_from_slice(&sum.to_be_bytes());
                let header = IPV4_LEN..IPV4_LEN + HEADER_LEN;
                forged[26..28].fill(0);
                let sum = checksum(&forged[header.clone()]);
                forged[26..28].copy_from_slice(&sum.to_be_bytes());
                if !is_free(offset) {
                    assert!(!verifies(&forged), "{kind:?}: bit {bit} of byte {offset}");
                }
            }
        }
    }
}

#[test]
fn a_signature_is_of_its_key_its_addresses_and_its_sender() {
    let header = advert().emit();
    let signer = Signer::new(&key(), &vips());
    let trailer = signer.sign(unsigned(Kind::Advert), SOURCE.address, &header);
    assert!(signer.verify(&trailer, SOURCE.address, &header));
    assert!(!signer.verify(&trailer, Ipv4Addr::new(10, 0, 2, 31), &header));
    let other = Key::from_passphrase(b"Secret").unwrap();
    assert!(!Signer::new(&other, &vips()).verify(&trailer, SOURCE.address, &header));
    let more = [vips()[0], "10.0.2.101".parse().unwrap()];
    assert!(!Signer::new(&key(), &more).verify(&trailer, SOURCE.address, &header));
    // In any order, and once.
    let mixed = [more[1], more[0], more[1]];
    let signed = Signer::new(&key(), &more).sign(trailer, SOURCE.address, &header);
    assert!(Signer::new(&key(), &mixed).verify(&signed, SOURCE.address, &header));
}

#[test]
fn cut_or_of_another_version_it_is_none() {
    let whole = unsigned(question()).emit();
    for len in 0..whole.len() {
        assert_eq!(Trailer::parse(&whole[..len]), None, "{len}");
    }
    for (offset, value) in [(0, b'V'), (4, 1), (4, 3), (5, 0), (5, 3), (9, 0)] {
        let mut other = whole.clone();
        other[offset] = value;
        assert_eq!(Trailer::parse(&other), None, "{value} at {offset}");
    }
}

const ADVERT_VECTOR: &str = "210100070001ab0100000000000000006f63e23ba1082bf3e78c679992d41aa411d406e77669706402012784030100000123456789abcdef1122334455667788e0fddd6b6b489438ec1aac91f84e10b22e9c09dac936edc18ac818a36fd4dae9";
const INTRODUCTION_VECTOR: &str = "2100fe0700ffdff8000000000000000000000000000000000000000000000000000000007669706402022d50030100000123456789abcdef112233445566778811112222333344445555666677778888fb33d17db34f4a8a6ce500c89a79ed2339e4f230361b2d73218bc7c3cc17cc1c";
