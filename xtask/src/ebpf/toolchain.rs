//! Which Rust toolchain builds the eBPF object. It must come with the source of
//! `core`, since nobody ships `core` compiled for BPF, and its LLVM must not be
//! newer than the linker's. Each candidate is looked at, not believed.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::linker;
use crate::cmd;

/// A toolchain that has what the build needs, a linker aside.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// What a person calls it, and why it was taken.
    name: String,
    reason: String,
    version: String,
    pub(crate) sysroot: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) llvm: u32,
    /// Stable compilers build `core` only when told that they may.
    pub(crate) needs_bootstrap: bool,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            version,
            llvm,
            reason,
            ..
        } = self;
        write!(f, "{name}, rustc {version}, LLVM {llvm} ({reason})")
    }
}

/// A place looked at, and what is wrong with it.
pub(crate) struct PassedOver {
    name: String,
    fault: anyhow::Error,
}

/// The first toolchain that can build the object, with a linker that is here or
/// can be built here.
pub(crate) fn find() -> Result<Toolchain> {
    if let Some(wanted) = env::var_os(OVERRIDE) {
        let wanted = wanted.to_string_lossy().into_owned();
        let toolchain = overridden(&wanted)
            .with_context(|| format!("{OVERRIDE}={wanted} can't build the eBPF object"))?;
        linker::plan(toolchain.llvm)?;
        return Ok(toolchain);
    }
    let mut passed_over = Vec::new();
    for (name, candidate) in candidates() {
        let usable = candidate.and_then(|toolchain| {
            linker::plan(toolchain.llvm)?;
            Ok(toolchain)
        });
        match usable {
            Ok(mut toolchain) => {
                for PassedOver { name, fault } in &passed_over {
                    toolchain.reason += &format!("; passed over {name}: {fault:#}");
                }
                return Ok(toolchain);
            }
            Err(fault) => passed_over.push(PassedOver { name, fault }),
        }
    }
    bail!("{}", nothing_usable(&passed_over))
}

/// Toolchains with the source of `core`, whether or not a linker goes with them.
pub(crate) fn with_sources() -> Vec<Toolchain> {
    candidates()
        .into_iter()
        .filter_map(|(_, candidate)| candidate.ok())
        .collect()
}

/// The oldest compiler that builds the workspace: its `rust-version`.
pub(crate) fn oldest() -> (u32, u32) {
    let version = option_env!("CARGO_PKG_RUST_VERSION").unwrap_or_default();
    version_numbers(version).unwrap_or_default()
}

/// The first two numbers of a version.
pub(crate) fn version_numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The distribution's toolchain.
pub(crate) fn distribution() -> Result<Toolchain> {
    inspect(
        "the distribution's".into(),
        Path::new("/usr"),
        "has the library source",
    )
}

/// What to do without cargo xtask.
pub(crate) const BY_HAND: &str = concat!(
    "  rustup toolchain install nightly --profile minimal --component rust-src\n",
    "  apt-get install llvm-NN-dev  # NN as `rustc +nightly -vV` says: 21, 22 or 23\n",
    "or, where Debian offers them:\n",
    "  apt-get install rustc-web rust-web-src cargo-web\n",
    "  apt-get install llvm-NN-dev  # NN as `/usr/bin/rustc -vV` says",
);

fn candidates() -> Vec<(String, Result<Toolchain>)> {
    let mut found = Vec::new();
    let rustup =
        cmd::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let installed = rustup
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    for name in installed.filter(|name| name.starts_with("nightly")) {
        let nightly = rustup_sysroot(name)
            .and_then(|sysroot| inspect(format!("rustup's {name}"), &sysroot, "has rust-src"));
        found.push((format!("rustup's {name}"), nightly));
    }
    found.push(("the distribution's (/usr)".into(), distribution()));
    let current =
        cmd::output(Command::new("rustc").args(["--print", "sysroot"])).and_then(|sysroot| {
            inspect(
                "the current".into(),
                Path::new(sysroot.trim()),
                "has rust-src",
            )
        });
    found.push(("the current toolchain".into(), current));
    found
}

/// `VIPD_EBPF_TOOLCHAIN` names a rustup toolchain, or the directory that holds `bin/rustc`.
fn overridden(wanted: &str) -> Result<Toolchain> {
    let sysroot = if wanted.starts_with('/') {
        wanted.into()
    } else {
        rustup_sysroot(wanted)?
    };
    inspect(wanted.into(), &sysroot, "chosen by VIPD_EBPF_TOOLCHAIN")
}

fn rustup_sysroot(toolchain: &str) -> Result<PathBuf> {
    let rustc = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC")
        .output()
        .context("cannot run rustup")?;
    ensure!(rustc.status.success(), "rustup has no such toolchain");
    Ok(String::from_utf8_lossy(&rustc.stdout).trim().into())
}

fn inspect(name: String, sysroot: &Path, reason: &str) -> Result<Toolchain> {
    let (cargo, rustc) = (sysroot.join("bin/cargo"), sysroot.join("bin/rustc"));
    for program in [&rustc, &cargo] {
        ensure!(program.is_file(), "no {}", program.display());
    }
    let source = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    ensure!(source.is_file(), "no library source (rust-src)");

    let about = cmd::output(
        Command::new(&rustc)
            .arg("-vV")
            .env_remove("LD_LIBRARY_PATH"),
    )?;
    let field = |name: &str| {
        let value = about.lines().find_map(|line| line.strip_prefix(name));
        value.with_context(|| format!("`rustc -vV` says no {name}"))
    };
    let version = field("release: ")?.to_owned();
    let numbers = version_numbers(&version).context("unreadable version of rustc")?;
    ensure!(
        numbers >= oldest(),
        "rustc {version} is older than {}.{}",
        oldest().0,
        oldest().1
    );
    let llvm = field("LLVM version: ")?;
    let llvm = llvm.split('.').next().unwrap_or_default();
    let llvm = llvm
        .parse()
        .with_context(|| format!("LLVM version {llvm:?}"))?;
    let needs_bootstrap = !version.contains("nightly");
    Ok(Toolchain {
        name,
        reason: reason.into(),
        version,
        sysroot: sysroot.to_path_buf(),
        cargo,
        rustc,
        llvm,
        needs_bootstrap,
    })
}

fn nothing_usable(passed_over: &[PassedOver]) -> String {
    let mut text = "no toolchain here can build the eBPF object; passed over:\n".to_owned();
    for PassedOver { name, fault } in passed_over {
        text += &format!("  {name}: {fault:#}\n");
    }
    text + "run `cargo xtask setup --build`, or install one of these by hand:\n" + BY_HAND
}

const OVERRIDE: &str = "VIPD_EBPF_TOOLCHAIN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_rustc_and_of_debian_are_read() {
        assert_eq!(version_numbers("1.95"), Some((1, 95)));
        assert_eq!(version_numbers("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(version_numbers("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(version_numbers("(none)"), None);
    }

    #[test]
    fn a_toolchain_without_library_source_is_passed_over() {
        let fault = inspect("empty".into(), Path::new("/nonexistent"), "").unwrap_err();
        assert!(fault.to_string().contains("bin/rustc"), "{fault}");
    }

    #[test]
    fn the_oldest_compiler_is_the_workspaces() {
        assert!(oldest() >= (1, 95));
    }
}
