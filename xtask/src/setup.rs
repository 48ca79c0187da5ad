//! `cargo xtask setup`: installs what is missing, says what and why before it
//! does, and does nothing when nothing is missing.
//!
//! Never removes a package and starts no service: the one that a package brings,
//! keepalived's, does not start without a configuration, and nobody writes one. On systems other than Debian and its children it says what to install.

mod apt;
mod kernels;
mod promtool;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use self::apt::Apt;
use crate::{
    cmd,
    ebpf::{self, toolchain},
};

/// What somebody wants to do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Build,
    Demo,
    Test,
    Bench,
    Ci,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What building vipd and its eBPF object needs
    #[arg(long)]
    build: bool,
    /// What `cargo xtask demo` needs
    #[arg(long)]
    demo: bool,
    /// What `cargo xtask test` needs
    #[arg(long)]
    test: bool,
    /// What `cargo xtask bench` needs
    #[arg(long)]
    bench: bool,
    /// What `cargo xtask ci` needs
    #[arg(long)]
    ci: bool,
}

impl Options {
    /// The groups asked for; without any, those for building and for the demo.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let asked = [
            (self.build, Group::Build),
            (self.demo, Group::Demo),
            (self.test, Group::Test),
            (self.bench, Group::Bench),
            (self.ci, Group::Ci),
        ];
        let groups: Vec<_> = asked
            .iter()
            .filter(|(asked, _)| *asked)
            .map(|&(_, group)| group)
            .collect();
        if groups.is_empty() {
            vec![Group::Build, Group::Demo]
        } else {
            groups
        }
    }
}

/// Installs what these groups lack.
pub(crate) fn run(groups: &[Group]) -> Result<()> {
    let did = if fs::exists("/usr/bin/apt-get").unwrap_or(false) {
        debian(groups)?
    } else {
        elsewhere(groups)?
    };
    let tools = rust_tools(groups)?;
    if did == Did::Nothing && tools == Did::Nothing {
        cmd::step(&format!("setup ({}): nothing is missing", names(groups)));
    }
    Ok(())
}

/// The kernels of the tier `kernels`; an error says which one cannot be had.
pub(crate) fn fetch_kernels() -> Result<()> {
    if cmd::which("apt-get").is_none() {
        bail!("the kernel packages are fetched by apt-get, which is missing");
    }
    kernels::fetch(&mut Apt::new()).map(drop)
}

/// cargo-deny, as `ci` installs it.
pub(crate) fn cargo_deny() -> Option<PathBuf> {
    let ours = cmd::tools_dir().join("bin/cargo-deny");
    let pinned = |path: &PathBuf| {
        let version = cmd::output(Command::new(path).arg("--version")).unwrap_or_default();
        version.trim() == format!("cargo-deny {CARGO_DENY}")
    };
    cmd::which("cargo-deny")
        .into_iter()
        .chain([ours])
        .find(pinned)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Nothing,
    Something,
}

struct Package {
    name: &'static str,
    /// A program of it, for systems whose packages have other names.
    program: &'static str,
    why: &'static str,
    groups: &'static [Group],
}

fn wanted(groups: &[Group]) -> impl Iterator<Item = &'static Package> {
    PACKAGES
        .iter()
        .filter(|package| package.groups.iter().any(|group| groups.contains(group)))
}

fn debian(groups: &[Group]) -> Result<Did> {
    let mut apt = Apt::new();
    let missing: Vec<_> = wanted(groups).map(|package| package.name).collect();
    let missing = apt::missing(&missing)?;
    let mut did = Did::Nothing;
    let mut installed = Ok(());
    if !missing.is_empty() {
        cmd::step(&format!(
            "setup ({}): missing, to be installed:",
            names(groups)
        ));
        for package in wanted(groups).filter(|package| missing.contains(&package.name)) {
            cmd::note(&format!("{:18} {}", package.name, package.why));
        }
        installed = apt.install(&missing);
        did = Did::Something;
    }
    if groups.contains(&Group::Build) && toolchain::find().is_err() {
        ebpf_toolchain(&mut apt)?;
        did = Did::Something;
    }
    installed?;
    if groups.contains(&Group::Test) && kernels::fetch(&mut apt)? == Did::Something {
        did = Did::Something;
    }
    if groups.contains(&Group::Test) && promtool::fetch(&mut apt)? == Did::Something {
        did = Did::Something;
    }
    Ok(did)
}

/// A compiler for BPF: an installed one that lacks only LLVM's files for its
/// linker, or else the distribution's.
fn ebpf_toolchain(apt: &mut Apt) -> Result<()> {
    if let Err(fault) = toolchain::find() {
        cmd::step("setup (build): no toolchain for the eBPF object yet");
        for line in format!("{fault:#}")
            .lines()
            .filter(|line| line.starts_with("  "))
            .take(3)
        {
            cmd::note(line.trim());
        }
    }
    for toolchain in toolchain::with_sources() {
        let package = format!("llvm-{}-dev", toolchain.llvm);
        if apt.offers(&package)?.is_some() {
            cmd::note(&format!(
                "{package} is what bpf-linker is built with, for {toolchain}"
            ));
            apt.install(&[&package])?;
            if toolchain::find().is_ok() {
                return Ok(());
            }
        }
    }
    let (major, minor) = toolchain::oldest();
    let fits = |version: &String| toolchain::version_numbers(version) >= Some((major, minor));
    let mut offers = String::new();
    for [compiler, source, cargo] in COMPILERS {
        let mut offered = apt.offers(compiler)?;
        if !offered.as_ref().is_some_and(fits) {
            offered = apt.offers_freshly(compiler)?;
        }
        let Some(version) = offered else { continue };
        if !fits(&version) {
            offers += &format!("; its {compiler} {version} is too old");
            continue;
        }
        cmd::note(&format!(
            "{compiler} {version}, {source}, {cargo}: compile for BPF"
        ));
        apt.install(&[compiler, source, cargo])?;
        // Only the compiler itself tells which LLVM it was built with.
        let llvm = format!("llvm-{}-dev", toolchain::distribution()?.llvm);
        cmd::note(&format!("{llvm}: what bpf-linker is built with"));
        apt.install(&[&llvm])?;
        return toolchain::find().map(drop);
    }
    bail!(
        "this distribution offers no Rust {major}.{minor} with library source{offers}; instead, run:\n{}",
        toolchain::BY_HAND
    )
}

