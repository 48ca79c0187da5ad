//! Another configuration for the daemon that runs: read and prepared on a thread of its
//! own, applied in the loop as a difference.
//!
//! A file may hang, a disk be slow, an XDP program take its time to be verified, and
//! no election may wait for any of them. So the thread reads the configuration,
//! checks it whole, looks at the interfaces that are new, opens them and writes down
//! what is going to be done. Where anything of that fails, nothing has changed. What
//! is left for the loop are writes to maps, and requests to netlink's thread.
//!
//! What groups gave up is taken off as the engine says; when all of it is gone, the
//! thread closes interfaces that are not configured any more, and the ledger is
//! written as it will stay.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::ledger::{self, Ledger};
use super::port::{Member, Port};
use super::requests::failed;
use super::{Daemon, Error, chain, clock, host, preflight, signers};
use crate::config::{Config, GroupExtras, Paths};
use crate::engine::{Effect, GroupId, Input, InterfaceId, Placement};
use crate::io::systemd::Word;
use crate::io::{control, netlink, xdp};
use crate::status::event::What;

/// Reads the configuration anew, or says all that is wrong with it.
pub type Source = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Who asked for a reload and wants to hear what became of it.
pub(super) type Asker = oneshot::Sender<control::Reply>;

/// How long a stop waits for the thread.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reloads that are under way.
pub(super) struct Reloads {
    /// None for a daemon that was started by flags.
    source: Option<Source>,
    paths: Paths,
    /// None when the daemon ends.
    worker: Option<Worker>,
    prepared: mpsc::UnboundedReceiver<Result<Box<Prepared>, String>>,
    prepared_by: mpsc::UnboundedSender<Result<Box<Prepared>, String>>,
    /// Who wants to hear of the one that is under way.
    waiting: Option<Vec<Asker>>,
    /// Who asked since it began, and wants what the file holds now.
    next: Option<Vec<Asker>>,
    /// Interfaces that groups depend on, beside their own.
    tracked: Vec<String>,
    /// The ledger holds more than there is.
    is_unsettled: bool,
}

/// A configuration that can be applied without waiting for anything.
pub(super) struct Prepared {
    config: Config,
    ledger: Ledger,
    /// The interfaces that are new, open. Their groups have no numbers yet.
    ports: Vec<Port>,
    access: control::Access,
}

impl Prepared {
    /// It is not applied.
    fn undo(self) {
        for mut port in self.ports {
            port.close();
        }
    }

    /// Whether each of its interfaces is open, here or there.
    fn has_all(&self, ports: &[Port]) -> bool {
        let mut names = self.config.engine.interfaces.iter();
        names.all(|name| {
            self.ports
                .iter()
                .chain(ports)
                .any(|port| port.name() == name)
        })
    }
}

/// A thread that does one thing after the other.
struct Worker {
    jobs: std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    fn spawn() -> std::io::Result<Self> {
        let (jobs, to_do) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                to_do.into_iter().for_each(|job| job());
                // Nobody waits for it if the daemon could not start.
                let _ = end.send(());
            })?;
        Ok(Self { jobs, ended })
    }

    fn begin(&self, job: impl FnOnce() + Send + 'static) {
        // The thread ends only with this.
        let _ = self.jobs.send(Box::new(job));
    }
}

impl Reloads {
    pub(super) fn new(paths: &Paths) -> std::io::Result<Self> {
        let (prepared_by, prepared) = mpsc::unbounded_channel();
        Ok(Self {
            source: None,
            paths: paths.clone(),
            worker: Some(Worker::spawn()?),
            prepared,
            prepared_by,
            waiting: None,
            next: None,
            tracked: Vec::new(),
            is_unsettled: false,
        })
    }

