//! The engine, driven as a daemon drives it: real frames in, outputs performed
//! in their order and reported back. What was done is read as plain words, so
//! that a test shows a story: `advert 1/0`, `place`, `lease`, ...

use std::collections::BTreeSet;

use vipd_common::arp::ArpFrame;

use super::*;
use crate::carp::timers::Timing;
use crate::carp::{Advertisement, Credentials, Key, Policy, Role};

mod announcing;
mod faults;
mod fitness;
mod lease;
mod link;
mod order;
mod reconfigure;
mod several;
mod trust;
mod wire;

/// Some moment after boot, at which every test begins.
const T0: Instant = Instant::from_nanos(1_000_000_000_000);

const NANOSECOND: Duration = Duration::from_nanos(1);

const G0: GroupId = GroupId(0);
const G1: GroupId = GroupId(1);
const ETH0: InterfaceId = InterfaceId(0);
const ETH1: InterfaceId = InterfaceId(1);

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// Loses ties against this host, which is 10.0.0.5.
const HIGHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
/// Wins ties against this host.
const LOWER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

/// Three seconds less a 64th.
const LEASE: Duration = Duration::from_micros(2_953_125);

/// What taking over looks like for one VIP that is placed on the interface.
const TAKEOVER: [&str; 6] = [
    "advert 1/0",
    "place",
    "lease",
    "request 10.0.0.100",
    "reply 10.0.0.100",
    "log backup to master: master_timeout",
];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn vhid(id: u8) -> Vhid {
    Vhid::new(id).unwrap()
}

/// vhid 7 on the first interface, advertising each second.
fn group() -> GroupConfig {
    GroupConfig {
        name: "eth0-7".to_string(),
        interface: ETH0,
        vhid: vhid(7),
        vips: vec![VIP],
        auth: Auth::new(Key::from_passphrase(b"secret").unwrap(), Policy::Off),
        timing: timing(1, 0, 3),
        preempt: false,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        tie: None,
        source: None,
        placement: Placement::Interface,
    }
}

fn timing(advbase: u8, advskew: u8, dead_ratio: u8) -> Timing {
    Timing {
        interval: Interval::new(advbase, advskew),
        dead_ratio,
    }
}

/// What the interface is like when all is well.
fn up(interface: InterfaceId) -> Link {
    let index = interface.0 as u8;
    Link {
        up: true,
        mac: MacAddr([2, 0, 0, 0, index, 5]),
        address: Some(Ipv4Addr::new(10, 0, index, 5)),
    }
}

/// Another host in the same group.
struct Neighbour {
    credentials: Credentials,
    vhid: Vhid,
    address: Ipv4Addr,
    counter: u64,
    is_vipd: bool,
}

impl Neighbour {
    fn new(address: Ipv4Addr) -> Self {
        Self::of(&group(), address)
    }

    fn of(group: &GroupConfig, address: Ipv4Addr) -> Self {
        Self {
            credentials: Credentials::new(&group.auth.keys, group.vhid, &group.addresses()),
            vhid: group.vhid,
            address,
            counter: 1 << 40,
            is_vipd: false,
        }
    }

    /// Its next advert, from the IP header on.
    fn advert(&mut self, advbase: u8, advskew: u8) -> Vec<u8> {
        self.demoted(advbase, advskew, 0)
    }

    /// The same from a host that is demoted by so much.
    fn demoted(&mut self, advbase: u8, advskew: u8, demotion: u8) -> Vec<u8> {
        self.counter += 1;
        let source = Source {
            mac: [2, 0, 0, 0, 0, 0xee],
            address: self.address,
        };
        let advert = Advertisement {
            vhid: self.vhid,
            interval: Interval::new(advbase, advskew).demoted_by(demotion),
            demote: demotion,
            hidden_advskew: if demotion == 0 { 0 } else { advskew },
            counter: self.counter,
            digest: self.credentials.digest(self.counter),
            is_vipd: self.is_vipd,
        };
        advert.emit_frame(source, 0)[14..].to_vec()
    }
}

/// One output, performed.
#[derive(Clone, Debug)]
struct Step {
    at: Instant,
    group: GroupId,
    words: String,
    /// The frame, if it was one.
    frame: Vec<u8>,
}

fn words(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.words.as_str()).collect()
}

fn count(steps: &[Step], start: &str) -> usize {
    steps
        .iter()
        .filter(|step| step.words.starts_with(start))
        .count()
}

