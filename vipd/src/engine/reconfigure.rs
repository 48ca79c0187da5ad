//! Another configuration for an engine that runs.
//!
//! It is applied as a difference. A group is the same one if interface, vhid and
//! placement are: it goes on, with its role, lease, timers and counters, and where
//! nothing of it differs nothing happens on the wire or on the host. Groups that are
//! not configured any more end as at a shutdown, alone; those that are new begin as
//! at a start.
//!
//! **Order.** What is given up comes before what is taken, so that an address may
//! move from one group to another.

use super::group::Group;
use super::{Config, Effect, Engine, GroupId, Instant, Interface, InterfaceId, Reason, mix, tie};

/// Under which numbers a configuration's interfaces and groups go, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub interfaces: Vec<InterfaceId>,
    pub groups: Vec<GroupId>,
}

impl Engine {
    /// Goes on with another configuration. Drain [`Engine::poll_output`] afterwards, as
    /// after an input. New interfaces wait for their first `Input::Link`; `seed` is as
    /// in [`Engine::new`], and must be another one.
    ///
    /// After `Input::Shutdown` nothing changes any more, and there are no numbers.
    pub fn reconfigure(&mut self, config: Config, seed: u64, now: Instant) -> Ids {
        if self.has_ended {
            return Ids::default();
        }
        let out = &mut self.outputs;
        for group in &mut self.groups {
            group.lapse_if_due(now, out);
        }
        let interfaces = self.identify(config.interfaces);
        let mut wanted = config.groups;
        for group in &mut wanted {
            let place = group.interface.0 as usize;
            // Checked by whoever made the configuration.
            group.interface = interfaces.get(place).copied().unwrap_or(group.interface);
        }

        let vips: Vec<_> = wanted.iter().flat_map(|group| group.vips.clone()).collect();
        let out = &mut self.outputs;
        let is_kept = |group: &mut Group| wanted.iter().any(|it| group.is_continued_by(it));
        let mut leaving: Vec<_> = self
            .groups
            .extract_if(.., |group| !is_kept(group))
            .collect();
        for group in leaving.iter_mut().chain(&mut self.leaving) {
            group.leave(&vips, now, out);
        }
        self.leaving.append(&mut leaving);
        // A new one under the same number on the wire must not meet the old one.
        let is_replaced = |group: &Group| {
            let is_same = |it: &super::GroupConfig| {
                (it.interface, it.vhid) == (group.interface(), group.vhid())
            };
            wanted.iter().any(is_same)
        };
        for group in &mut self.leaving {
            if is_replaced(group) {
                group.end_drain();
            }
        }
        self.forget_drained(now);

        let out = &mut self.outputs;
        for group in &mut self.groups {
            let config = wanted.iter().find(|it| group.is_continued_by(it));
            if let Some(config) = config {
                group.drop_others(&config.vips, out);
            }
        }
        let mut groups = Vec::new();
        for config in wanted {
            let out = &mut self.outputs;
            let mut known = self.groups.iter_mut();
            if let Some(group) = known.find(|group| group.is_continued_by(&config)) {
                group.reconfigure(config, now, out);
                groups.push(group.id());
                continue;
            }
            let (_, next) = &mut self.next_ids;
            let id = GroupId(*next);
            *next += 1;
            let link = self.link(config.interface);
            let mut group = Group::new(id, config, mix(seed, id.0));
            group.begin(&mut self.outputs);
            if let Some(link) = link {
                group.handle_link(link, Reason::Start, now, &mut self.outputs);
            }
            self.groups.push(group);
            groups.push(id);
        }
        let place = |group: &Group| groups.iter().position(|id| *id == group.id());
        self.groups.sort_by_key(place);
        tie::settle(&mut self.groups, now, &mut self.outputs);
        Ids { interfaces, groups }
    }

    /// Those that are known by this name keep their numbers.
    fn identify(&mut self, names: Vec<String>) -> Vec<InterfaceId> {
        for interface in &mut self.interfaces {
            interface.is_retired = true;
        }
        let identify = |name: String| {
            if let Some(known) = self.interfaces.iter_mut().find(|it| it.name == name) {
                known.is_retired = false;
                return known.id;
            }
            let (next, _) = &mut self.next_ids;
            let id = InterfaceId(*next);
            *next += 1;
            self.interfaces.push(Interface::new(id, name));
            id
        };
        names.into_iter().map(identify).collect()
    }

    /// Those that are neither configured nor still being left.
    fn forget_interfaces(&mut self) {
        let is_left = |id| self.leaving.iter().any(|group| group.interface() == id);
        self.interfaces
            .retain(|interface| !interface.is_retired || is_left(interface.id));
    }

    /// Takes leave of groups whose clients have heard the successor.
    pub(super) fn forget_drained(&mut self, now: Instant) {
        let out = &mut self.outputs;
        for group in &mut self.leaving {
            group.unplace_if_due(now, out);
        }
        let drained = self.leaving.iter_mut();
        for group in drained.filter(|group| !group.is_draining()) {
            group.forget(out);
        }
    }

    /// What was said of groups that are no more has been done.
    pub(super) fn end_leaving(&mut self) {
        if !self.leaving.is_empty() || self.interfaces.iter().any(|it| it.is_retired) {
            self.leaving.retain(|group| !group.is_forgotten());
            self.forget_interfaces();
        }
    }

    /// That a leaving group could not be silenced must hold back its last words.
    pub(super) fn handle_failure_of_leaving(&mut self, id: GroupId, effect: Effect, now: Instant) {
        if effect == Effect::Map
            && let Some(group) = self.leaving.iter_mut().find(|group| group.id() == id)
        {
            group.handle_failure(effect, now, &mut self.outputs);
        }
    }
}