    /// Waits for the next one that is prepared. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Box<Prepared>, String> {
        match self.prepared.recv().await {
            Some(prepared) => prepared,
            // The sender is kept.
            None => std::future::pending().await,
        }
    }

    /// What was being prepared is undone. Waits for the thread.
    pub(super) async fn end(&mut self) {
        self.prepared.close();
        if let Some(Worker { jobs, ended }) = self.worker.take() {
            drop(jobs);
            if tokio::time::timeout(PATIENCE, ended).await.is_err() {
                warn!("a reload does not end; 'vipd clean' removes what it leaves");
            }
        }
        while let Ok(prepared) = self.prepared.try_recv() {
            prepared.into_iter().for_each(|prepared| prepared.undo());
        }
    }

    /// What the groups depend on beside their own interfaces.
    pub(super) fn track(&mut self, extras: &[GroupExtras]) {
        let tracks = extras.iter().flat_map(|extras| &extras.tracks);
        self.tracked = tracks.map(|track| track.interface.clone()).collect();
    }

    fn begin(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(worker) = &self.worker {
            worker.begin(job);
        }
    }
}

impl Daemon {
    /// Has the daemon read its configuration anew from there, when it is told to.
    #[must_use]
    pub fn reloading(mut self, source: Source) -> Self {
        self.reloads.source = Some(source);
        self
    }

    /// Begins to reload. Who asks is answered when the new configuration is in force, or
    /// with the reason why it is not; nothing has changed then. A signal wants no answer.
    pub(super) fn reload(&mut self, asker: Option<Asker>) {
        if self.reloads.source.is_none() {
            let reason = "there is no configuration file to reload: flags need a restart";
            info!("{reason}");
            self.tell(What::Reload {
                ok: false,
                text: reason.to_owned(),
            });
            // Whoever asked may have left.
            let _ = asker.map(|asker| asker.send(failed(reason.to_owned())));
            return;
        }
        let askers = match &self.reloads.waiting {
            // What it reads may be older than what is meant.
            Some(_) => self.reloads.next.get_or_insert_default(),
            None => self.reloads.waiting.get_or_insert_default(),
        };
        askers.extend(asker);
        if self.reloads.next.is_none() {
            self.prepare();
        }
    }

    fn prepare(&mut self) {
        let Some(source) = self.reloads.source.clone() else {
            return;
        };
        let paths = self.reloads.paths.clone();
        let known: Vec<String> = self
            .ports
            .iter()
            .map(|port| port.name().to_owned())
            .collect();
        let done = self.reloads.prepared_by.clone();
        let runtime = Handle::current();
        info!("reloading the configuration");
        self.supervision.tell(Word::Reloading);
        self.reloads.begin(move || {
            // The sockets belong to the loop.
            let _entered = runtime.enter();
            let prepared = prepare(&source, &paths, &known);
            if let Err(mpsc::error::SendError(Ok(prepared))) = done.send(prepared) {
                // The daemon ends.
                prepared.undo();
            }
        });
    }

    /// A configuration was prepared, or is of no use.
    pub(super) fn finish_reload(&mut self, prepared: Result<Box<Prepared>, String>) {
        let result = match prepared {
            // An interface was left meanwhile that is wanted again.
            Ok(prepared) if !prepared.has_all(&self.ports) => {
                self.reloads.begin(move || prepared.undo());
                return self.prepare();
            }
            prepared => prepared.map(|prepared| self.apply(*prepared)),
        };
        let done = "the configuration is reloaded";
        let text = match &result {
            Ok(()) => done.to_owned(),
            Err(reason) => {
                format!("the configuration is not reloaded, and nothing has changed:\n{reason}")
            }
        };
        match &result {
            Ok(()) => info!("{text}"),
            Err(_) => error!("{text}"),
        }
        self.supervision.tell(Word::Ready);
        let ok = result.is_ok();
        self.tell(What::Reload {
            ok,
            text: text.clone(),
        });
        for asker in self.reloads.waiting.take().unwrap_or_default() {
            let _ = asker.send(match ok {
                true => Ok(json!({ "text": text }).into()),
                false => Err(("org.vipd.BadConfig".to_owned(), json!({ "text": text }))),
            });
        }
        self.reloads.waiting = self.reloads.next.take();
        if self.reloads.waiting.is_some() {
            self.prepare();
        }
    }

    /// The daemon ends: it is too late for it.
    pub(super) fn refuse_reload(&mut self, prepared: Result<Box<Prepared>, String>) {
        prepared.into_iter().for_each(|prepared| prepared.undo());
        for asker in self.reloads.waiting.take().into_iter().flatten() {
            let _ = asker.send(failed("the daemon ends".to_owned()));
        }
    }

