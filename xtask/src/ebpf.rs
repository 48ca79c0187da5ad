//! `cargo xtask build-ebpf`: builds the XDP responder into the object that
//! `vipd` embeds, and looks at what came out.
//!
//! Installs no system package: where one is missing it says which command to run.

mod linker;
pub(crate) mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use self::linker::{ensure as ensure_linker, is_there as has_linker};
use self::toolchain::Toolchain;
use crate::{
    cmd::{self, Stopwatch},
    elf,
};

/// What a warning of the compiler does to the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warnings {
    Show,
    Deny,
}

/// Builds the object and returns its path. Cargo decides what is fresh.
pub(crate) fn build(warnings: Warnings) -> Result<PathBuf> {
    let toolchain = toolchain::find()?;
    cmd::step(&format!("eBPF toolchain: {toolchain}"));
    let linker = linker::ensure(&toolchain)?;

    let object = object();
    if object.exists() {
        cmd::step("building the eBPF object");
    } else {
        cmd::step("building the eBPF object (the first build takes about a minute)");
    }
    let watch = Stopwatch::start();
    cmd::run(&mut cargo_build(&toolchain, &linker, warnings)?)?;

    let size = check(&object)?;
    cmd::note(&format!(
        "{} ({} KiB, {:.1} s)",
        object.display(),
        size.div_ceil(1024),
        watch.elapsed().as_secs_f32()
    ));
    Ok(object)
}

/// Where the object lies once built.
pub(crate) fn object() -> PathBuf {
    target_dir().join(TARGET).join("release/vipd")
}

fn cargo_build(toolchain: &Toolchain, linker: &Path, warnings: Warnings) -> Result<Command> {
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(cmd::workspace())
        .args(["build", "--package", "vipd-ebpf", "--release"])
        .args(["--target", TARGET, "--target-dir", "target/ebpf"])
        .args(["-Z", "build-std=core"]);
    if warnings == Warnings::Deny {
        // Unlike the flag `-D warnings` this leaves what is built fresh.
        command.args(["-Z", "warnings", "--config", "build.warnings='deny'"]);
    }

    // The cargo that runs this task has set these for its own toolchain.
    for name in OTHERS_ENVIRONMENT {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        let ours = |path: &PathBuf| path.starts_with(cmd::workspace()) || is_toolchains(path);
        let others = env::split_paths(&paths).filter(|path| !ours(path));
        command.env("LD_LIBRARY_PATH", env::join_paths(others)?);
    }

    let linker_dir = linker.parent().context("bpf-linker has no directory")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(linker_dir.to_path_buf()).chain(env::split_paths(&path));
    command
        .env("PATH", env::join_paths(path)?)
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(toolchain)?);
    if toolchain.needs_bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    Ok(command)
}

/// Debug information, from which bpf-linker makes BTF, without this machine's paths.
fn rust_flags(toolchain: &Toolchain) -> Result<String> {
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    // Where several match, the last one counts.
    let library = toolchain.sysroot.join("lib/rustlib/src/rust");
    let real_library = fs::canonicalize(&library).unwrap_or_else(|_| library.clone());
    let remapped = [
        (library, "/rust"),
        (real_library, "/rust"),
        (cargo_home(), "/cargo"),
        (cmd::workspace(), "/vipd"),
    ];
    for (from, to) in remapped {
        let from = from.to_str().context("a path is not UTF-8")?;
        flags.push(format!("--remap-path-prefix={from}={to}"));
    }
    Ok(flags.join("\u{1f}"))
}

/// Refuses an object that would fail only when it is loaded, or that tells of
/// the machine that built it. Returns its size.
fn check(object: &Path) -> Result<usize> {
    let file = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let sections = elf::section_names(&file).with_context(|| object.display().to_string())?;
    check_sections(&sections).with_context(|| object.display().to_string())?;
    for path in [cmd::workspace(), cargo_home()] {
        let bytes = path.as_os_str().as_encoded_bytes();
        ensure!(
            bytes.len() < 2 || !file.windows(bytes.len()).any(|window| window == bytes),
            "{}: the object mentions {}",
            object.display(),
            path.display()
        );
    }
    Ok(file.len())
}

fn check_sections(sections: &[String]) -> Result<()> {
    let has = |wanted: &str| sections.iter().any(|name| name == wanted);
    if !has(".BTF") {
        bail!("no section .BTF: the kernel would refuse its maps");
    }
    // `xdp.frags` is a program that takes frames of several buffers.
    if !has("xdp") && !has("xdp.frags") {
        bail!("no section xdp: there is no program in it");
    }
    if !has("license") {
        bail!("no section license: the kernel would refuse GPL helpers");
    }
    Ok(())
}

fn target_dir() -> PathBuf {
    cmd::workspace().join("target/ebpf")
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(
        || env::home_dir().unwrap_or_default().join(".cargo"),
        PathBuf::from,
    )
}

/// Cargo puts its own toolchain's libraries before those of others.
fn is_toolchains(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "toolchains")
}

#[cfg(target_endian = "little")]
const TARGET: &str = "bpfel-unknown-none";
#[cfg(target_endian = "big")]
const TARGET: &str = "bpfeb-unknown-none";

/// What rustup and the outer cargo set, and users' settings for host builds.
const OTHERS_ENVIRONMENT: [&str; 12] = [
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_needs_btf_a_program_and_a_license() {
        let all = ["", ".BTF", "xdp", "license"].map(str::to_owned);
        assert!(check_sections(&all).is_ok());
        for missing in 1..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(check_sections(&some).is_err(), "without {}", all[missing]);
        }
    }
}
