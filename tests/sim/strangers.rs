//! What those do to a LAN who are no members of any group, and those who take
//! addresses away.

use crate::forger::{Forgery, forge, mend_ip};
use vipd::carp::packet::{HEADER_LEN, Source, emit_frame};
use vipd::carp::{Advertisement, Authenticator, Interval, Policy, Vhid};
use vipd_common::arp::ArpFrame;

use super::host::Waiting;
use super::lan::{Origin, STRANGER};
use super::setup::{HostSetup, PASSWORD, Program, STRANGER_MAC, key, stranger_address};
use super::world::World;

/// Frames that a stranger remembers.
const CAPTURED: usize = 300;

impl World {
    pub(super) fn lose_addresses(&mut self, group: usize) {
        let lan = self.setup.groups[group].lan;
        for host in 0..self.hosts.len() {
            for vip in self.setup.groups[group].vips.clone() {
                if self.hosts[host].kernel.placed.remove(&vip) {
                    self.disturb(Some(host), 0);
                    self.deliver(host, Waiting::AddressLost { lan, address: vip });
                }
            }
        }
    }

    pub(super) fn stranger_adverts(&mut self, g: usize, password: &[u8], other_addresses: bool) {
        let group = self.setup.groups[g].clone();
        let vips = match other_addresses {
            true => vec![stranger_address(group.lan)],
            false => group.vips,
        };
        for _ in 0..20 {
            // A rank that everybody would give way to, or follow.
            let interval = self.rng.pick(&[Interval::new(0, 1), Interval::BOW_OUT]);
            self.advert_from_stranger(group.lan, Some(group.vhid), password, &vips, interval);
        }
    }

    pub(super) fn advert_from_stranger(
        &mut self,
        lan: usize,
        vhid: Option<Vhid>,
        password: &[u8],
        vips: &[std::net::Ipv4Addr],
        interval: Interval,
    ) {
        let Some(vhid) = vhid else { return };
        let addresses: Vec<_> = vips.iter().map(|vip| (*vip).into()).collect();
        let counter = self.rng.draw();
        let advert = Advertisement {
            vhid,
            interval,
            demote: 0,
            hidden_advskew: 0,
            counter,
            digest: Authenticator::new(&key(password), vhid, &addresses).sign(counter),
            is_vipd: false,
        };
        let source = Source {
            mac: STRANGER_MAC.0,
            address: stranger_address(lan),
        };
        let frame = advert.emit_frame(source, 0);
        self.broadcast(lan, STRANGER, &frame, Origin::Worthless);
    }

    /// A member bows out that was never heard as a master.
    pub(super) fn stray_bow_out(&mut self, g: usize) {
        let group = self.setup.groups[g].clone();
        let lan = Some(group.vhid);
        self.advert_from_stranger(group.lan, lan, PASSWORD, &group.vips, Interval::BOW_OUT);
    }

    pub(super) fn garbage(&mut self, lan: usize) {
        for _ in 0..10 {
            let len = self.rng.index(90);
            let mut bytes: Vec<u8> = (0..len + 14).map(|_| self.rng.draw() as u8).collect();
            bytes[12..14].copy_from_slice(&[0x08, 0x00]);
            if let Some(protocol) = bytes.get_mut(14 + 9) {
                *protocol = 112;
            }
            self.broadcast(lan, STRANGER, &bytes, Origin::Worthless);
        }
        self.vrrp_router(lan);
    }

    /// A VRRP router, version 3, whose number is that of a group.
    fn vrrp_router(&mut self, lan: usize) {
        let groups: Vec<Vhid> = self.setup.groups.iter().map(|group| group.vhid).collect();
        let vhid = self.rng.pick(&groups).value();
        let source = Source {
            mac: STRANGER_MAC.0,
            address: stranger_address(lan),
        };
        let mut frame = emit_frame(source, 0, &[0; HEADER_LEN], &[]);
        let vrrp = [0x31, vhid, 100, 1, 0, 100, 0, 0, 10, 0, 0, 200];
        frame.truncate(14 + 20);
        frame.extend_from_slice(&vrrp);
        frame[16..18].copy_from_slice(&(20 + vrrp.len() as u16).to_be_bytes());
        mend_ip(&mut frame);
        self.broadcast(lan, STRANGER, &frame, Origin::Worthless);
    }

    pub(super) fn capture(&mut self, lan: usize, frame: &[u8]) {
        self.captured.push_back((lan, frame.to_vec()));
        if self.captured.len() > CAPTURED {
            self.captured.pop_front();
        }
    }

    /// Plays back what was captured, in the order in which it was sent or in
    /// another, as it was or altered. What legacy hosts send, or believe, anybody
    /// can forge, so there it would prove nothing.
    pub(super) fn replay(&mut self, lan: usize) {
        let is_legacy = |host: &HostSetup| host.program == Program::Ucarp;
        if self.setup.auth == Policy::Off || self.setup.hosts.iter().any(is_legacy) {
            return;
        }
        // A host that has missed it may take it for what it is.
        let origin = match self.setup.is_clean {
            true => Origin::Worthless,
            false => Origin::Node(STRANGER),
        };
        for _ in 0..30 {
            if self.captured.is_empty() {
                return;
            }
            let index = self.rng.index(self.captured.len());
            let (of_lan, mut frame) = self.captured[index].clone();
            if of_lan != lan {
                continue;
            }
            let forgery = match self.rng.index(5) {
                0 | 1 => Forgery::None,
                2 => Forgery::Interval(self.rng.pick(&[Interval::new(0, 1), Interval::BOW_OUT])),
                3 => Forgery::Source(stranger_address(lan)),
                // Where unsigned adverts are believed at all, those of a host are
                // that nobody has heard sign yet.
                _ if self.setup.auth == Policy::Require => Forgery::Unsigned,
                _ => Forgery::Number,
            };
            forge(&mut frame, forgery);
            self.broadcast(lan, STRANGER, &frame, origin);
        }
    }

    pub(super) fn rival_arp(&mut self, group: usize) {
        let lan = self.setup.groups[group].lan;
        for vip in self.setup.groups[group].vips.clone() {
            let frame = ArpFrame::announce_request(STRANGER_MAC.0, vip.octets()).to_bytes();
            self.broadcast(lan, STRANGER, &frame, Origin::Node(STRANGER));
        }
    }

    pub(super) fn same_source(&mut self, host: usize, g: usize) {
        let group = self.setup.groups[g].clone();
        let addresses: Vec<_> = group.vips.iter().map(|vip| (*vip).into()).collect();
        let counter = self.rng.draw();
        let advert = Advertisement {
            vhid: group.vhid,
            interval: match self.setup.hosts[host].intervals[g] {
                // A demoted one would be waited for for 18 seconds.
                fast @ Interval { advbase: 0, .. } => fast,
                interval => interval.demoted_by(Interval::DEMOTED_ADVSKEW),
            },
            demote: 0,
            hidden_advskew: 0,
            counter,
            digest: Authenticator::new(&key(PASSWORD), group.vhid, &addresses).sign(counter),
            is_vipd: false,
        };
        let source = Source {
            mac: STRANGER_MAC.0,
            address: self.hosts[host].kernel.nics[group.lan].address,
        };
        let frame = advert.emit_frame(source, 0);
        self.broadcast(group.lan, STRANGER, &frame, Origin::Node(STRANGER));
    }
}