    fn apply(&mut self, prepared: Prepared) {
        let Prepared {
            config,
            mut ledger,
            ports,
            access,
        } = prepared;
        ledger.set_ifindex(self.ledger.ifindex());
        self.ledger = ledger;
        self.change_process(&config);

        let groups: Vec<_> = config.engine.groups.to_vec();
        let names = config.engine.interfaces.clone();
        let first_new = self.ports.len();
        self.ports.extend(ports);
        let ids = self
            .engine
            .reconfigure(config.engine, clock::seed(), clock::now());
        for port in &mut self.ports[first_new..] {
            port.forget_members();
        }
        for port in &mut self.ports {
            let place = names.iter().position(|name| name == port.name());
            let there = ids.groups.iter().zip(&groups);
            let there = there
                .filter(|(_, group)| Some(group.interface.0 as usize) == place)
                .map(|(id, group)| (*id, group));
            let id = place.and_then(|place| ids.interfaces.get(place).copied());
            let there: Vec<_> = there.collect();
            port.reconfigure(id.unwrap_or(port.id()), &there);
        }
        self.perform_all();

        self.reloads.track(&config.extras);
        self.watch_ports();
        for index in first_new..self.ports.len() {
            self.reopen(index);
        }
        for (name, mode) in names.iter().zip(&config.xdp_modes) {
            let of_name = |port: &Port| port.name() == name;
            if let Some(index) = self.ports.iter().position(of_name)
                && self.ports[index].set_mode(*mode)
            {
                info!(interface = name, "attaching the responder in another mode");
                self.ports[index].close();
                self.ports[index].forget_program();
                self.reopen(index);
            }
        }
        self.reloads.is_unsettled = true;
        self.control.allow(access);
        let extras = ids.groups.iter().copied().zip(config.extras).collect();
        self.surround(extras, &BTreeSet::new());
        // Groups that have just begun were told nothing yet.
        self.reapply_fitness();
        self.apply_orders();
        for group in ids.groups {
            self.states.changed(group);
        }
        self.supervision.note_change();
    }

    fn change_process(&mut self, config: &Config) {
        let realtime = self.process.realtime;
        if config.process.realtime != realtime {
            warn!("realtime is another now: that takes a restart");
        }
        if config.metrics != self.metrics_at {
            warn!("the address for metrics is another now: that takes a restart");
        }
        self.process = config.process;
        self.process.realtime = realtime;
    }

    /// When all that was given up is gone: writes down what there is, and closes
    /// interfaces that are not configured any more.
    pub(super) fn settle(&mut self) {
        while let Some(index) = self.ports.iter().position(Port::is_done) {
            let mut port = self.ports.remove(index);
            let ledger = self.ledger.clone();
            info!(interface = port.name(), "leaving the interface");
            self.watch_ports();
            self.reloads.begin(move || {
                port.close();
                ledger.restore_one(port.name());
            });
        }
        if !self.reloads.is_unsettled || self.ports.iter().any(Port::is_settling) {
            return;
        }
        self.reloads.is_unsettled = false;
        for port in self.ports.iter().filter(|port| port.is_open()) {
            let ledger = self.ledger.clone();
            let name = port.name().to_owned();
            let program = port.responder().map(xdp::Responder::program_id);
            let sessions = host::sessions(&self.engine, port.id());
            self.reloads.begin(move || {
                if let Err(problem) = ledger.set_up_on(&name, program, &sessions) {
                    error!(interface = name, "{}", chain(&problem));
                }
            });
        }
    }

    fn watch_ports(&self) {
        let ports = self.ports.iter().map(Port::name);
        let tracked = self.reloads.tracked.iter().map(String::as_str);
        let watched = ports.chain(tracked).chain([ledger::DEVICE]);
        let watched: BTreeSet<&str> = watched.collect();
        let watched: Vec<&str> = watched.into_iter().collect();
        self.netlink.watch(&watched);
    }

