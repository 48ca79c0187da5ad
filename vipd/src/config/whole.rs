//! From what was described to what is believed: how values go together, with each
//! other and with this host. All that is wrong is said, and only then is there
//! no configuration.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::described::{Described, Group};
use super::fault::{At, Faults, Place};
use super::host::Host;
use super::{Config, GroupExtras, Process, password};
use crate::carp::timers::Timing;
use crate::carp::{Interval, Key, KeyId, Keyring, KeyringError};
use crate::engine::{self, Auth, GroupConfig, InterfaceId, Placement};
use crate::io::xdp;

/// The configuration, unless something is wrong with it.
pub(super) fn assemble(described: Described, host: &Host, faults: &mut Faults) -> Option<Config> {
    if described.groups.is_empty() && !faults.has_errors() {
        let place = faults.first_file();
        faults.error(
            &place,
            "there is no group",
            "expected one [[group]] or more",
        );
    }
    check_names(&described.groups, faults);
    check_vhids(&described.groups, faults);
    check_addresses(&described.groups, host, faults);
    check_ties(&described.groups, faults);
    check_around(&described.groups, host, faults);
    let interfaces = interfaces(&described.groups, host, faults);
    let xdp_modes = xdp_modes(&interfaces, &described.xdp_modes, faults);
    let mut exposed = Vec::new();
    let (mut groups, mut extras) = (Vec::new(), Vec::new());
    for group in described.groups {
        let built = build(group, &interfaces, &mut exposed, faults);
        if let Some((group, extra)) = built {
            groups.push(group);
            extras.push(extra);
        }
    }
    if faults.has_errors() {
        return None;
    }
    let is_set = |setting: Option<At<bool>>| setting.is_some_and(|setting| setting.value);
    Some(Config {
        engine: engine::Config { interfaces, groups },
        extras,
        xdp_modes,
        process: Process {
            realtime: is_set(described.realtime),
            keep_on_exit: is_set(described.keep_on_exit),
        },
        metrics: described.metrics.map(|metrics| metrics.value),
        admin_group: described.admin_group.map(|group| group.value),
        warnings: Faults::default(),
    })
}

/// Says of the second that it is the first again.
fn check_twice<T: Ord>(
    things: impl IntoIterator<Item = (T, Place)>,
    faults: &mut Faults,
    found: impl Fn(&T) -> String,
    allowed: &str,
) {
    let mut first: BTreeMap<T, Place> = BTreeMap::new();
    for (thing, place) in things {
        match first.get(&thing) {
            Some(other) => {
                let found = found(&thing);
                faults.clash((&place, allowed), found, (other, "it is here first"));
            }
            None => drop(first.insert(thing, place)),
        }
    }
}

fn check_names(groups: &[Group], faults: &mut Faults) {
    // Groups without names of their own are told apart by interface and vhid.
    let named = groups.iter().filter_map(|group| {
        let said = group.name.as_ref().map(|name| name.place.clone());
        Some((group.name()?, said.unwrap_or_else(|| group.place.clone())))
    });
    let all: Vec<_> = named.collect();
    let is_explicit = |name: &str| {
        let mut names = groups.iter().filter_map(|group| group.name.as_ref());
        names.any(|explicit| explicit.value == name)
    };
    let explicit = all.into_iter().filter(|(name, _)| is_explicit(name));
    check_twice(
        explicit,
        faults,
        |name| format!("two groups have the name {name}"),
        "expected another name",
    );
}

fn check_vhids(groups: &[Group], faults: &mut Faults) {
    let vhids = groups.iter().filter_map(|group| {
        let (interface, vhid) = (group.interface.as_ref()?, group.vhid.as_ref()?);
        Some(((&interface.value, vhid.value), vhid.place.clone()))
    });
    check_twice(
        vhids,
        faults,
        |(interface, vhid)| format!("two groups on {interface} have the vhid {vhid}"),
        "expected a number that nobody else has on that LAN",
    );
}

fn check_addresses(groups: &[Group], host: &Host, faults: &mut Faults) {
    let vips = || groups.iter().flat_map(|group| &group.vips);
    check_twice(
        vips().map(|vip| (vip.value, vip.place.clone())),
        faults,
        |vip| format!("{vip} is given twice as a virtual address"),
        "expected an address that no group has",
    );
    for source in groups.iter().filter_map(|group| group.source.as_ref()) {
        if let Some(vip) = vips().find(|vip| vip.value == source.value) {
            faults.clash(
                (
                    &source.place,
                    "expected an address that this host always has",
                ),
                format!(
                    "the source address {} is one of the virtual addresses",
                    source.value
                ),
                (&vip.place, "it is here"),
            );
        }
    }
    for group in groups
        .iter()
        .filter(|group| group.placement != Placement::None)
    {
        for vip in &group.vips {
            check_own(vip, host, faults);
        }
    }
}

