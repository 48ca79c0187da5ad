//! One interface: its responder, its sockets, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::task::Context;
use std::time::Duration;

use tracing::{error, info, warn};

use super::ledger::Ledger;
use super::{Error, chain};
use crate::carp::Session;
use crate::engine::{GroupConfig, GroupId, InterfaceId, Link, Placement};
use crate::io::netlink::LinkInfo;
use crate::io::packet_socket::{self, AdvertSocket, FrameSocket};
use crate::io::xdp::{self, Adopted, Attach, Mode, Responder};
use crate::mac::MacAddr;
use crate::time::Instant;

mod change;

/// A group on this interface.
pub(super) struct Member {
    id: GroupId,
    vhid: u8,
    vips: Vec<Ipv4Addr>,
    placement: Placement,
    /// It is configured no more, and clients may not have heard its successor.
    is_leaving: bool,
    /// When a lease ends that an earlier daemon left for this host.
    left_until_ns: u64,
    /// In which session its adverts were signed.
    left_by: Option<Session>,
}

impl Member {
    pub(super) fn new(id: GroupId, config: &GroupConfig) -> Self {
        Self {
            id,
            vhid: config.vhid.value(),
            vips: config.vips.clone(),
            placement: config.placement,
            is_leaving: false,
            left_until_ns: 0,
            left_by: None,
        }
    }

    /// The group's key in the responder's maps: one that the next daemon will
    /// use too, whatever else is configured then.
    fn key(&self) -> u32 {
        u32::from(self.vhid)
    }
}

pub(super) struct Port {
    id: InterfaceId,
    name: String,
    mode: Mode,
    bpffs: PathBuf,
    members: Vec<Member>,
    /// VIPs that are being taken off, by the token of the request: nobody answers for
    /// them, but they are no addresses of the host either.
    retired: BTreeMap<u64, Ipv4Addr>,
    /// Not configured any more.
    is_retired: bool,
    /// What netlink said last; `None` while the interface does not exist.
    link: Option<LinkInfo>,
    /// IPv4 addresses on the interface that are no VIPs, in the order seen.
    addresses: Vec<Ipv4Addr>,
    open: Option<Open>,
    /// Whether an earlier daemon had left a responder when this one was attached.
    has_found: bool,
    retry_at: Option<Instant>,
    /// When to look next whether the responder is where it was put.
    look_at: Instant,
}

struct Open {
    responder: Responder,
    adverts: AdvertSocket,
    /// Of `adverts`, as it was told last.
    lost: u32,
    frames: FrameSocket,
}

impl Port {
    pub(super) fn new(
        id: InterfaceId,
        name: String,
        mode: Mode,
        bpffs: PathBuf,
        members: Vec<Member>,
    ) -> Self {
        Self {
            id,
            name,
            mode,
            bpffs,
            members,
            retired: BTreeMap::new(),
            is_retired: false,
            link: None,
            addresses: Vec::new(),
            open: None,
            has_found: false,
            retry_at: None,
            look_at: Instant::from_nanos(0),
        }
    }

    /// Puts responder and sockets on the interface: all or nothing.
    pub(super) fn open(&mut self, link: LinkInfo, ledger: &Ledger) -> Result<(), Error> {
        self.update(link);
        self.open_again(ledger).map(|_| ())
    }

    /// The same for the interface as it was last seen; false if there is none.
    pub(super) fn open_again(&mut self, ledger: &Ledger) -> Result<bool, Error> {
        self.retry_at = None;
        let Some(LinkInfo {
            ifindex,
            mac: Some(mac),
            kind,
            xdp_program,
            ..
        }) = &self.link
        else {
            return Ok(false);
        };
        let (ifindex, mac) = (*ifindex, *mac);
        let vouched = ledger.vouched_for(&self.name, *xdp_program);
        let vhids = self.vhids();
        // The sockets first: they leave nothing behind.
        let adverts = AdvertSocket::open(&self.name, ifindex, &vhids)?;
        let frames = FrameSocket::open(&self.name, ifindex)?;
        let (responder, adopted) = Responder::open(&Attach {
            interface: &self.name,
            ifindex,
            mac,
            kind: kind.as_deref(),
            program: *xdp_program,
            bpffs: &self.bpffs,
            mode: self.mode,
        })?;
        if let Some(reason) = &adopted.fresh_because {
            warn!(
                interface = self.name,
                reason, "what an earlier vipd left is of no use, and replaced"
            );
        }
        if let Some(reason) = &adopted.refilled_because {
            info!(
                interface = self.name,
                reason, "the maps of an earlier vipd are replaced, and filled with what they held"
            );
        }
        for member in &mut self.members {
            let left = adopted.groups.get(&member.key());
            // Only those who share its addresses and its password have heard, and
            // will go on hearing, the adverts that a lease stands on.
            let vips = adopted.vips.get(&member.key());
            let is_same = vips.is_some_and(|vips| *vips == member.vips.iter().copied().collect());
            let own = left.filter(|group| is_same && group.owner_mac == mac);
            let session = vouched.get(&member.vhid);
            if own.is_some_and(|group| group.lease_until_ns != 0) && session.is_none() {
                info!(
                    interface = self.name,
                    vhid = member.vhid,
                    "starting afresh: nothing shows that the vipd before had the same password"
                );
            }
            let own = own.filter(|_| session.is_some());
            member.left_until_ns = own.map_or(0, |group| group.lease_until_ns);
            member.left_by = session.copied();
        }
        self.has_found = adopted != Adopted::default();
        let responder = self.fill(responder)?;
        self.open = Some(Open {
            responder,
            lost: adverts.lost(),
            adverts,
            frames,
        });
        Ok(true)
    }

