//! bpf-linker, pinned: it makes BTF from debug information, and versions differ
//! in what they make. One that is installed is used if it fits; otherwise it is
//! built into `target/tools`, so that the user's own programs stay as they are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail, ensure};

use super::toolchain::Toolchain;
use crate::cmd::{self, Stopwatch};

/// How to come to a linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Use(PathBuf),
    Build { llvm: u32, prefix: PathBuf },
}

/// What there is for a compiler with this LLVM. A linker reads the bitcode of
/// its own LLVM and of older ones.
pub(crate) fn plan(llvm: u32) -> Result<Plan> {
    let mut unfit = String::new();
    for linker in installed() {
        match fits(&linker, llvm) {
            Ok(()) => return Ok(Plan::Use(linker)),
            Err(fault) => unfit += &format!("; {} is there, but {fault}", linker.display()),
        }
    }
    for candidate in SUPPORTED_LLVM
        .into_iter()
        .filter(|&candidate| candidate >= llvm)
    {
        let prefix = PathBuf::from(format!("/usr/lib/llvm-{candidate}"));
        if prefix.join("bin/llvm-config").exists() && prefix.join("lib/libLLVM.so").exists() {
            return Ok(Plan::Build {
                llvm: candidate,
                prefix,
            });
        }
    }
    if SUPPORTED_LLVM.iter().all(|&newest| newest < llvm) {
        bail!("its LLVM {llvm} is newer than bpf-linker {VERSION} knows{unfit}");
    }
    bail!("no bpf-linker {VERSION}, and no llvm-{llvm}-dev to build it{unfit}")
}

/// A linker for this toolchain, which is built if need be.
pub(crate) fn ensure(toolchain: &Toolchain) -> Result<PathBuf> {
    let (llvm, prefix) = match plan(toolchain.llvm)? {
        Plan::Use(linker) => return Ok(linker),
        Plan::Build { llvm, prefix } => (llvm, prefix),
    };
    cmd::step(&format!(
        "building bpf-linker {VERSION} for LLVM {llvm} into target/tools (once, about two minutes)"
    ));
    let watch = Stopwatch::start();
    let root = cmd::tools_dir();
    let mut install = cmd::cargo(&["install", "bpf-linker", "--locked", "--version", VERSION]);
    install
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .arg("--root")
        .arg(&root)
        .env("LLVM_PREFIX", prefix);
    cmd::run(&mut install)?;
    cmd::note(&format!("{:.0} s", watch.elapsed().as_secs_f32()));
    let linker = root.join("bin/bpf-linker");
    fits(&linker, toolchain.llvm)?;
    Ok(linker)
}

/// Whether nothing needs to be built for this toolchain.
pub(crate) fn is_there(toolchain: &Toolchain) -> bool {
    matches!(plan(toolchain.llvm), Ok(Plan::Use(_)))
}

fn installed() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<_> = env::split_paths(&path)
        .map(|directory| directory.join(NAME))
        .collect();
    let homes = env::home_dir().map(|home| home.join(".cargo/bin").join(NAME));
    let ours = cmd::tools_dir().join("bin").join(NAME);
    in_path
        .into_iter()
        .chain(homes)
        .chain([ours])
        .filter(|path| path.is_file())
}

fn fits(linker: &Path, llvm: u32) -> Result<()> {
    let version = cmd::output(Command::new(linker).arg("--version"))?;
    let version = version.trim();
    ensure!(version == format!("{NAME} {VERSION}"), "it's {version}");
    // It doesn't tell its LLVM; one that is linked statically is believed.
    let libraries = cmd::output(Command::new("ldd").arg(linker)).unwrap_or_default();
    if let Some(linked) = linked_llvm(&libraries) {
        ensure!(
            linked >= llvm,
            "its LLVM is {linked}, older than the compiler's {llvm}"
        );
    }
    Ok(())
}

/// The major version in a line such as `libLLVM.so.22.1 => /usr/lib/...`.
fn linked_llvm(libraries: &str) -> Option<u32> {
    libraries.lines().find_map(|line| {
        let tail = line.trim().strip_prefix("libLLVM")?;
        let digits = tail.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        digits[..end].parse().ok()
    })
}

const NAME: &str = "bpf-linker";

/// The version whose BTF is tested with this program.
const VERSION: &str = "0.13.0";

/// The `llvm-NN` features of that version.
const SUPPORTED_LLVM: [u32; 3] = [21, 22, 23];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_linker_is_read_from_ldd() {
        for (line, llvm) in [
            (
                "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7f)",
                Some(22),
            ),
            ("\tlibLLVM-19.so.1 => /lib/libLLVM-19.so.1 (0x7f)", Some(19)),
            ("\tlibc.so.6 => /lib/libc.so.6 (0x7f)", None),
        ] {
            assert_eq!(linked_llvm(line), llvm, "{line}");
        }
    }

    #[test]
    fn a_compiler_newer_than_the_linker_knows_has_no_plan() {
        assert!(plan(1000).is_err());
    }
}
