//! `vipd-bench scale`: what daemons at rest cost with many groups on one
//! interface, as master and as backup: one vipd, one keepalived, as many ucarps
//! as there are groups.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vipd_tests::lab::{Daemon, Host, Keepalived, KeepalivedOptions, Lab, Vipd, now};

use crate::machine::{self, Interrupt};
use crate::options::Options;

pub(crate) mod daemon;
pub(crate) mod process;

use process::Usage;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let known = ["--groups", "--only", "--seconds", "--json"];
    let Some(options) = Options::parse(words, &known)? else {
        print!("{HELP}");
        return Ok(());
    };
    let contenders = options.choice("--only", &Contender::ALL, Contender::name)?;
    let watched = Duration::from_secs(options.number("--seconds", 20)?);
    let counts = options.text("--groups").unwrap_or("1,50,200");
    let counts: Vec<u8> = counts
        .split(',')
        .map(|count| count.parse().ok().filter(|count| (1..=254).contains(count)))
        .collect::<Option<_>>()
        .context("--groups takes numbers from 1 to 254, with commas between")?;
    let interrupt = Interrupt::on_signals()?;

    let machine = machine::describe();
    let cells: Vec<(Contender, u8)> = counts
        .iter()
        .flat_map(|count| contenders.iter().map(|contender| (*contender, *count)))
        .filter(|(contender, count)| *contender != Contender::Program || *count == 1)
        .collect();
    println!("{}", machine::line(&machine));
    println!(
        "{} cells, one after the other: about {} minutes",
        cells.len(),
        (cells.len() as u64 * (watched.as_secs() + 15)).div_ceil(60)
    );
    println!("{NOTE}");

    let mut rows = Vec::new();
    for (contender, count) in cells {
        eprintln!("{}, groups: {count}", contender.name());
        rows.extend(measure(contender, count, watched, &interrupt)?);
        if let Some(path) = options.text("--json") {
            let rows: Vec<_> = rows.iter().map(Row::json).collect();
            let text = json!({"benchmark": "scale", "machine": machine, "seconds": watched.as_secs(), "rows": rows});
            fs::write(path, format!("{text:#}\n"))
                .with_context(|| format!("cannot write {path}"))?;
        }
    }
    println!("{}", table(&rows));
    println!("{}", verdict(&rows));
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    /// The program itself, which takes one group from its flags.
    Program,
    /// Its code with many groups.
    Vipd,
    Keepalived,
    Ucarp,
}

impl Contender {
    const ALL: [Self; 4] = [Self::Program, Self::Vipd, Self::Keepalived, Self::Ucarp];

    const fn name(self) -> &'static str {
        match self {
            Self::Program => "vipd-program",
            Self::Vipd => "vipd",
            Self::Keepalived => "keepalived",
            Self::Ucarp => "ucarp",
        }
    }

    fn start(self, host: &Host, count: u8, second: bool) -> Result<Vec<Running>> {
        let skew = if second { "50" } else { "0" };
        Ok(match self {
            Self::Program => {
                let passfile = host.directory().join("password");
                fs::write(&passfile, "secret\n").context("cannot write the password file")?;
                let (vip, passfile) = (daemon::vip(1).to_string(), passfile.to_string_lossy());
                let words = [
                    "run", "-i", "eth0", "-v", "1", "-a", &vip, "-o", &passfile, "-k", skew, "-P",
                ];
                vec![Running::Program(Vipd::spawn(host, &words))]
            }
            Self::Vipd => {
                let bench = std::env::current_exe().context("this program has a path")?;
                let mut command = host.command(bench);
                command.args(["daemon", &count.to_string(), skew]);
                command.arg(host.directory()).arg(host.bpffs());
                vec![Running::Other(Daemon::spawn("vipd", &mut command))]
            }
            Self::Keepalived => vec![Running::Keepalived(Keepalived::spawn(
                host,
                &KeepalivedOptions {
                    routers: (1..=count)
                        .map(|number| (number, daemon::vip(number)))
                        .collect(),
                    advert_int: "1",
                    priority: if second { 100 } else { 200 },
                },
            ))],
            Self::Ucarp => {
                let (up, down) = (script(host, "add")?, script(host, "del")?);
                let ucarp = |number: u8| {
                    let mut command = host.command("/usr/sbin/ucarp");
                    command.args(["-i", "eth0", "-f", "none", "-p", "secret", "-P", "-z"]);
                    command.args(["-b", "1", "-k", skew, "-r", "3"]);
                    command.arg("-s").arg(host.address().to_string());
                    command.arg("-v").arg(number.to_string());
                    command.arg("-a").arg(daemon::vip(number).to_string());
                    command.arg("-u").arg(&up).arg("-d").arg(&down);
                    Running::Other(Daemon::spawn("ucarp", &mut command))
                };
                (1..=count).map(ucarp).collect()
            }
        })
    }
}

/// A daemon, ended when dropped.
enum Running {
    Program(Vipd),
    Keepalived(Keepalived),
    Other(Daemon),
}

impl Running {
    fn daemon(&self) -> &Daemon {
        match self {
            Self::Program(vipd) => vipd,
            Self::Keepalived(keepalived) => keepalived,
            Self::Other(daemon) => daemon,
        }
    }
}

