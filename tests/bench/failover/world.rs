//! Two nodes, what they run, and what befalls them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use vipd_tests::lab::{Host, Lab};

use super::contender::{Contender, Fast, Node, Running, VIP, signal_all};
use super::measure::{Change, Phase};
use super::probe::{Probe, Record, Vantage};
use crate::machine::Interrupt;

/// What befalls the preferred node while it is master, and is undone later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Nothing: how much of an outage is noise.
    None,
    /// SIGTERM; then it is started again.
    Term,
    /// SIGKILL of all its processes; then it is started again.
    Kill,
    /// SIGSTOP of all its processes; then SIGCONT.
    Stop,
    /// The switch's end of its cable goes down; then up.
    Carrier,
    /// Its port is taken out of the switch, which it cannot see; then put back.
    Silent,
}

impl Scenario {
    pub(crate) const ALL: [Self; 6] = [
        Self::None,
        Self::Term,
        Self::Kill,
        Self::Stop,
        Self::Carrier,
        Self::Silent,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Term => "term",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Carrier => "carrier",
            Self::Silent => "silent",
        }
    }
}

/// A round that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) fault: Phase,
    /// The preferred node's return.
    pub(crate) back: Option<Phase>,
    /// It was master again, alone, within [`PATIENCE`].
    pub(crate) returned: bool,
}

impl Round {
    pub(crate) fn probe_late(&self) -> f64 {
        let back = self.back.as_ref().map_or(0.0, |back| back.probe_late);
        self.fault.probe_late.max(back)
    }
}

/// A lab with two nodes that run the same.
pub(crate) struct World {
    contender: Contender,
    fast: Fast,
    /// Nothing is known yet of how this lab behaves.
    is_new: bool,
    interrupt: Interrupt,
    // Before the lab: their processes end first.
    daemons: [Option<Running>; 2],
    switch: Switch,
    vantage: Vantage,
    nodes: [Host; 2],
    passfile: PathBuf,
    _lab: Lab,
}

impl World {
    pub(crate) fn new(contender: Contender, fast: Fast, interrupt: &Interrupt) -> Result<Self> {
        let lab = Lab::new();
        let nodes = [
            lab.host("n1", "10.99.0.1/24"),
            lab.host("n2", "10.99.0.2/24"),
        ];
        let vantage = Vantage {
            asker: lab.host("asker", "10.99.0.200/24"),
            client: lab.host("client", "10.99.0.201/24"),
            vip: VIP,
            nodes: [nodes[0].mac(), nodes[1].mac()],
        };
        let passfile = lab.directory().join("password");
        std::fs::write(&passfile, "secret\n").context("cannot write the password file")?;
        Ok(Self {
            contender,
            fast,
            is_new: true,
            interrupt: interrupt.clone(),
            daemons: [const { None }; 2],
            switch: Switch::open(&lab)?,
            vantage,
            nodes,
            passfile,
            _lab: lab,
        })
    }

    /// Everything as after a boot: both daemons are new.
    pub(crate) fn reset(&mut self) -> Result<()> {
        for daemon in self.daemons.iter_mut().filter_map(Option::take) {
            signal_all(&daemon.processes(), Signal::KILL);
        }
        self.switch.carrier(true)?;
        self.switch.port(true)?;
        for node in &self.nodes {
            if node.addresses().contains(&VIP.into()) {
                node.remove_address(&format!("{VIP}/32"));
            }
        }
        self.nodes[0].wait_for_carrier();
        self.start(Node::First);
        self.start(Node::Second);
        self.is_new = true;
        Ok(())
    }

    /// One round, or `None` if the preferred node was not master in time.
    /// `share` of an interval is waited before the fault, as nobody knows when
    /// it comes.
    pub(crate) fn round(&mut self, scenario: Scenario, share: f64) -> Result<Option<Round>> {
        let probe = Probe::start(&self.vantage);
        // ucarp hears its peer up to a second late, and at the start takes over
        // for so long.
        let intervals = if self.is_new { 3.0 } else { 1.5 };
        let settled = SETTLED + self.contender.interval().mul_f64(intervals);
        if !self.owned_alone_by(&probe, FIRST, settled, PATIENCE)? {
            return Ok(None);
        }
        self.is_new = false;
        self.interrupt
            .sleep(self.contender.interval().mul_f64(share))?;

        let fault_at = self.strike(scenario, &probe)?;
        let is_taken = || probe.since_answer(SECOND).is_some_and(|ago| ago < MOMENT);
        if scenario != Scenario::None {
            self.interrupt.wait_until(PATIENCE, is_taken)?;
        }
        self.interrupt.sleep(WATCHED)?;
        let fault_end = probe.elapsed();
        if scenario == Scenario::None {
            let fault = self.change(FIRST, fault_at, fault_end, &probe.finish());
            return Ok(Some(Round {
                fault,
                back: None,
                returned: true,
            }));
        }

        let back_at = self.undo(scenario, &probe)?;
        self.interrupt.sleep(WATCHED)?;
        let returned = self.owned_alone_by(&probe, FIRST, ALONE, PATIENCE)?;
        let back_end = probe.elapsed();
        let record = probe.finish();
        Ok(Some(Round {
            fault: self.change(FIRST, fault_at, fault_end, &record),
            back: Some(self.change(SECOND, back_at, back_end, &record)),
            returned,
        }))
    }

