//! What the engine wants, done; and what came of it, told to the engine.

use std::net::Ipv4Addr;

use tracing::error;

use super::port::Port;
use super::{Daemon, chain, clock, report};
use crate::engine::{Effect, Event, GroupId, Input, InterfaceId, Output, Purpose};

impl Daemon {
    /// `None` for an interface that is not configured any more.
    pub(super) fn port(&self, interface: InterfaceId) -> Option<&Port> {
        self.ports.iter().find(|port| port.id() == interface)
    }

    pub(super) fn port_mut(&mut self, interface: InterfaceId) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.id() == interface)
    }

    /// Hands one input to the engine, and does all that follows.
    pub(super) fn handle(&mut self, input: Input<'_>) {
        if let Input::Fitness { group, .. } = input {
            self.states.changed(group);
        }
        self.engine.handle(input, clock::now());
        self.perform_all();
    }

    pub(super) fn perform_all(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            self.perform(output);
        }
    }

    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Transmit {
                interface,
                group,
                purpose,
                not_after,
                frame,
            } => {
                let is_late = not_after.is_some_and(|limit| clock::now() >= limit);
                self.transmit(interface, group, purpose, (!is_late).then_some(&frame));
            }
            Output::Lease {
                interface,
                group,
                vhid,
                owner,
                until,
            } => {
                let Some(port) = self.port_mut(interface) else {
                    return;
                };
                if let Err(error) = port.set_group(group, owner.0, until.as_nanos(), vhid.value()) {
                    error!("cannot answer for the group: {}", chain(&error));
                    self.engine.handle(
                        Input::Failed {
                            group,
                            effect: Effect::Map,
                        },
                        clock::now(),
                    );
                    return;
                }
                self.states.answers(group, true);
                self.look_for_conflict(interface, group);
            }
            Output::Silence { interface, group } => {
                self.states.answers(group, false);
                let port = self.port_mut(interface);
                if let Some(Err(error)) = port.map(|port| port.silence(group)) {
                    error!(
                        "cannot silence the group before its lease ends: {}",
                        chain(&error)
                    );
                    let effect = Effect::Map;
                    self.engine
                        .handle(Input::Failed { group, effect }, clock::now());
                }
            }
            Output::PlaceAddresses { interface, group } => self.place(interface, group),
            Output::RemoveAddresses { interface, group } => self.unplace(interface, group),
            Output::Know {
                interface,
                group,
                vips,
            } => self.know(interface, group, &vips),
            Output::Drop {
                interface,
                group,
                vips,
            } => self.drop_vips(interface, group, &vips),
            Output::Forget { interface, group } => self.forget(interface, group),
            Output::Remember { group, signer } => {
                if let Some(group) = self.engine.group(group) {
                    self.signers.remember(&group.config.name, signer);
                }
            }
            Output::Log(event) => {
                report::log(&self.engine, event);
                if let Event::Changed { group, transition } = event {
                    self.supervision.note_change();
                    self.states.changed(group);
                    self.tell_role(group, &transition);
                    self.run_hooks(group, transition);
                }
            }
        }
    }

    /// Sends the frame, unless it is too late for it.
    pub(super) fn transmit(
        &mut self,
        interface: InterfaceId,
        group: GroupId,
        purpose: Purpose,
        frame: Option<&Vec<u8>>,
    ) {
        let Some(frame) = frame else {
            tracing::debug!(?purpose, "not sent: it is too late");
            return self.not_sent(group, purpose);
        };
        // From before the send: a lease may begin too early, never too late.
        let at = clock::now();
        let Some(port) = self.port(interface) else {
            return self.not_sent(group, purpose);
        };
        match (purpose, port.send(frame)) {
            (Purpose::Advert, Ok(())) => {
                self.engine.handle(Input::Sent { group, at }, clock::now())
            }
            (_, Ok(())) => {}
            (_, Err(error)) => {
                tracing::debug!(?purpose, "not sent: {}", chain(&error));
                self.not_sent(group, purpose);
            }
        }
    }

    pub(super) fn not_sent(&mut self, group: GroupId, purpose: Purpose) {
        let effect = match purpose {
            Purpose::Advert => Effect::Send,
            Purpose::Announce => Effect::Announce,
            Purpose::Introduce => Effect::Introduce,
            Purpose::BowOut | Purpose::Farewell => return,
        };
        self.engine
            .handle(Input::Failed { group, effect }, clock::now());
    }

    /// Somebody may have claimed what is ours since the last advert.
    pub(super) fn look_for_conflict(&mut self, interface: InterfaceId, group: GroupId) {
        let port = self.port(interface);
        let Some(conflict) = port.and_then(|port| port.conflict(group)) else {
            return;
        };
        let seen = self.conflicts.insert(group, conflict.count).unwrap_or(0);
        if conflict.count != seen {
            let mac = crate::mac::MacAddr(conflict.mac);
            let address = Ipv4Addr::from(conflict.address);
            self.engine.handle(
                Input::Conflict {
                    group,
                    mac,
                    address,
                },
                clock::now(),
            );
        }
    }
}
