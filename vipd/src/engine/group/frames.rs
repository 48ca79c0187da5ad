//! What a group sends: adverts and announcements, as whole frames.

use std::net::Ipv4Addr;

use vipd_common::arp::ArpFrame;

use crate::carp::packet::{HEADER_LEN, emit_frame, introduction_header};
use crate::carp::trailer::{self, Challenge, SIGNATURE_LEN, Trailer};
use crate::carp::{Advertisement, KeyId, Policy};

use super::sets::Set;
use super::{Group, Instant, Interval, Output, Purpose, Source, VecDeque};

impl Group {
    /// Says it once for each set of addresses, and returns how often.
    pub(super) fn transmit(
        &mut self,
        interval: Interval,
        purpose: Purpose,
        out: &mut VecDeque<Output>,
    ) -> usize {
        let sets = self.sets.all();
        sets.filter_map(|set| self.transmit_in(set, interval, purpose, out))
            .count()
    }

    /// `None` without an interface to send on.
    fn transmit_in(
        &mut self,
        set: Set,
        interval: Interval,
        purpose: Purpose,
        out: &mut VecDeque<Output>,
    ) -> Option<()> {
        let (link, address) = (self.link?, self.source_address()?);
        let counter = self.next_counter;
        self.next_counter = counter.wrapping_add(1);
        let source = Source {
            mac: link.mac.0,
            address,
        };
        // What gives the role away needs no rank.
        let demote = match purpose {
            Purpose::Advert => self.election.fitness().demotion,
            Purpose::BowOut | Purpose::Farewell | Purpose::Announce | Purpose::Introduce => 0,
        };
        let hidden_advskew = match demote {
            0 => 0,
            _ => self.config.timing.interval.advskew,
        };
        let advert = Advertisement {
            vhid: self.config.vhid,
            interval,
            demote,
            hidden_advskew,
            counter,
            digest: self.sets.of(set).digest(counter),
            is_vipd: true,
        };
        let frame = if self.trust.policy() == Policy::Off {
            advert.emit_frame(source, counter as u16)
        } else {
            let header = advert.emit();
            self.signed(set, trailer::Kind::Advert, source, header, hidden_advskew)
        };
        out.push_back(Output::Transmit {
            interface: self.interface(),
            group: self.id,
            purpose,
            not_after: match purpose {
                Purpose::Advert | Purpose::Announce => self.speaks_until(),
                // Later it has nothing to give away, and may have taken it back.
                Purpose::Introduce => None,
                Purpose::BowOut | Purpose::Farewell => self.claim.map(|claim| claim.lapses_at),
            },
            frame,
        });
        Some(())
    }

    /// Tells the others who this host is, asks who they are, and answers one that
    /// asked.
    pub(super) fn introduce(
        &mut self,
        asks: bool,
        answers: Option<Challenge>,
        out: &mut VecDeque<Output>,
    ) {
        let (Some(link), Some(address)) = (self.link, self.source_address()) else {
            return;
        };
        let source = Source {
            mac: link.mac.0,
            address,
        };
        let asks = asks.then(|| self.trust.challenge());
        let kind = trailer::Kind::Introduction { asks, answers };
        for set in self.sets.all() {
            self.counters.introductions += 1;
            let frame = self.signed(set, kind, source, introduction_header(), 0);
            out.push_back(Output::Transmit {
                interface: self.interface(),
                group: self.id,
                purpose: Purpose::Introduce,
                not_after: None,
                frame,
            });
        }
    }

    fn signed(
        &mut self,
        set: Set,
        kind: trailer::Kind,
        source: Source,
        header: [u8; HEADER_LEN],
        hidden_advskew: u8,
    ) -> Vec<u8> {
        let trailer = Trailer {
            kind,
            key: KeyId::default(),
            vhid: self.config.vhid,
            hidden_advskew,
            session: self.trust.session(),
            number: self.trust.next_number(),
            signature: [0; SIGNATURE_LEN],
        };
        let credentials = self.sets.of(set);
        let trailer = credentials.sign(trailer, source.address, &header);
        emit_frame(source, trailer.number as u16, &header, &trailer.emit())
    }

    pub(super) fn announce_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let Some(link) = self.link else { return };
        if !self.is_answering() || !self.announcements.take(now) {
            return;
        }
        let answered = |vip: &&Ipv4Addr| !self.adding.contains(vip);
        for vip in self.config.vips.iter().filter(answered) {
            // Some hosts take one form only, some switches and clients the other.
            for frame in [
                ArpFrame::announce_request(link.mac.0, vip.octets()),
                ArpFrame::announce_reply(link.mac.0, vip.octets()),
            ] {
                self.counters.announcements += 1;
                out.push_back(Output::Transmit {
                    interface: self.config.interface,
                    group: self.id,
                    purpose: Purpose::Announce,
                    not_after: self.speaks_until(),
                    frame: frame.to_bytes().to_vec(),
                });
            }
        }
    }
}
