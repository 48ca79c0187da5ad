//! What people are told: log lines and the status.

use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::port::Port;
use super::{Daemon, clock, requests};
use crate::carp::{Difference, Mismatch, Role, Transition};
use crate::engine::{Engine, Event, GroupId, GroupView};
use crate::io::control;
use crate::log::ROLE_CHANGE;
use crate::status::{self, GroupStatus, InterfaceStatus, Status};

/// One event, one line.
pub(super) fn log(engine: &Engine, event: Event) {
    let name = |id: GroupId| {
        engine
            .group(id)
            .map_or("?", |group| group.config.name.as_str())
    };
    match event {
        Event::Changed { group, transition } => {
            changed(engine, group, transition);
        }
        Event::BadDigest {
            group,
            from,
            mismatch,
        } => warn!(
            group = name(group),
            peer = %from,
            "adverts do not verify: {}",
            explained(mismatch)
        ),
        Event::OtherSet {
            group,
            from,
            mismatch,
        } => info!(
            group = name(group),
            peer = %from,
            "a peer's addresses are being changed, and this host's are not yet, or are already: {}",
            explained(mismatch)
        ),
        Event::VrrpRouter { group, from } => warn!(
            group = name(group),
            router = %from,
            "a VRRP router uses the group's vhid as its router id: use another vhid, since switches and tools take both for the same"
        ),
        Event::UnsignedRefused { group, from } => warn!(
            group = name(group),
            peer = %from,
            "adverts are not signed and not believed: this host demands it (--auth require), or their sender has signed before and somebody else may be using its address"
        ),
        Event::BadSignature { group, from, error } => warn!(
            group = name(group),
            peer = %from,
            "the signature of adverts is not right, so they are not believed: {error}"
        ),
        Event::Replayed { group, from } => warn!(
            group = name(group),
            peer = %from,
            "signed adverts are older than others of the same host and not believed: somebody plays back what was captured, or the network duplicates or reorders"
        ),
        Event::Looped { group } => {
            warn!(
                group = name(group),
                "our own adverts come back to us: the network has a loop"
            );
        }
        Event::SameSource { group, address } => error!(
            group = name(group),
            %address,
            "another host advertises from our own address: give each host its own, or name one with -s"
        ),
        Event::EqualTimers { group, peer } => warn!(
            group = name(group),
            %peer,
            "a peer has the same advbase and advskew: which of the two is master depends on their addresses"
        ),
        Event::Challenged { group, from } => {
            info!(group = name(group), peer = %from, "a less preferred host claims to be master");
        }
        Event::Conflict {
            group,
            mac,
            address,
        } => warn!(
            group = name(group),
            %mac,
            %address,
            "another host claims our address by ARP; announcing it again"
        ),
        Event::AddressLost { group, address } => warn!(
            group = name(group),
            %address,
            "somebody removed the address from the interface; putting it back"
        ),
        Event::SendFailed { group } => {
            warn!(
                group = name(group),
                "adverts cannot be sent; without one the lease ends"
            );
        }
    }
}

/// One line for each change of role, for people and for grep.
fn changed(engine: &Engine, id: GroupId, transition: Transition) {
    let Some(view) = engine.group(id) else {
        return;
    };
    let (group, interface) = (
        &view.config.name,
        engine.interface_name(view.config.interface),
    );
    let (from, to) = (transition.from.as_str(), transition.to.as_str());
    let reason = transition.reason;
    // The order of the fields is that of the line, which `docs/observing.md` promises.
    macro_rules! tell {
        ($($peer:tt)*) => {
            info!(
                target: ROLE_CHANGE,
                reason = %reason.as_str(), %group, role = %to, was = %from, %interface, $($peer)*
                "{group}: became {to} (was {from}): {}", reason.words()
            )
        };
    }
    match transition.master {
        Some(peer) => tell!(peer = %peer.address,),
        None => tell!(),
    }
}

