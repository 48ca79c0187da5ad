//! The simulated tier: many hosts, seeds and faults under a virtual clock, and
//! checkers that look from outside.

mod breadth;
mod handover;
mod leases;
mod oddities;
mod planted;
mod scenarios;
