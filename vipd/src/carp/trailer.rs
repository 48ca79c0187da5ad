//! What a vipd host appends to an advert so that it can be neither forged nor
//! replayed, and the introduction by which hosts come to know each other.
//!
//! CARP's own digest leaves advbase, advskew and the demotion byte open and
//! looks at no counter. Legacy peers ignore what follows byte 36 (their length
//! checks are "at least", their checksums cover 36 bytes: UCARP `carp.c:455` and
//! `:498`, `carp_proto_input` of both BSDs), so there stands:
//!
//! ```text
//!  0               1               2               3
//! +---------------+---------------+---------------+---------------+
//! |      'v'      |      'i'      |      'p'      |      'd'      |
//! +---------------+---------------+---------------+---------------+
//! |  version = 2  |     kind      |         sum's complement      |
//! +---------------+---------------+-------------------------------+
//! |    key id     |     vhid      | hidden advskew|     zero      |
//! +---------------+---------------+-------------------------------+
//! |                      session of the sender                    |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |                      number, strictly growing                 |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |      only kind 2: challenge to all others, 0 for none         |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |      only kind 2: challenge that is answered, 0 for none      |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |                     HMAC-SHA256, 32 bytes                     |
//! +---------------------------------------------------------------+
//! ```
//!
//! Numbers are big-endian. Kind 1 is an advert, kind 2 an introduction. The hidden
//! advskew is what a demoted host is configured to, in an advert, and else 0. An introduction
//! travels behind a CARP header of vhid 0, which no peer serves (UCARP and the
//! BSDs drop it without a word); the vhid that is meant stands in the trailer.
//! What sessions, numbers and challenges are for says [`super::trust`].
//!
//! The signature is taken with the group's password as the key, over
//!
//! 1. the 16 bytes `vipd signature 2`,
//! 2. the number of virtual IPv4 addresses and of IPv6 addresses, two bytes
//!    each, then the IPv4 addresses ascending, then the IPv6 addresses ascending,
//!    duplicates once,
//! 3. source and destination of the IP header,
//! 4. the 36 bytes of the CARP header, as sent,
//! 5. the trailer up to the signature, with the complement taken as zero.
//!
//! The complement makes the one's complement sum of the whole trailer zero, for
//! those who take the checksum over the whole payload (Wireshark, carp-rs).

use std::net::{IpAddr, Ipv4Addr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::packet::{HEADER_LEN, checksum};
use super::{Key, MULTICAST, Vhid};

/// What every trailer begins with, the unsigned mark of version 1 included.
pub const MAGIC: &[u8; 4] = b"vipd";

/// The version of the signed trailer.
pub const VERSION: u8 = 2;

/// Bytes of the signature.
pub const SIGNATURE_LEN: usize = 32;

/// Bytes before the signature, in an advert.
const ADVERT_LEN: usize = 28;

/// Bytes before the signature, in an introduction.
const INTRODUCTION_LEN: usize = 44;

const KIND_ADVERT: u8 = 1;
const KIND_INTRODUCTION: u8 = 2;

const DOMAIN: &[u8; 16] = b"vipd signature 2";

/// Which of a group's passwords it was signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u8);

/// One life of a host in a group: drawn at random at each start, never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a host wants to see in the introductions of others, to know that they
/// were written since it has drawn it. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Challenge(pub u64);

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a trailer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It signs the advert that it follows.
    Advert,
    /// "It is I."
    Introduction {
        /// "Who are you?", to all.
        asks: Option<Challenge>,
        /// The challenge of somebody who asked.
        answers: Option<Challenge>,
    },
}

/// A signed trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub kind: Kind,
    pub key: KeyId,
    pub vhid: Vhid,
    /// As [`super::Advertisement::hidden_advskew`].
    pub hidden_advskew: u8,
    pub session: Session,
    /// Greater than in anything sent before under the same [`Session`].
    pub number: u64,
    pub signature: [u8; SIGNATURE_LEN],
}

