//! vipd, a virtual-IP daemon.

#[cfg(feature = "daemon")]
pub mod io;
