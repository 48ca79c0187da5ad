//! `cargo xtask ci`: everything that is checked without running vipd.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    cmd,
    ebpf::{self, Warnings},
    report::{Outcome, Report},
    setup::{self, Group},
    tidy,
};

/// `tasks` are the names of this program's tasks, for tidy.
pub(crate) fn run(tasks: &[String]) -> Result<()> {
    let mut report = Report::default();
    report.step("setup", "what the checks need", || {
        setup::run(&[Group::Build, Group::Ci])
    });
    report.step("rustfmt", "rustfmt", || {
        cmd::run(&mut cargo("fmt --all --check"))
    });
    report.step("tidy", "tidy", || tidy::run(tasks));
    // Before clippy: vipd embeds the object.
    report.step("eBPF object", "the eBPF object, warnings denied", || {
        ebpf::build(Warnings::Deny).map(drop)
    });
    report.step("clippy", "clippy", || {
        let words = "clippy --workspace --exclude vipd-ebpf --all-targets \
                     --features vipd-tests/privileged,vipd-tests/libfuzzer -- -D warnings";
        cmd::run(&mut cargo(words))
    });
    report.step(
        "clippy, pure",
        "clippy on the library without the daemon",
        || {
            let words = "clippy -p vipd --no-default-features --all-targets -- -D warnings";
            cmd::run(&mut cargo(words))
        },
    );
    report.step("rustdoc", "rustdoc", || {
        let words = "doc --workspace --exclude vipd-ebpf --no-deps --document-private-items";
        cmd::run(cargo(words).env("RUSTDOCFLAGS", "-D warnings"))
    });
    report.step(
        "dependencies",
        "licences, versions and sources of dependencies",
        || cmd::run(deny()?.args(["check", "licenses", "bans", "sources"])),
    );
    report.step("advisories", "advisories about dependencies", advisories);
    report.finish()
}

/// Whether the advisories can be had depends on the network, so it is tried.
fn advisories() -> Result<Outcome> {
    let mut fetch = bounded(&deny()?);
    fetch.args(["fetch", "db"]);
    if let Err(fault) = cmd::run_quietly(&mut fetch) {
        cmd::note(&format!("{fault:#}"));
        let why = "not checked, because their database could not be fetched, see above";
        cmd::note(why);
        return Ok(Outcome::Skipped(why.into()));
    }
    cmd::run(deny()?.args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Outcome::Passed(String::new()))
}

/// The same command, ended when it takes longer than [`FETCH_SECONDS`].
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded
        .args(["--kill-after=5", FETCH_SECONDS])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(cmd::workspace());
    bounded
}

fn deny() -> Result<Command> {
    let program = setup::cargo_deny().context("cargo-deny is not installed")?;
    let mut command = Command::new(program);
    command
        .current_dir(cmd::workspace())
        .args(["--workspace", "--all-features"]);
    Ok(command)
}

fn cargo(words: &str) -> Command {
    cmd::cargo(&words.split_whitespace().collect::<Vec<_>>())
}

/// The database is some megabytes; a network that is there takes seconds.
const FETCH_SECONDS: &str = "60";
