//! What a simulation must have provoked to prove anything.

use vipd::carp::Reason;
use vipd::engine::{Event, Input, Purpose};

use super::faults::Fault;
use super::world::World;

/// Everything that can occur, by name.
pub fn everything() -> Vec<&'static str> {
    let mut all: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    all.extend(Fault::NAMES);
    all.extend(INPUTS);
    all.extend(PURPOSES);
    all.extend(EFFECTS);
    all.extend(EVENTS);
    all.extend(OTHERS);
    all.extend(super::reload::CHANGES);
    all
}

impl World {
    pub(super) fn cover_input(&mut self, input: &Input<'_>) {
        let name = match input {
            Input::Datagram { .. } => "input datagram",
            Input::Missed { .. } => "input missed",
            Input::Deadline => "input deadline",
            Input::Link { .. } => "input link",
            Input::Adopt { .. } => "input adopt",
            Input::Sent { .. } => "input sent",
            Input::Failed { .. } => "input failed",
            Input::Placed { .. } => "input placed",
            Input::AddressLost { .. } => "input address lost",
            Input::Conflict { .. } => "input conflict",
            Input::StepDown { .. } => "input step down",
            Input::Fitness { .. } => "input fitness",
            Input::Promote { .. } => "input promote",
            Input::Announce { .. } => "input announce",
            Input::Shutdown => "input shutdown",
        };
        self.coverage.insert(name);
        if let Input::Failed { effect, .. } = input {
            self.coverage.insert(match effect {
                vipd::engine::Effect::Send => "effect send",
                vipd::engine::Effect::Map => "effect map",
                vipd::engine::Effect::Address => "effect address",
                vipd::engine::Effect::Announce => "effect announce",
                vipd::engine::Effect::Introduce => "effect introduce",
            });
        }
    }

    pub(super) fn cover_purpose(&mut self, purpose: Purpose) {
        self.coverage.insert(match purpose {
            Purpose::Advert => "purpose advert",
            Purpose::BowOut => "purpose bow-out",
            Purpose::Farewell => "purpose farewell",
            Purpose::Announce => "purpose announce",
            Purpose::Introduce => "purpose introduce",
        });
    }

    pub(super) fn cover_event(&mut self, event: &Event) -> &'static str {
        let name = match event {
            Event::Changed { transition, .. } => {
                self.coverage.insert(transition.reason.as_str());
                "event changed"
            }
            Event::BadDigest { .. } => "event bad digest",
            Event::OtherSet { .. } => "event other set",
            Event::VrrpRouter { .. } => "event vrrp router",
            Event::UnsignedRefused { .. } => "event unsigned refused",
            Event::BadSignature { .. } => "event bad signature",
            Event::Replayed { .. } => "event replayed",
            Event::Looped { .. } => "event looped",
            Event::SameSource { .. } => "event same source",
            Event::EqualTimers { .. } => "event equal timers",
            Event::Challenged { .. } => "event challenged",
            Event::Conflict { .. } => "event conflict",
            Event::AddressLost { .. } => "event address lost",
            Event::SendFailed { .. } => "event send failed",
        };
        self.coverage.insert(name);
        name
    }
}

/// What the simulation notes of itself.
const OTHERS: [&str; 3] = [
    "late frame dropped",
    "two answer: not heard",
    "two answer: claims cross",
];
const INPUTS: [&str; 15] = [
    "input datagram",
    "input missed",
    "input deadline",
    "input link",
    "input adopt",
    "input sent",
    "input failed",
    "input placed",
    "input address lost",
    "input conflict",
    "input step down",
    "input fitness",
    "input promote",
    "input announce",
    "input shutdown",
];
const PURPOSES: [&str; 5] = [
    "purpose advert",
    "purpose bow-out",
    "purpose farewell",
    "purpose announce",
    "purpose introduce",
];
const EFFECTS: [&str; 5] = [
    "effect send",
    "effect map",
    "effect address",
    "effect announce",
    "effect introduce",
];
const EVENTS: [&str; 13] = [
    "event changed",
    "event bad digest",
    "event vrrp router",
    "event unsigned refused",
    "event bad signature",
    "event replayed",
    "event looped",
    "event same source",
    "event equal timers",
    "event challenged",
    "event conflict",
    "event address lost",
    "event send failed",
];