impl Trailer {
    /// Reads what follows a CARP header. `None` if it is no trailer of this
    /// version; nothing is said of its signature.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || *bytes.get(4)? != VERSION {
            return None;
        }
        let kind = *bytes.get(5)?;
        let [hidden_advskew, zero] = *bytes.get(10..)?.first_chunk()?;
        if zero != 0 || kind != KIND_ADVERT && hidden_advskew != 0 {
            return None;
        }
        let signed_len = match kind {
            KIND_ADVERT => ADVERT_LEN,
            KIND_INTRODUCTION => INTRODUCTION_LEN,
            _ => return None,
        };
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
        };
        let challenge = |at: usize| Some((word(at)? != 0).then_some(Challenge(word(at)?)));
        Some(Self {
            kind: match kind {
                KIND_ADVERT => Kind::Advert,
                _ => Kind::Introduction {
                    asks: challenge(ADVERT_LEN)?,
                    answers: challenge(ADVERT_LEN + 8)?,
                },
            },
            key: KeyId(*bytes.get(8)?),
            vhid: Vhid::new(*bytes.get(9)?)?,
            hidden_advskew,
            session: Session(word(12)?),
            number: word(20)?,
            signature: *bytes.get(signed_len..)?.first_chunk()?,
        })
    }

    /// The bytes before the signature, their complement zero.
    fn to_be_signed(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(INTRODUCTION_LEN + SIGNATURE_LEN);
        bytes.extend_from_slice(MAGIC);
        let (kind, challenges) = match self.kind {
            Kind::Advert => (KIND_ADVERT, None),
            Kind::Introduction { asks, answers } => (KIND_INTRODUCTION, Some([asks, answers])),
        };
        let (key, vhid) = (self.key.0, self.vhid.value());
        bytes.extend_from_slice(&[VERSION, kind, 0, 0, key, vhid, self.hidden_advskew, 0]);
        bytes.extend_from_slice(&self.session.0.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        for challenge in challenges.into_iter().flatten() {
            let word = challenge.map_or(0, |challenge| challenge.0);
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// All of its bytes.
    pub fn emit(self) -> Vec<u8> {
        let mut bytes = self.to_be_signed();
        bytes.extend_from_slice(&self.signature);
        let complement = checksum(&bytes);
        bytes[6..8].copy_from_slice(&complement.to_be_bytes());
        bytes
    }
}

/// Signs and verifies the trailers of one virtual host with one key.
#[derive(Clone)]
pub struct Signer {
    /// Fed with everything that is the same in all of them.
    prefix: Hmac<Sha256>,
}

impl Signer {
    /// For a virtual host with these addresses, in any order.
    pub fn new(key: &Key, addresses: &[IpAddr]) -> Self {
        let mut sorted = addresses.to_vec();
        // `IpAddr` orders all V4 before all V6, and each by its bytes.
        sorted.sort_unstable();
        sorted.dedup();
        // HMAC takes a key of any length, so this cannot fail (RFC 2104).
        let mut prefix = match Hmac::<Sha256>::new_from_slice(key.bytes()) {
            Ok(mac) => mac,
            Err(error) => unreachable!("{error}"),
        };
        prefix.update(DOMAIN);
        let v4 = sorted.iter().filter(|address| address.is_ipv4()).count();
        for count in [v4, sorted.len() - v4] {
            prefix.update(&(count as u16).to_be_bytes());
        }
        for address in sorted {
            match address {
                IpAddr::V4(v4) => prefix.update(&v4.octets()),
                IpAddr::V6(v6) => prefix.update(&v6.octets()),
            }
        }
        Self { prefix }
    }

    /// The trailer with its signature, behind `header` in a packet from `source`.
    pub fn sign(&self, trailer: Trailer, source: Ipv4Addr, header: &[u8; HEADER_LEN]) -> Trailer {
        let signature = self.mac(trailer, source, header).finalize().into_bytes();
        Trailer {
            signature: signature.into(),
            ..trailer
        }
    }

    /// Whether its signature is right, in constant time.
    pub fn verify(&self, trailer: &Trailer, source: Ipv4Addr, header: &[u8; HEADER_LEN]) -> bool {
        self.mac(*trailer, source, header)
            .verify_slice(&trailer.signature)
            .is_ok()
    }

    fn mac(&self, trailer: Trailer, source: Ipv4Addr, header: &[u8; HEADER_LEN]) -> Hmac<Sha256> {
        let mut mac = self.prefix.clone();
        mac.update(&source.octets());
        mac.update(&MULTICAST.octets());
        mac.update(header);
        mac.update(&trailer.to_be_signed());
        mac
    }
}

#[cfg(test)]
mod tests;
