//! The XDP responder in the kernel: frames in, verdicts and frames out, and how
//! it is attached. Needs root; leaves nothing on the host.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, where the backtrace is"
)]

mod adoption;
mod attach;
mod flood;
mod frames;
mod kernel;
mod model;
mod mutants;
mod netns;
mod wire;
