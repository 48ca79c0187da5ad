//! Real kernels, real sockets, real peers: in network namespaces, as root.

mod announcements;
mod clean;
mod diagnosis;
mod flood;
mod forger;
mod groups;
mod handover;
mod interfaces;
mod interop;
mod lab;
mod leases;
mod links;
mod placement;
mod realtime;
mod refused;
mod responder;
mod restart;
mod scene;
mod signals;
mod sockets;
mod startup;
mod status;
mod takeover;
mod unprivileged;
mod usage;
mod wake;
