//! `vipd-bench steady`: the shortest timers on a machine whose cores are all
//! busy. Does a role move though its master lives?

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vipd_tests::lab::{Daemon, Host, Lab, Vipd};

use crate::failover::{Probe, VIP, Vantage};
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
    let busy = Busy::start(load);
    interrupt.sleep(Duration::from_secs_f64(minutes * 60.0))?;
    drop(busy);
    let record = probe.finish();

    let transitions = |daemon: &Vipd| daemon.counter("transitions");
    // Its start is one, and the first's way to the role two.
    let moved = transitions(&first) - 2 + transitions(&second) - 1;
    let mut owners: Vec<_> = record.answers.iter().map(|answer| answer.mac).collect();
    owners.dedup();
    let worst = record.late.iter().map(|(_, late)| *late).max();
    let worst = worst.unwrap_or_default();
    let stalls = |over: Duration| record.late.iter().filter(|(_, late)| *late > over).count();
    println!(
        "changes of a role: {moved}; changes of the answering host: {}\n\
         ARP requests: {}, answered: {}\n\
         the machine itself, by a thread before all daemons: late by more than 4 ms {} times, 8 ms {} times, at most {:.1} ms",
        owners.len().saturating_sub(1),
        record.asked.len(),
        record.answers.len(),
        stalls(Duration::from_millis(4)),
        stalls(Duration::from_millis(8)),
        worst.as_secs_f64() * 1e3,
    );
    if moved > 0 {
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
            "role_changes": moved,
            "answering_host_changes": owners.len().saturating_sub(1),
            "requests": record.asked.len(),
            "answers": record.answers.len(),
            "machine_late_max_ms": worst.as_secs_f64() * 1e3,
        });
        fs::write(path, format!("{text:#}\n")).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// What a daemon said of its roles.
fn changes(daemon: &Daemon) -> String {
    let log = daemon.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
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
