//! What a group sends: adverts and announcements, as whole frames.

use vipd_common::arp::ArpFrame;

use super::{Advertisement, Group, Instant, Interval, Output, Purpose, Source, VecDeque};

impl Group {
    pub(super) fn transmit(
        &mut self,
        interval: Interval,
        purpose: Purpose,
        out: &mut VecDeque<Output>,
    ) {
        let (Some(link), Some(address)) = (self.link, self.source_address()) else {
            return;
        };
        let counter = self.next_counter;
        self.next_counter = counter.wrapping_add(1);
        let advert = Advertisement {
            vhid: self.config.vhid,
            interval,
            demote: 0,
            counter,
            digest: self.auth.sign(counter),
            is_vipd: true,
        };
        let source = Source {
            mac: link.mac.0,
            address,
        };
        out.push_back(Output::Transmit {
            interface: self.interface(),
            group: self.id,
            purpose,
            not_after: match purpose {
                Purpose::Advert | Purpose::Announce => self.speaks_until(),
                // Later it has nothing to give away, and may have taken it back.
                Purpose::BowOut | Purpose::Farewell => self.claim.map(|claim| claim.lapses_at),
            },
            frame: advert.emit_frame(source, counter as u16),
        });
    }

    pub(super) fn announce_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let Some(link) = self.link else { return };
        if !self.is_answering() || !self.announcements.take(now) {
            return;
        }
        for vip in &self.config.vips {
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