/// What a daemon does with an engine.
struct Daemon {
    engine: Engine,
    now: Instant,
    /// Effects that fail, of [`Daemon::failing_group`] or of all groups.
    failing: BTreeSet<Effect>,
    failing_group: Option<GroupId>,
    /// Whether addresses are in place as soon as it is asked for.
    places_at_once: bool,
    /// How long the host stands still before an advert leaves, and after.
    send_delay: Duration,
    send_duration: Duration,
    /// The leases as the responder has them.
    map: BTreeMap<GroupId, (MacAddr, Instant)>,
}

impl Daemon {
    /// All interfaces are yet unknown.
    fn new(groups: Vec<GroupConfig>) -> Self {
        Self::seeded(groups, 42)
    }

    fn seeded(groups: Vec<GroupConfig>, seed: u64) -> Self {
        let config = Config {
            interfaces: vec!["eth0".to_string(), "eth1".to_string()],
            groups,
        };
        Self {
            engine: Engine::new(config, seed),
            now: T0,
            failing: BTreeSet::new(),
            failing_group: None,
            places_at_once: true,
            send_delay: Duration::ZERO,
            send_duration: Duration::ZERO,
            map: BTreeMap::new(),
        }
    }

    /// Both interfaces are up; every group listens since `T0`.
    fn listening(groups: Vec<GroupConfig>) -> Self {
        let mut daemon = Self::new(groups);
        daemon.link(ETH0, up(ETH0));
        daemon.link(ETH1, up(ETH1));
        daemon
    }

    /// One group that has taken over after three seconds of silence.
    fn master() -> Self {
        let mut daemon = Self::listening(vec![group()]);
        daemon.advance(ms(3000));
        assert_eq!(daemon.role(G0), Role::Master);
        daemon
    }

    fn handle(&mut self, input: Input<'_>) -> Vec<Step> {
        self.engine.handle(input, self.now);
        self.drain()
    }

    fn link(&mut self, interface: InterfaceId, link: Link) -> Vec<Step> {
        self.handle(Input::Link { interface, link })
    }

    fn hear(&mut self, datagram: &[u8]) -> Vec<Step> {
        self.hear_on(ETH0, datagram)
    }

    fn hear_on(&mut self, interface: InterfaceId, bytes: &[u8]) -> Vec<Step> {
        self.handle(Input::Datagram { interface, bytes })
    }

    /// Lets time pass and wakes whenever the engine wants to.
    fn advance(&mut self, duration: Duration) -> Vec<Step> {
        let end = self.now + duration;
        let mut steps = Vec::new();
        for _ in 0..1_000_000 {
            match self.engine.poll_timeout() {
                Some(due) if due <= end => {
                    self.now = self.now.max(due);
                    steps.extend(self.handle(Input::Deadline));
                }
                _ => {
                    self.now = self.now.max(end);
                    return steps;
                }
            }
        }
        panic!("the engine's deadline never moves");
    }

    /// Lets time pass without waking.
    fn stall(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    fn drain(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            let at = self.now;
            let (group, words, frame) = self.perform(output);
            steps.push(Step {
                at,
                group,
                words,
                frame,
            });
        }
        steps
    }

    fn perform(&mut self, output: Output) -> (GroupId, String, Vec<u8>) {
        match output {
            Output::Transmit {
                interface,
                group,
                purpose,
                frame,
                ..
            } => {
                let words = self.describe(interface, group, purpose, &frame);
                if purpose == Purpose::Advert {
                    self.now = self.now + self.send_delay;
                    let at = self.now;
                    self.now = self.now + self.send_duration;
                    if !self.fails(group, Effect::Send) {
                        self.engine.handle(Input::Sent { group, at }, self.now);
                    }
                } else if purpose == Purpose::Announce {
                    self.fails(group, Effect::Announce);
                } else if purpose == Purpose::Introduce {
                    self.fails(group, Effect::Introduce);
                }
                (group, words, frame)
            }
            Output::Remember { group, signer } => (group, format!("remember {signer}"), Vec::new()),
            Output::Lease {
                interface,
                group,
                vhid,
                owner,
                until,
            } => {
                let config = self.view(group).config;
                assert_eq!((interface, vhid), (config.interface, config.vhid));
                if !self.fails(group, Effect::Map) {
                    self.map.insert(group, (owner, until));
                }
                (group, "lease".to_string(), Vec::new())
            }
            Output::Silence { interface, group } => {
                assert_eq!(interface, self.view(group).config.interface);
                self.map.remove(&group);
                (group, "silence".to_string(), Vec::new())
            }
            Output::PlaceAddresses { interface, group } => {
                assert_eq!(interface, self.view(group).config.interface);
                if !self.fails(group, Effect::Address) && self.places_at_once {
                    self.engine.handle(Input::Placed { group }, self.now);
                }
                (group, "place".to_string(), Vec::new())
            }
            Output::RemoveAddresses { interface, group } => {
                assert_eq!(interface, self.view(group).config.interface);
                (group, "remove".to_string(), Vec::new())
            }
            Output::Know { group, vips, .. } => (group, format!("know {vips:?}"), Vec::new()),
            Output::Drop { group, vips, .. } => (group, format!("drop {vips:?}"), Vec::new()),
            Output::Forget { group, .. } => (group, "forget".to_string(), Vec::new()),
            Output::Log(event) => {
                let (group, words) = describe_event(event);
                (group, format!("log {words}"), Vec::new())
            }
        }
    }

