//! The sockets beside the kernel's own stack: advertisements come in through a
//! raw socket, finished frames go out through a packet socket.
//!
//! What an advertisement says, and whether to believe it, is decided elsewhere:
//! the filter here only spares the daemon the groups it does not serve.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, sockopt};
use socket2::{
    Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type,
};
use tokio::io::Interest;

mod tap;

pub use tap::{Kind, Tap};

/// What can go wrong with either socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "opening a raw socket on {interface} needs the capability CAP_NET_RAW; run vipd as root or grant it"
    )]
    Denied { interface: String },
    #[error("cannot {operation} on {interface}")]
    Setup {
        operation: &'static str,
        interface: String,
        source: io::Error,
    },
    #[error("{interface} is down; it sends again after 'ip link set {interface} up'")]
    LinkDown { interface: String },
    #[error("{interface} is gone (it had index {ifindex}); if it is back, it needs a new socket")]
    Gone { interface: String, ifindex: u32 },
    #[error("the send queue of {interface} is full")]
    Full { interface: String },
    #[error("cannot send a frame of {length} bytes on {interface}")]
    Send {
        interface: String,
        length: usize,
        source: io::Error,
    },
}

/// Receives the CARP advertisements that arrive on one interface.
///
/// A datagram is handed over with its IPv4 header, whose checksum the kernel
/// has verified. The kernel reassembles fragments and obeys `rp_filter`.
#[derive(Debug)]
pub struct AdvertSocket {
    interface: String,
    socket: tokio::net::UdpSocket,
}

impl AdvertSocket {
    /// Listens on one interface for advertisements of `vhids`, or of every vhid
    /// if there are none. Must be called within a tokio runtime.
    pub fn open(interface: &str, ifindex: u32, vhids: &[u8]) -> Result<Self, Error> {
        let setup = |operation| {
            move |source| Error::Setup {
                operation,
                interface: interface.to_owned(),
                source,
            }
        };

        let socket = raw_socket(interface, Domain::IPV4, PROTOCOL_CARP)?;
        // A raw socket receives from its first moment and from everywhere:
        // nothing may be queued before it stands on its interface.
        socket
            .attach_filter(&[accept(0)])
            .map_err(setup("filter advertisements"))?;
        socket
            .bind_device_by_index_v4(NonZeroU32::new(ifindex))
            .map_err(setup("receive advertisements"))?;
        socket
            .set_multicast_all_v4(false)
            .map_err(setup("choose multicast groups"))?;
        socket
            .join_multicast_v4_n(&CARP_GROUP, &InterfaceIndexOrAddress::Index(ifindex))
            .map_err(setup("join 224.0.0.18"))?;
        // Beyond `net.core.rmem_max` only with CAP_NET_ADMIN; what the kernel
        // grants without it still holds some hundred advertisements.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            socket
                .set_recv_buffer_size(RECEIVE_BUFFER)
                .map_err(setup("size the receive buffer"))?;
        }
        while rustix::net::recv(&socket, &mut [0; 1][..], RecvFlags::DONTWAIT).is_ok() {}

        // Only the type says UDP: std and tokio offer `recv` on that one, and
        // it is the same system call for every datagram socket.
        let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(socket))
            .map_err(setup("wait for advertisements"))?;
        let socket = Self {
            interface: interface.to_owned(),
            socket,
        };
        socket.set_vhids(vhids)?;
        Ok(socket)
    }

    /// Replaces the vhids that are let through; none means all. What is already
    /// queued stays queued.
    pub fn set_vhids(&self, vhids: &[u8]) -> Result<(), Error> {
        socket2::SockRef::from(&self.socket)
            .attach_filter(&vhid_filter(vhids))
            .map_err(|source| Error::Setup {
                operation: "filter advertisements",
                interface: self.interface.clone(),
                source,
            })
    }

    /// Waits for one datagram. Cancel-safe: nothing is lost if the future is
    /// dropped. What does not fit into `buffer` is cut off.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }

    /// Ready when a datagram, or an error, waits to be taken. For those who
    /// wait on several sockets at once.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(context)
    }

    /// How many datagrams found no room in the receive buffer, since the socket
    /// was opened. It wraps. The vhids that the filter drops count too, once the
    /// buffer is full.
    pub fn lost(&self) -> u32 {
        drops(self.socket.as_fd())
    }

    /// Takes one queued datagram, or `WouldBlock`.
    ///
    /// It asks the kernel, not tokio, which after a stall does not know yet
    /// that anything arrived.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::net::recv(self.socket.as_fd(), buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => Ok(length),
            Err(error) => {
                let error = io::Error::from(error);
                if error.kind() == io::ErrorKind::WouldBlock {
                    // Tells tokio, too, that nothing is left: it would otherwise
                    // report the socket readable for ever.
                    let _ = self.socket.try_io(Interest::READABLE, || {
                        Err::<(), _>(io::ErrorKind::WouldBlock.into())
                    });
                }
                Err(error)
            }
        }
    }
}

/// Sends whole Ethernet frames on one interface, and receives nothing.
#[derive(Debug)]
pub struct FrameSocket {
    interface: String,
    ifindex: u32,
    socket: Socket,
}

