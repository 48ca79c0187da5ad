//! Every parser of bytes that come from outside, as a function of bytes that
//! must hold whatever they are: it neither panics nor breaks the promise that
//! the target's module states.
//!
//! `cargo xtask fuzz` feeds them what libFuzzer makes up, guided by the code it
//! reaches. The committed `corpus/TARGET/` is where that begins, and a test of
//! its own (`replay.rs`) without any fuzzer. A new target is a module with a
//! `check`, a line in [`TARGETS`] and a file or two in its corpus; a finding
//! is a file more, named after what it found.

mod advert;
mod answer;
mod bytes;
mod command_line;
mod config;
mod control;
mod engine;
mod frame;
mod http_status;
mod ledger;
mod netlink;
mod passfile;
mod pinned;

/// What a parser said of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// They mean something, and the rest of the check was about that.
    Yes,
    No,
}

pub struct Target {
    /// By which it is asked for, and its corpus called.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub check: fn(&[u8]) -> Said,
}

/// In the order they are run in.
pub const TARGETS: &[Target] = &[
    target("advert", advert::check),
    target("answer", answer::check),
    target("command_line", command_line::check),
    target("config", config::check),
    target("control", control::check),
    target("engine", engine::check),
    target("frame", frame::check),
    target("http_status", http_status::check),
    target("ledger", ledger::check),
    target("netlink", netlink::check),
    target("passfile", passfile::check),
    target("pinned", pinned::check),
];

const fn target(name: &'static str, check: fn(&[u8]) -> Said) -> Target {
    Target { name, check }
}

impl From<bool> for Said {
    fn from(is_taken: bool) -> Self {
        if is_taken { Self::Yes } else { Self::No }
    }
}
