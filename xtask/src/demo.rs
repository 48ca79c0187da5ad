//! `cargo xtask demo`: builds what the demonstration needs and becomes it.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    cmd::{self, Privilege, Stopwatch},
    ebpf::{self, Warnings},
    setup::{self, Group},
};

/// Returns only if the demonstration could not be started. `words` are handed to it.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let privilege = Privilege::find();
    let mut demo = match privilege {
        Privilege::Root | Privilege::Sudo | Privilege::SudoAsks => real(privilege)?,
        Privilege::None => simulated(),
    };
    demo.args(words);
    cmd::step("the demonstration");
    // Its signals and its exit status are then this program's own.
    let fault = demo.exec();
    Err(fault).with_context(|| format!("cannot run `{}`", cmd::shown(&demo)))
}

fn real(privilege: Privilege) -> Result<Command> {
    if let Err(fault) = setup::run(&[Group::Build, Group::Demo]) {
        cmd::note(&format!("setup: {fault:#}"));
        cmd::note("going on with what is there");
    }
    ebpf::build(Warnings::Show)?;

    cmd::step("building vipd and its demonstration (debug builds: they are ready sooner)");
    let watch = Stopwatch::start();
    let words =
        "build -p vipd -p vipd-tests --bin vipd --bin vipd-demo --features vipd-tests/privileged";
    cmd::run(&mut cmd::cargo(
        &words.split_whitespace().collect::<Vec<_>>(),
    ))?;
    cmd::note(&format!("{:.0} s", watch.elapsed().as_secs_f32()));

    let built = cmd::debug_dir()?;
    let path = |name: &str| -> Result<String> {
        let path = built.join(name).into_os_string().into_string();
        path.ok().context("a path is not UTF-8")
    };
    Ok(privilege.command(&[("VIPD_BIN", &path("vipd")?)], &path("vipd-demo")?))
}

/// Without root's rights the same story is told by the simulator.
fn simulated() -> Command {
    cmd::step("not root, and no sudo: a simulation");
    cmd::note("network namespaces and packet sockets need CAP_NET_ADMIN, CAP_NET_RAW and");
    cmd::note("CAP_SYS_ADMIN, XDP needs CAP_BPF; as root, or with sudo, the real thing is shown");
    cmd::cargo(&[
        "run",
        "-p",
        "vipd-tests",
        "--bin",
        "vipd-demo",
        "--no-default-features",
        "--",
        "--simulated",
    ])
}
