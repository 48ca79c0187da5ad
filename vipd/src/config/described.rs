//! A configuration as somebody described it, with the place of each value: the
//! one form that flags and files come to, and from which all else follows.
//!
//! Each value by itself is what it may be; how they go together is not known.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::fault::{At, Place};
use super::{CheckConfig, GroupFlags, HookConfig, TrackConfig};
use crate::carp::{DEFAULT_ADVBASE, DEFAULT_DEAD_RATIO, Policy, Vhid};
use crate::engine::Placement;
use crate::io::xdp;

#[derive(Default)]
pub(super) struct Described {
    pub(super) realtime: Option<At<bool>>,
    pub(super) keep_on_exit: Option<At<bool>>,
    pub(super) metrics: Option<At<SocketAddr>>,
    pub(super) admin_group: Option<At<String>>,
    pub(super) groups: Vec<Group>,
    /// By the interface's name.
    pub(super) xdp_modes: Vec<(At<String>, xdp::Mode)>,
}

/// What is `None` or empty was not said, or is of no use and was complained of.
pub(super) struct Group {
    /// Where it begins.
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) interface: Option<At<String>>,
    pub(super) vhid: Option<At<Vhid>>,
    pub(super) vips: Vec<At<Ipv4Addr>>,
    pub(super) passfile: Option<At<PathBuf>>,
    /// More passwords; that of `passfile` has id 0.
    pub(super) keys: Vec<At<(u8, PathBuf)>>,
    pub(super) sign_with: Option<At<u8>>,
    pub(super) auth: Policy,
    pub(super) source: Option<At<Ipv4Addr>>,
    pub(super) advbase: At<u8>,
    pub(super) advskew: At<u8>,
    pub(super) dead_ratio: At<u8>,
    pub(super) preempt: bool,
    pub(super) preempt_delay: Duration,
    pub(super) startup_delay: Duration,
    pub(super) placement: Placement,
    pub(super) tie: Option<At<String>>,
    pub(super) hooks: Vec<HookConfig>,
    pub(super) checks: Vec<At<CheckConfig>>,
    pub(super) tracks: Vec<At<TrackConfig>>,
}

impl Group {
    /// A group of which nothing has been said.
    pub(super) fn new(place: Place) -> Self {
        let at = |value| At {
            value,
            place: place.clone(),
        };
        Self {
            name: None,
            interface: None,
            vhid: None,
            vips: Vec::new(),
            passfile: None,
            keys: Vec::new(),
            sign_with: None,
            auth: Policy::default(),
            source: None,
            advbase: at(DEFAULT_ADVBASE),
            advskew: at(0),
            dead_ratio: at(DEFAULT_DEAD_RATIO),
            preempt: false,
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            placement: Placement::Interface,
            tie: None,
            hooks: Vec::new(),
            checks: Vec::new(),
            tracks: Vec::new(),
            place,
        }
    }

    /// For people, and for the group's own name where none is given: `eth0-42`.
    pub(super) fn name(&self) -> Option<String> {
        if let Some(name) = &self.name {
            return Some(name.value.clone());
        }
        let (interface, vhid) = (self.interface.as_ref()?, self.vhid.as_ref()?);
        Some(format!("{}-{}", interface.value, vhid.value))
    }
}

impl From<&GroupFlags> for Described {
    fn from(flags: &GroupFlags) -> Self {
        let keys = flags.keys.iter().cloned();
        let group = Group {
            interface: Some(said("-i", flags.interface.clone())),
            vhid: Some(said("-v", flags.vhid)),
            vips: flags.vips.iter().map(|vip| said("-a", *vip)).collect(),
            passfile: Some(said("-o", flags.passfile.clone())),
            keys: keys.map(|key| said("--key", key)).collect(),
            sign_with: Some(said("--sign-with", flags.signs_with)),
            auth: flags.auth,
            source: flags.source.map(|source| said("-s", source)),
            advbase: said("-b", flags.advbase),
            advskew: said("-k", flags.advskew),
            dead_ratio: said("-r", flags.dead_ratio),
            preempt: flags.preempt,
            placement: flags.placement,
            ..Group::new(Place::Flag("-i"))
        };
        Self {
            realtime: Some(said("--realtime", flags.process.realtime)),
            keep_on_exit: Some(said("--keep-on-exit", flags.process.keep_on_exit)),
            xdp_modes: vec![(said("-i", flags.interface.clone()), flags.xdp_mode)],
            groups: vec![group],
            ..Self::default()
        }
    }
}

fn said<T>(flag: &'static str, value: T) -> At<T> {
    At {
        value,
        place: Place::Flag(flag),
    }
}
