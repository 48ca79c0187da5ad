//! `vipd-demo`: shows a failover, for real in network namespaces or simulated.

use std::process::ExitCode;

#[cfg(feature = "privileged")]
mod live;

fn main() -> ExitCode {
    match live::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
