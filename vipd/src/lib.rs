//! vipd, a virtual-IP daemon.

pub mod carp;
pub mod engine;
pub mod mac;
pub mod time;

#[cfg(feature = "daemon")]
pub mod io;
