//! The host: sockets, maps, netlink. Each module takes and gives plain values
//! and knows neither the engine, nor CARP, nor its neighbours; the daemon is
//! the only translator between them.

pub mod xdp;

/// Raw and packet sockets: advertisements in, frames out.
pub mod packet_socket;

/// Links and addresses: what they are, when they change, changing them.
pub mod netlink;

/// Commands of the operator: checks and hooks.
pub mod command;

/// Whether a service answers: TCP, HTTP.
pub mod probe;

/// Settings of an interface under `/proc/sys`.
pub mod sysctl;

/// Passwords stay in this process.
pub mod secret;

/// Real-time priority and locked memory.
pub mod realtime;

/// The control socket, both ends.
pub mod control;