    /// Has the responder know the groups of this interface and no others.
    fn fill(&self, mut responder: Responder) -> Result<Responder, Error> {
        let groups: Vec<u32> = self.members.iter().map(Member::key).collect();
        let afresh = self
            .members
            .iter()
            .filter(|member| member.left_until_ns == 0);
        // First of all, as no address may be answered on a lease that was not meant for it.
        let mut filled = afresh
            .map(|member| responder.silence(member.key()))
            .fold(Ok(()), Result::and);
        filled = filled.and_then(|()| responder.forget_others(&groups));
        let mut vips: BTreeMap<u32, Vec<Ipv4Addr>> = BTreeMap::new();
        for member in &self.members {
            vips.entry(member.key()).or_default().extend(&member.vips);
        }
        for (key, vips) in vips {
            filled = filled.and_then(|()| responder.set_vips(key, &vips));
        }
        match filled {
            Ok(()) => Ok(responder),
            Err(error) => {
                if self.has_found {
                    responder.leave();
                } else {
                    // Already on an error path; the first error is the one to tell.
                    let _ = responder.detach();
                }
                Err(error.into())
            }
        }
    }

    /// The groups for which an earlier daemon left a lease to this host, until
    /// when, and its session.
    pub(super) fn leases_left(&self) -> impl Iterator<Item = (GroupId, Instant, Session)> {
        let left = self
            .members
            .iter()
            .filter(|member| member.left_until_ns != 0);
        left.filter_map(|member| {
            let until = Instant::from_nanos(member.left_until_ns);
            Some((member.id, until, member.left_by?))
        })
    }

    /// Leaves the responder to the next daemon.
    pub(super) fn leave(&mut self) {
        if let Some(open) = self.open.take() {
            open.responder.leave();
        }
    }