    pub(super) fn know(&mut self, interface: InterfaceId, group: GroupId, vips: &[Ipv4Addr]) {
        let Some(port) = self.port_mut(interface) else {
            return;
        };
        let known = port.know(group, vips);
        let placement = port.placement(group);
        if let Err(error) = known {
            error!("cannot answer for more addresses: {}", chain(&error));
            let effect = Effect::Map;
            let failed = Input::Failed { group, effect };
            self.engine.handle(failed, clock::now());
            // Filled anew, or not used at all.
            if let Some(index) = self.ports.iter().position(|port| port.id() == interface) {
                self.ports[index].close();
                self.ports[index].forget_program();
                self.ports[index].retry(clock::now());
            }
            return;
        }
        if placement == Some(Placement::Loopback) {
            for vip in vips {
                let token = self.token();
                let ifindex = self.ledger.ifindex();
                self.netlink.add_address(token, ifindex, *vip, 32);
            }
        }
    }

    pub(super) fn drop_vips(&mut self, interface: InterfaceId, group: GroupId, vips: &[Ipv4Addr]) {
        let on_loopback = self.ledger.ifindex();
        let Some(port) = self.port_mut(interface) else {
            return;
        };
        let placement = port.placement(group);
        let ifindex = port.ifindex();
        port.retire(group, vips);
        let from = match placement {
            Some(Placement::Interface) => ifindex,
            Some(Placement::Loopback) => Some(on_loopback),
            Some(Placement::None) | None => None,
        };
        for vip in vips {
            let token = from.map(|ifindex| {
                let token = self.token();
                self.netlink.remove_address(token, ifindex, *vip, 32);
                token
            });
            let Some(port) = self.port_mut(interface) else {
                return;
            };
            match token {
                Some(token) => port.is_removing(token, *vip),
                None => port.release(*vip),
            }
        }
    }

    pub(super) fn forget(&mut self, interface: InterfaceId, group: GroupId) {
        self.placing.remove(&group);
        self.conflicts.remove(&group);
        self.states.changed(group);
        if let Some(port) = self.port_mut(interface) {
            port.forget_group(group);
        }
    }
}

/// All that can be done before anything changes.
fn prepare(source: &Source, paths: &Paths, known: &[String]) -> Result<Box<Prepared>, String> {
    let mut config = source()?;
    for warning in config.warnings.iter() {
        warn!("{}", config.warnings.line(warning));
    }
    let links = preflight::check_new(&config, paths, known).map_err(|error| chain(&error))?;
    for group in &mut config.engine.groups {
        group.auth.signers = signers::read(&paths.state_dir, &group.name);
    }
    let ledger = Ledger::new(&config.engine, &paths.state_dir);
    let ports = open(&config, &ledger, &links, paths).map_err(|error| chain(&error))?;
    // A lookup in the host's groups may take its time.
    let access = super::access(config.admin_group.as_deref());
    Ok(Box::new(Prepared {
        config,
        ledger,
        ports,
        access,
    }))
}

/// Opens the interfaces that are new: all of them or none.
fn open(
    config: &Config,
    ledger: &Ledger,
    links: &[netlink::LinkInfo],
    paths: &Paths,
) -> Result<Vec<Port>, Error> {
    ledger.widen()?;
    let mut ports = Vec::new();
    for link in links {
        let opened = open_one(config, ledger, link, paths.bpffs.clone());
        match opened {
            Ok(port) => ports.push(port),
            Err(error) => {
                ports.iter_mut().for_each(Port::close);
                return Err(error);
            }
        }
    }
    Ok(ports)
}

fn open_one(
    config: &Config,
    ledger: &Ledger,
    link: &netlink::LinkInfo,
    bpffs: PathBuf,
) -> Result<Port, Error> {
    let names = (0..).zip(&config.engine.interfaces).zip(&config.xdp_modes);
    let named = names.map(|((place, name), mode)| (InterfaceId(place), name, *mode));
    let mut named = named.filter(|(_, name, _)| **name == link.name);
    let (id, mode) = named
        .next()
        .map_or((InterfaceId(0), xdp::Mode::Auto), |(id, _, mode)| {
            (id, mode)
        });
    let there = config.engine.groups.iter().filter(|it| it.interface == id);
    let members = (0..).zip(there);
    let members = members.map(|(place, group)| Member::new(GroupId(place), group));
    let mut port = Port::new(id, link.name.clone(), mode, bpffs, members.collect());
    // It begins as at a start, and goes on with nothing.
    port.open(link.clone(), &ledger.without_keys())?;
    port.log_attached();
    Ok(port)
}
