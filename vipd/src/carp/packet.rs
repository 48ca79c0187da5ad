//! An advertisement as bytes: the CARP header, and the IPv4 and Ethernet
//! headers it travels in.
//!
//! ```text
//!  0               1               2               3
//! +-------+-------+---------------+---------------+---------------+
//! |Ver = 2|Typ = 1|     vhid      |    advskew    |  authlen = 7  |
//! +-------+-------+---------------+---------------+---------------+
//! |    demote     |    advbase    |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |                     counter, high word first                  |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |                      HMAC-SHA1, 20 bytes                      |
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum is RFC 1071's over these 36 bytes, without a pseudo-header.
//! Bytes after them belong to nobody; UCARP and both BSDs ignore them (their
//! length checks are "at least", their checksums cover 36 bytes). There a vipd
//! host signs ([`super::trailer`]) or, told not to, puts its mark, by which others
//! know what it promises: it answers by a lease, and says farewell only when it
//! has fallen silent.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |      'v'      |      'i'      |      'p'      |      'd'      |
//! +---------------+---------------+---------------+---------------+
//! |  version = 1  | hidden advskew|         sum's complement      |
//! +---------------+---------------+-------------------------------+
//! ```
//!
//! Its last word makes the one's complement sum of the mark zero, for those who
//! take the checksum over the whole payload (Wireshark, carp-rs).
//!
//! A host that is demoted advertises a worse advskew, for peers that know nothing
//! else. vipd hosts compare demotions first, wait for each other as if there were
//! none, and so carry the advskew that is hidden by it, in mark or trailer.

use std::net::Ipv4Addr;

use super::trailer::{self, Kind, Trailer};
use super::{Interval, MULTICAST, PROTOCOL, TTL, Vhid};

/// High nibble of the first byte (`CARP_VERSION`). VRRPv2's is the same.
pub const VERSION: u8 = 2;

/// Low nibble of the first byte (`CARP_ADVERTISEMENT`).
pub const TYPE_ADVERTISEMENT: u8 = 1;

/// Length of the CARP header.
pub const HEADER_LEN: usize = 36;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;

/// What a vipd host appends that does not sign.
fn mark(hidden_advskew: u8) -> [u8; 8] {
    let [v, i, p, d] = *trailer::MAGIC;
    let [high, low] = checksum(&[v, i, p, d, 1, hidden_advskew]).to_be_bytes();
    [v, i, p, d, 1, hidden_advskew, high, low]
}

/// 01:00:5e and the low 23 bits of 224.0.0.18 (RFC 1112, section 6.4).
const MULTICAST_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];

/// IPTOS_LOWDELAY, as UCARP and OpenBSD send.
const TOS: u8 = 0x10;

/// The one message of CARP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub vhid: Vhid,
    pub interval: Interval,
    /// How unfit the sender is: vipd and OpenBSD; "reserved" for everybody else.
    /// Not signed by the digest.
    pub demote: u8,
    /// The advskew that a vipd host is configured to, where its demotion hides it;
    /// else 0. Not signed by the digest.
    pub hidden_advskew: u8,
    pub counter: u64,
    pub digest: [u8; 20],
    /// Whether the sender is a vipd host. Not signed.
    pub is_vipd: bool,
}

/// Where an advertisement is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Ethernet source. Receivers do not look at it, but switches and
    /// hypervisors do, so it is the interface's own.
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
}

/// Why bytes are not an advertisement for us. Always somebody else's doing:
/// count it, do not complain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DecodeError {
    #[error("too short for an advertisement")]
    TooShort,
    #[error("not IPv4, or its header makes no sense")]
    BadIpHeader,
    #[error("not protocol 112")]
    OtherProtocol,
    #[error("a fragment")]
    Fragment,
    #[error("its TTL is not 255, so a router may have passed it on")]
    BadTtl,
    #[error("not addressed to 224.0.0.18")]
    OtherDestination,
    #[error("VRRP version 3")]
    Vrrp3,
    #[error("neither version 2 nor an advertisement")]
    BadVersion,
    #[error("vhid 0")]
    BadVhid,
    #[error("its checksum is wrong")]
    BadChecksum,
}

