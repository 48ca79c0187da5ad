//! Which module may use what. The deciders and the engine are pure, so that a
//! simulator can run them under its own clock; `io` takes and gives plain values.

use super::{
    File, Finding,
    source::{self, NamedPath, Place},
};

/// Tests may use what they like.
pub(super) fn check(file: &File, files: &[File], findings: &mut Vec<Finding>) {
    if is_test(&file.path) {
        return;
    }
    let rules = rules(&file.path, files);
    if rules.is_empty() {
        return;
    }
    let code = source::without_tests(&source::code(&file.text));
    let module = module(&file.path);
    for path in source::paths(&code) {
        let named = resolved(&path, &module);
        let broken = rules.iter().find(|rule| rule.forbids(&named, path.place));
        if let Some(rule) = broken {
            findings.push(file.fault(path.line, "floor", rule.advice(&named)));
        }
    }
}

struct Rule {
    path: Vec<String>,
    advice: &'static str,
}

impl Rule {
    fn new(path: &str, advice: &'static str) -> Self {
        Self {
            path: path.split("::").map(str::to_owned).collect(),
            advice,
        }
    }

    /// Naming what is forbidden, something in it, or in a `use` what is around it.
    fn forbids(&self, named: &[String], place: Place) -> bool {
        named.starts_with(&self.path)
            || (place == Place::Use && !named.is_empty() && self.path.starts_with(named))
    }

    fn advice(&self, named: &[String]) -> String {
        let (path, advice) = (self.path.join("::"), self.advice);
        let named = named.join("::");
        if named.len() < path.len() {
            format!("{named} brings in {path}, which {advice}")
        } else {
            format!("{named} {advice}")
        }
    }
}

fn rules(path: &str, files: &[File]) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut forbid = |paths: &[&str], advice| {
        rules.extend(paths.iter().map(|path| Rule::new(path, advice)));
    };
    let Some(path) = path.strip_prefix("vipd/src/") else {
        return rules;
    };
    if PURE.iter().any(|floor| path.starts_with(floor)) {
        forbid(
            &HOST,
            "touches the host: take a value as an argument, or move this to io or daemon",
        );
        forbid(
            &["crate::io", "crate::daemon", "crate::cli"],
            "is a floor above: return an output",
        );
    }
    if path.starts_with("carp") {
        forbid(
            &["crate::engine", "crate::status"],
            "is a floor above the deciders",
        );
    }
    if path == "io.rs" || path.starts_with("io/") {
        forbid(
            &[
                "crate::engine",
                "crate::carp",
                "crate::daemon",
                "crate::status",
                "crate::cli",
            ],
            "is unknown to io: take and give plain values, the daemon translates",
        );
    }
    if let Some(own) = io_module(path) {
        let others = files
            .iter()
            .filter_map(|file| io_module(file.path.strip_prefix("vipd/src/")?));
        for other in others.filter(|&other| other != own) {
            let path = format!("crate::io::{other}");
            rules.push(Rule::new(
                &path,
                "is another io module: only the daemon knows both",
            ));
        }
    }
    rules
}

/// The module right below `io` that a file is part of.
fn io_module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("io/")?;
    let end = below.find(['/', '.'])?;
    Some(&below[..end])
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// `vipd/src/carp/packet.rs` is `crate::carp::packet`.
fn module(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let inside = inside.trim_end_matches(".rs");
    let names = inside
        .split('/')
        .filter(|name| !matches!(*name, "lib" | "main" | "mod"));
    std::iter::once("crate")
        .chain(names)
        .map(str::to_owned)
        .collect()
}

/// The path from the crate's root, or from another crate.
fn resolved(path: &NamedPath, module: &[String]) -> Vec<String> {
    let mut above = module.to_vec();
    let mut segments = path.segments.as_slice();
    match segments.first().map(String::as_str) {
        Some("self") => segments = &segments[1..],
        Some("super") => {
            while let Some((_, tail)) = segments
                .split_first()
                .filter(|(first, _)| *first == "super")
            {
                above.pop();
                segments = tail;
            }
        }
        _ => return segments.to_vec(),
    }
    above.extend_from_slice(segments);
    above
}

/// Files and folders that know no host.
const PURE: [&str; 5] = ["carp", "engine", "metrics", "status.rs", "time.rs"];

/// Clocks, files, sockets, randomness, environment, and crates that give them.
const HOST: [&str; 22] = [
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "aya",
    "fastrand",
    "futures_util",
    "getrandom",
    "libc",
    "rand",
    "rtnetlink",
    "rustix",
    "socket2",
    "tokio",
];
