//! The interfaces: how they are taken and given back, and what happens to them in
//! between.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info, warn};

use super::hooks::Hooks;
use super::port::Port;
use super::preflight::Checked;
use super::signals::{Command, Signals};
use super::{Daemon, Error, Event, RETRY, STOP_PATIENCE, TURN, chain, clock, ledger};
use crate::carp::Session;
use crate::config::GroupExtras;
use crate::engine::{self, Engine, GroupId, Input, InterfaceId};
use crate::io::{netlink, xdp};

impl Daemon {
    /// Goes on until the addresses that were given away are off. A second signal
    /// ends the wait.
    pub(super) async fn drain(&mut self) {
        while !self.engine.is_drained() {
            match self.wait().await {
                Event::Command(Command::Stop(_) | Command::Restart) => return,
                Event::Command(Command::Reload | Command::LogStatus | Command::StepDown)
                | Event::Deadline => {}
                Event::Adverts => self.read_adverts(TURN),
                Event::Netlink(event) => self.handle_netlink(event),
                Event::Request(request) => self.answer(request),
                // It is too late for it; the thread's own are closed as it ends.
                Event::Prepared(prepared) => self.refuse_reload(prepared),
                Event::Answer(answer) => self.handle_answer(answer),
                Event::HookEnd(token, ended) => self.handle_hook_end(token, &ended),
                Event::Scrape(scrape) => self.snapshot_for(scrape),
            }
            self.fire_if_due();
            self.publish_states();
        }
    }

    /// Leaves everything as it is to the next daemon: it answers until the
    /// leases end.
    pub(super) async fn hand_over(mut self) {
        for port in &mut self.ports {
            port.leave();
        }
        self.reloads.end().await;
        self.events.close();
        if let Err(error) = self.netlink.shutdown(STOP_PATIENCE).await {
            error!("{}", chain(&error));
        }
        info!("responder, leases and addresses stay for the next daemon");
    }

    pub(super) async fn take_host(
        &mut self,
        checked: Checked,
        extras: Vec<GroupExtras>,
    ) -> Result<(), Error> {
        for (port, link) in self.ports.iter_mut().zip(&checked.links) {
            port.open(link.clone(), &self.ledger)?;
            port.log_attached();
        }
        // Where the responder was adopted it keeps the kernel silent meanwhile.
        let early = self.remove_leftovers(&checked.links).await?;
        let left: Vec<_> = self.ports.iter().flat_map(Port::leases_left).collect();
        let resumed: BTreeSet<_> = left.iter().map(|(group, ..)| *group).collect();
        for (group, until, session) in left {
            self.handle(Input::Adopt {
                group,
                until,
                session,
            });
        }
        for port in &self.ports {
            let program = port.responder().map(xdp::Responder::program_id);
            let sessions = sessions(&self.engine, port.id());
            self.ledger.set_up_on(port.name(), program, &sessions)?;
        }
        self.place_on_loopback();
        let groups: Vec<_> = self.engine.groups().map(|group| group.id).collect();
        self.surround(groups.into_iter().zip(extras).collect(), &resumed);
        for event in early {
            self.handle_netlink(event);
        }
        Ok(())
    }

    /// Hooks, checks and tracked links of all groups from now on; a group that is not
    /// named has none any more. What did not change goes on as it is. `resumed` are
    /// groups that go on with the role of an earlier daemon: of others that are new
    /// nothing is known.
    pub(super) fn surround(
        &mut self,
        extras: Vec<(GroupId, GroupExtras)>,
        resumed: &BTreeSet<GroupId>,
    ) {
        let name = |group| Some(self.engine.group(group)?.config.name.clone());
        let named: Vec<_> = extras
            .into_iter()
            .filter_map(|(group, extras)| Some((group, name(group)?, extras)))
            .collect();
        let known = self.health.groups();
        for gone in &known {
            if !named.iter().any(|(_, name, _)| name == gone) {
                self.forget_hooks(gone);
                self.forget_health(gone);
            }
        }
        for (group, name, extras) in named {
            let GroupExtras {
                hooks,
                checks,
                tracks,
            } = extras;
            let is_new = !known.contains(&name) && !resumed.contains(&group);
            self.configure_hooks(group, hooks);
            self.configure_health(&name, checks, tracks, is_new);
        }
    }

