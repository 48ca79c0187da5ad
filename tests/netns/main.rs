//! Real kernels, real sockets, real peers: in network namespaces, as root.

mod interfaces;
mod interop;
mod lab;
mod scene;
mod sockets;
