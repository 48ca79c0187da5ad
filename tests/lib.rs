//! What the tiers share.

/// Hosts on a LAN, all of it in network namespaces of this machine.
#[cfg(feature = "privileged")]
pub mod lab;