    /// Gives back what [`Self::take_host`] took. Every step is tried. The hooks may
    /// still be running.
    pub(super) async fn leave_host(mut self) -> (Hooks, Signals) {
        self.reloads.end().await;
        for address in self.ledger.addresses().collect::<Vec<_>>() {
            let token = self.token();
            self.netlink
                .remove_address(token, self.ledger.ifindex(), address, 32);
        }
        self.events.close();
        if let Err(error) = self.netlink.shutdown(STOP_PATIENCE).await {
            error!("{}", chain(&error));
        }
        for port in &mut self.ports {
            port.close();
        }
        self.ledger.restore();
        (self.hooks, self.signals)
    }

    /// Attaches what somebody took off. Each group's lease follows with its next
    /// advert.
    pub(super) fn put_responders_back(&mut self) {
        for index in 0..self.ports.len() {
            let port = &mut self.ports[index];
            if port.close_if_detached(clock::now()) {
                let interface = port.name();
                warn!(
                    interface,
                    "somebody took the responder off; putting it back"
                );
                self.reopen(index);
            }
        }
    }

    pub(super) fn handle_netlink(&mut self, event: netlink::Event) {
        self.track(&event);
        match event {
            netlink::Event::Done { token, result } => self.handle_done(token, result),
            netlink::Event::Link(link) if link.name == ledger::DEVICE => {
                self.ledger.set_ifindex(link.ifindex);
            }
            netlink::Event::Link(link) => {
                if let Some(index) = self.ports.iter().position(|port| port.name() == link.name) {
                    if self.ports[index].is_another(&link) {
                        self.ports[index].close();
                    }
                    self.ports[index].update(link);
                    self.reopen(index);
                }
            }
            netlink::Event::LinkGone { name } => {
                if let Some(port) = self.ports.iter_mut().find(|port| port.name() == name) {
                    warn!(interface = name, "the interface is gone; waiting for it");
                    port.forget();
                    let interface = port.id();
                    if let Some(link) = self.engine.link(interface) {
                        let link = engine::Link { up: false, ..link };
                        self.handle(Input::Link { interface, link });
                    }
                }
            }
            netlink::Event::AddressAdded { ifindex, address } => {
                self.update_addresses(ifindex, |port| port.add_address(address));
            }
            netlink::Event::AddressRemoved { ifindex, address }
                if ifindex == self.ledger.ifindex() =>
            {
                if self.ledger.addresses().any(|vip| vip == address) {
                    warn!(%address, "somebody removed the address from lo; putting it back");
                    let token = self.token();
                    self.netlink.add_address(token, ifindex, address, 32);
                }
            }
            netlink::Event::AddressRemoved { ifindex, address } => {
                self.update_addresses(ifindex, |port| port.remove_address(address));
                if let Some(port) = self
                    .ports
                    .iter()
                    .find(|port| port.ifindex() == Some(ifindex))
                {
                    let interface = port.id();
                    self.handle(Input::AddressLost { interface, address });
                }
            }
        }
    }

    pub(super) fn update_addresses(
        &mut self,
        ifindex: u32,
        change: impl FnOnce(&mut Port) -> bool,
    ) {
        let of_index = |port: &&mut Port| port.ifindex() == Some(ifindex);
        if let Some(port) = self.ports.iter_mut().find(of_index)
            && change(port)
            && let Some(link) = port.engine_link()
        {
            let interface = port.id();
            self.handle(Input::Link { interface, link });
        }
    }

    /// Makes sure that responder and sockets are on the interface, and tells the
    /// engine what it is like.
    pub(super) fn reopen(&mut self, index: usize) {
        let port = &mut self.ports[index];
        if !port.is_open() {
            let opened = port.open_again(&self.ledger);
            // An interface that is made anew has the settings of any other.
            let opened = opened.and_then(|is_there| match is_there {
                true => {
                    let program = port.responder().map(xdp::Responder::program_id);
                    let sessions = sessions(&self.engine, port.id());
                    let set_up = self.ledger.set_up_on(port.name(), program, &sessions);
                    set_up.map(|()| true)
                }
                false => Ok(false),
            });
            match opened {
                Ok(true) => port.log_attached(),
                Ok(false) => return,
                Err(error) => {
                    error!(
                        interface = port.name(),
                        "cannot use the interface: {}",
                        chain(&error)
                    );
                    port.close();
                    return port.retry(clock::now() + RETRY);
                }
            }
        }
        if let Some(link) = port.engine_link() {
            let interface = port.id();
            self.handle(Input::Link { interface, link });
        }
    }
}

/// The sessions of the groups on an interface, by vhid.
pub(super) fn sessions(engine: &Engine, interface: InterfaceId) -> BTreeMap<u8, Session> {
    let there = engine
        .groups()
        .filter(|group| group.config.interface == interface);
    let sessions = there.map(|group| (group.config.vhid.value(), group.session));
    sessions.collect()
}
