//! The addresses that a group's adverts speak of, while they are being changed.
//!
//! CARP's digest covers the set of addresses, so that hosts with different sets do
//! not hear each other. But no operator changes all hosts in the same moment. So for
//! [`WINDOW`] after its set was changed, a host believes what goes with the old set
//! as with the new one, and says everything once in each: whoever has either of the
//! two follows it. Its lease counts from the first advert of a beat, and is renewed
//! when that of the other set has gone out too: everybody has heard it then.
//!
//! Whoever has one of the two sets only hears, of such a host, every other message
//! that does not verify. That is told from a mistake by its numbers: they go on from
//! the message before it, which did.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::{GroupConfig, Instant};
use crate::carp::packet::HEADER_LEN;
use crate::carp::trailer::Trailer;
use crate::carp::{Credentials, Session, SignatureError};
use crate::time::Duration;

/// How long a changed group still speaks of, and believes, what it had before: long
/// enough for somebody to change one host after the other by hand and to look in
/// between, short enough that a host which was forgotten is noticed the same day,
/// while whoever changed it is there. The same time goes for timers.
pub(super) const WINDOW: Duration = Duration::from_secs(600);

/// Messages of one host, one after the other, of which some may get lost between one
/// that verified and one of the other set.
const NEXT_ONES: u64 = 8;

/// Which of the sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Former,
    Current,
}

/// What a group signs and verifies with: for the addresses that it has, and for
/// those it had.
pub(super) struct Sets {
    current: Credentials,
    former: Option<Former>,
    /// The last advert that was believed.
    last_advert: Option<(Ipv4Addr, u64)>,
    /// The last signature that was right.
    last_signed: Option<(Session, u64)>,
}

struct Former {
    addresses: Vec<IpAddr>,
    credentials: Credentials,
    until: Instant,
}

impl Sets {
    pub(super) fn new(config: &GroupConfig) -> Self {
        Self {
            current: credentials(config, &config.addresses()),
            former: None,
            last_advert: None,
            last_signed: None,
        }
    }

    /// The configuration is another one from now on; `before` was the set until now.
    /// More than two are not kept.
    pub(super) fn reconfigure(&mut self, config: &GroupConfig, before: &[Ipv4Addr], now: Instant) {
        self.current = credentials(config, &config.addresses());
        let former = if is_same(before, &config.vips) {
            let former = self.former.take();
            former.map(|former| (former.addresses, former.until))
        } else {
            let before = before.iter().copied().map(IpAddr::V4);
            Some((before.collect(), now + WINDOW))
        };
        // Its keys may have changed.
        self.former = former.map(|(addresses, until)| Former {
            credentials: credentials(config, &addresses),
            addresses,
            until,
        });
    }

    pub(super) fn end_if_due(&mut self, now: Instant) {
        self.former.take_if(|former| now >= former.until);
    }

    /// When to call [`Self::end_if_due`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.former.as_ref().map(|former| former.until)
    }

    /// The set before the current one comes first: hosts that were not changed yet,
    /// which know only that one, are those that have not been told anything.
    pub(super) fn all(&self) -> impl Iterator<Item = Set> + use<> {
        let former = self.former.as_ref().map(|_| Set::Former);
        former.into_iter().chain([Set::Current])
    }

    pub(super) fn of(&self, set: Set) -> &Credentials {
        match (set, &self.former) {
            (Set::Former, Some(former)) => &former.credentials,
            (Set::Former | Set::Current, _) => &self.current,
        }
    }

    /// With which set, if any, CARP's digest goes.
    pub(super) fn verify_digest(&self, counter: u64, digest: &[u8; 20]) -> Option<Set> {
        let is_right = |set: &Set| self.of(*set).verify_digest(counter, digest);
        [Set::Current].into_iter().chain(self.all()).find(is_right)
    }

    /// Whether the signature is right, of a message of this set, or of any.
    pub(super) fn verify(
        &mut self,
        set: Option<Set>,
        trailer: &Trailer,
        source: Ipv4Addr,
        header: &[u8; HEADER_LEN],
    ) -> Result<(), SignatureError> {
        let verified = match set {
            Some(set) => self.of(set).verify(trailer, source, header),
            None => {
                let former = self.former.as_ref();
                let former = former.map(|it| it.credentials.verify(trailer, source, header));
                match former {
                    Some(Ok(())) => Ok(()),
                    Some(Err(_)) | None => self.current.verify(trailer, source, header),
                }
            }
        };
        if verified.is_ok() {
            self.last_signed = Some((trailer.session, trailer.number));
        }
        verified
    }

    /// An advert was believed.
    pub(super) fn note_advert(&mut self, from: Ipv4Addr, counter: u64) {
        self.last_advert = Some((from, counter));
    }

    /// Whether an advert that does not verify goes on from one that did: its sender
    /// says everything in two sets.
    pub(super) fn is_other_set(&self, from: Ipv4Addr, counter: u64) -> bool {
        self.last_advert.is_some_and(|(of, last)| {
            of == from && (1..=NEXT_ONES).contains(&counter.wrapping_sub(last))
        })
    }

    /// The same for a signature.
    pub(super) fn is_other_set_signed(&self, session: Session, number: u64) -> bool {
        self.last_signed.is_some_and(|(of, last)| {
            of == session && (1..=NEXT_ONES).contains(&number.wrapping_sub(last))
        })
    }
}

/// Whether the two are the same addresses, in whatever order.
pub(super) fn is_same(one: &[Ipv4Addr], other: &[Ipv4Addr]) -> bool {
    let set = |vips: &[Ipv4Addr]| vips.iter().copied().collect::<BTreeSet<_>>();
    set(one) == set(other)
}

fn credentials(config: &GroupConfig, addresses: &[IpAddr]) -> Credentials {
    Credentials::new(&config.auth.keys, config.vhid, addresses)
}
