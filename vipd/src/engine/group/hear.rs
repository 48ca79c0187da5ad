//! What a group hears from others, and whether it believes it.

use std::net::Ipv4Addr;

use super::sets::Set;
use super::{
    Duration, Event, Group, Instant, Kind, Outcome, Output, Peer, Reason, Stage, VecDeque,
};
use crate::carp::explain::explain;
use crate::carp::trailer::{self, Trailer};
use crate::carp::trust::{Policy, Verdict};
use crate::carp::{Advertisement, Mismatch, Packet};

/// Least time between two searches for the reason of a bad digest.
const EXPLAIN_GAP: Duration = Duration::from_secs(1);

impl Group {
    /// An advert for this group's vhid.
    pub(in crate::engine) fn handle_advert(
        &mut self,
        packet: &Packet,
        advert: &Advertisement,
        signature: Option<&Trailer>,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        if let Some(peer) = self.believe(packet, advert, signature, now, out) {
            self.hear(peer, now, out);
        }
    }

    /// Adverts may be among what this host could not take in.
    pub(in crate::engine) fn handle_missed(&mut self, now: Instant) {
        self.election.missed(now);
    }

    /// After the daemon's end: whether this is the advert of a successor.
    pub(in crate::engine) fn handle_advert_after_end(
        &mut self,
        packet: &Packet,
        advert: &Advertisement,
        signature: Option<&Trailer>,
        now: Instant,
    ) {
        // It says and asks nothing any more.
        let mut unsaid = VecDeque::new();
        if let Some(peer) = self.believe(packet, advert, signature, now, &mut unsaid) {
            self.hear_successor(peer, now);
        }
    }

    /// Another host of the group tells who it is.
    pub(in crate::engine) fn handle_introduction(
        &mut self,
        packet: &Packet,
        trailer: &Trailer,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let trailer::Kind::Introduction { asks, answers } = trailer.kind else {
            return;
        };
        if self.trust.policy() == Policy::Off || !self.is_signed(None, packet, trailer, now, out) {
            return;
        }
        let (from, session) = (packet.source, trailer.session);
        let heard = self
            .trust
            .hear_introduction(from, session, trailer.number, asks, answers, now);
        if heard.verdict == Verdict::Replayed {
            // No line for the operator: where a network doubles it is nothing.
            self.counters.replayed += 1;
        }
        let is_stranger = heard.verdict == Verdict::Stranger;
        let asks_back = is_stranger && self.trust.asks_stranger(session, now);
        if heard.wants_answer {
            self.introduce(asks_back, asks, out);
            // Whoever did not know this host has believed none of its adverts.
            if self.claim.is_some() {
                self.advertise(out);
            }
        } else if asks_back {
            self.introduce(true, None, out);
        }
        if let Some(peer) = heard.early {
            self.hear(peer, now, out);
        }
        if let Some(at) = self.election.takes_over_at() {
            let recently = self.config.timing.master_down(None);
            self.trust.has_answered(at, recently, now);
        }
    }

