//! `vipd-demo`: a failover to look at.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let is_simulated = std::env::args().skip(1).any(|arg| arg == "--simulated");
    if !is_simulated {
        eprintln!("the live demo is not in this build; try --simulated");
        return ExitCode::from(2);
    }
    match vipd_tests::sim::story::run(&mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever piped it into `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
