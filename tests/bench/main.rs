//! `vipd-bench NAME [OPTIONS]`: vipd measured beside its peers, in network
//! namespaces of this machine. Its figures compare with one another, not with
//! those of other machines.

use std::env;
use std::process::ExitCode;

mod failover;
mod flood;
mod machine;
mod options;
mod responder;
mod scale;
mod steady;

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let ended = match name.as_str() {
        "failover" => failover::run(&words),
        "flood" => flood::run(&words),
        "responder" => responder::run(&words),
        "scale" => scale::run(&words),
        "steady" => steady::run(&words),
        // A part of `scale`: one vipd with many groups.
        "daemon" => scale::daemon::run(&words),
        _ => {
            eprintln!("usage: vipd-bench failover|flood|responder|scale|steady [--help]");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
