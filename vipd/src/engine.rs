//! What this host does with its roles: the groups, the order of effects,
//! leases, announcements, and what follows when an effect fails.
//!
//! The contract, as in quinn-proto and str0m: [`Engine::handle`] changes the
//! state once, then [`Engine::poll_output`] is drained and each output
//! performed in its order, then nothing happens until [`Engine::poll_timeout`].
//! What an output came to (`Sent`, `Placed`, `Failed`) is an input of its own,
//! handed in while draining.
//!
//! Frames in, frames out: the engine reads and writes real bytes, so whatever
//! drives it, a daemon or a simulator, exercises the codec, the digest and the
//! announcements too. It knows no file, socket, map or clock.
//!
//! **Order.** Taking over: advert, so that an old master that is still alive
//! falls silent; then the addresses; then the lease in the map; then the
//! announcements. Giving up: the map first, then the bow-out, then the
//! addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use crate::carp::packet::{Body, Source, vrrp_router};
use crate::carp::{DecodeError, Interval, Mismatch, Packet, Reason, Session, SignatureError, Vhid};
use crate::mac::MacAddr;
use crate::time::{Duration, Instant};

mod announce;
mod config;
mod episode;
mod group;
mod reconfigure;
mod tie;

pub use crate::carp::Fitness;
pub use config::{Auth, Config, GroupConfig, Placement};
pub use group::{GroupCounters, GroupView};
pub use reconfigure::Ids;

use group::Group;

/// An interface: at the start its place in [`Config::interfaces`]. One that is added
/// later gets a number that none had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceId(pub u32);

/// A group: at the start its place in [`Config::groups`]. One that is added later
/// gets a number that none had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// What an interface is like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can be sent and received, as far as the host knows.
    pub up: bool,
    pub mac: MacAddr,
    /// The host's own address there, if it has one.
    pub address: Option<Ipv4Addr>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An IPv4 datagram of protocol 112 was heard, from its first byte on.
    Datagram {
        interface: InterfaceId,
        bytes: &'a [u8],
    },
    /// Datagrams came to the interface that were not handed in, the last of them
    /// just now: there was no room for them.
    Missed { interface: InterfaceId },
    /// The moment that `poll_timeout` named is here. Everything that waits in
    /// the sockets has been handed in before.
    Deadline,
    /// The interface is like this, from now on; or is so again, after a moment in
    /// which it was not.
    Link { interface: InterfaceId, link: Link },
    /// An earlier daemon of this host, since its boot, left a lease in the map,
    /// with this host as its owner, and signed as `session`. To be told before
    /// the interface's first `Link`. The kernel is silenced if it is longer than
    /// this host's timers allow.
    Adopt {
        group: GroupId,
        until: Instant,
        session: Session,
    },
    /// The group's advert went out; `at` is from just before it was sent.
    Sent { group: GroupId, at: Instant },
    /// An effect of this group was not achieved.
    Failed { group: GroupId, effect: Effect },
    /// The group's addresses are where they belong.
    Placed { group: GroupId },
    /// Somebody took an address away from the interface.
    AddressLost {
        interface: InterfaceId,
        address: Ipv4Addr,
    },
    /// Another host claimed one of the group's addresses by ARP.
    Conflict {
        group: GroupId,
        mac: MacAddr,
        address: Ipv4Addr,
    },
    /// The operator wants others to be master, of one group and its tie or of all.
    StepDown { group: Option<GroupId> },
    /// This host is as fit for the group as this, from now on. Well at the start.
    Fitness { group: GroupId, fitness: Fitness },
    /// The operator wants this host to be master of the group and its tie, if it
    /// outranks the one that is, even where it does not preempt.
    Promote { group: GroupId },
    /// The operator wants clients to hear once more who answers, if this host does.
    Announce { group: GroupId },
    /// The daemon ends. Go on until [`Engine::is_drained`], and it has ended well.
    Shutdown,
}