/// A VIP is nobody's own address, unless the operator says that he puts it where
/// it belongs.
fn check_own(vip: &At<Ipv4Addr>, host: &Host, faults: &mut Faults) {
    let Some((interface, prefix_len)) = host.own(vip.value) else {
        return;
    };
    let address = vip.value;
    faults.error(
        &vip.place,
        format!("{address} is this host's own address: {address}/{prefix_len} on {interface}"),
        "expected an address that moves between hosts; or take it off, or use addresses \"none\"",
    );
}

fn check_ties(groups: &[Group], faults: &mut Faults) {
    let mut first: BTreeMap<&str, &Group> = BTreeMap::new();
    for group in groups {
        let Some(tie) = &group.tie else { continue };
        let Some(other) = first.get(tie.value.as_str()) else {
            first.insert(&tie.value, group);
            let is_tied = |group: &&Group| {
                let own = group.tie.as_ref().map(|tie| &tie.value);
                own == Some(&tie.value)
            };
            if groups.iter().filter(is_tied).count() == 1 {
                let found = format!("no other group has the tie {}", tie.value);
                faults.warning(&tie.place, found, "expected two groups or more of one tie");
            }
            continue;
        };
        let pairs = [
            ("advbase", &group.advbase, &other.advbase),
            ("advskew", &group.advskew, &other.advskew),
            ("deadratio", &group.dead_ratio, &other.dead_ratio),
        ];
        for (key, own, others) in pairs {
            if own.value != others.value {
                faults.clash(
                    (
                        &own.place,
                        "expected the same in all groups of a tie, which move together",
                    ),
                    format!(
                        "groups of the tie {} have {key} {} and {}",
                        tie.value, others.value, own.value
                    ),
                    (&others.place, &format!("it is {} here", others.value)),
                );
            }
        }
        if group.preempt != other.preempt {
            faults.clash(
                (
                    &tie.place,
                    "expected preempt in all groups of a tie, or in none",
                ),
                format!("groups of the tie {} do not agree on preempt", tie.value),
                (&other.place, "it is another here"),
            );
        }
    }
}

/// Checks and tracked links.
fn check_around(groups: &[Group], host: &Host, faults: &mut Faults) {
    for group in groups {
        let checks = group.checks.iter();
        check_twice(
            checks.map(|check| (&check.value.name, check.place.clone())),
            faults,
            |name| format!("two checks of a group have the name {name}"),
            "expected another name",
        );
        let tracks = group.tracks.iter();
        check_twice(
            tracks.map(|track| (&track.value.interface, track.place.clone())),
            faults,
            |interface| format!("a group depends on {interface} twice"),
            "one of them must go",
        );
        for track in &group.tracks {
            let interface = &track.value.interface;
            if group
                .interface
                .as_ref()
                .is_some_and(|own| own.value == *interface)
            {
                let found = format!("{interface} is the group's own interface");
                faults.error(
                    &track.place,
                    found,
                    "without it the group does not take part anyway",
                );
            } else if host.lacks(interface) {
                faults.warning(
                    &track.place,
                    format!("there is no interface {interface} on this host"),
                    "'ip link' lists those there are; one that is not there counts as down",
                );
            }
        }
    }
}

/// Names in the order in which groups mention them.
fn interfaces(groups: &[Group], host: &Host, faults: &mut Faults) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for interface in groups.iter().filter_map(|group| group.interface.as_ref()) {
        if names.contains(&interface.value) {
            continue;
        }
        names.push(interface.value.clone());
        if host.lacks(&interface.value) {
            faults.warning(
                &interface.place,
                format!("there is no interface {} on this host", interface.value),
                "'ip link' lists those there are; vipd does not start without it",
            );
        }
    }
    names
}

