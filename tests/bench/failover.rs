//! `vipd-bench failover`: what a client sees when the master fails, and when it
//! comes back, with vipd, ucarp and keepalived side by side.
//!
//! Labs whose daemons wait whole seconds are measured at the same time, as they
//! keep no core busy; then those that count milliseconds, one at a time. All
//! daemons run at the same raised priority, the probes ahead of them.

use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use vipd_tests::lab;

use crate::machine::{self, Interrupt};
use crate::options::Options;

mod chart;
mod contender;
mod measure;
mod probe;
mod report;
mod world;

pub(crate) use contender::VIP;
use contender::{Contender, Fast};
pub(crate) use probe::{Probe, Vantage, run_in_real_time};
use report::Cell;
use world::{Scenario, World};

pub(crate) fn run(words: &[String]) -> Result<()> {
    let known = [
        "--rounds",
        "--only",
        "--scenario",
        "--fast-ratio",
        "--late-ms",
        "--json",
        "--svg",
    ];
    let Some(options) = Options::parse(words, &known)? else {
        print!("{HELP}");
        return Ok(());
    };
    let plan = Plan {
        rounds: options.number("--rounds", 10)?,
        contenders: options.choice("--only", &Contender::ALL, Contender::name)?,
        scenarios: options.choice("--scenario", &Scenario::ALL, Scenario::name)?,
        fast: Fast {
            deadratio: options.number("--fast-ratio", FAST_RATIO)?,
        },
        late_ms: options.number("--late-ms", 60.0)?,
    };
    let interrupt = Interrupt::on_signals()?;
    // Inherited by all that is started. Without the right to it, all are equal
    // nevertheless.
    let _ = rustix::process::setpriority_process(None, -10);

    let machine = machine::describe();
    println!("{}", machine::line(&machine));
    println!(
        "{} cells of {} rounds: about {} minutes\n",
        plan.contenders.len() * plan.scenarios.len(),
        plan.rounds,
        plan.expected().as_secs().div_ceil(60)
    );
    let mut cells = Vec::new();
    let ended = plan.perform(&interrupt, |cell| {
        cells.push(cell);
        cells.sort_by_key(|cell| {
            let contender = Contender::ALL.iter().position(|one| *one == cell.contender);
            let scenario = Scenario::ALL.iter().position(|one| *one == cell.scenario);
            (contender, scenario)
        });
        let text = json!({
            "benchmark": "failover",
            "machine": machine,
            "late_ms": plan.late_ms,
            "cells": cells.iter().map(Cell::json).collect::<Vec<Value>>(),
        });
        // Written after each cell: what is measured is kept.
        if let Some(path) = options.text("--json") {
            fs::write(path, format!("{text:#}\n"))
                .with_context(|| format!("cannot write {path}"))?;
        }
        if let Some(path) = options.text("--svg") {
            fs::write(path, chart::draw(&cells)).with_context(|| format!("cannot write {path}"))?;
        }
        Ok(())
    });
    if !cells.is_empty() {
        println!("{}", report::tables(&cells));
    }
    ended
}

struct Plan {
    rounds: u32,
    contenders: Vec<Contender>,
    scenarios: Vec<Scenario>,
    fast: Fast,
    /// A round in which the probe was later than this does not count.
    late_ms: f64,
}

