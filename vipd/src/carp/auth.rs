//! Passwords, and CARP's own digest: HMAC-SHA1 over version, type, vhid, virtual
//! addresses and counter.
//!
//! It does not cover advbase, advskew, the demotion byte or the IP header, and
//! nobody checks the counter for replay. CARP's authentication stops accidents
//! (a foreign cluster, another address set), not an attacker on the LAN. Against
//! him there is [`super::trailer`].

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::Vhid;
use super::packet::{TYPE_ADVERTISEMENT, VERSION};

/// Bytes of passphrase that every implementation agrees on. The key field has
/// 20 bytes, of which the BSDs' `strlcpy` keeps one for the NUL; UCARP refuses
/// 20 and more (`carp.c:691`).
pub const MAX_KEY_LEN: usize = 19;

/// A passphrase. It has no `Debug`, and its memory is wiped when it goes.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

/// Why a passphrase is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the password is empty")]
    Empty,
    #[error(
        "the password has {0} bytes; CARP takes at most {MAX_KEY_LEN}, and peers that cut a longer one would not understand this host"
    )]
    TooLong(usize),
}

impl Key {
    /// The bytes themselves are the key, not a hash of them, whatever the
    /// comments in every `ip_carp.h` say.
    pub fn from_passphrase(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            0 => Err(KeyError::Empty),
            1..=MAX_KEY_LEN => Ok(Self(Zeroizing::new(bytes.to_vec()))),
            len => Err(KeyError::TooLong(len)),
        }
    }

    /// The first line of a password file, as UCARP reads it (`ucarp.c`, `-o`):
    /// at most 511 bytes are looked at, the line ends at CR, LF or the end.
    pub fn from_passfile(content: &[u8]) -> Result<Self, KeyError> {
        let seen = &content[..content.len().min(511)];
        let line = seen
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .next()
            .unwrap_or(seen);
        Self::from_passphrase(line)
    }

    /// What a BSD host has that was given no password: zeroes only.
    pub fn unset() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A digest by which who has the key can tell later that it signed `note`. It
    /// reveals of the key what an advert on the wire does, and is no advert's.
    pub fn sign_note(&self, note: &[u8]) -> [u8; 20] {
        self.note(note).finalize().into_bytes().into()
    }

    /// Whether `digest` is [`Self::sign_note`]'s, in constant time. Two keys are
    /// the same here where they are to peers (RFC 2104 pads with zeroes).
    pub fn verify_note(&self, note: &[u8], digest: &[u8; 20]) -> bool {
        self.note(note).verify_slice(digest).is_ok()
    }

    fn note(&self, note: &[u8]) -> Hmac<Sha1> {
        let mut mac = self.mac();
        // What an advert signs begins with CARP's version, 2.
        mac.update(b"vipd note ");
        mac.update(note);
        mac
    }

    fn mac(&self) -> Hmac<Sha1> {
        // HMAC takes a key of any length, so this cannot fail (RFC 2104).
        match Hmac::<Sha1>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(error) => unreachable!("{error}"),
        }
    }
}

/// Signs and verifies the adverts of one virtual host.
#[derive(Clone)]
pub struct Authenticator {
    /// Everything but the counter has been fed in.
    prefix: Hmac<Sha1>,
}

impl Authenticator {
    /// For a virtual host with these addresses, in any order: IPv4 addresses
    /// enter ascending, then IPv6 addresses ascending, duplicates once
    /// (`carp_hmac_prepare` in both BSDs; UCARP has just one address).
    pub fn new(key: &Key, vhid: Vhid, addresses: &[IpAddr]) -> Self {
        let mut sorted = addresses.to_vec();
        // `IpAddr` orders all V4 before all V6, and each by its bytes.
        sorted.sort_unstable();
        sorted.dedup();

        let mut prefix = key.mac();
        prefix.update(&[VERSION, TYPE_ADVERTISEMENT, vhid.value()]);
        for address in sorted {
            match address {
                IpAddr::V4(v4) => prefix.update(&v4.octets()),
                IpAddr::V6(v6) => prefix.update(&v6.octets()),
            }
        }
        Self { prefix }
    }