    fn fails(&mut self, group: GroupId, effect: Effect) -> bool {
        let is_failing = self.failing.contains(&effect)
            && self.failing_group.is_none_or(|failing| failing == group);
        if is_failing {
            self.engine
                .handle(Input::Failed { group, effect }, self.now);
        }
        is_failing
    }

    /// Reads the frame back, as a receiver would.
    fn describe(
        &self,
        interface: InterfaceId,
        group: GroupId,
        purpose: Purpose,
        frame: &[u8],
    ) -> String {
        let config = self.view(group).config;
        assert_eq!(interface, config.interface);
        let advert = || {
            let (_, advert) = Advertisement::parse(&frame[14..]).unwrap();
            let auth = Credentials::new(&config.auth.keys, config.vhid, &config.addresses());
            let is_own_set = auth.verify_digest(advert.counter, &advert.digest);
            assert_eq!(advert.vhid, config.vhid);
            let Interval { advbase, advskew } = advert.interval;
            let set = if is_own_set { "" } else { " of another set" };
            format!("{advbase}/{advskew}{set}")
        };
        match purpose {
            Purpose::Advert => format!("advert {}", advert()),
            Purpose::BowOut => format!("bow-out {}", advert()),
            Purpose::Farewell => format!("farewell {}", advert()),
            Purpose::Introduce => "introduce".to_string(),
            Purpose::Announce => {
                let arp = ArpFrame::parse(frame).unwrap();
                let kind = match arp.oper {
                    [0, 1] => "request",
                    _ => "reply",
                };
                format!("{kind} {}", Ipv4Addr::from(arp.tpa))
            }
        }
    }

    fn view(&self, group: GroupId) -> GroupView<'_> {
        self.engine.group(group).unwrap()
    }

    fn role(&self, group: GroupId) -> Role {
        self.view(group).role
    }

    /// Until when the responder answers for the first group.
    fn lease(&self) -> Option<Instant> {
        self.map.get(&G0).map(|(_, until)| *until)
    }
}

fn describe_event(event: Event) -> (GroupId, String) {
    match event {
        Event::Changed { group, transition } => {
            let (from, to) = (transition.from.as_str(), transition.to.as_str());
            let words = format!("{from} to {to}: {}", transition.reason.as_str());
            (group, words)
        }
        Event::BadDigest { group, from, .. } => (group, format!("bad digest of {from}")),
        Event::OtherSet { group, from, .. } => (group, format!("other set of {from}")),
        Event::VrrpRouter { group, from } => (group, format!("vrrp router {from}")),
        Event::UnsignedRefused { group, from } => (group, format!("unsigned of {from}")),
        Event::BadSignature { group, from, error } => {
            (group, format!("bad signature of {from}: {error}"))
        }
        Event::Replayed { group, from } => (group, format!("replayed of {from}")),
        Event::Looped { group } => (group, "looped".to_string()),
        Event::SameSource { group, address } => (group, format!("same source {address}")),
        Event::EqualTimers { group, peer } => (group, format!("equal timers of {peer}")),
        Event::Challenged { group, from } => (group, format!("challenged by {from}")),
        Event::Conflict {
            group,
            mac,
            address,
        } => (group, format!("conflict about {address} with {mac}")),
        Event::AddressLost { group, address } => (group, format!("lost {address}")),
        Event::SendFailed { group } => (group, "send failed".to_string()),
    }
}
