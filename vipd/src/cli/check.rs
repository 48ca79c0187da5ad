//! `vipd check`: all that is wrong with a configuration, and what is doubtful.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use super::run::{refuse, shown};
use super::{Exit, say};
use crate::config::{Config, DEFAULT_PATH, Fault, Faults, Severity};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration; conf.d/*.toml beside it belongs to it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(args: &CheckArgs) -> Exit {
    let loaded = Config::load(&args.config);
    let (groups, faults) = match &loaded {
        Ok(config) => (config.engine.groups.len(), &config.warnings),
        Err(faults) => (0, faults),
    };
    if args.json {
        let listed: Vec<_> = faults.iter().map(|fault| describe(faults, fault)).collect();
        let answer =
            serde_json::json!({ "fine": loaded.is_ok(), "groups": groups, "faults": listed });
        let said = say(&format!("{answer}\n"));
        return if loaded.is_ok() { said } else { Exit::Usage };
    }
    if loaded.is_err() {
        return refuse(faults);
    }
    eprint!("{}", shown(faults, std::io::stderr().is_terminal()));
    let groups = match groups {
        1 => "1 group".to_owned(),
        many => format!("{many} groups"),
    };
    say(&format!("{}: {groups}, fine\n", args.config.display()))
}

fn describe(faults: &Faults, fault: &Fault) -> serde_json::Value {
    let (file, position) = faults.position(fault).unzip();
    let (line, column) = position.flatten().unzip();
    serde_json::json!({
        "severity": match fault.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "file": file,
        "line": line,
        "column": column,
        "found": fault.found,
        "allowed": fault.allowed,
    })
}