    /// The digest that goes with `counter`.
    pub fn sign(&self, counter: u64) -> [u8; 20] {
        let mut mac = self.prefix.clone();
        mac.update(&counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Whether `digest` goes with `counter`, in constant time.
    pub fn verify(&self, counter: u64, digest: &[u8; 20]) -> bool {
        let mut mac = self.prefix.clone();
        mac.update(&counter.to_be_bytes());
        mac.verify_slice(digest).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_nineteen_bytes_is_taken_and_of_twenty_refused() {
        // UCARP 1.5.2 exits with 2 on 20 bytes, though its man page allows them.
        assert!(Key::from_passphrase(&[b'x'; 19]).is_ok());
        assert_eq!(
            Key::from_passphrase(&[b'x'; 20]).err(),
            Some(KeyError::TooLong(20))
        );
        assert_eq!(Key::from_passphrase(b"").err(), Some(KeyError::Empty));
    }

    #[test]
    fn a_passfile_is_its_first_line() {
        let vhid = Vhid::new(1).unwrap();
        let sign = |key: Key| Authenticator::new(&key, vhid, &[]).sign(7);
        let expected = sign(Key::from_passphrase(b"secret").unwrap());
        for content in [
            &b"secret"[..],
            b"secret\n",
            b"secret\r\n",
            b"secret\nsecond line\n",
        ] {
            assert_eq!(
                sign(Key::from_passfile(content).unwrap()),
                expected,
                "{content:?}"
            );
        }
        // A blank is part of the password: UCARP strips nothing but the line's end.
        assert_ne!(sign(Key::from_passfile(b"secret \n").unwrap()), expected);
        assert_eq!(
            Key::from_passfile(b"\nsecret\n").err(),
            Some(KeyError::Empty)
        );
        assert_eq!(
            Key::from_passfile(&[b'x'; 4096]).err(),
            Some(KeyError::TooLong(511))
        );
    }

    #[test]
    fn a_digest_verifies_only_with_its_counter_key_vhid_and_addresses() {
        let key = Key::from_passphrase(b"secret").unwrap();
        let (one, two) = (Vhid::new(1).unwrap(), Vhid::new(2).unwrap());
        let vip: IpAddr = "10.0.2.100".parse().unwrap();
        let auth = Authenticator::new(&key, one, &[vip]);
        let digest = auth.sign(5);
        assert!(auth.verify(5, &digest));
        assert!(!auth.verify(6, &digest));
        assert!(!Authenticator::new(&key, two, &[vip]).verify(5, &digest));
        assert!(
            !Authenticator::new(&key, one, &["10.0.2.101".parse().unwrap()]).verify(5, &digest)
        );
        let other = Key::from_passphrase(b"Secret").unwrap();
        assert!(!Authenticator::new(&other, one, &[vip]).verify(5, &digest));
    }

    #[test]
    fn a_note_verifies_only_with_its_key_and_words() {
        let key = Key::from_passphrase(b"secret").unwrap();
        let digest = key.sign_note(b"of mine");
        assert!(key.verify_note(b"of mine", &digest));
        assert!(!key.verify_note(b"of yours", &digest));
        let other = Key::from_passphrase(b"Secret").unwrap();
        assert!(!other.verify_note(b"of mine", &digest));
        let mut damaged = digest;
        damaged[19] ^= 1;
        assert!(!key.verify_note(b"of mine", &damaged));
    }

    #[test]
    fn addresses_enter_sorted_and_once() {
        // `carp_hmac_prepare`: a strict comparison picks the next larger one.
        let key = Key::from_passphrase(b"secret").unwrap();
        let vhid = Vhid::new(7).unwrap();
        let sorted: Vec<IpAddr> = ["10.0.0.1", "192.0.2.9", "192.0.2.10"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        let mixed = [sorted[2], sorted[0], sorted[1], sorted[0]];
        assert_eq!(
            Authenticator::new(&key, vhid, &sorted).sign(1),
            Authenticator::new(&key, vhid, &mixed).sign(1)
        );
    }
}
