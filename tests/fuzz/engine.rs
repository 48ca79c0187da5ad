//! The engine, told anything in any order by a daemon that keeps its contract:
//! its outputs end, its deadlines pass, what it sends can be read, and the right
//! to answer never lasts longer than an advert that went out allows.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use vipd::carp::packet::{Body, Packet, Source};
use vipd::carp::timers::Timing;
use vipd::carp::{
    Advertisement, Authenticator, Fitness, Interval, Key, Policy, Role, Session, Vhid,
};
use vipd::engine::{
    Auth, Config, Effect, Engine, GroupConfig, GroupId, Input, InterfaceId, Link, Output,
    Placement, Purpose,
};
use vipd::mac::MacAddr;
use vipd::time::Instant;

use super::Said;
use super::bytes::Bytes;

pub(super) fn check(data: &[u8]) -> Said {
    let mut bytes = Bytes::new(data);
    let mut host = Host::new(&mut bytes);
    while !bytes.is_empty() {
        host.step(&mut bytes);
    }
    // However it was left, time alone brings it to rest.
    host.wait_for_deadlines();
    let answers = host.members.iter().any(|member| member.has_answered);
    answers.into()
}

/// A daemon, the kernel below it and the LAN, as far as the engine sees them.
struct Host {
    engine: Engine,
    members: Vec<Member>,
    now: Instant,
    has_begun: bool,
    fails: Fails,
    /// The last advert that it sent, as it comes back in a loop.
    echo: Vec<u8>,
}

/// A group, seen from outside the engine.
struct Member {
    auth: Authenticator,
    timing: Timing,
    /// Until when the last advert that went out allows to answer, or an earlier
    /// daemon's.
    allowed_until: Instant,
    /// Until when the kernel answers.
    answers_until: Option<Instant>,
    /// Whether the kernel could be silenced whenever that was wanted, and no
    /// lease was adopted: then it answers for no longer than the role lasts.
    is_clean: bool,
    is_placing: bool,
    has_answered: bool,
}

/// Which effects fail from now on, and whether each takes time.
#[derive(Clone, Copy, Default)]
struct Fails(u8);

impl Fails {
    const SEND: u8 = 1;
    const LEASE: u8 = 2;
    const SILENCE: u8 = 4;
    const PLACE: u8 = 8;
    const PLACES_LATER: u8 = 16;
    const IS_SLOW: u8 = 32;

    const fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

impl Host {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let [flags, advbase, advskew, dead_ratio] = bytes.array();
        let timing = Timing {
            // 255 is refused by the configuration, and so is a ratio of 0.
            interval: Interval::new(advbase, advskew.min(Interval::MAX_ADVSKEW)),
            dead_ratio: dead_ratio.max(1),
        };
        let group = |index: u8| GroupConfig {
            name: format!("eth0-{}", vhid(index)),
            interface: INTERFACE,
            vhid: vhid(index),
            vips: vec![vip(index)],
            auth: Auth::new(
                key(),
                match flags >> 4 & 3 {
                    0 => Policy::Off,
                    1 | 2 => Policy::Send,
                    _ => Policy::Require,
                },
            ),
            timing,
            preempt: flags & 1 != 0,
            preempt_delay: Duration::from_secs(u64::from(flags >> 6 & 1)),
            startup_delay: Duration::from_secs(u64::from(flags >> 6 & 1) * 5),
            tie: (flags >> 6 & 1 != 0).then(|| "tie".to_owned()),
            source: None,
            placement: match flags >> 1 & 3 {
                0 | 1 => Placement::Interface,
                2 => Placement::Loopback,
                _ => Placement::None,
            },
        };
        let member = |index| Member {
            auth: Authenticator::new(&key(), vhid(index), &[IpAddr::V4(vip(index))]),
            timing,
            allowed_until: Instant::from_nanos(0),
            answers_until: None,
            is_clean: true,
            is_placing: false,
            has_answered: false,
        };
        let groups = 1 + (flags >> 3 & 1);
        let config = Config {
            interfaces: vec!["eth0".to_owned()],
            groups: (0..groups).map(group).collect(),
        };
        Self {
            engine: Engine::new(config, u64::from(flags >> 4)),
            members: (0..groups).map(member).collect(),
            now: Instant::from_nanos(HOUR_NS),
            has_begun: false,
            fails: Fails::default(),
            echo: Vec::new(),
        }
    }