    /// Takes responder and sockets off the interface.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take()
            && let Err(error) = open.responder.detach()
        {
            error!(
                interface = self.name,
                "cannot detach the responder: {}",
                chain(&error)
            );
        }
    }

    /// Closes it where somebody took the responder off the interface, and tells
    /// whether that was so. It is looked at seldom enough to cost nothing, however
    /// often this is called.
    pub(super) fn close_if_detached(&mut self, now: Instant) -> bool {
        let Some(open) = self.open.as_ref().filter(|_| self.look_at <= now) else {
            return false;
        };
        self.look_at = now + LOOK;
        if !open.responder.is_detached(&self.name) {
            return false;
        }
        self.close();
        self.forget_program();
        true
    }

    /// The responder that netlink told of last is this port's own, and closed.
    pub(super) fn forget_program(&mut self) {
        if let Some(link) = &mut self.link {
            link.xdp_program = None;
        }
    }

    /// The interface does not exist any more.
    pub(super) fn forget(&mut self) {
        self.close();
        self.link = None;
        self.addresses.clear();
    }

    pub(super) fn retry(&mut self, at: Instant) {
        self.retry_at = Some(at);
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether this is an interface of the same name, but made anew.
    pub(super) fn is_another(&self, link: &LinkInfo) -> bool {
        self.link
            .as_ref()
            .is_some_and(|known| known.ifindex != link.ifindex)
    }

    pub(super) fn update(&mut self, link: LinkInfo) {
        let mac_before = self.link.as_ref().and_then(|link| link.mac);
        if self
            .link
            .as_ref()
            .is_none_or(|known| known.ifindex != link.ifindex)
        {
            self.addresses.clear();
            for (address, _) in &link.addresses {
                self.add_address(*address);
            }
        }
        if let (Some(open), Some(mac)) = (&mut self.open, link.mac)
            && mac_before != Some(mac)
            && let Err(error) = open.responder.set_mac(mac)
        {
            error!(
                interface = self.name,
                "cannot answer from the new MAC: {}",
                chain(&error)
            );
        }
        self.link = Some(link);
    }

    /// Whether the interface's own address has become another one.
    pub(super) fn add_address(&mut self, address: Ipv4Addr) -> bool {
        if self.has_vip(address) || self.addresses.contains(&address) {
            return false;
        }
        self.addresses.push(address);
        self.addresses.len() == 1
    }

    /// Whether the interface's own address has become another one.
    pub(super) fn remove_address(&mut self, address: Ipv4Addr) -> bool {
        let was_first = self.addresses.first() == Some(&address);
        self.addresses.retain(|known| *known != address);
        was_first
    }

    /// The interface as the engine is told of it.
    pub(super) fn engine_link(&self) -> Option<Link> {
        let link = self.link.as_ref()?;
        Some(Link {
            up: link.up && self.open.is_some(),
            mac: MacAddr(link.mac?),
            address: self.addresses.first().copied(),
        })
    }

    pub(super) fn log_attached(&self) {
        let Some(open) = &self.open else { return };
        let attached = open.responder.attached();
        info!(
            interface = self.name,
            mode = attached.mode,
            why = attached.reason,
            program = open.responder.program_id(),
            "responder attached"
        );
        if self.link.as_ref().is_some_and(|link| link.is_vlan) {
            warn!(
                interface = self.name,
                "a VLAN device: it answers here in generic mode; the device below it must not be given to vipd too"
            );
        }
    }

    pub(super) fn id(&self) -> InterfaceId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn ifindex(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.ifindex)
    }

    pub(super) fn link(&self) -> Option<&LinkInfo> {
        self.link.as_ref()
    }

    pub(super) fn responder(&self) -> Option<&Responder> {
        self.open.as_ref().map(|open| &open.responder)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn has_found(&self) -> bool {
        self.has_found
    }

    pub(super) fn vips(&self, group: GroupId) -> &[Ipv4Addr] {
        let member = self.members.iter().find(|member| member.id == group);
        member
            .map(|member| member.vips.as_slice())
            .unwrap_or_default()
    }

    /// VIPs that are on the interface only while this host is master, or never; or that
    /// are being taken off.
    pub(super) fn has_vip(&self, address: Ipv4Addr) -> bool {
        let member = |member: &Member| member.vips.contains(&address);
        let mut retired = self.retired.values();
        self.members.iter().any(member) || retired.any(|vip| *vip == address)
    }

    /// VIPs that must not be on the interface, now that the daemon starts.
    pub(super) fn vips_out_of_place(&self, now: Instant) -> BTreeSet<Ipv4Addr> {
        let placed = |member: &&Member| match member.placement {
            Placement::Interface => member.left_until_ns <= now.as_nanos(),
            Placement::Loopback => true,
            Placement::None => false,
        };
        self.members
            .iter()
            .filter(placed)
            .flat_map(|member| member.vips.iter().copied())
            .collect()
    }

    /// Whether something waits to be read.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.adverts.poll_readable(context).is_ready())
    }

    /// One datagram that waits. An error of the socket (the interface went down)
    /// counts as nothing: netlink tells of it.
    pub(super) fn try_recv(&self, buffer: &mut [u8]) -> Option<usize> {
        self.open.as_ref()?.adverts.try_recv(buffer).ok()
    }

    /// Whether datagrams were lost, as the socket's buffer was full, since this was
    /// asked last.
    pub(super) fn has_lost(&mut self) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        let lost = open.adverts.lost();
        std::mem::replace(&mut open.lost, lost) != lost
    }

    pub(super) fn send(&self, frame: &[u8]) -> Result<(), packet_socket::Error> {
        match &self.open {
            Some(open) => open.frames.send(frame),
            None => Err(packet_socket::Error::LinkDown {
                interface: self.name.clone(),
            }),
        }
    }

    pub(super) fn set_group(
        &mut self,
        group: GroupId,
        owner_mac: [u8; 6],
        lease_until_ns: u64,
        vhid: u8,
    ) -> Result<(), xdp::Error> {
        let key = self.key(group);
        match &mut self.open {
            Some(open) => open
                .responder
                .set_group(key, owner_mac, lease_until_ns, vhid),
            None => Err(xdp::Error::NoInterface {
                interface: self.name.clone(),
                ifindex: 0,
            }),
        }
    }

    pub(super) fn silence(&mut self, group: GroupId) -> Result<(), xdp::Error> {
        let key = self.key(group);
        match &mut self.open {
            Some(open) => open.responder.silence(key),
            // Nothing answers where nothing is attached.
            None => Ok(()),
        }
    }

    pub(super) fn conflict(&self, group: GroupId) -> Option<vipd_common::Conflict> {
        // Not knowing of one is no reason to disturb the election.
        self.open
            .as_ref()?
            .responder
            .conflict(self.key(group))
            .ok()
            .flatten()
    }

    /// The key of one of this interface's groups.
    fn key(&self, group: GroupId) -> u32 {
        let member = self.members.iter().find(|member| member.id == group);
        member.map_or(0, Member::key)
    }
}

/// How often to look whether the responder is there. A master that lost it leaves
/// clients without an answer, or to the kernel, for about as long.
const LOOK: Duration = Duration::from_secs(1);
