//! `vipd-bench steady`: the shortest timers on a machine whose cores are all
//! busy. Does a role move though its master lives?
//!
//! A virtual machine is stopped now and then for longer than the lease, and then
//! the role must move. So one thread on each core, of higher priority than the
//! daemons, notes when the machine itself was late; only a change that none of
//! these stalls explains is vipd's own.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vipd_tests::lab::{Daemon, Host, Lab, Vipd};

use crate::failover::{Probe, VIP, Vantage, run_in_real_time};
use crate::machine::{self, Interrupt};
use crate::options::Options;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let known = ["--minutes", "--deadratio", "--realtime", "--load", "--json"];
    let Some(options) = Options::parse(words, &known)? else {
        print!("{HELP}");
        return Ok(());
    };
    let minutes: f64 = options.number("--minutes", 10.0)?;
    let deadratio: u8 = options.number("--deadratio", 3)?;
    let realtime: bool = options.number("--realtime", true)?;
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load: usize = options.number("--load", 2 * cores)?;
    let interrupt = Interrupt::on_signals()?;

    let machine = machine::describe();
    println!("{}", machine::line(&machine));
    let lab = Lab::new();
    let nodes = [
        lab.host("n1", "10.99.0.1/24"),
        lab.host("n2", "10.99.0.2/24"),
    ];
    let passfile = lab.directory().join("password");
    fs::write(&passfile, "secret\n").context("cannot write the password file")?;
    let start = |host: &Host, advskew: &str| {
        let (vip, deadratio) = (VIP.to_string(), deadratio.to_string());
        let passfile = passfile.to_string_lossy();
        let mut arguments = vec![
            "run", "-i", "eth0", "-v", "10", "-a", &vip, "-o", &passfile, "-b", "0", "-k", advskew,
            "-r", &deadratio,
        ];
        if realtime {
            arguments.push("--realtime");
        }
        Vipd::spawn(host, &arguments)
    };
    let first = start(&nodes[0], "1");
    first.wait_for_lease(SOON);
    let second = start(&nodes[1], "2");
    ensure!(
        interrupt.wait_until(SOON, || second.status().is_some())?,
        "the backup does not answer:\n{}",
        second.log()
    );
    interrupt.sleep(Duration::from_secs(1))?;

    let probe = Probe::start(&Vantage {
        asker: lab.host("asker", "10.99.0.200/24"),
        client: lab.host("client", "10.99.0.201/24"),
        vip: VIP,
        nodes: [nodes[0].mac(), nodes[1].mac()],
    });
    println!(
        "two daemons at 1/256 s, deadratio {deadratio}, realtime {realtime}; {load} busy threads on {cores} cores; {minutes} minutes"
    );
    let from = wall_clock();
    let watch = Watch::start(cores);
    let busy = Busy::start(load);
    interrupt.sleep(Duration::from_secs_f64(minutes * 60.0))?;
    drop(busy);
    let record = probe.finish();
    let stalls = watch.finish();

    let mut owners: Vec<_> = record.answers.iter().map(|answer| answer.mac).collect();
    owners.dedup();
    let worst = stalls.iter().map(|stall| stall.late).max();
    let worst = worst.unwrap_or_default();
    let count = |over: Duration| stalls.iter().filter(|stall| stall.late > over).count();
    // What a stall makes one daemon do, the other may follow some moments later.
    let explained = |at: SystemTime| {
        stalls
            .iter()
            .any(|stall| stall.began <= at + LEEWAY && at <= stall.ended + AFTERMATH)
    };
    let moves = [&first, &second]
        .into_iter()
        .flat_map(|daemon| role_changes(daemon));
    let moves: Vec<SystemTime> = moves.filter(|at| *at >= from).collect();
    let unexplained = moves.iter().filter(|at| !explained(**at)).count();
    println!(
        "changes of a role: {}, of these while the machine did not stall: {unexplained}; changes of the answering host: {}\n\
         ARP requests: {}, answered: {}\n\
         the machine itself, by a thread before all daemons on each core: late by more than 4 ms {} times, 8 ms {} times, at most {:.1} ms",
        moves.len(),
        owners.len().saturating_sub(1),
        record.asked.len(),
        record.answers.len(),
        count(STALL),
        count(2 * STALL),
        worst.as_secs_f64() * 1e3,
    );
    if !moves.is_empty() {
        for daemon in [&first, &second] {
            println!("{}", changes(daemon));
        }
    }
    if let Some(path) = options.text("--json") {
        let text = json!({
            "benchmark": "steady",
            "machine": machine,
            "minutes": minutes,
            "deadratio": deadratio,
            "realtime": realtime,
            "busy_threads": load,
            "role_changes": moves.len(),
            "unexplained_role_changes": unexplained,
            "machine_stalls": stalls.len(),
            "answering_host_changes": owners.len().saturating_sub(1),
            "requests": record.asked.len(),
            "answers": record.answers.len(),
            "machine_late_max_ms": worst.as_secs_f64() * 1e3,
        });
        fs::write(path, format!("{text:#}\n")).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// When a daemon's role moved, by its log.
fn role_changes(daemon: &Daemon) -> Vec<SystemTime> {
    let log = daemon.log();
    let moved = log.lines().filter(|line| line.contains(" became "));
    let at = |line: &str| humantime::parse_rfc3339(line.split_whitespace().next()?).ok();
    moved.filter_map(at).collect()
}

/// What a daemon said of its roles.
fn changes(daemon: &Daemon) -> String {
    let log = daemon.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The machine did not run a thread that nothing on it may keep waiting.
struct Stall {
    began: SystemTime,
    ended: SystemTime,
    late: Duration,
}

/// One thread a core that looks a thousand times a second whether the machine runs.
struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Vec<Stall>>>,
}

impl Watch {
    fn start(cores: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..cores)
            .map(|core| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut set = rustix::thread::CpuSet::new();
                    set.set(core);
                    // Unpinned it would see less, and blame vipd for the rest.
                    let _ = rustix::thread::sched_setaffinity(None, &set);
                    run_in_real_time();
                    let mut stalls = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let began = wall_clock();
                        thread::sleep(LOOK);
                        let ended = wall_clock();
                        let late = ended
                            .duration_since(began)
                            .unwrap_or_default()
                            .saturating_sub(LOOK);
                        if late > STALL {
                            stalls.push(Stall { began, ended, late });
                        }
                    }
                    stalls
                })
            })
            .collect();
        Self { stop, threads }
    }

    fn finish(self) -> Vec<Stall> {
        self.stop.store(true, Ordering::Relaxed);
        let stalls = self
            .threads
            .into_iter()
            .filter_map(|thread| thread.join().ok());
        stalls.flatten().collect()
    }
}

/// The clock of the daemons' logs.
fn wall_clock() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
    SystemTime::now()
}

/// Threads that want a core, all the time.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<u64>>,
}

impl Busy {
    fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut rounds = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        rounds = std::hint::black_box(rounds.wrapping_add(1));
                    }
                    rounds
                })
            })
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How long a start may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// How often the machine is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// From when on the machine is said to have stalled: an advert is missed.
const STALL: Duration = Duration::from_millis(4);

/// The log's time is that of the writing of the line, to the microsecond.
const LEEWAY: Duration = Duration::from_millis(1);

/// How long after a stall the roles may still move because of it: a backup waits
/// for some intervals, and what it took over may be given back.
const AFTERMATH: Duration = Duration::from_millis(50);

const HELP: &str = "\
usage: vipd-bench steady [OPTIONS]

Two daemons with the shortest timers there are (an advert each 1/256 s) on a
machine with more busy threads than cores: whether the role moves.

  --minutes N         (10)
  --deadratio N       (3)
  --realtime BOOL     whether the daemons run with --realtime (true)
  --load N            busy threads (twice as many as cores)
  --json FILE
";
