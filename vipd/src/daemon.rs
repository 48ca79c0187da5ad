//! The daemon: the one loop in which what happens on the host becomes inputs of
//! the engine, and the engine's outputs are performed. It is the only translator
//! between `io` and `engine`, and the only reader of the clock.
//!
//! Nothing in the loop waits for anything but the next event: addresses change
//! on netlink's thread, clients are served on the control socket's, log lines
//! are written by the log's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::carp::Session;
use crate::config::{Config, Paths, Process};
use crate::engine::{
    self, Effect, Engine, GroupId, Input, InterfaceId, Output, Placement, Purpose,
};
use crate::io::{control, netlink, packet_socket, realtime, sysctl, xdp};
use crate::time::Instant;

mod addresses;
pub mod clean;
mod clock;
mod ledger;
mod port;
pub mod preflight;
mod report;
mod signals;
mod signers;

use addresses::Placing;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use ledger::reread as reread_ledger;
use port::Port;
pub use preflight::Checked;
use signals::{Command, Signals};
use signers::Signers;

/// How long a stop waits for the kernel to take addresses off.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Datagrams read in a row before anything else is looked at: in a flood the loop
/// still comes round every fraction of a millisecond.
const TURN: usize = 64;

/// Datagrams read in a row when a timer has expired: more than the socket's buffer
/// holds, and a bound for those who flood.
const DRAIN: usize = 4096;

