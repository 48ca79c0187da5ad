//! What `ethtool` would say of an interface, as far as vipd asks.
#![expect(unsafe_code, reason = "ioctl(2) has no safe binding for SIOCETHTOOL")]

use std::io;
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Socket, Type};

/// Whether the card takes VLAN tags off before anybody sees the frame (`ethtool -k`,
/// rx-vlan-offload): an XDP program then cannot tell one VLAN from another.
pub fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
    // `struct ethtool_value`: the command, and room for the answer.
    let mut value = [ETHTOOL_GFLAGS, 0_u32];
    // SAFETY: all bytes of an `ifreq` may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than there is room for: the name ends with a zero.
    let room = request.ifr_name.len() - 1;
    if interface.is_empty() || interface.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the kernel reads the name and reads and writes `value`, eight bytes, for
    // this command; both live through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value[1] & ETH_FLAG_RXVLAN != 0)
}

/// linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lo_strips_nothing_and_what_is_no_interface_is_an_error() {
        assert!(!strips_vlan_tags("lo").unwrap());
        for name in ["", "nosuch0", "a-name-that-is-far-too-long"] {
            assert!(strips_vlan_tags(name).is_err(), "{name}");
        }
    }
}