    /// What the daemons said, for when something went wrong.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for (node, daemon) in self.nodes.iter().zip(&self.daemons) {
            let log = daemon.as_ref().map(|daemon| daemon.log());
            let log = log.unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n    ");
            text += &format!("  {} said at last:\n    {last}\n", node.name());
        }
        text
    }

    fn change(&self, old: usize, from: Duration, to: Duration, record: &Record) -> Phase {
        let [first, second] = self.vantage.nodes;
        let (old, new) = if old == FIRST {
            (first, second)
        } else {
            (second, first)
        };
        Change { old, new, from, to }.measure(record)
    }

    fn start(&mut self, node: Node) {
        let index = match node {
            Node::First => FIRST,
            Node::Second => SECOND,
        };
        self.daemons[index] =
            Some(
                self.contender
                    .start(&self.nodes[index], node, &self.passfile, self.fast),
            );
    }

    /// The fault; returns when it came.
    fn strike(&mut self, scenario: Scenario, probe: &Probe) -> Result<Duration> {
        let daemon = self.daemons[FIRST].as_ref().context("no daemon runs")?;
        let (pid, processes) = (daemon.pid(), daemon.processes());
        let at = probe.elapsed();
        match scenario {
            Scenario::None => {}
            Scenario::Term => signal_all(&[pid], Signal::TERM),
            Scenario::Kill => signal_all(&processes, Signal::KILL),
            Scenario::Stop => signal_all(&processes, Signal::STOP),
            Scenario::Carrier => self.switch.carrier(false)?,
            Scenario::Silent => self.switch.port(false)?,
        }
        Ok(at)
    }

    /// What ends the fault; returns when it did.
    fn undo(&mut self, scenario: Scenario, probe: &Probe) -> Result<Duration> {
        if matches!(scenario, Scenario::Term | Scenario::Kill) {
            let daemon = self.daemons[FIRST].as_mut().context("no daemon runs")?;
            self.interrupt
                .wait_until(PATIENCE, || daemon.exited().is_some())?;
            self.daemons[FIRST] = None;
        }
        let processes = self.daemons[FIRST]
            .as_ref()
            .map(Running::processes)
            .unwrap_or_default();
        let at = probe.elapsed();
        match scenario {
            Scenario::None => {}
            Scenario::Term | Scenario::Kill => self.start(Node::First),
            Scenario::Stop => signal_all(&processes, Signal::CONT),
            Scenario::Carrier => self.switch.carrier(true)?,
            Scenario::Silent => self.switch.port(true)?,
        }
        Ok(at)
    }

    /// Whether one node came to serve the client, with the other silent, for
    /// as long as `settled`.
    fn owned_alone_by(
        &self,
        probe: &Probe,
        node: usize,
        settled: Duration,
        timeout: Duration,
    ) -> Result<bool> {
        let other = FIRST + SECOND - node;
        let begin = probe.elapsed();
        let mut since = begin;
        self.interrupt.wait_until(timeout, || {
            let recent = |ago: Option<Duration>| ago.is_some_and(|ago| ago < MOMENT);
            let serves = recent(probe.since_answer(node)) && recent(probe.since_echo(node));
            if !serves || recent(probe.since_answer(other)) {
                since = probe.elapsed();
            }
            probe.elapsed().saturating_sub(since) >= settled
        })
    }
}

/// Cables and ports of the preferred node, by an `ip` that waits for them: to
/// start one takes longer than some daemons need to fail over.
struct Switch {
    ip: Child,
}

impl Switch {
    fn open(lab: &Lab) -> Result<Self> {
        let namespaces = lab.namespaces();
        let lan = namespaces.iter().find(|name| name.ends_with("-lan"));
        let ip = Command::new("ip")
            .args(["-force", "-netns"])
            .arg(lan.context("the lab has a bridge")?)
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start ip")?;
        Ok(Self { ip })
    }

    fn carrier(&mut self, carrier: bool) -> Result<()> {
        self.set(if carrier { "up" } else { "down" })
    }

    fn port(&mut self, plugged: bool) -> Result<()> {
        self.set(if plugged { "master br0" } else { "nomaster" })
    }

    fn set(&mut self, what: &str) -> Result<()> {
        let input = self.ip.stdin.as_mut().context("ip has an input")?;
        input
            .write_all(format!("link set n1 {what}\n").as_bytes())
            .context("cannot tell ip what to do")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // At the end of its input it ends.
        self.ip.stdin = None;
        let _ = self.ip.wait();
    }
}

const FIRST: usize = 0;
const SECOND: usize = 1;

/// How long the preferred node must have served alone before a fault.
const SETTLED: Duration = Duration::from_millis(400);

/// How long it must have served alone to count as returned.
const ALONE: Duration = Duration::from_millis(200);

/// An answer no older is the present. Noise of a busy machine is shorter.
const MOMENT: Duration = Duration::from_millis(60);

/// How long is watched after a takeover and, at least, after a return.
pub(crate) const WATCHED: Duration = Duration::from_secs(1);

/// How long anything may take: more than any takeover here, less than for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);