/// What the operator of the other host has set differently.
fn explained(mismatch: Mismatch) -> String {
    match mismatch {
        Mismatch::UnknownKey(id) => format!(
            "they are made with key {}, which this host does not have: an old one, or one that it was not given yet (--key)",
            id.0
        ),
        Mismatch::NoPassword => "that host has no password".to_owned(),
        Mismatch::Addresses(Difference::Only(vip)) => format!(
            "that host has the virtual address {vip} only, and this one has more: all must have the same, of which UCARP can have one"
        ),
        Mismatch::Addresses(Difference::Lacks(vip)) => {
            format!("that host does not have the virtual address {vip}: all must have the same")
        }
        Mismatch::Addresses(Difference::HasToo(vip)) => {
            format!("that host has the virtual address {vip} too: all must have the same")
        }
        Mismatch::Addresses(Difference::HasInstead { ours, theirs }) => {
            format!("that host has the virtual address {theirs}, and this one {ours}")
        }
        Mismatch::LinkLocal(address) => format!(
            "that host counts the link-local address {address} as a virtual one, as FreeBSD does: take it off its vhid"
        ),
        Mismatch::Unknown => {
            "the password differs, or several virtual addresses; or it is another cluster with this vhid".to_owned()
        }
    }
}

/// A line for each group, in UCARP's words for SIGUSR1.
pub(super) fn log_status(engine: &Engine) {
    for group in engine.groups() {
        let role = match group.role {
            Role::Init => "INIT",
            Role::Backup => "BACKUP",
            Role::Master => "MASTER",
        };
        let interface = engine.interface_name(group.config.interface);
        info!("{role} on {interface} id {}", group.config.vhid);
    }
}

/// Answers `org.vipd.Status`, for all groups or for the one that is named.
pub(super) fn status(daemon: &Daemon, parameters: &Value) -> control::Reply {
    let wanted = requests::optional_group(parameters)?;
    let status = snapshot(daemon, wanted);
    if let (Some(name), true) = (wanted, status.groups.is_empty()) {
        return Err(requests::not_found(name));
    }
    let value = serde_json::to_value(status).map_err(|error| {
        (
            "org.vipd.Failed".to_owned(),
            json!({ "reason": error.to_string() }),
        )
    })?;
    Ok(value.into())
}

/// All that is known of a group.
pub(super) fn group_status(daemon: &Daemon, group: &GroupView<'_>) -> GroupStatus {
    let name = &group.config.name;
    let interface = daemon.engine.interface_name(group.config.interface);
    let mut status = GroupStatus {
        causes: daemon.causes.status(name),
        held_back: daemon.causes.held_back(group),
        checks: daemon.health.status(name),
        ..GroupStatus::new(group, interface, clock::now(), clock::wall_clock)
    };
    status.counters.extend(daemon.hooks.counters(name));
    status
}

/// Everything, or what concerns the group of this name.
pub(super) fn snapshot(daemon: &Daemon, wanted: Option<&str>) -> Status {
    let engine = &daemon.engine;
    let groups: Vec<_> = engine
        .groups()
        .filter(|group| wanted.is_none_or(|name| name == group.config.name))
        .map(|group| group_status(daemon, &group))
        .collect();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        realtime: daemon.process.realtime,
        maintenance: daemon.orders.maintenance.is_some(),
        now: clock::wall_clock(clock::now()),
        interfaces: daemon
            .ports
            .iter()
            .filter(|port| {
                wanted.is_none() || groups.iter().any(|group| group.interface == port.name())
            })
            .map(|port| interface_status(engine, port))
            .collect(),
        groups,
    }
}

fn interface_status(engine: &Engine, port: &Port) -> InterfaceStatus {
    let link = port.link();
    let responder = port.responder();
    let mut counters = engine
        .rejected(port.id())
        .map(status::rejected_counters)
        .unwrap_or_default();
    if let Some(Ok(counted)) = responder.map(|responder| responder.counters()) {
        counters.extend(status::responder_counters(&counted));
    }
    InterfaceStatus {
        name: port.name().to_owned(),
        link: match link {
            Some(link) if link.up => "up",
            Some(_) => "down",
            None => "gone",
        }
        .to_owned(),
        mac: link
            .and_then(|link| link.mac)
            .map(|mac| crate::mac::MacAddr(mac).to_string()),
        xdp_mode: responder
            .map_or("none", |responder| responder.attached().mode)
            .to_owned(),
        xdp_reason: responder
            .map_or("", |responder| &responder.attached().reason)
            .to_owned(),
        counters,
    }
}
