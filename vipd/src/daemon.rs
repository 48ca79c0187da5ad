//! The daemon: the one loop in which what happens on the host becomes inputs of
//! the engine, and the engine's outputs are performed. It is the only translator
//! between `io` and `engine`, and the only reader of the clock.
//!
//! Nothing in the loop waits for anything but the next event: addresses change
//! on netlink's thread, clients are served on the control socket's, services are
//! asked and scripts run on threads of their own, configurations are read on
//! another, log lines and states are written by theirs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{Config, Paths, Process};
use crate::engine::{Engine, GroupId, Input, InterfaceId};
use crate::io::systemd::{ServiceManager, Word};
use crate::io::{command, control, metrics, netlink, packet_socket, realtime, sysctl, xdp};
use crate::status::Status;
use crate::time::Instant;

mod addresses;
pub mod clean;
mod clock;
mod effects;
mod fitness;
mod health;
mod hooks;
mod host;
mod ledger;
mod operator;
mod port;
pub mod preflight;
mod reload;
mod report;
mod requests;
mod signals;
mod signers;
mod states;
mod supervision;

use addresses::Placing;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use ledger::reread as reread_ledger;
use port::Port;
pub use preflight::Checked;
pub use reload::Source;
use signals::{Command, Signals};
use signers::Signers;
use states::States;
use supervision::Supervision;

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