impl Advertisement {
    /// The 36 bytes of the header, its checksum filled in.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[0] = VERSION << 4 | TYPE_ADVERTISEMENT;
        header[1] = self.vhid.value();
        header[2] = self.interval.advskew;
        header[3] = 7;
        header[4] = self.demote;
        header[5] = self.interval.advbase;
        header[8..16].copy_from_slice(&self.counter.to_be_bytes());
        header[16..].copy_from_slice(&self.digest);
        let sum = checksum(&header);
        header[6..8].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// The Ethernet frame that carries it, unsigned. `id` is the IPv4
    /// identification.
    pub fn emit_frame(&self, source: Source, id: u16) -> Vec<u8> {
        let mark = mark(self.hidden_advskew);
        let mark: &[u8] = if self.is_vipd { &mark } else { &[] };
        emit_frame(source, id, &self.emit(), mark)
    }

    /// The interval that its sender is configured to, whatever its demotion makes
    /// of it for others to see.
    pub fn configured(&self) -> Interval {
        match self.demote {
            1.. if self.is_vipd => Interval::new(self.interval.advbase, self.hidden_advskew),
            _ => self.interval,
        }
    }

    /// Reads an advert, as [`Packet::parse`] does; what else a packet may be is
    /// an error here.
    pub fn parse(datagram: &[u8]) -> Result<(Ipv4Addr, Self), DecodeError> {
        let packet = Packet::parse(datagram)?;
        match packet.body {
            Body::Advert { advert, .. } => Ok((packet.source, advert)),
            Body::Introduction(_) => Err(DecodeError::BadVhid),
        }
    }
}

/// What comes in by IP protocol 112.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: Ipv4Addr,
    /// The CARP header as it came, which signatures are taken over.
    pub header: [u8; HEADER_LEN],
    pub body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Advert {
        advert: Advertisement,
        /// Its signature, not verified.
        trailer: Option<Trailer>,
    },
    /// Not verified. See [`Kind::Introduction`].
    Introduction(Trailer),
}

impl Packet {
    /// Reads an IPv4 datagram, as a raw socket delivers it: from the first byte
    /// of the IP header.
    pub fn parse(datagram: &[u8]) -> Result<Self, DecodeError> {
        let (source, payload) = parse_ipv4(datagram)?;
        let header: &[u8; HEADER_LEN] = payload.first_chunk::<HEADER_LEN>().ok_or(match payload
            .first()
        {
            // VRRPv3 is shorter than CARP; say what it is.
            Some(first) if first >> 4 == 3 => DecodeError::Vrrp3,
            _ => DecodeError::TooShort,
        })?;
        match (header[0] >> 4, header[0] & 0x0f) {
            (VERSION, TYPE_ADVERTISEMENT) => {}
            (3, _) => return Err(DecodeError::Vrrp3),
            _ => return Err(DecodeError::BadVersion),
        }
        if checksum(header) != 0 {
            return Err(DecodeError::BadChecksum);
        }
        let rest = &payload[HEADER_LEN..];
        let trailer = Trailer::parse(rest);
        let body = match (Vhid::new(header[1]), trailer) {
            (Some(vhid), trailer) => {
                let (counter, digest) = header[8..].split_at(8);
                Body::Advert {
                    advert: Advertisement {
                        vhid,
                        interval: Interval::new(header[5], header[2]),
                        demote: header[4],
                        counter: counter
                            .iter()
                            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                        hidden_advskew: hidden_advskew(rest),
                        digest: digest.try_into().map_err(|_| DecodeError::TooShort)?,
                        is_vipd: rest.starts_with(trailer::MAGIC),
                    },
                    trailer,
                }
            }
            (None, Some(trailer)) if trailer.kind != Kind::Advert => Body::Introduction(trailer),
            (None, _) => return Err(DecodeError::BadVhid),
        };
        Ok(Self {
            source,
            header: *header,
            body,
        })
    }
}

