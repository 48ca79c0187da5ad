//! What the tiers share.

pub mod forger;

/// Hosts on a LAN, all of it in network namespaces of this machine.
#[cfg(feature = "privileged")]
pub mod lab;

/// Parsers of what comes from outside, for a fuzzer and without one.
#[cfg(feature = "fuzzing")]
pub mod fuzz;

/// A world of simulated hosts around the real engine. It replaces the daemon
/// and the kernel, nothing in between; its time is virtual and its chance is
/// seeded.
pub mod sim {
    pub mod setup;
    pub mod world;

    pub mod client;
    mod daemon;
    pub mod faults;
    mod fitness;
    pub mod host;
    mod inflict;
    pub mod kernel;
    pub mod lan;
    mod moods;
    pub mod reload;
    pub mod rng;
    pub mod sabotage;
    mod strangers;
    mod traffic;
    pub mod ucarp;

    pub mod checker;
    pub mod checks;
    mod conduct;
    pub mod coverage;
    pub mod seeds;
    mod settled;
    pub mod succession;

    pub mod story;
}
