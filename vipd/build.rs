//! Finds the eBPF object that the daemon embeds. It does not build it:
//! `cargo xtask build-ebpf` does, with another compiler and for another target.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    if env::var_os("CARGO_FEATURE_DAEMON").is_none() {
        return;
    }
    // Cargo sets it for every build script.
    let package = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let workspace = Path::new(&package).parent().unwrap_or(Path::new("/"));
    // A path from the variable is relative to the workspace, or absolute.
    let object = workspace.join(env::var(VARIABLE).unwrap_or_else(|_| OBJECT.to_owned()));
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env={VARIABLE}={}", object.display());
    } else {
        println!(
            "cargo::error=the eBPF object is missing: run `cargo xtask build-ebpf` ({})",
            object.display()
        );
    }
}

const VARIABLE: &str = "VIPD_EBPF_OBJECT";
const OBJECT: &str = "target/ebpf/bpfel-unknown-none/release/vipd";