/// What mark or trailer says of the advskew that is configured.
fn hidden_advskew(rest: &[u8]) -> u8 {
    match Trailer::parse(rest) {
        Some(trailer) => trailer.hidden_advskew,
        None if rest.starts_with(trailer::MAGIC) && rest.get(4) == Some(&1) => {
            rest.get(5).copied().unwrap_or(0)
        }
        None => 0,
    }
}

/// Whether a datagram that is no CARP is an advertisement of VRRP, which shares
/// CARP's protocol number and destination: by whom, and with which router id.
/// Version 2 begins like CARP, but counts addresses (RFC 3768, section 5.1:
/// 8 bytes, 4 for each address, 8 of authentication); version 3 does not
/// (RFC 5798, section 5.1).
pub fn vrrp_router(datagram: &[u8]) -> Option<(Ipv4Addr, u8)> {
    let (source, payload) = parse_ipv4(datagram).ok()?;
    let [version_and_type, router, _, count, ..] = *payload else {
        return None;
    };
    let addresses = 4 * usize::from(count);
    let is_vrrp = match version_and_type {
        0x21 => payload.len() == 8 + addresses + 8 && checksum(payload) == 0,
        0x31 => payload.len() == 8 + addresses,
        _ => false,
    };
    is_vrrp.then_some((source, router))
}

/// The CARP header that an introduction travels behind. Nobody serves vhid 0; for
/// whoever looked at the interval, it would be the slowest.
pub fn introduction_header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = VERSION << 4 | TYPE_ADVERTISEMENT;
    header[2] = Interval::MAX_ADVSKEW;
    header[3] = 7;
    header[5] = 255;
    let sum = checksum(&header);
    header[6..8].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The Ethernet frame of a CARP header and what follows it. `id` is the IPv4
/// identification.
pub fn emit_frame(source: Source, id: u16, header: &[u8; HEADER_LEN], trailer: &[u8]) -> Vec<u8> {
    let payload_len = HEADER_LEN + trailer.len();
    let mut frame = vec![0; ETHERNET_LEN + IPV4_LEN];
    frame[..6].copy_from_slice(&MULTICAST_MAC);
    frame[6..12].copy_from_slice(&source.mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);

    let ip = &mut frame[ETHERNET_LEN..ETHERNET_LEN + IPV4_LEN];
    ip[0] = 0x45;
    ip[1] = TOS;
    ip[2..4].copy_from_slice(&((IPV4_LEN + payload_len) as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    ip[6] = 0x40; // don't fragment
    ip[8] = TTL;
    ip[9] = PROTOCOL;
    ip[12..16].copy_from_slice(&source.address.octets());
    ip[16..20].copy_from_slice(&MULTICAST.octets());
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    frame.extend_from_slice(header);
    frame.extend_from_slice(trailer);
    frame
}

/// Checks the IPv4 header and returns the sender and the payload, without what
/// Ethernet padded it with.
fn parse_ipv4(datagram: &[u8]) -> Result<(Ipv4Addr, &[u8]), DecodeError> {
    let header = datagram
        .first_chunk::<IPV4_LEN>()
        .ok_or(DecodeError::TooShort)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_len < IPV4_LEN {
        return Err(DecodeError::BadIpHeader);
    }
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total_len < header_len {
        return Err(DecodeError::BadIpHeader);
    }
    let payload = datagram
        .get(header_len..total_len)
        .ok_or(DecodeError::TooShort)?;
    if checksum(&datagram[..header_len]) != 0 {
        return Err(DecodeError::BadIpHeader);
    }
    if header[9] != PROTOCOL {
        return Err(DecodeError::OtherProtocol);
    }
    // More-fragments and the offset; not the flag that forbids them.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(DecodeError::Fragment);
    }
    if header[8] != TTL {
        return Err(DecodeError::BadTtl);
    }
    if header[16..20] != MULTICAST.octets() {
        return Err(DecodeError::OtherDestination);
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    Ok((source, payload))
}

/// RFC 1071's checksum of an even number of bytes; zero over bytes that already
/// hold a right one.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests;
