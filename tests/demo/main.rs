//! `vipd-demo`: a failover to look at, for real in network namespaces or, with
//! `--simulated`, in the simulator.

use std::io;
use std::process::ExitCode;

#[cfg(feature = "privileged")]
mod live;

fn main() -> ExitCode {
    let is_simulated = std::env::args().skip(1).any(|arg| arg == "--simulated");
    let told = if is_simulated { simulated() } else { live() };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulated() -> anyhow::Result<()> {
    match vipd_tests::sim::story::run(&mut io::stdout()) {
        // Whoever piped it into `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => Ok(told?),
    }
}

#[cfg(feature = "privileged")]
fn live() -> anyhow::Result<()> {
    live::run()
}

#[cfg(not(feature = "privileged"))]
fn live() -> anyhow::Result<()> {
    anyhow::bail!("this build only knows the simulation: try --simulated")
}
