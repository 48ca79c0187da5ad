//! The simulated tier: many hosts, seeds and faults under a virtual clock, and
//! checkers that look from outside.

mod breadth;
mod handover;
mod leases;
mod oddities;
mod planted;
mod scenarios;
mod ties;

/// What the caller asks for: how many worlds, from which one on, or a single one.
fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number of worlds, or a seed"))
}
