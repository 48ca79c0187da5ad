//! Several passwords in one group, so that they can be changed while it lives.

use std::net::{IpAddr, Ipv4Addr};

use super::Vhid;
use super::auth::{Authenticator, Key};
use super::packet::HEADER_LEN;
use super::trailer::{KeyId, Signer, Trailer};

/// The passwords of a group: with one it signs, all are accepted of others. So
/// they can be changed on a living cluster: first every host accepts the new one,
/// then every host signs with it, then every host forgets the old one.
#[derive(Clone)]
pub struct Keyring {
    /// Never empty; the first one signs.
    keys: Vec<(KeyId, Key)>,
}

/// Why passwords do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("key {} is given twice", .0.0)]
    Duplicate(KeyId),
    #[error("there is no key {} to sign with", .0.0)]
    Missing(KeyId),
}

impl Keyring {
    /// One password, with id 0.
    pub fn single(key: Key) -> Self {
        Self {
            keys: vec![(KeyId(0), key)],
        }
    }

    /// Several; `signs` is the id of the one that signs.
    pub fn new(mut keys: Vec<(KeyId, Key)>, signs: KeyId) -> Result<Self, KeyringError> {
        for (place, (id, _)) in keys.iter().enumerate() {
            if keys[..place].iter().any(|(other, _)| other == id) {
                return Err(KeyringError::Duplicate(*id));
            }
        }
        let place = keys.iter().position(|(id, _)| *id == signs);
        keys.swap(0, place.ok_or(KeyringError::Missing(signs))?);
        Ok(Self { keys })
    }

    /// The id of the key that signs.
    pub fn signs_with(&self) -> KeyId {
        self.keys[0].0
    }

    /// Whether there is a key with this id.
    pub fn has(&self, id: KeyId) -> bool {
        self.keys.iter().any(|(own, _)| *own == id)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|(_, key)| key)
    }

    /// See [`Key::sign_note`]; by the key that signs.
    pub fn sign_note(&self, note: &[u8]) -> [u8; 20] {
        self.keys[0].1.sign_note(note)
    }

    /// See [`Key::verify_note`]; by any of the keys.
    pub fn verify_note(&self, note: &[u8], digest: &[u8; 20]) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|(_, key)| key.verify_note(note, digest))
    }
}

/// What a group signs and verifies with.
pub struct Credentials {
    /// Never empty; the first one signs.
    keys: Vec<(KeyId, Authenticator, Signer)>,
}

/// Why a signature is not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it was made with key {}, which this host does not have", .0.0)]
    UnknownKey(KeyId),
    #[error("it does not go with the message")]
    Wrong,
}

impl Credentials {
    /// For a virtual host with these addresses, in any order.
    pub fn new(keyring: &Keyring, vhid: Vhid, addresses: &[IpAddr]) -> Self {
        let keys = keyring.keys.iter().map(|(id, key)| {
            let authenticator = Authenticator::new(key, vhid, addresses);
            (*id, authenticator, Signer::new(key, addresses))
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// CARP's digest that goes with `counter`.
    pub fn digest(&self, counter: u64) -> [u8; 20] {
        self.keys[0].1.sign(counter)
    }

    /// Whether CARP's digest was made with one of the keys.
    pub fn verify_digest(&self, counter: u64, digest: &[u8; 20]) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|(_, authenticator, _)| authenticator.verify(counter, digest))
    }

    /// The trailer with key and signature.
    pub fn sign(&self, trailer: Trailer, source: Ipv4Addr, header: &[u8; HEADER_LEN]) -> Trailer {
        let (id, _, signer) = &self.keys[0];
        signer.sign(
            Trailer {
                key: *id,
                ..trailer
            },
            source,
            header,
        )
    }

    /// Whether the signature was made with one of the keys. The id only says which
    /// to try first: a host may know the same password by another number.
    pub fn verify(
        &self,
        trailer: &Trailer,
        source: Ipv4Addr,
        header: &[u8; HEADER_LEN],
    ) -> Result<(), SignatureError> {
        let is_named = |(id, ..): &&(KeyId, Authenticator, Signer)| *id == trailer.key;
        let is_right = |(_, _, signer): &(KeyId, Authenticator, Signer)| {
            signer.verify(trailer, source, header)
        };
        let named = self.keys.iter().find(is_named);
        if named.is_some_and(is_right) || self.keys.iter().any(is_right) {
            Ok(())
        } else if named.is_some() {
            Err(SignatureError::Wrong)
        } else {
            Err(SignatureError::UnknownKey(trailer.key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(password: &str) -> Key {
        Key::from_passphrase(password.as_bytes()).unwrap()
    }

    fn ring(ids: &[u8], signs: u8) -> Result<Keyring, KeyringError> {
        let keys = ids.iter().map(|id| (KeyId(*id), key(&format!("key {id}"))));
        Keyring::new(keys.collect(), KeyId(signs))
    }

    #[test]
    fn a_key_is_given_once_and_the_one_that_signs_is_there() {
        assert_eq!(ring(&[1, 2, 3], 2).unwrap().signs_with(), KeyId(2));
        assert_eq!(
            ring(&[1, 2, 1], 2).err(),
            Some(KeyringError::Duplicate(KeyId(1)))
        );
        assert_eq!(
            ring(&[1, 2], 3).err(),
            Some(KeyringError::Missing(KeyId(3)))
        );
        assert_eq!(ring(&[], 0).err(), Some(KeyringError::Missing(KeyId(0))));
    }

    #[test]
    fn keys_are_changed_in_three_steps_in_which_all_believe_all() {
        let vhid = Vhid::new(1).unwrap();
        let credentials =
            |ids: &[u8], signs: u8| Credentials::new(&ring(ids, signs).unwrap(), vhid, &[]);
        let steps = [
            credentials(&[1], 1),
            credentials(&[1, 2], 1),
            credentials(&[1, 2], 2),
            credentials(&[2], 2),
        ];
        // Hosts are one step apart at most.
        for neighbours in steps.windows(2) {
            for (from, to) in [(0, 1), (1, 0)] {
                let digest = neighbours[from].digest(7);
                assert!(neighbours[to].verify_digest(7, &digest));
            }
        }
        assert!(!steps[3].verify_digest(7, &steps[0].digest(7)));
        assert!(!steps[0].verify_digest(7, &steps[3].digest(7)));
    }
}