fn xdp_modes(
    interfaces: &[String],
    said: &[(At<String>, xdp::Mode)],
    faults: &mut Faults,
) -> Vec<xdp::Mode> {
    check_twice(
        said.iter()
            .map(|(name, _)| (&name.value, name.place.clone())),
        faults,
        |name| format!("the interface {name} is described twice"),
        "one of them must go",
    );
    for (name, _) in said {
        if !interfaces.contains(&name.value) {
            let found = format!("no group is on the interface {}", name.value);
            faults.warning(&name.place, found, "this has no effect");
        }
    }
    let mode = |interface: &String| {
        let found = said.iter().find(|(name, _)| name.value == *interface);
        found.map_or(xdp::Mode::default(), |(_, mode)| *mode)
    };
    interfaces.iter().map(mode).collect()
}

/// A group for the engine, and what surrounds it.
fn build(
    group: Group,
    interfaces: &[String],
    exposed: &mut Vec<PathBuf>,
    faults: &mut Faults,
) -> Option<(GroupConfig, GroupExtras)> {
    let keys = keyring(&group, exposed, faults);
    let timing = Timing {
        interval: Interval::new(group.advbase.value, group.advskew.value),
        dead_ratio: group.dead_ratio.value,
    };
    if timing.has_gaps() {
        let place = if group.advbase.value == 0 && group.advskew.value > 2 {
            &group.advskew.place
        } else {
            &group.dead_ratio.place
        };
        faults.warning(
            place,
            "with this advbase, advskew and deadratio a peer may take over before the next advert, so this host stops answering in between",
            "use a larger deadratio",
        );
    }
    // In a file this was complained of already.
    if group.vips.is_empty() && !faults.has_errors() {
        faults.error(
            &group.place,
            "no virtual address is given",
            "expected one or more",
        );
    }
    let name = group.name()?;
    let interface = group.interface?.value;
    let place = interfaces.iter().position(|known| *known == interface)?;
    let config = GroupConfig {
        name,
        interface: InterfaceId(place.try_into().ok()?),
        vhid: group.vhid?.value,
        vips: group.vips.iter().map(|vip| vip.value).collect(),
        source: group.source.map(|source| source.value),
        auth: Auth {
            keys: keys?,
            policy: group.auth,
            signers: Vec::new(),
        },
        timing,
        preempt: group.preempt,
        preempt_delay: group.preempt_delay,
        startup_delay: group.startup_delay,
        tie: group.tie.map(|tie| tie.value),
        placement: group.placement,
    };
    let extras = GroupExtras {
        hooks: group.hooks,
        checks: group.checks.into_iter().map(|check| check.value).collect(),
        tracks: group.tracks.into_iter().map(|track| track.value).collect(),
    };
    Some((config, extras))
}

fn keyring(group: &Group, exposed: &mut Vec<PathBuf>, faults: &mut Faults) -> Option<Keyring> {
    let mut keys = Vec::new();
    let mut are_read = true;
    let first = group
        .passfile
        .iter()
        .map(|path| (KeyId(0), path.value.as_path(), &path.place));
    let more = group
        .keys
        .iter()
        .map(|key| (KeyId(key.value.0), key.value.1.as_path(), &key.place));
    for (id, path, place) in first.chain(more) {
        match read_key(path, place, exposed, faults) {
            Some(key) => keys.push((id, key)),
            None => are_read = false,
        }
    }
    if !are_read || group.passfile.is_none() {
        return None;
    }
    let signs_with = KeyId(group.sign_with.as_ref().map_or(0, |id| id.value));
    match Keyring::new(keys, signs_with) {
        Ok(keyring) => Some(keyring),
        Err(error) => {
            let (place, allowed) = match error {
                KeyringError::Duplicate(id) => {
                    let twice = group.keys.iter().rev().find(|key| key.value.0 == id.0);
                    (
                        twice.map(|key| &key.place),
                        "expected a number that no other password of the group has; that of passfile is 0",
                    )
                }
                KeyringError::Missing(_) => (
                    group.sign_with.as_ref().map(|id| &id.place),
                    "expected the number of one of the group's passwords; that of passfile is 0",
                ),
            };
            faults.error(place.unwrap_or(&group.place), error.to_string(), allowed);
            None
        }
    }
}

fn read_key(
    path: &Path,
    place: &Place,
    exposed: &mut Vec<PathBuf>,
    faults: &mut Faults,
) -> Option<Key> {
    match password::read(path) {
        Ok(password) => {
            if password.is_exposed && !exposed.contains(&password.path) {
                faults.warning(
                    place,
                    format!(
                        "others than its owner may read the password file {}",
                        password.path.display()
                    ),
                    "use 'chmod 600'",
                );
                exposed.push(password.path);
            }
            Some(password.key)
        }
        Err(error) => {
            faults.error(place, error.to_string(), error.advice());
            None
        }
    }
}