/// What cargo and rustup install, which is the same everywhere.
fn rust_tools(groups: &[Group]) -> Result<Did> {
    let mut did = Did::Nothing;
    if groups.contains(&Group::Build)
        && let Ok(toolchain) = toolchain::find()
        && !ebpf::has_linker(&toolchain)
    {
        ebpf::ensure_linker(&toolchain)?;
        did = Did::Something;
    }
    if !groups.contains(&Group::Ci) {
        return Ok(did);
    }
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !cmd::succeeds(&mut cmd::cargo(&[command, "--version"])) {
            cmd::step(&format!("setup (ci) installs {component}, by rustup"));
            cmd::run(Command::new("rustup").args(["component", "add", component]))?;
            did = Did::Something;
        }
    }
    if cargo_deny().is_none() {
        cmd::step(&format!(
            "setup (ci) builds cargo-deny {CARGO_DENY} into target/tools (once, three to five minutes)"
        ));
        let mut install =
            cmd::cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY]);
        cmd::run(install.arg("--root").arg(cmd::tools_dir()))?;
        did = Did::Something;
    }
    Ok(did)
}

fn elsewhere(groups: &[Group]) -> Result<Did> {
    let missing: Vec<_> = wanted(groups)
        .filter(|package| cmd::which(package.program).is_none())
        .collect();
    let toolchain = if groups.contains(&Group::Build) {
        toolchain::find().map(drop)
    } else {
        Ok(())
    };
    if missing.is_empty() && toolchain.is_ok() {
        return Ok(Did::Nothing);
    }
    cmd::step("this system has no apt-get; please install by its own means:");
    for package in &missing {
        cmd::note(&format!(
            "{:10} {} (Debian: {})",
            package.program, package.why, package.name
        ));
    }
    toolchain?;
    bail!("{} programs are missing", missing.len())
}

fn names(groups: &[Group]) -> String {
    let name = |group: &Group| match group {
        Group::Build => "build",
        Group::Demo => "demo",
        Group::Test => "test",
        Group::Bench => "bench",
        Group::Ci => "ci",
    };
    groups.iter().map(name).collect::<Vec<_>>().join(", ")
}

use Group::{Bench, Build, Ci, Demo, Test};

const PACKAGES: [Package; 17] = [
    package(
        "gcc",
        "cc",
        "links Rust programs",
        &[Build, Test, Bench, Ci, Demo],
    ),
    package(
        "libc6-dev",
        "cc",
        "links Rust programs",
        &[Build, Test, Bench, Ci, Demo],
    ),
    package("g++", "c++", "compiles libFuzzer", &[Test, Ci]),
    package(
        "iproute2",
        "ip",
        "makes network namespaces and links",
        &[Demo, Test, Bench],
    ),
    package(
        "util-linux",
        "nsenter",
        "enters network namespaces",
        &[Demo, Test, Bench],
    ),
    package(
        "bpftool",
        "bpftool",
        "shows programs and maps",
        &[Demo, Test],
    ),
    package(
        "ucarp",
        "ucarp",
        "the peer to agree with, and to compare with",
        &[Demo, Test, Bench],
    ),
    package(
        "keepalived",
        "keepalived",
        "the VRRP daemon to compare with",
        &[Test, Bench],
    ),
    package(
        "iputils-arping",
        "arping",
        "asks for addresses",
        &[Demo, Test],
    ),
    package(
        "iputils-ping",
        "ping",
        "asks whether an address answers",
        &[Demo, Test],
    ),
    package("tcpdump", "tcpdump", "shows frames", &[Demo, Test]),
    package(
        "tshark",
        "tshark",
        "takes CARP apart, independently of vipd",
        &[Test, Demo],
    ),
    package("ethtool", "ethtool", "switches offloads", &[Demo, Test]),
    package(
        "qemu-system-x86",
        "qemu-system-x86_64",
        "boots other kernels",
        &[Test],
    ),
    package(
        "kmod",
        "insmod",
        "loads modules of other kernels, in qemu",
        &[Test],
    ),
    package("git", "git", "lists the files that tidy reads", &[Ci]),
    package("ca-certificates", "cc", "lets cargo download", &[Build, Ci]),
];

const fn package(
    name: &'static str,
    program: &'static str,
    why: &'static str,
    groups: &'static [Group],
) -> Package {
    Package {
        name,
        program,
        why,
        groups,
    }
}

/// Debian's compilers with the packages of their library source and of cargo. The
/// first is what Debian keeps new for browsers in its stable releases.
const COMPILERS: [[&str; 3]; 2] = [
    ["rustc-web", "rust-web-src", "cargo-web"],
    ["rustc", "rust-src", "cargo"],
];

/// The version whose checks `.deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";
