//! `cargo xtask bench NAME`: builds vipd and its benchmarks for speed, and
//! becomes the benchmark.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    cmd::{self, Privilege},
    ebpf::{self, Warnings},
    setup::{self, Group},
};

/// Returns only if the benchmark could not be started. `words` are its name and
/// what is handed to it.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let mut bench = build(Privilege::find())?;
    bench.args(words);
    cmd::step("the benchmark");
    // Its signals and its exit status are then this program's own.
    let fault = bench.exec();
    Err(fault).with_context(|| format!("cannot run `{}`", cmd::shown(&bench)))
}

fn build(privilege: Privilege) -> Result<Command> {
    match privilege {
        Privilege::Root | Privilege::Sudo | Privilege::SudoAsks => {}
        Privilege::None => bail!("a benchmark loads programs: run it as root, or with sudo"),
    }
    if let Err(fault) = setup::run(&[Group::Build, Group::Test]) {
        cmd::note(&format!("setup: {fault:#}"));
        cmd::note("going on with what is there");
    }
    ebpf::build(Warnings::Show)?;

    cmd::step("building vipd and its benchmarks (release builds, some minutes at first)");
    let words = "build --release -p vipd -p vipd-tests --bin vipd --bin vipd-bench --features vipd-tests/privileged";
    cmd::run(&mut cmd::cargo(
        &words.split_whitespace().collect::<Vec<_>>(),
    ))?;
    let built = cmd::debug_dir()?.with_file_name("release");
    let path = |name: &str| -> Result<String> {
        let path = built.join(name).into_os_string().into_string();
        path.ok().context("a path is not UTF-8")
    };
    Ok(privilege.command(&[("VIPD_BIN", &path("vipd")?)], &path("vipd-bench")?))
}
