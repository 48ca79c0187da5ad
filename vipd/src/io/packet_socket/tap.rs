//! Frames of one kind as they arrive on an interface, for looking and not for
//! deciding: what the kernel's firewall drops is seen here, what the responder
//! answers is not.

use std::io;

use rustix::net::RecvFlags;
use socket2::{Domain, SockFilter, Socket};

use super::{Error, accept, link_address, raw_socket};

/// What a tap lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Arp,
    /// IPv4 packets of protocol 112: CARP and VRRP.
    Adverts,
}

/// Collects from the moment it is opened, up to its buffer's bound.
#[derive(Debug)]
pub struct Tap {
    interface: String,
    socket: Socket,
}

impl Tap {
    pub fn open(interface: &str, ifindex: u32, kind: Kind) -> Result<Self, Error> {
        let setup = |operation| {
            move |source: io::Error| Error::Setup {
                operation,
                interface: interface.to_owned(),
                source,
            }
        };
        // It receives nothing until it is bound to a protocol.
        let socket = raw_socket(interface, Domain::PACKET, 0)?;
        if kind == Kind::Adverts {
            socket
                .attach_filter(&only_adverts())
                .map_err(setup("filter frames"))?;
        }
        let protocol = match kind {
            Kind::Arp => libc::ETH_P_ARP,
            Kind::Adverts => libc::ETH_P_IP,
        };
        // Linux has protocols of 16 bits there.
        let address = link_address(ifindex, protocol as u16);
        socket.bind(&address).map_err(setup("look at frames"))?;
        Ok(Self {
            interface: interface.to_owned(),
            socket,
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        match self.socket.send(frame) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Send {
                interface: self.interface.clone(),
                length: frame.len(),
                source,
            }),
        }
    }

    /// What came so far, each cut off behind so many bytes as any advert has.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = [0; 256];
        while frames.len() < AT_MOST
            && let Ok((length, _)) =
                rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT)
        {
            frames.push(buffer[..length].to_vec());
        }
        frames
    }
}

/// ```text
///       ldb  [23]             A = protocol of the IPv4 header, behind Ethernet's 14 bytes
///       jeq  #112, accept
///       ret  #0
/// accept: ret #0xffffffff
/// ```
fn only_adverts() -> Vec<SockFilter> {
    let load_byte = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    let jump_if_equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    vec![
        SockFilter::new(load_byte, 0, 0, 23),
        SockFilter::new(jump_if_equal, 1, 0, super::PROTOCOL_CARP.unsigned_abs()),
        accept(0),
        accept(u32::MAX),
    ]
}

/// Frames taken at once: more tell nothing new.
const AT_MOST: usize = 65_536;