struct Row {
    contender: Contender,
    groups: u8,
    role: &'static str,
    usage: Usage,
    cpu_percent: f64,
    switches_hz: f64,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "daemon": self.contender.name(),
            "groups": self.groups,
            "role": self.role,
            "processes": self.usage.processes,
            "threads": self.usage.threads,
            "rss_kib": self.usage.rss_kib,
            "pss_kib": self.usage.pss_kib,
            "cpu_percent": self.cpu_percent,
            "switches_hz": self.switches_hz,
        })
    }
}

/// Both roles at once, each on its node.
fn measure(
    contender: Contender,
    count: u8,
    watched: Duration,
    interrupt: &Interrupt,
) -> Result<Vec<Row>> {
    let lab = Lab::new();
    let nodes = [
        lab.host("n1", "10.99.0.1/16"),
        lab.host("n2", "10.99.0.2/16"),
    ];
    let running = [
        contender.start(&nodes[0], count, false)?,
        contender.start(&nodes[1], count, true)?,
    ];
    let vips: Vec<IpAddr> = (1..=count)
        .map(|number| daemon::vip(number).into())
        .collect();
    let held = |host: &Host| {
        let addresses = host.addresses();
        addresses.iter().filter(|one| vips.contains(one)).count()
    };
    let settled = interrupt.wait_until(STARTING, || {
        held(&nodes[0]) == usize::from(count) && held(&nodes[1]) == 0
    })?;
    if !settled {
        bail!(
            "{} with {count} groups: the master holds {}, the backup {} of them after {STARTING:?}; \
             it said:\n{}",
            contender.name(),
            held(&nodes[0]),
            held(&nodes[1]),
            running[0][0].daemon().log(),
        );
    }
    interrupt.sleep(SETTLING)?;

    let processes = running.each_ref().map(|daemons| {
        let pids = daemons.iter().map(|running| running.daemon().pid());
        pids.flat_map(process::family).collect::<Vec<u32>>()
    });
    let begin = now();
    let before = processes.each_ref().map(|pids| Usage::of(pids));
    interrupt.sleep(watched)?;
    let after = processes.each_ref().map(|pids| Usage::of(pids));
    let seconds = (now() - begin).as_secs_f64();
    if held(&nodes[0]) != usize::from(count) || held(&nodes[1]) != 0 {
        eprintln!("    roles changed meanwhile: this was not at rest");
    }
    let rows = ["master", "backup"].into_iter().zip(before).zip(after);
    Ok(rows
        .map(|((role, before), after)| Row {
            contender,
            groups: count,
            role,
            usage: after,
            cpu_percent: after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / seconds / 1e7,
            switches_hz: after.switches.saturating_sub(before.switches) as f64 / seconds,
        })
        .collect())
}

/// ucarp calls it with the interface and the VIP.
fn script(host: &Host, verb: &str) -> Result<PathBuf> {
    let path = host.directory().join(format!("vip-{verb}.sh"));
    let text = format!("#!/bin/sh\nexec ip addr {verb} \"$2\"/32 dev \"$1\"\n");
    fs::write(&path, text).context("cannot write a script")?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))
        .context("cannot make a script executable")?;
    Ok(path)
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n| daemon       | groups | role   | processes | threads | RSS MiB | PSS MiB |  CPU % | switches/s |\n\
         |--------------|--------|--------|-----------|---------|---------|---------|--------|------------|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {:12} | {:6} | {:6} | {:9} | {:7} | {:7.1} | {:7.1} | {:6.3} | {:10.1} |",
            row.contender.name(),
            row.groups,
            row.role,
            row.usage.processes,
            row.usage.threads,
            row.usage.rss_kib as f64 / 1024.0,
            row.usage.pss_kib as f64 / 1024.0,
            row.cpu_percent,
            row.switches_hz,
        );
    }
    text
}

fn verdict(rows: &[Row]) -> String {
    let goal = rows
        .iter()
        .filter(|row| row.contender == Contender::Vipd && row.groups == 200);
    let mut text = String::new();
    for row in goal {
        let rss = row.usage.rss_kib as f64 / 1024.0;
        let met = |met: bool| if met { "met" } else { "missed" };
        let _ = writeln!(
            text,
            "goal, 200 groups as {}: at most {GOAL_RSS_MIB} MiB: {} ({rss:.1}); \
             at most {GOAL_CPU_PERCENT} % of a core: {} ({:.3})",
            row.role,
            met(rss <= GOAL_RSS_MIB),
            met(row.cpu_percent <= GOAL_CPU_PERCENT),
            row.cpu_percent,
        );
    }
    text
}

/// What vipd is to need for 200 groups at advbase 1.
const GOAL_RSS_MIB: f64 = 12.0;
const GOAL_CPU_PERCENT: f64 = 0.5;

/// How long it may take until the master has all addresses.
const STARTING: Duration = Duration::from_secs(60);

/// How long what happened at the start may have its effects.
const SETTLING: Duration = Duration::from_secs(4);

const NOTE: &str = "\
All advertise once a second. vipd has many groups by a small program around the
same code (`vipd run` takes one group from its flags); vipd-program is the real
one, with one. Time on a processor is the daemons' own; adverts are handled in
the kernel before, for all alike. RSS counts each page that a process has mapped;
PSS shares them out.";

const HELP: &str = "\
usage: vipd-bench scale [OPTIONS]

What daemons at rest cost with many groups, as master and as backup.

  --groups N,...     how many, 254 at most (1,50,200)
  --only NAME,...    of vipd-program, vipd, keepalived, ucarp (all)
  --seconds N        how long each is watched (20)
  --json FILE        the same for programs
";
