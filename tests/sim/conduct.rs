//! What must hold at every input: worthless frames change nothing, counters
//! grow, and the log says a thing once.

use vipd::carp::{Mismatch, Reason, Role};
use vipd::engine::{Engine, Event, GroupCounters};
use vipd::time::Instant;

use super::checker::{Checker, time};
use super::faults::FAULT_HOLD;
use super::lan::Origin;
use super::setup::SECOND;
use super::world::World;

/// What a frame must not change.
pub(super) struct Before {
    worthless: Option<Vec<(Role, Option<Instant>)>>,
}

impl World {
    pub(super) fn before(&self, host: usize, engine: &Engine, origin: Option<Origin>) -> Before {
        let clock = self.clock(host);
        let is_worthless = matches!(origin, Some(Origin::Worthless | Origin::Echo));
        let is_due = engine
            .poll_timeout()
            .is_some_and(|timeout| timeout <= clock);
        // A question that was captured may be news to a host, and the advert that it
        // answers with shows it what it cannot do.
        let is_faulty = self.hosts[host].map_fails || self.hosts[host].sends_fail;
        Before {
            worthless: (is_worthless && !is_due && !is_faulty).then(|| roles(engine)),
        }
    }

    pub(super) fn after(&mut self, host: usize, engine: &Engine, before: Before) {
        if before
            .worthless
            .is_some_and(|before| before != roles(engine))
        {
            self.violated(Checker::WorthlessFramesChangeNothing, format!("host{host}"));
        }
        for view in engine.groups() {
            let g = self.group_index(host, view.id);
            let shown = &mut self.checks.shown[host][g];
            // A group that was removed and is back begins to count anew.
            let is_another = shown.counted.replace(view.id) != Some(view.id);
            let shrank = !is_another && !grew(&shown.counters, view.counters);
            shown.counters = *view.counters;
            if shrank {
                self.violated(Checker::CountersGrow, format!("host{host}"));
            }
        }
    }

    /// A line for the operator.
    pub(super) fn check_log(&mut self, host: usize, event: &Event) {
        let kind = match (self.cover_event(event), event) {
            // Each thing that the operator can put right is an episode of its own.
            (_, Event::BadDigest { mismatch, .. }) => match mismatch {
                Mismatch::UnknownKey(_) => "another key",
                Mismatch::NoPassword => "no password",
                Mismatch::Addresses(_) | Mismatch::LinkLocal(_) => "other addresses",
                Mismatch::Unknown => "event bad digest",
            },
            (kind, _) => kind,
        };
        self.note_host(host, || describe(event));
        if let Event::Changed { transition, .. } = event
            && let Reason::AddressFault | Reason::MapFault = transition.reason
        {
            // What failed may have been begun before the fault was over.
            self.disturb(Some(host), FAULT_HOLD);
        }
        let (Event::BadDigest { group, .. }
        | Event::OtherSet { group, .. }
        | Event::VrrpRouter { group, .. }
        | Event::UnsignedRefused { group, .. }
        | Event::BadSignature { group, .. }
        | Event::Replayed { group, .. }
        | Event::Looped { group }
        | Event::SameSource { group, .. }
        | Event::EqualTimers { group, .. }
        | Event::Challenged { group, .. }
        | Event::Conflict { group, .. }
        | Event::AddressLost { group, .. }
        | Event::SendFailed { group }) = event
        else {
            return;
        };
        let now = self.now;
        let key = (host, self.hosts[host].incarnation, group.0, kind);
        let (lines, since) = self.checks.lines.entry(key).or_insert((0, now));
        *lines += 1;
        if *lines > 1 + (now - *since) / (60 * SECOND) {
            let what = format!(
                "host{host} logs {kind} {lines} times in {}",
                time(now - *since)
            );
            self.violated(Checker::OneLinePerEpisode, what);
        }
    }
}

impl World {
    /// A daemon goes on where another left off: its kernel answers, and as itself.
    pub(super) fn check_resumed(&mut self, host: usize, g: usize) {
        let kernel = &self.hosts[host].kernel;
        let mac = kernel.nics[self.setup.groups[g].lan].mac.0;
        let is_own = kernel
            .groups
            .get(&g)
            .is_some_and(|group| group.owner_mac == mac);
        let clock = self.clock(host).as_nanos();
        if !is_own || !kernel.answers(g, clock) {
            self.violated(Checker::ResumesOnOwnLease, format!("host{host}, group {g}"));
        }
    }
}

fn roles(engine: &Engine) -> Vec<(Role, Option<Instant>)> {
    let role = |view: vipd::engine::GroupView<'_>| (view.role, view.since.map(|(at, _)| at));
    engine.groups().map(role).collect()
}

fn grew(old: &GroupCounters, new: &GroupCounters) -> bool {
    new.adverts_sent >= old.adverts_sent
        && new.adverts_received >= old.adverts_received
        && new.bad_digest >= old.bad_digest
        && new.bad_digest_unknown_key >= old.bad_digest_unknown_key
        && new.bad_digest_no_password >= old.bad_digest_no_password
        && new.bad_digest_addresses >= old.bad_digest_addresses
        && new.other_set >= old.other_set
        && new.vrrp >= old.vrrp
        && new.looped >= old.looped
        && new.unsigned_refused >= old.unsigned_refused
        && new.bad_signature >= old.bad_signature
        && new.replayed >= old.replayed
        && new.strangers >= old.strangers
        && new.introductions >= old.introductions
        && new.send_errors >= old.send_errors
        && new.map_errors >= old.map_errors
        && new.address_errors >= old.address_errors
        && new.addresses_lost >= old.addresses_lost
        && new.announcements >= old.announcements
        && new.conflicts >= old.conflicts
        && new.challenges >= old.challenges
        && new.transitions >= old.transitions
}

fn describe(event: &Event) -> String {
    match event {
        Event::Changed { group, transition } => format!(
            "LOG     group {}: {} -> {} ({})",
            group.0,
            transition.from.as_str(),
            transition.to.as_str(),
            transition.reason.as_str()
        ),
        Event::BadDigest { .. }
        | Event::OtherSet { .. }
        | Event::VrrpRouter { .. }
        | Event::UnsignedRefused { .. }
        | Event::BadSignature { .. }
        | Event::Replayed { .. }
        | Event::Looped { .. }
        | Event::SameSource { .. }
        | Event::EqualTimers { .. }
        | Event::Challenged { .. }
        | Event::Conflict { .. }
        | Event::AddressLost { .. }
        | Event::SendFailed { .. } => format!("LOG     {event:?}"),
    }
}
