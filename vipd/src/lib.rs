//! vipd: hosts on a LAN share virtual IP addresses. One owns each; when it
//! fails, another takes over at once, and never do two answer.
//!
//! ```text
//! 5  main, cli                          words for people
//! 4  daemon                             the one loop, the only reader of the clock
//! 3  io::{xdp, packet_socket, netlink,  the host; plain values in and out
//!        control, command, ...}, config, log
//! 2  engine, status, metrics            what this host decides
//! 1  carp::{packet, auth, timers,       the protocol
//!          election}
//! 0  vipd-common, time, mac             bytes shared with the kernel; plain values
//! ```
//!
//! Imports point down only. Floors 0 to 2 are pure: no file descriptor, clock,
//! randomness or environment; `now` and seeds are arguments. They are all there
//! is without the feature `daemon`, and run inside the simulator as they are.
//!
//! Where to begin: [`carp::election`] is the protocol's state machine,
//! [`engine`] says what follows from it and in which order, `daemon` does it.

pub mod carp;
pub mod engine;
pub mod mac;
pub mod metrics;
pub mod status;
pub mod time;

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod io;
#[cfg(feature = "daemon")]
mod log;