    /// One thing happens.
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 14 {
            0 => self.now = self.now + Duration::from_millis(4) * u32::from(bytes.byte()),
            1 => {
                // Days at most: at the end of time, after 584 years, it stands still.
                let shift = u32::from(bytes.byte() % 50);
                self.now = self.now + Duration::from_nanos(1 << shift);
            }
            2 => {
                if let Some(at) = self.engine.poll_timeout() {
                    self.now = self.now.max(at);
                    self.expire();
                }
            }
            3 => self.expire(),
            4 => self.link(bytes.byte()),
            5 => {
                let datagram = self.advert(bytes);
                self.hear(&datagram);
            }
            6 => {
                let count = usize::from(bytes.byte());
                self.hear(bytes.take(count));
            }
            7 => self.hear(&self.echo.clone()),
            8 => self.fails = Fails(bytes.byte()),
            9 => {
                let group = self.group(bytes.byte());
                if self.members[group.0 as usize].is_placing {
                    self.members[group.0 as usize].is_placing = false;
                    self.handle(self.placed(group));
                }
            }
            10 => {
                let address = vip(bytes.byte() % 3);
                let interface = INTERFACE;
                self.handle(Input::AddressLost { interface, address });
            }
            11 => {
                let group = self.group(bytes.byte());
                let mac = MacAddr(PEER_MAC);
                let address = vip(bytes.byte() % 3);
                self.handle(Input::Conflict {
                    group,
                    mac,
                    address,
                });
            }
            12 => {
                let choice = bytes.byte();
                let group = (choice < 128).then(|| self.group(choice));
                self.handle(Input::StepDown { group });
            }
            _ => match bytes.byte() {
                0..128 => self.adopt(bytes),
                128..160 => self.nobody(),
                160..176 => {
                    let interface = INTERFACE;
                    self.handle(Input::Missed { interface });
                }
                176..188 => {
                    let [group, demotion, withheld] = bytes.array();
                    let fitness = Fitness {
                        demotion,
                        withheld: withheld & 1 != 0,
                    };
                    let group = self.group(group);
                    self.handle(Input::Fitness { group, fitness });
                }
                188..190 => {
                    let group = self.group(bytes.byte());
                    self.handle(Input::Promote { group });
                }
                190..192 => {
                    let group = self.group(bytes.byte());
                    self.handle(Input::Announce { group });
                }
                192.. => {
                    self.has_begun = true;
                    self.handle(Input::Shutdown);
                }
            },
        }
    }

    fn group(&self, choice: u8) -> GroupId {
        GroupId(u32::from(choice) % self.members.len() as u32)
    }

    /// A lease that an earlier daemon left; only ever told first.
    fn adopt(&mut self, bytes: &mut Bytes<'_>) {
        let group = self.group(bytes.byte());
        let until = Instant::from_nanos(u64::from_be_bytes(bytes.array()));
        if !self.has_begun {
            let member = &mut self.members[group.0 as usize];
            member.answers_until = Some(until);
            member.allowed_until = until.min(self.now + member.timing.lease());
            member.is_clean = until > member.allowed_until;
            // Against a spoilt map that cannot be written either nothing helps.
            let fails = std::mem::take(&mut self.fails);
            self.handle(Input::Adopt {
                group,
                until,
                session: Session(7),
            });
            self.fails = fails;
        }
    }

    /// What is told of groups and interfaces that there are not.
    fn nobody(&mut self) {
        let (group, interface) = (GroupId(u32::MAX), InterfaceId(u32::MAX));
        let (until, at, address) = (self.now, self.now, vip(0));
        let bytes: &[u8] = &[];
        self.handle(Input::Adopt {
            group,
            until,
            session: Session(7),
        });
        self.handle(Input::Sent { group, at });
        self.handle(Input::Placed { group });
        self.handle(Input::Fitness {
            group,
            fitness: Fitness::WELL,
        });
        self.handle(Input::Promote { group });
        self.handle(Input::Announce { group });
        self.handle(Input::AddressLost { interface, address });
        self.handle(Input::Datagram { interface, bytes });
        self.handle(Input::Missed { interface });
        assert!(self.engine.group(group).is_none() && self.engine.link(interface).is_none());
    }

    fn link(&mut self, choice: u8) {
        self.has_begun = true;
        let mac = if choice & 2 == 0 { OUR_MAC } else { OTHER_MAC };
        let link = Link {
            up: choice & 1 != 0,
            mac: MacAddr(mac),
            address: (choice & 4 == 0).then_some(Ipv4Addr::new(10, 0, 0, 1 + (choice >> 7))),
        };
        let interface = INTERFACE;
        self.handle(Input::Link { interface, link });
    }

    /// A peer's advert, signed like our own, or nearly.
    fn advert(&self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let [choice, from, advbase, advskew, demote, counter] = bytes.array();
        let group = self.group(choice & 3);
        let counter = u64::from(counter);
        let mut digest = self.members[group.0 as usize].auth.sign(counter);
        digest[0] ^= choice & 4;
        let advert = Advertisement {
            vhid: vhid(group.0 as u8 + (choice >> 3 & 1)),
            interval: Interval::new(advbase, advskew),
            demote,
            hidden_advskew: demote / 2,
            counter,
            digest,
            is_vipd: choice & 16 != 0,
        };
        let source = Source {
            mac: PEER_MAC,
            address: Ipv4Addr::new(10, 0, 0, from % 4),
        };
        advert.emit_frame(source, 0)[ETHERNET..].to_vec()
    }

    fn hear(&mut self, bytes: &[u8]) {
        let interface = INTERFACE;
        self.handle(Input::Datagram { interface, bytes });
    }

    /// The moment is here that the engine waited for, if it is.
    fn expire(&mut self) {
        for _ in 0..DEADLINES {
            if self.engine.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
            let moment = self.now;
            self.handle(Input::Deadline);
            if self.now > moment {
                // The effects took so long that the next one is due already.
                return;
            }
        }
        panic!("a deadline that was met does not pass: the daemon would spin");
    }

    /// Some seconds of nothing but time.
    fn wait_for_deadlines(&mut self) {
        for _ in 0..DEADLINES {
            let Some(at) = self.engine.poll_timeout() else {
                return;
            };
            self.now = self.now.max(at);
            self.expire();
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(input, self.now);
        for _ in 0..OUTPUTS {
            let Some(output) = self.engine.poll_output() else {
                return self.look();
            };
            if self.fails.has(Fails::IS_SLOW) {
                self.now = self.now + Duration::from_millis(100);
            }
            self.perform(&output);
        }
        panic!("the outputs do not end");
    }

    fn perform(&mut self, output: &Output) {
        match *output {
            Output::Transmit {
                group,
                purpose,
                not_after,
                ref frame,
                ..
            } => {
                let is_late = not_after.is_some_and(|until| self.now > until);
                let is_sent = !is_late && !self.fails.has(Fails::SEND);
                if is_sent {
                    self.send(group, purpose, frame);
                }
                if purpose == Purpose::Advert {
                    let at = self.now;
                    let effect = Effect::Send;
                    self.engine.handle(
                        match is_sent {
                            true => Input::Sent { group, at },
                            false => Input::Failed { group, effect },
                        },
                        self.now,
                    );
                }
            }
            Output::Lease { group, until, .. } => {
                let member = &mut self.members[group.0 as usize];
                let most = member.allowed_until;
                assert!(until <= most, "{until:?} is later than {most:?}");
                if self.fails.has(Fails::LEASE) {
                    self.failed(group, Effect::Map);
                } else {
                    member.answers_until = Some(until);
                    member.has_answered = true;
                }
            }
            Output::Silence { group, .. } => {
                let member = &mut self.members[group.0 as usize];
                if self.fails.has(Fails::SILENCE) {
                    member.is_clean = false;
                    self.failed(group, Effect::Map);
                } else {
                    member.answers_until = None;
                    member.is_clean = true;
                }
            }
            // This host is not configured anew.
            Output::Know { .. } | Output::Drop { .. } | Output::Forget { .. } => {}
            Output::PlaceAddresses { group, .. } => {
                if self.fails.has(Fails::PLACES_LATER) {
                    self.members[group.0 as usize].is_placing = true;
                } else {
                    self.engine.handle(self.placed(group), self.now);
                }
            }
            Output::RemoveAddresses { .. } | Output::Remember { .. } | Output::Log(_) => {}
        }
    }

    fn send(&mut self, group: GroupId, purpose: Purpose, frame: &[u8]) {
        let member = &mut self.members[group.0 as usize];
        let answers = member.answers_until.is_some_and(|until| self.now < until);
        match purpose {
            // With gaps the lease may end between two adverts, and the
            // announcement is true all the same.
            Purpose::Announce => assert!(answers || member.timing.has_gaps(), "a lie"),
            Purpose::BowOut | Purpose::Farewell => {
                assert!(!answers, "the role is given away, and the kernel answers");
            }
            Purpose::Advert => member.allowed_until = self.now + member.timing.lease(),
            Purpose::Introduce => {}
        }
        let datagram = &frame[ETHERNET..];
        if purpose == Purpose::Introduce {
            let packet = Packet::parse(datagram).expect("peers can read it");
            assert!(matches!(packet.body, Body::Introduction(_)));
            self.echo = datagram.to_vec();
        } else if purpose != Purpose::Announce {
            let (_, advert) = Advertisement::parse(datagram).expect("peers can read it");
            assert_eq!(advert.vhid, vhid(group.0 as u8));
            assert!(member.auth.verify(advert.counter, &advert.digest));
            self.echo = datagram.to_vec();
        }
    }

    fn placed(&self, group: GroupId) -> Input<'static> {
        let effect = Effect::Address;
        match self.fails.has(Fails::PLACE) {
            true => Input::Failed { group, effect },
            false => Input::Placed { group },
        }
    }

    fn failed(&mut self, group: GroupId, effect: Effect) {
        self.engine
            .handle(Input::Failed { group, effect }, self.now);
    }

    /// What must hold whenever the engine has nothing left to say.
    fn look(&self) {
        for (view, member) in self.engine.groups().zip(&self.members) {
            let answers = member.answers_until.is_some_and(|until| self.now < until);
            if answers && member.is_clean {
                assert_eq!(view.role, Role::Master, "the kernel answers for a backup");
            }
        }
    }
}

fn key() -> Key {
    Key::from_passphrase(b"secret").expect("it is short enough")
}

fn vhid(index: u8) -> Vhid {
    Vhid::new(index + 1).expect("not 0")
}

const fn vip(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 100 + index)
}

const INTERFACE: InterfaceId = InterfaceId(0);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
const ETHERNET: usize = 14;
const HOUR_NS: u64 = 3_600_000_000_000;

/// Deadlines that may be due at one moment, and outputs that may follow from one
/// input: more than there are reasons for.
const DEADLINES: usize = 50;
const OUTPUTS: usize = 200;
