//! The program `vipd`: the daemon and its client.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = vipd::cli::Cli::parse();
    ExitCode::from(vipd::cli::run(cli) as u8)
}
