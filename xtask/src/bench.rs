//! `cargo xtask bench NAME`: builds what a benchmark needs and becomes it.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    cmd::{self, Privilege, Stopwatch},
    ebpf::{self, Warnings},
    setup::{self, Group},
};

/// Returns only if the benchmark could not be started. `words` are its name and
/// what is handed to it.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let privilege = Privilege::find();
    if privilege == Privilege::None {
        bail!("benchmarks make network namespaces and load programs: run this as root");
    }
    if let Err(fault) = setup::run(&[Group::Build, Group::Bench]) {
        cmd::note(&format!("setup: {fault:#}"));
        cmd::note("going on with what is there");
    }
    ebpf::build(Warnings::Show)?;

    cmd::step("building vipd and its benchmarks (release builds)");
    let watch = Stopwatch::start();
    let build = "build --release -p vipd -p vipd-tests --bin vipd --bin vipd-bench \
                 --features vipd-tests/privileged";
    cmd::run(&mut cmd::cargo(
        &build.split_whitespace().collect::<Vec<_>>(),
    ))?;
    cmd::note(&format!("{:.0} s", watch.elapsed().as_secs_f32()));

    // This program's own directory is that of the debug builds.
    let built = cmd::debug_dir()?.with_file_name("release");
    let path = |name: &str| -> Result<String> {
        let path = built.join(name).into_os_string().into_string();
        path.ok().context("a path is not UTF-8")
    };
    let mut bench: Command =
        privilege.command(&[("VIPD_BIN", &path("vipd")?)], &path("vipd-bench")?);
    bench.args(words);
    cmd::step(&format!("the benchmark: {}", words.join(" ")));
    // Its signals and its exit status are then this program's own.
    let fault = bench.exec();
    Err(fault).with_context(|| format!("cannot run `{}`", cmd::shown(&bench)))
}