impl Plan {
    fn perform(
        &self,
        interrupt: &Interrupt,
        mut done: impl FnMut(Cell) -> Result<()>,
    ) -> Result<()> {
        let started = lab::now();
        let (sender, cells) = mpsc::channel();
        for lanes in self.shifts() {
            thread::scope(|scope| -> Result<()> {
                let lanes: Vec<_> = lanes
                    .into_iter()
                    .map(|contender| {
                        let sender = sender.clone();
                        scope.spawn(move || self.lane(contender, started, interrupt, &sender))
                    })
                    .collect();
                while !lanes.iter().all(thread::ScopedJoinHandle::is_finished) {
                    if let Ok(cell) = cells.recv_timeout(LOOK) {
                        done(cell)?;
                    }
                }
                for cell in cells.try_iter() {
                    done(cell)?;
                }
                lanes.into_iter().try_for_each(|lane| {
                    lane.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })?;
        }
        Ok(())
    }

    /// Who is measured at the same time as whom.
    fn shifts(&self) -> Vec<Vec<Contender>> {
        let (fast, slow): (Vec<Contender>, Vec<Contender>) = self
            .contenders
            .iter()
            .partition(|contender| contender.interval() < Duration::from_secs(1));
        let alone = fast.into_iter().map(|contender| vec![contender]);
        std::iter::once(slow)
            .filter(|lanes| !lanes.is_empty())
            .chain(alone)
            .collect()
    }

    fn lane(
        &self,
        contender: Contender,
        started: Instant,
        interrupt: &Interrupt,
        done: &mpsc::Sender<Cell>,
    ) -> Result<()> {
        for scenario in &self.scenarios {
            eprintln!(
                "[{} of about {}] {} {}",
                clock(lab::now() - started),
                clock(self.expected()),
                contender.name(),
                scenario.name()
            );
            // Nobody listens only if another lane has failed.
            let _ = done.send(self.cell(contender, *scenario, interrupt)?);
        }
        Ok(())
    }

    /// Measures until there are enough clean rounds, or too many that are not.
    fn cell(
        &self,
        contender: Contender,
        scenario: Scenario,
        interrupt: &Interrupt,
    ) -> Result<Cell> {
        let mut cell = Cell::new(contender, contender.settings(self.fast), scenario);
        let mut world = World::new(contender, self.fast, interrupt)?;
        world.reset()?;
        let deadline = lab::now() + expected(contender, scenario) * self.rounds * 3 + STARTING * 3;
        let mut number = 0_u32;
        while cell.rounds.len() < self.rounds as usize
            && number < self.rounds * 2 + 3
            && lab::now() < deadline
        {
            // Even for any number of rounds: steps of the golden ratio.
            let share = (f64::from(number) * 0.618_034).fract();
            number += 1;
            let Some(round) = world.round(scenario, share)? else {
                eprintln!("    not settled, once more from the beginning");
                eprint!("{}", world.logs());
                cell.unsettled += 1;
                world.reset()?;
                continue;
            };
            eprintln!(
                "    {} {} {number}: {}",
                contender.name(),
                scenario.name(),
                report::round(&round)
            );
            if !round.returned {
                eprint!("{}", world.logs());
                world.reset()?;
            }
            if round.probe_late() > self.late_ms {
                cell.late += 1;
            } else {
                cell.rounds.push(round);
            }
        }
        Ok(cell)
    }

    fn expected(&self) -> Duration {
        let lane = |contender: &Contender| -> Duration {
            let cell = |scenario: &Scenario| expected(*contender, *scenario) * self.rounds;
            self.scenarios
                .iter()
                .map(|scenario| cell(scenario) + STARTING)
                .sum()
        };
        self.shifts()
            .iter()
            .filter_map(|lanes| lanes.iter().map(lane).max())
            .sum()
    }
}

/// How long a round takes.
fn expected(contender: Contender, scenario: Scenario) -> Duration {
    let quiet = Duration::from_millis(600) + contender.interval() * 2 + world::WATCHED;
    let there_and_back = contender.takeover() * 2 + world::WATCHED;
    match scenario {
        Scenario::None => quiet,
        Scenario::Term | Scenario::Kill | Scenario::Stop | Scenario::Carrier | Scenario::Silent => {
            quiet + there_and_back
        }
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The least there is (1 counts as 2): a machine may stall for 7 ms. Whether that
/// is enough for a machine, the scenario `none` tells.
const FAST_RATIO: u8 = 2;

/// Between two looks at what the lanes have measured.
const LOOK: Duration = Duration::from_millis(200);

/// Until a new lab has a master.
const STARTING: Duration = Duration::from_secs(5);

const HELP: &str = "\
usage: vipd-bench failover [OPTIONS]

What a client sees when the master fails and when it comes back: two nodes and
the client on a bridge of network namespaces.

  --rounds N          rounds of each cell (10)
  --only NAME,...     of vipd, ucarp, keepalived, vipd-fast, ucarp-fast, keepalived-fast (all)
  --scenario NAME,... of none, term, kill, stop, carrier, silent (all)
  --fast-ratio N      deadratio of vipd-fast (2)
  --late-ms MS        rounds whose own probe was later than this are repeated (60)
  --json FILE         every round, for programs
  --svg FILE          a chart
";