impl FrameSocket {
    pub fn open(interface: &str, ifindex: u32) -> Result<Self, Error> {
        // Protocol 0 receives nothing, so no queue fills that nobody reads
        // (packet(7)), and no error of the device is kept for a later send.
        let socket = raw_socket(interface, Domain::PACKET, 0)?;
        socket.bind(&link_address(ifindex, 0)).map_err(|source| {
            if source.raw_os_error() == Some(libc::ENODEV) {
                Error::Gone {
                    interface: interface.to_owned(),
                    ifindex,
                }
            } else {
                Error::Setup {
                    operation: "send frames",
                    interface: interface.to_owned(),
                    source,
                }
            }
        })?;
        Ok(Self {
            interface: interface.to_owned(),
            ifindex,
            socket,
        })
    }

    /// Hands one frame to the device's queue. It never waits.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        let Err(source) = self.socket.send(frame) else {
            return Ok(());
        };
        let interface = self.interface.clone();
        Err(match source.raw_os_error() {
            Some(libc::ENETDOWN) => Error::LinkDown { interface },
            Some(libc::ENXIO | libc::ENODEV) => Error::Gone {
                interface,
                ifindex: self.ifindex,
            },
            Some(libc::EAGAIN | libc::ENOBUFS) => Error::Full { interface },
            _ => Error::Send {
                interface,
                length: frame.len(),
                source,
            },
        })
    }
}

fn raw_socket(interface: &str, domain: Domain, protocol: i32) -> Result<Socket, Error> {
    let kind = Type::RAW.nonblocking().cloexec();
    Socket::new(domain, kind, Some(Protocol::from(protocol))).map_err(|source| {
        if source.kind() == io::ErrorKind::PermissionDenied {
            Error::Denied {
                interface: interface.to_owned(),
            }
        } else {
            Error::Setup {
                operation: "open a raw socket",
                interface: interface.to_owned(),
                source,
            }
        }
    })
}

/// `sockaddr_ll` of packet(7), for receiving frames of this Ethernet protocol; none is 0.
#[expect(
    unsafe_code,
    reason = "neither rustix nor socket2 can make a sockaddr_ll"
)]
fn link_address(ifindex: u32, protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the addresses the storage is made for,
    // and all its bytes may be zero.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the storage holds an address of the family and length given.
    unsafe { SockAddr::new(storage, LINK_ADDRESS_LENGTH) }
}

/// What the kernel counts of a socket's losses, by `SO_MEMINFO` (socket(7);
/// `sk_get_meminfo` in net/core/sock.c).
#[expect(
    unsafe_code,
    reason = "neither rustix nor socket2 has this socket option"
)]
fn drops(socket: BorrowedFd<'_>) -> u32 {
    let mut counts = [0_u32; MEMINFO_COUNTS];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the kernel writes no more bytes than `length` says, which is what
    // `counts` has room for; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // Every kernel since 4.12 knows it, and it fails on no open socket.
    debug_assert_eq!(result, 0);
    counts[libc::SK_MEMINFO_DROPS as usize]
}

/// A classic BPF program that lets the advertisements of these vhids through.
///
/// ```text
///       ldxb 4*([0]&0xf)      X = length of the IPv4 header
///       ldb  [x+1]            A = vhid
///       jeq  #vhid, accept    once per vhid
///       ret  #0
/// accept: ret #0xffffffff
/// ```
///
/// A load beyond the end of the datagram ends the program with 0, which drops it.
fn vhid_filter(vhids: &[u8]) -> Vec<SockFilter> {
    if vhids.is_empty() {
        return vec![accept(u32::MAX)];
    }
    let mut vhids = vhids.to_vec();
    vhids.sort_unstable();
    vhids.dedup();

    let load_header_length = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    let load_byte = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
    let jump_if_equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;

    let mut program = vec![
        SockFilter::new(load_header_length, 0, 0, 0),
        SockFilter::new(load_byte, 0, 0, VHID_OFFSET),
    ];
    // A jump skips at most 255 instructions. All 256 values would need one
    // more, but they need no comparison.
    let Ok(count) = u8::try_from(vhids.len()) else {
        program.push(accept(u32::MAX));
        return program;
    };
    for (vhid, skip) in vhids.iter().zip((1..=count).rev()) {
        program.push(SockFilter::new(jump_if_equal, skip, 0, u32::from(*vhid)));
    }
    program.push(accept(0));
    program.push(accept(u32::MAX));
    program
}

/// Ends the program and keeps this many bytes of the datagram; 0 drops it.
fn accept(length: u32) -> SockFilter {
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, length)
}

/// IP protocol number. IANA's 112 is VRRP's; CARP uses it too (OpenBSD
/// `netinet/in.h`, `IPPROTO_CARP`).
const PROTOCOL_CARP: i32 = 112;

/// Where advertisements are sent (OpenBSD `netinet/in.h`, `INADDR_CARP_GROUP`).
const CARP_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Offset of the vhid in the CARP header, in bytes.
const VHID_OFFSET: u32 = 1;

/// Bytes of receive buffer; the kernel doubles it and charges somewhat under
/// 1 KiB for each advertisement. At the bound the newest are dropped, and
/// [`AdvertSocket::lost`] counts them.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Numbers that `SO_MEMINFO` gives (`SK_MEMINFO_VARS`, linux/sock_diag.h).
const MEMINFO_COUNTS: usize = 9;

const AF_PACKET: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

const LINK_ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

#[cfg(test)]
mod tests;