/// How metrics are served.
const METRICS: metrics::Format<Status> = metrics::Format {
    content_type: crate::metrics::CONTENT_TYPE,
    text: crate::metrics::text,
};

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
    Metrics(#[from] metrics::Error),
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
    #[error("cannot start a thread that reloads the configuration")]
    Reloads(#[source] std::io::Error),
    #[error("cannot start a thread that writes down what the operator orders")]
    Operator(#[source] std::io::Error),
    #[error("cannot start a thread that talks to the service manager")]
    Supervision(#[source] std::io::Error),
    #[error("cannot set a timer")]
    Timer(#[source] std::io::Error),
}

/// The running daemon.
pub struct Daemon {
    engine: Engine,
    ports: Vec<Port>,
    netlink: netlink::Netlink,
    events: mpsc::Receiver<netlink::Event>,
    control: control::Control,
    requests: mpsc::Receiver<control::Request>,
    /// Serves metrics for as long as the daemon runs, where it is to.
    _metrics: Option<metrics::Server>,
    /// Where they were to be served at the start.
    metrics_at: Option<std::net::SocketAddr>,
    scrapes: Option<mpsc::Receiver<metrics::Scrape<Status>>>,
    states: States,
    signals: Signals,
    alarm: clock::Alarm,
    ledger: ledger::Ledger,
    signers: Signers,
    /// What speaks against this host.
    causes: fitness::Causes,
    /// What the operator has ordered, and what was wrong with the file of it.
    orders: operator::Orders,
    orders_lost: Option<String>,
    orders_writer: operator::Writer,
    /// Addresses that are being put on an interface.
    placing: BTreeMap<GroupId, Placing>,
    next_token: u64,
    /// ARP claims of others that the engine has been told of.
    conflicts: BTreeMap<GroupId, u64>,
    process: Process,
    reloads: reload::Reloads,
    health: health::Health,
    hooks: hooks::Hooks,
    supervision: Supervision,
}

impl Daemon {
    /// Takes the interfaces. If that fails, the host is as it was.
    pub async fn start(mut config: Config, paths: &Paths, checked: Checked) -> Result<Self, Error> {
        let signals = Signals::new().map_err(Error::Signals)?;
        let alarm = clock::Alarm::new().map_err(Error::Timer)?;
        let supervision = ServiceManager::find().map_err(Error::Supervision)?;
        let supervision = Supervision::new(supervision);
        let (control, requests) =
            control::Control::bind(&paths.socket, access(config.admin_group.as_deref()))?;
        let (metrics, scrapes) = match config.metrics {
            Some(address) => {
                let (server, scrapes) = metrics::Server::bind(address, METRICS)?;
                info!(address = %server.address(), "serving metrics over HTTP");
                (Some(server), Some(scrapes))
            }
            None => (None, None),
        };
        let groups = (0..).zip(&config.engine.groups);
        let states = States::open(&paths.socket, groups.map(|(id, _)| GroupId(id)));
        let mut watched: Vec<&str> = config
            .engine
            .interfaces
            .iter()
            .map(String::as_str)
            .collect();
        watched.push(ledger::DEVICE);
        let tracks = config.extras.iter().flat_map(|extras| &extras.tracks);
        watched.extend(tracks.map(|track| track.interface.as_str()));
        watched.sort_unstable();
        watched.dedup();
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
        let (orders, orders_lost) =
            operator::read(&paths.state_dir, &clock::wall_clock(clock::now()));
        let orders_writer = operator::Writer::spawn(&paths.state_dir).map_err(Error::Operator)?;
        for group in &mut config.engine.groups {
            group.auth.signers = signers::read(&paths.state_dir, &group.name);
        }

        let mut daemon = Self {
            engine: Engine::new(config.engine, clock::seed()),
            ports,
            netlink,
            events,
            control,
            requests,
            _metrics: metrics,
            metrics_at: config.metrics,
            scrapes,
            states,
            signals,
            alarm,
            ledger,
            signers,
            causes: fitness::Causes::default(),
            orders,
            orders_lost,
            orders_writer,
            placing: BTreeMap::new(),
            next_token: 0,
            conflicts: BTreeMap::new(),
            process: config.process,
            reloads: reload::Reloads::new(paths).map_err(Error::Reloads)?,
            health: health::Health::new(),
            hooks: hooks::Hooks::new(),
            supervision,
        };
        if daemon.process.realtime {
            realtime::enter()?;
        }
        daemon.reloads.track(&config.extras);
        // Before the groups take part.
        daemon.apply_orders();
        match daemon.take_host(checked, config.extras).await {
            Ok(()) => Ok(daemon),
            // As it was means that the kernel does not answer for the addresses that an
            // earlier daemon left: the responder is what keeps it silent.
            Err(error) if daemon.ports.iter().any(Port::has_found) => {
                daemon.hand_over().await;
                Err(error)
            }
            Err(error) => {
                let _ = daemon.leave_host().await;
                Err(error)
            }
        }
    }

    /// Runs until a signal ends it, and leaves the host as it was.
    pub async fn run(mut self) -> Result<(), Error> {
        self.supervision.tell(Word::Ready);
        let keeps = loop {
            self.report_to_manager();
            match self.wait().await {
                Event::Command(Command::Stop(signal)) => {
                    info!(signal, "stopping");
                    break self.process.keep_on_exit;
                }
                Event::Command(Command::Restart) => {
                    info!("stopping for a restart");
                    break true;
                }
                Event::Command(Command::Reload) => self.reload(None),
                Event::Command(Command::LogStatus) => report::log_status(&self.engine),
                Event::Command(Command::StepDown) => {
                    info!("stepping down, as SIGUSR2 asks");
                    self.handle(Input::StepDown { group: None });
                }
                Event::Adverts => self.read_adverts(TURN),
                Event::Netlink(event) => self.handle_netlink(event),
                Event::Request(request) => self.answer(request),
                Event::Prepared(prepared) => self.finish_reload(prepared),
                Event::Answer(answer) => self.handle_answer(answer),
                Event::HookEnd(token, ended) => self.handle_hook_end(token, &ended),
                Event::Scrape(scrape) => self.snapshot_for(scrape),
                Event::Deadline => {}
            }
            self.fire_if_due();
            self.publish_states();
            self.put_responders_back();
            self.settle();
            // In a flood of adverts `wait` tells of nothing else.
            if let Ok(event) = self.events.try_recv() {
                self.handle_netlink(event);
            }
            if let Ok(request) = self.requests.try_recv() {
                self.answer(request);
            }
            if let Some(answer) = self.health.try_next_answer() {
                self.handle_answer(answer);
            }
            if let Some((token, ended)) = self.hooks.try_next_end() {
                self.handle_hook_end(token, &ended);
            }
            if let Some(Ok(scrape)) = self.scrapes.as_mut().map(mpsc::Receiver::try_recv) {
                self.snapshot_for(scrape);
            }
        };
        self.supervision.tell(Word::Stopping);
        if keeps {
            self.hand_over().await;
        } else {
            self.handle(Input::Shutdown);
            self.drain().await;
            let (hooks, signals) = self.leave_host().await;
            hooks.finish(signals).await;
        }
        info!("stopped");
        Ok(())
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
            prepared = self.reloads.next() => Event::Prepared(prepared),
            Some(answer) = self.health.next_answer() => Event::Answer(answer),
            Some((token, ended)) = self.hooks.next_end() => Event::HookEnd(token, ended),
            Some(scrape) = next_scrape(&mut self.scrapes) => Event::Scrape(scrape),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let retry = self.ports.iter().filter_map(Port::retry_at).min();
        [
            self.engine.poll_timeout(),
            retry,
            self.hooks.poll_timeout(),
            self.supervision.poll_timeout(),
        ]
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
        self.fire_gates(now);
        for index in 0..self.ports.len() {
            if self.ports[index].retry_at().is_some_and(|at| at <= now) {
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
}

impl Daemon {
    /// A snapshot for the metrics, of which their own thread makes a text.
    fn snapshot_for(&self, scrape: metrics::Scrape<Status>) {
        // A client that has left wants no answer.
        let _ = scrape.send(report::snapshot(self, None));
    }
}

/// Never, where no metrics are served.
async fn next_scrape(
    scrapes: &mut Option<mpsc::Receiver<metrics::Scrape<Status>>>,
) -> Option<metrics::Scrape<Status>> {
    match scrapes {
        Some(scrapes) => scrapes.recv().await,
        None => std::future::pending().await,
    }
}

/// Who may change things. Without the group that was asked for, nobody who could not
/// otherwise: a daemon that does not start is worse.
fn access(admin_group: Option<&str>) -> control::Access {
    let Some(name) = admin_group else {
        return control::Access::own();
    };
    control::Access::with_admins(name).unwrap_or_else(|error| {
        warn!(
            "only root and this user may change things by the control socket: {}",
            chain(&error)
        );
        control::Access::own()
    })
}

enum Event {
    Command(Command),
    Adverts,
    Netlink(netlink::Event),
    Request(control::Request),
    /// A configuration was read anew, or is of no use.
    Prepared(Result<Box<reload::Prepared>, String>),
    /// A check was answered.
    Answer(health::Answer),
    HookEnd(u64, command::Ended),
    Scrape(metrics::Scrape<Status>),
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