/// An effect whose failure breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// An advert was not sent.
    Send,
    /// The lease was not written.
    Map,
    /// The addresses were not placed.
    Address,
    /// An announcement was not sent.
    Announce,
    /// An introduction was not sent.
    Introduce,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put the frame on the wire. For [`Purpose::Advert`] the engine must be
    /// told `Sent` or `Failed` before the next output is taken, for
    /// [`Purpose::Announce`] and [`Purpose::Introduce`] `Failed` if it was not sent;
    /// the failure of others is of no consequence.
    Transmit {
        interface: InterfaceId,
        group: GroupId,
        purpose: Purpose,
        /// When it is too late: a host that was stopped in the middle of its
        /// effects must not speak as a master that it has not been since. Then
        /// the frame counts as not sent.
        not_after: Option<Instant>,
        frame: Vec<u8>,
    },
    /// Answer for the group with this MAC until then. `Failed` if it could not
    /// be written.
    Lease {
        interface: InterfaceId,
        group: GroupId,
        vhid: Vhid,
        owner: MacAddr,
        until: Instant,
    },
    /// Answer for the group no more. `Failed` if it could not be written, before
    /// the next output is taken: the lease then ends by itself, and the role is
    /// not given away before.
    Silence {
        interface: InterfaceId,
        group: GroupId,
    },
    /// Put the group's addresses on the interface; comes back as `Placed` or
    /// `Failed`, now or later.
    PlaceAddresses {
        interface: InterfaceId,
        group: GroupId,
    },
    /// Take them off.
    RemoveAddresses {
        interface: InterfaceId,
        group: GroupId,
    },
    /// The responder is to know these addresses as the group's, beside those that it
    /// knows: silent without a lease. All of them, where the group has just begun. On
    /// `lo` they are put there now. `Failed` if it could not be told.
    Know {
        interface: InterfaceId,
        group: GroupId,
        vips: Vec<Ipv4Addr>,
    },
    /// The group does not have these any more: silent at once, then off the interface
    /// or `lo`, then the responder's no more.
    Drop {
        interface: InterfaceId,
        group: GroupId,
        vips: Vec<Ipv4Addr>,
    },
    /// The group is no more. The addresses that it had were dropped before.
    Forget {
        interface: InterfaceId,
        group: GroupId,
    },
    /// Keep for the next start that a host with this address signs.
    Remember { group: GroupId, signer: Ipv4Addr },
    /// Tell the operator.
    Log(Event),
}

/// Why a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// "I am master", which the lease stands on.
    Advert,
    /// "I was master, take over."
    BowOut,
    /// "I was master and yield to you": makes the winner announce itself.
    Farewell,
    /// Gratuitous ARP.
    Announce,
    /// "This is my session", so that what is signed is believed.
    Introduce,
}

/// What an operator should hear of. Repetitions are held back: once per episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Changed {
        group: GroupId,
        transition: crate::carp::Transition,
    },
    /// Adverts with this vhid do not verify: another password or address set.
    BadDigest {
        group: GroupId,
        from: Ipv4Addr,
        mismatch: Mismatch,
    },
    /// A peer's addresses are being changed: it says everything in two sets, of which
    /// this host has one.
    OtherSet {
        group: GroupId,
        from: Ipv4Addr,
        mismatch: Mismatch,
    },
    /// A VRRP router uses the vhid as its router id.
    VrrpRouter { group: GroupId, from: Ipv4Addr },
    /// Adverts are not signed, though their sender has signed before or all must.
    UnsignedRefused { group: GroupId, from: Ipv4Addr },
    /// The signature of adverts or introductions is wrong.
    BadSignature {
        group: GroupId,
        from: Ipv4Addr,
        error: SignatureError,
    },
    /// Signed messages came once more.
    Replayed { group: GroupId, from: Ipv4Addr },
    /// Adverts that this host sent came back to it.
    Looped { group: GroupId },
    /// A host with our own source address takes part.
    SameSource { group: GroupId, address: Ipv4Addr },
    /// A peer has the same rank.
    EqualTimers { group: GroupId, peer: Ipv4Addr },
    /// A less preferred host claims to be master.
    Challenged { group: GroupId, from: Ipv4Addr },
    /// Another host claims an address by ARP.
    Conflict {
        group: GroupId,
        mac: MacAddr,
        address: Ipv4Addr,
    },
    /// Somebody removed an address; it is put back.
    AddressLost { group: GroupId, address: Ipv4Addr },
    /// Adverts fail to be sent.
    SendFailed { group: GroupId },
}

/// Packets of protocol 112 that no group took, by interface.
pub type Rejected = BTreeMap<Rejection, u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    Decode(DecodeError),
    UnknownVhid,
}

struct Interface {
    id: InterfaceId,
    name: String,
    /// Not configured any more, until the last of its groups has left.
    is_retired: bool,
    link: Option<Link>,
    rejected: Rejected,
}

/// All groups of this host.
pub struct Engine {
    interfaces: Vec<Interface>,
    groups: Vec<Group>,
    /// Groups that are configured no more, until clients have heard their successors.
    leaving: Vec<Group>,
    /// The numbers of the next interface and group.
    next_ids: (u32, u32),
    outputs: VecDeque<Output>,
    has_ended: bool,
}

