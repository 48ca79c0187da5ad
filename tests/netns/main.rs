//! Real kernels, real sockets, real peers: in network namespaces, as root.

mod interfaces;
mod lab;
mod sockets;