    /// Asks the others who they are, at the times at which it does so unprovoked.
    pub(super) fn introduce_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self.trust.asks_if_due(now) {
            self.introduce(true, None, out);
        }
    }

    /// Digest, own adverts, signature: in this order, the cheapest first.
    fn believe(
        &mut self,
        packet: &Packet,
        advert: &Advertisement,
        signature: Option<&Trailer>,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) -> Option<Peer> {
        let (group, from) = (self.id, packet.source);
        let set = self.sets.verify_digest(advert.counter, &advert.digest);
        if set.is_none() {
            self.note_bad_digest(from, advert, signature, now, out);
            return None;
        }
        let is_own_address = Some(from) == self.source_address();
        if is_own_address {
            // Legacy peers adopt our counter, so it proves nothing without the
            // address (UCARP `carp.c:534`).
            if self.is_own_counter(advert.counter) {
                self.note_loop(now, out);
                return None;
            }
            let event = Event::SameSource {
                group,
                address: from,
            };
            self.log_once(Kind::SameSource, event, now, out);
        }
        // As this host signs, nothing else is said from its address either.
        let must_sign = is_own_address && self.trust.policy() != Policy::Off;
        if !self.trust.believes(from, signature.is_some()) || must_sign && signature.is_none() {
            self.counters.unsigned_refused += 1;
            let event = Event::UnsignedRefused { group, from };
            self.log_once(Kind::UnsignedRefused, event, now, out);
            return None;
        }
        let peer = Peer {
            address: from,
            interval: advert.interval,
            configured: advert.configured(),
            demotion: if advert.is_vipd { advert.demote } else { 0 },
            counter: advert.counter,
            is_vipd: advert.is_vipd,
        };
        let is_believed = match signature {
            Some(trailer) if self.trust.policy() != Policy::Off => {
                self.is_signed(set, packet, trailer, now, out)
                    && self.is_news(peer, trailer, now, out)
            }
            Some(_) | None => true,
        };
        if is_believed {
            self.sets.note_advert(from, advert.counter);
        }
        is_believed.then_some(peer)
    }

    /// Says why, as far as it can be found out, and not for each packet anew.
    fn note_bad_digest(
        &mut self,
        from: Ipv4Addr,
        advert: &Advertisement,
        signature: Option<&Trailer>,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let is_other_set = self.sets.is_other_set(from, advert.counter);
        match is_other_set {
            true => self.counters.other_set += 1,
            false => self.counters.bad_digest += 1,
        }
        let mismatch = match self.mismatch {
            Some((of, mismatch, _)) if of == from => mismatch,
            Some((_, _, at)) if now.since(at) < EXPLAIN_GAP => return,
            Some(_) | None => {
                let (config, keys) = (&self.config, &self.config.auth.keys);
                let found = explain(keys, config.vhid, &config.vips, advert, signature);
                self.mismatch = Some((from, found, now));
                found
            }
        };
        let group = self.id;
        if is_other_set {
            let event = Event::OtherSet {
                group,
                from,
                mismatch,
            };
            return self.log_once(Kind::OtherSet, event, now, out);
        }
        let kind = match mismatch {
            Mismatch::UnknownKey(_) => {
                self.counters.bad_digest_unknown_key += 1;
                Kind::UnknownKey
            }
            Mismatch::NoPassword => {
                self.counters.bad_digest_no_password += 1;
                Kind::NoPassword
            }
            Mismatch::Addresses(_) | Mismatch::LinkLocal(_) => {
                self.counters.bad_digest_addresses += 1;
                Kind::OtherAddresses
            }
            Mismatch::Unknown => Kind::BadDigest,
        };
        let event = Event::BadDigest {
            group,
            from,
            mismatch,
        };
        self.log_once(kind, event, now, out);
    }

    /// A VRRP router has this group's vhid as its id.
    pub(in crate::engine) fn note_vrrp(
        &mut self,
        from: Ipv4Addr,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        self.counters.vrrp += 1;
        let group = self.id;
        self.log_once(
            Kind::VrrpRouter,
            Event::VrrpRouter { group, from },
            now,
            out,
        );
    }

    /// Whether a signature is right, and another host's.
    fn is_signed(
        &mut self,
        set: Option<Set>,
        packet: &Packet,
        trailer: &Trailer,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let (group, from) = (self.id, packet.source);
        if let Err(error) = self.sets.verify(set, trailer, from, &packet.header) {
            if self
                .sets
                .is_other_set_signed(trailer.session, trailer.number)
            {
                self.counters.other_set += 1;
                return false;
            }
            self.counters.bad_signature += 1;
            let event = Event::BadSignature { group, from, error };
            self.log_once(Kind::BadSignature, event, now, out);
            return false;
        }
        if trailer.session == self.trust.session() {
            self.note_loop(now, out);
            return false;
        }
        if self.trust.note_signer(from) {
            out.push_back(Output::Remember {
                group,
                signer: from,
            });
        }
        true
    }

    /// Whether a signed advert is not an old one.
    fn is_news(
        &mut self,
        peer: Peer,
        trailer: &Trailer,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) -> bool {
        match self
            .trust
            .hear_advert(trailer.session, trailer.number, peer, now)
        {
            Verdict::Believed => true,
            Verdict::Replayed => {
                self.counters.replayed += 1;
                let (group, from) = (self.id, peer.address);
                self.log_once(Kind::Replayed, Event::Replayed { group, from }, now, out);
                false
            }
            Verdict::Stranger => {
                self.counters.strangers += 1;
                if self.trust.asks_stranger(trailer.session, now) {
                    self.introduce(true, None, out);
                }
                false
            }
        }
    }

    fn note_loop(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.counters.looped += 1;
        self.log_once(Kind::Looped, Event::Looped { group: self.id }, now, out);
    }

    /// An advert of another host, which is believed.
    fn hear(&mut self, peer: Peer, now: Instant, out: &mut VecDeque<Output>) {
        let (group, from) = (self.id, peer.address);
        self.counters.adverts_received += 1;
        if peer.configured.ties_with(self.config.timing.interval) {
            let event = Event::EqualTimers { group, peer: from };
            self.log_once(Kind::EqualTimers, event, now, out);
        }
        let is_unheard = self
            .claim
            .is_some_and(|claim| claim.stage == Stage::Advertising);
        if is_unheard && !peer.is_silent() {
            // Nobody has heard this host claim the role, for its advert could not
            // be sent; so whoever is heard took it rightly.
            let outcome = self.election.lapse(Reason::LeaseExpired, now);
            self.follow(outcome, now, out);
        }
        self.hear_successor(peer, now);
        let outcome = self.election.advert(peer, now);
        if outcome == Outcome::Challenged {
            let event = Event::Challenged { group, from };
            self.log_once(Kind::Challenged, event, now, out);
        }
        self.follow(outcome, now, out);
        // The master before may just have said that it is silent.
        self.advance(now, out);
    }
}