impl Engine {
    /// `seed` must differ from start to start and from host to host: the
    /// adverts' counters begin there. No group takes part before its
    /// interface's first `Input::Link`.
    pub fn new(config: Config, seed: u64) -> Self {
        let interfaces = config.interfaces.into_iter().zip(0..);
        let interfaces = interfaces.map(|(name, index)| Interface::new(InterfaceId(index), name));
        let interfaces: Vec<_> = interfaces.collect();
        let groups = config.groups.into_iter().zip(0..);
        let groups =
            groups.map(|(group, index)| Group::new(GroupId(index), group, mix(seed, index)));
        let groups: Vec<_> = groups.collect();
        Self {
            next_ids: (interfaces.len() as u32, groups.len() as u32),
            interfaces,
            groups,
            leaving: Vec::new(),
            outputs: VecDeque::new(),
            has_ended: false,
        }
    }

    /// Something happened. Drain [`Engine::poll_output`] afterwards. After
    /// `Input::Shutdown` nothing follows from anything any more.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        // That the kernel could not be silenced must still hold back the bow-out.
        let map_failed = matches!(
            input,
            Input::Failed {
                effect: Effect::Map,
                ..
            }
        );
        if self.has_ended && !map_failed {
            return self.handle_after_end(input, now);
        }
        let out = &mut self.outputs;
        if !matches!(input, Input::Sent { .. }) {
            for group in &mut self.groups {
                group.lapse_if_due(now, out);
            }
        }
        match input {
            Input::Datagram { interface, bytes } => self.handle_datagram(interface, bytes, now),
            Input::Missed { interface } => {
                for group in self
                    .groups
                    .iter_mut()
                    .filter(|group| group.interface() == interface)
                {
                    group.handle_missed(now);
                }
            }
            Input::Deadline => {
                for group in &mut self.groups {
                    group.handle_deadline(now, out);
                }
                self.forget_drained(now);
            }
            Input::Link { interface, link } => self.handle_link(interface, link, now),
            Input::Adopt {
                group,
                until,
                session,
            } => {
                self.with(group, |group, out| group.adopt(until, session, now, out));
            }
            Input::Sent { group, at } => {
                self.with(group, |group, out| group.handle_sent(at, now, out))
            }
            Input::Failed { group, effect } => {
                self.with(group, |group, out| group.handle_failure(effect, now, out));
                self.handle_failure_of_leaving(group, effect, now);
            }
            Input::Placed { group } => self.with(group, |group, out| group.handle_placed(now, out)),
            Input::AddressLost { interface, address } => {
                for group in self
                    .groups
                    .iter_mut()
                    .filter(|group| group.interface() == interface)
                {
                    group.handle_address_lost(address, now, out);
                }
            }
            Input::Conflict {
                group,
                mac,
                address,
            } => {
                self.with(group, |group, out| {
                    group.handle_conflict(mac, address, now, out)
                });
            }
            Input::StepDown { group } => {
                let meant = match group {
                    Some(id) => tie::moves_with(&self.groups, id),
                    None => self.groups.iter().map(Group::id).collect(),
                };
                for id in meant {
                    self.with(id, |group, out| group.step_down(now, out));
                }
            }
            Input::Fitness { group, fitness } => {
                self.with(group, |group, out| group.set_fitness(fitness, now, out));
            }
            Input::Promote { group } => {
                for id in tie::moves_with(&self.groups, group) {
                    self.with(id, |group, _| group.promote(now));
                }
            }
            Input::Announce { group } => {
                self.with(group, |group, out| group.announce_again(now, out));
            }
            Input::Shutdown => {
                self.has_ended = true;
                for group in &mut self.groups {
                    group.shut_down(now, out);
                }
            }
        }
        if !self.has_ended {
            tie::settle(&mut self.groups, now, &mut self.outputs);
        }
    }

    /// Whether nothing is left to be done after `Input::Shutdown`: no group takes
    /// traffic any more for an address it gave away.
    pub fn is_drained(&self) -> bool {
        !self.members().any(Group::is_draining)
    }

    /// What to do next; `None` when everything is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            self.end_leaving();
        }
        next
    }

    /// When to hand in `Input::Deadline`, if nothing happens before. A moment
    /// in the past means at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        debug_assert!(self.outputs.is_empty(), "drain the outputs before sleeping");
        self.members().filter_map(Group::poll_timeout).min()
    }

    /// Those that are configured, in the order in which they came.
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'_>> {
        self.groups.iter().map(Group::view)
    }

    /// Also one that is configured no more, until [`Output::Forget`] and what came with it
    /// is done.
    pub fn group(&self, id: GroupId) -> Option<GroupView<'_>> {
        let mut members = self.members();
        members.find(|group| group.id() == id).map(Group::view)
    }

    /// As configured; empty for an id that is not.
    pub fn interface_name(&self, id: InterfaceId) -> &str {
        self.interface(id).map_or("", |interface| &interface.name)
    }

    pub fn link(&self, id: InterfaceId) -> Option<Link> {
        self.interface(id).and_then(|interface| interface.link)
    }

    pub fn rejected(&self, id: InterfaceId) -> Option<&Rejected> {
        self.interface(id).map(|interface| &interface.rejected)
    }

    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == id)
    }

    fn interface_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        let mut interfaces = self.interfaces.iter_mut();
        interfaces.find(|interface| interface.id == id)
    }

    /// With those that are leaving.
    fn members(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().chain(&self.leaving)
    }

    fn with(&mut self, id: GroupId, act: impl FnOnce(&mut Group, &mut VecDeque<Output>)) {
        let mut groups = self.groups.iter_mut();
        if let Some(group) = groups.find(|group| group.id() == id) {
            act(group, &mut self.outputs);
        }
    }

    /// Once it has ended, only the addresses are still to be taken off.
    fn handle_after_end(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Datagram { interface, bytes } => {
                if let Ok(packet) = Packet::parse(bytes)
                    && let Body::Advert { advert, trailer } = &packet.body
                    && let Some(group) = find(&mut self.groups, interface, advert.vhid)
                {
                    group.handle_advert_after_end(&packet, advert, trailer.as_ref(), now);
                }
            }
            Input::Deadline => {
                for group in &mut self.groups {
                    group.unplace_if_due(now, &mut self.outputs);
                }
                self.forget_drained(now);
            }
            Input::Missed { .. }
            | Input::Link { .. }
            | Input::Adopt { .. }
            | Input::Sent { .. }
            | Input::Failed { .. }
            | Input::Placed { .. }
            | Input::AddressLost { .. }
            | Input::Conflict { .. }
            | Input::StepDown { .. }
            | Input::Fitness { .. }
            | Input::Promote { .. }
            | Input::Announce { .. }
            | Input::Shutdown => {}
        }
    }

    fn handle_datagram(&mut self, id: InterfaceId, bytes: &[u8], now: Instant) {
        let out = &mut self.outputs;
        let rejection = match Packet::parse(bytes) {
            Err(error) => {
                if let Some((from, router)) = vrrp_router(bytes)
                    && let Some(vhid) = Vhid::new(router)
                    && let Some(group) = find(&mut self.groups, id, vhid)
                {
                    group.note_vrrp(from, now, out);
                }
                Rejection::Decode(error)
            }
            Ok(packet) => {
                let vhid = match &packet.body {
                    Body::Advert { advert, .. } => advert.vhid,
                    Body::Introduction(trailer) => trailer.vhid,
                };
                match (find(&mut self.groups, id, vhid), &packet.body) {
                    (Some(group), Body::Advert { advert, trailer }) => {
                        return group.handle_advert(&packet, advert, trailer.as_ref(), now, out);
                    }
                    (Some(group), Body::Introduction(trailer)) => {
                        return group.handle_introduction(&packet, trailer, now, out);
                    }
                    // Introductions are for all; most are other groups'.
                    (None, Body::Introduction(_)) => return,
                    (None, Body::Advert { advert, trailer }) => {
                        if let Some(group) = find(&mut self.leaving, id, vhid) {
                            let trailer = trailer.as_ref();
                            return group.handle_advert_after_end(&packet, advert, trailer, now);
                        }
                        Rejection::UnknownVhid
                    }
                }
            }
        };
        if let Some(interface) = self.interface_mut(id) {
            *interface.rejected.entry(rejection).or_default() += 1;
        }
    }

    fn handle_link(&mut self, id: InterfaceId, link: Link, now: Instant) {
        let Some(interface) = self.interface_mut(id) else {
            return;
        };
        let is_first = interface.link.is_none();
        interface.link = Some(link);
        let reason = if is_first {
            Reason::Start
        } else {
            Reason::LinkUp
        };
        for group in self
            .groups
            .iter_mut()
            .filter(|group| group.interface() == id)
        {
            group.handle_link(link, reason, now, &mut self.outputs);
        }
    }
}

impl Interface {
    fn new(id: InterfaceId, name: String) -> Self {
        Self {
            id,
            name,
            is_retired: false,
            link: None,
            rejected: Rejected::new(),
        }
    }
}

fn find(groups: &mut [Group], interface: InterfaceId, vhid: Vhid) -> Option<&mut Group> {
    let mut groups = groups.iter_mut();
    groups.find(|group| group.interface() == interface && group.vhid() == vhid)
}

/// A different well-mixed number for each group (the finaliser of SplitMix64).
fn mix(seed: u64, index: u32) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(index) + 1));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests;
