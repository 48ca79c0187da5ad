//! `cargo xtask`: what builds, checks and shows vipd, one module per task.
//!
//! It needs none of the workspace's other crates, so that it is there before
//! anything else is installed or built.

mod bench;
mod ci;
mod cmd;
mod demo;
mod docs;
mod ebpf;
mod elf;
mod fuzz;
mod report;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the eBPF object that vipd embeds
    BuildEbpf {
        /// Fail on warnings of the compiler
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Install what is missing (by default what --build and --demo need)
    Setup(setup::Options),
    /// Run every tier of tests that can run here
    Test {
        /// Fewer seeds in the simulator, and less fuzzing
        #[arg(long)]
        quick: bool,
    },
    /// Run the simulator alone, in a release build
    Sim {
        /// How many seeds
        #[arg(long)]
        seeds: Option<u64>,
        /// The one seed to repeat
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Feed every parser of outside bytes with what a fuzzer makes up
    Fuzz(fuzz::Options),
    /// Check format, lints, documentation, layers and dependencies
    Ci,
    /// Check the rules that no lint knows
    Tidy,
    /// Measure: `failover`, `responder` or `scale`, with --help for more
    Bench {
        /// The benchmark's name, and what is handed to it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Write manual pages and shell completions, for packages
    DistDocs(docs::Options),
    /// Show a failover: with network namespaces, or simulated without root
    Demo {
        /// Handed to the demonstration
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::BuildEbpf {
            deny_warnings: true,
        } => ebpf::build(ebpf::Warnings::Deny).map(drop),
        Task::BuildEbpf {
            deny_warnings: false,
        } => ebpf::build(ebpf::Warnings::Show).map(drop),
        Task::Setup(options) => setup::run(&options.groups()),
        Task::Test { quick: true } => test::run(test::Depth::Quick),
        Task::Test { quick: false } => test::run(test::Depth::Full),
        Task::Sim { seeds, seed } => test::simulate(seeds, seed),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Ci => ci::run(&tasks()),
        Task::Tidy => tidy::run(&tasks()),
        Task::Bench { words } => bench::run(&words),
        Task::DistDocs(options) => docs::run(&options),
        Task::Demo { words } => demo::run(&words),
    }
}

/// The names of all tasks.
fn tasks() -> Vec<String> {
    let command = Arguments::command();
    command
        .get_subcommands()
        .map(|task| task.get_name().to_owned())
        .collect()
}