/// How long until an interface that could not be used is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why the daemon cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Preflight(#[from] preflight::Error),
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    #[error(transparent)]
    Socket(#[from] packet_socket::Error),
    #[error(transparent)]
    Responder(#[from] xdp::Error),
    #[error(transparent)]
    Control(#[from] control::Error),
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    #[error(transparent)]
    Realtime(#[from] realtime::Error),
    #[error("cannot keep the host's settings in {}", path.display())]
    State {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error(
        "cannot take the address {address} that an earlier daemon left off {interface}: {reason}"
    )]
    Leftover {
        interface: String,
        address: Ipv4Addr,
        reason: String,
    },
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    #[error("cannot start a thread that writes down which hosts sign")]
    Signers(#[source] std::io::Error),
    #[error("cannot set a timer")]
    Timer(#[source] std::io::Error),
}

/// The running daemon.
pub struct Daemon {
    engine: Engine,
    ports: Vec<Port>,
    netlink: netlink::Netlink,
    events: mpsc::Receiver<netlink::Event>,
    /// Kept open for as long as the daemon runs.
    _control: control::Control,
    requests: mpsc::Receiver<control::Request>,
    signals: Signals,
    alarm: clock::Alarm,
    ledger: ledger::Ledger,
    signers: Signers,
    /// Addresses that are being put on an interface.
    placing: BTreeMap<GroupId, Placing>,
    next_token: u64,
    /// ARP claims of others that the engine has been told of.
    conflicts: BTreeMap<GroupId, u64>,
    process: Process,
}

impl Daemon {
    /// Takes the interfaces. If that fails, the host is as it was.
    pub async fn start(mut config: Config, paths: &Paths, checked: Checked) -> Result<Self, Error> {
        let signals = Signals::new().map_err(Error::Signals)?;
        let alarm = clock::Alarm::new().map_err(Error::Timer)?;
        let (control, requests) = control::Control::bind(&paths.socket)?;
        let mut watched: Vec<&str> = config
            .engine
            .interfaces
            .iter()
            .map(String::as_str)
            .collect();
        watched.push(ledger::DEVICE);
        let (netlink, events) = netlink::Netlink::spawn(&watched)?;

        let ports = (0..)
            .zip(&config.engine.interfaces)
            .zip(&config.xdp_modes)
            .map(|((id, name), mode)| {
                let id = InterfaceId(id);
                let members = (0..)
                    .zip(&config.engine.groups)
                    .filter(|(_, group)| group.interface == id)
                    .map(|(index, group)| port::Member::new(GroupId(index), group))
                    .collect();
                Port::new(id, name.clone(), *mode, paths.bpffs.clone(), members)
            })
            .collect();
        let ledger = ledger::Ledger::new(&config.engine, &paths.state_dir);
        let signers = Signers::spawn(&paths.state_dir).map_err(Error::Signers)?;
        for group in &mut config.engine.groups {
            group.auth.signers = signers::read(&paths.state_dir, &group.name);
        }

        let mut daemon = Self {
            engine: Engine::new(config.engine, clock::seed()),
            ports,
            netlink,
            events,
            _control: control,
            requests,
            signals,
            alarm,
            ledger,
            signers,
            placing: BTreeMap::new(),
            next_token: 0,
            conflicts: BTreeMap::new(),
            process: config.process,
        };
        if daemon.process.realtime {
            realtime::enter()?;
        }
        match daemon.take_host(checked).await {
            Ok(()) => Ok(daemon),
            // As it was means that the kernel does not answer for the addresses that an
            // earlier daemon left: the responder is what keeps it silent.
            Err(error) if daemon.ports.iter().any(Port::has_found) => {
                daemon.hand_over().await;
                Err(error)
            }
            Err(error) => {
                daemon.leave_host().await;
                Err(error)
            }
        }
    }

    /// Runs until a signal ends it, and leaves the host as it was.
    pub async fn run(mut self) -> Result<(), Error> {
        let signal = loop {
            match self.wait().await {
                Event::Command(Command::Stop(signal)) => break signal,
                Event::Command(Command::Reload) => {
                    info!("there is no configuration file to reload: flags need a restart");
                }
                Event::Command(Command::LogStatus) => report::log_status(&self.engine),
                Event::Command(Command::StepDown) => {
                    info!("stepping down, as SIGUSR2 asks");
                    self.handle(Input::StepDown { group: None });
                }
                Event::Adverts => self.read_adverts(TURN),
                Event::Netlink(event) => self.handle_netlink(event),
                Event::Request(request) => self.answer(request),
                Event::Deadline => {}
            }
            self.fire_if_due();
            self.put_responders_back();
            // In a flood of adverts `wait` tells of nothing else.
            if let Ok(event) = self.events.try_recv() {
                self.handle_netlink(event);
            }
            if let Ok(request) = self.requests.try_recv() {
                self.answer(request);
            }
        };
        info!(signal, "stopping");
        if self.process.keep_on_exit {
            self.hand_over().await;
        } else {
            self.handle(Input::Shutdown);
            self.drain().await;
            self.leave_host().await;
        }
        info!("stopped");
        Ok(())
    }

    /// Goes on until the addresses that were given away are off. A second signal
    /// ends the wait.
    async fn drain(&mut self) {
        while !self.engine.is_drained() {
            match self.wait().await {
                Event::Command(Command::Stop(_)) => return,
                Event::Command(Command::Reload | Command::LogStatus | Command::StepDown)
                | Event::Deadline => {}
                Event::Adverts => self.read_adverts(TURN),
                Event::Netlink(event) => self.handle_netlink(event),
                Event::Request(request) => self.answer(request),
            }
            self.fire_if_due();
        }
    }

    /// Leaves everything as it is to the next daemon: it answers until the
    /// leases end.
    async fn hand_over(mut self) {
        for port in &mut self.ports {
            port.leave();
        }
        self.events.close();
        if let Err(error) = self.netlink.shutdown(STOP_PATIENCE).await {
            error!("{}", chain(&error));
        }
        info!("responder, leases and addresses stay for the next daemon");
    }

    async fn take_host(&mut self, checked: Checked) -> Result<(), Error> {
        for (port, link) in self.ports.iter_mut().zip(&checked.links) {
            port.open(link.clone(), &self.ledger)?;
            port.log_attached();
        }
        // Where the responder was adopted it keeps the kernel silent meanwhile.
        let early = self.remove_leftovers(&checked.links).await?;
        let left: Vec<_> = self.ports.iter().flat_map(Port::leases_left).collect();
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
        for event in early {
            self.handle_netlink(event);
        }
        Ok(())
    }

    /// Gives back what [`Self::take_host`] took. Every step is tried.
    async fn leave_host(mut self) {
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
    }

    /// The next thing that happens. Signals come first, adverts before timers.
    async fn wait(&mut self) -> Event {
        let deadline = self.next_deadline();
        let ports = &self.ports;
        let adverts = std::future::poll_fn(|context| {
            let is_ready = |port: &Port| port.poll_readable(context);
            if ports
                .iter()
                .map(is_ready)
                .fold(false, |any, ready| any | ready)
            {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::select! {
            biased;
            command = self.signals.next() => Event::Command(command),
            () = adverts => Event::Adverts,
            Some(event) = self.events.recv() => Event::Netlink(event),
            () = self.alarm.until(deadline) => Event::Deadline,
            Some(request) = self.requests.recv() => Event::Request(request),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let retry = self.ports.iter().filter_map(Port::retry_at).min();
        [self.engine.poll_timeout(), retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Fires deadlines that have passed: after everything that waits has been
    /// read, so that a host that slept hears first what it missed.
    fn fire_if_due(&mut self) {
        if self
            .next_deadline()
            .is_none_or(|deadline| clock::now() < deadline)
        {
            return;
        }
        while let Ok(event) = self.events.try_recv() {
            self.handle_netlink(event);
        }
        self.read_adverts(DRAIN);
        let now = clock::now();
        if self
            .engine
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.handle(Input::Deadline);
        }
        for index in 0..self.ports.len() {
            if self.ports[index].retry_at().is_some_and(|at| at <= now) {
                self.reopen(index);
            }
        }
    }

    /// Attaches what somebody took off. Each group's lease follows with its next
    /// advert.
    fn put_responders_back(&mut self) {
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

    /// Reads what waits, so many datagrams of each interface at most.
    fn read_adverts(&mut self, at_most: usize) {
        // Larger than any advert; what is cut off of others is rejected anyway.
        let mut buffer = [0; 2048];
        for index in 0..self.ports.len() {
            for _ in 0..at_most {
                let Some(length) = self.ports[index].try_recv(&mut buffer) else {
                    break;
                };
                let interface = self.ports[index].id();
                self.handle(Input::Datagram {
                    interface,
                    bytes: &buffer[..length],
                });
            }
            if self.ports[index].has_lost() {
                let interface = self.ports[index].id();
                self.handle(Input::Missed { interface });
            }
        }
    }

    /// Hands one input to the engine, and does all that follows.
    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(input, clock::now());
        while let Some(output) = self.engine.poll_output() {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
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
                let port = &mut self.ports[usize::from(interface.0)];
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
                self.look_for_conflict(interface, group);
            }
            Output::Silence { interface, group } => {
                if let Err(error) = self.ports[usize::from(interface.0)].silence(group) {
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
            Output::Remember { group, signer } => {
                if let Some(group) = self.engine.group(group) {
                    self.signers.remember(&group.config.name, signer);
                }
            }
            Output::Log(event) => report::log(&self.engine, event),
        }
    }

    /// Sends the frame, unless it is too late for it.
    fn transmit(
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
        let sent = self.ports[usize::from(interface.0)].send(frame);
        match (purpose, sent) {
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

    fn not_sent(&mut self, group: GroupId, purpose: Purpose) {
        let effect = match purpose {
            Purpose::Advert => Effect::Send,
            Purpose::Announce => Effect::Announce,
            Purpose::BowOut | Purpose::Farewell | Purpose::Introduce => return,
        };
        self.engine
            .handle(Input::Failed { group, effect }, clock::now());
    }

    /// Somebody may have claimed what is ours since the last advert.
    fn look_for_conflict(&mut self, interface: InterfaceId, group: GroupId) {
        let Some(conflict) = self.ports[usize::from(interface.0)].conflict(group) else {
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

    fn handle_netlink(&mut self, event: netlink::Event) {
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

    fn update_addresses(&mut self, ifindex: u32, change: impl FnOnce(&mut Port) -> bool) {
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
    fn reopen(&mut self, index: usize) {
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

    fn answer(&mut self, request: control::Request) {
        let reply = match request.method.as_str() {
            "org.vipd.Status" => {
                report::status(&self.engine, &self.ports, self.process, &request.parameters)
            }
            method => Err((
                "org.vipd.MethodNotFound".to_owned(),
                serde_json::json!({ "method": method }),
            )),
        };
        // A client that has left wants no answer.
        let _ = request.reply.send(reply);
    }
}

/// The sessions of the groups on an interface, by vhid.
fn sessions(engine: &Engine, interface: InterfaceId) -> BTreeMap<u8, Session> {
    let there = engine
        .groups()
        .filter(|group| group.config.interface == interface);
    let sessions = there.map(|group| (group.config.vhid.value(), group.session));
    sessions.collect()
}

enum Event {
    Command(Command),
    Adverts,
    Netlink(netlink::Event),
    Request(control::Request),
    Deadline,
}

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
