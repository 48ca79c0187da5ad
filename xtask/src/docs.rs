//! `cargo xtask dist-docs`: the manual pages and completions, for packages.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    cmd,
    ebpf::{self, Warnings},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to put them
    #[arg(default_value = "target/dist-docs")]
    directory: PathBuf,
}

/// They are made of the command line's definition, by a program that has it.
pub(crate) fn run(options: &Options) -> Result<()> {
    ebpf::build(Warnings::Show)?;
    let words = "run -p vipd-tests --features docs --bin vipd-docs --";
    let mut command = cmd::cargo(&words.split_whitespace().collect::<Vec<_>>());
    cmd::run(command.arg(&options.directory))
}
