//! What shows a daemon that a lease, left by the one before it, stands on
//! adverts that its own peers believe: the same password signed them.

use std::fmt;

use crate::carp::{Keyring, Session};

/// Written down by each daemon for the responder that it has attached, and found
/// by the next one. It names the XDP program, of which the kernel gives each
/// daemon's its own number: what was written for another program says nothing of
/// the leases that are there, whoever could not write since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// As what the host is known to its peers, to whom a daemon that goes on with
    /// the lease is the same one. Different on each host and at each start.
    session: Session,
    digest: [u8; 20],
}

impl Seal {
    pub(super) fn new(key: &Keyring, session: Session, program: u32) -> Self {
        let digest = key.sign_note(&note(session, program));
        Self { session, digest }
    }

    /// Whether it was made with this key for this program, in constant time.
    pub(super) fn is_of(&self, key: &Keyring, program: u32) -> bool {
        key.verify_note(&note(self.session, program), &self.digest)
    }

    pub(super) fn session(&self) -> Session {
        self.session
    }

    /// `None` for whatever is not what [`fmt::Display`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (session, digest) = text.split_once('-')?;
        Some(Self {
            session: Session(u64::from_be_bytes(parse_hex(session)?)),
            digest: parse_hex(digest)?,
        })
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-", self.session.0)?;
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn note(session: Session, program: u32) -> [u8; 12] {
    let mut note = [0; 12];
    note[..8].copy_from_slice(&session.0.to_be_bytes());
    note[8..].copy_from_slice(&program.to_be_bytes());
    note
}

fn parse_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    if text.len() != 2 * LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, index) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(index..index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
