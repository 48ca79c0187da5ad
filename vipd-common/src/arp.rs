//! An ARP frame for IPv4 over Ethernet (RFC 826), and the rules by which the
//! responder treats one. The XDP program, the daemon's announcements and the
//! simulated hosts all use these.

/// Ethernet and ARP together; shorter frames are padded to 60 on the wire.
pub const LEN: usize = 42;

/// ```text
///  0                   6                   12      14
///  +-------------------+-------------------+-------+
///  |      eth_dst      |      eth_src      |0x0806 |
///  +-------+-------+---+---+-------+-------+-------+
/// 14 htype | ptype |hl |pl | oper  |      20
///  +-------+-------+---+---+-------+
/// 22      sha      | 28  spa  | 32      tha      | 38  tpa  |
///  +---------------+----------+------------------+----------+
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    pub eth_dst: [u8; 6],
    pub eth_src: [u8; 6],
    pub ethertype: [u8; 2],
    pub htype: [u8; 2],
    pub ptype: [u8; 2],
    pub hlen: u8,
    pub plen: u8,
    pub oper: [u8; 2],
    /// Sender's hardware address.
    pub sha: [u8; 6],
    /// Sender's IPv4 address.
    pub spa: [u8; 4],
    /// Target's hardware address.
    pub tha: [u8; 6],
    /// Target's IPv4 address.
    pub tpa: [u8; 4],
}

const _: () = assert!(size_of::<ArpFrame>() == LEN && align_of::<ArpFrame>() == 1);

pub const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Hardware type Ethernet.
pub const HTYPE: [u8; 2] = [0, 1];
/// Protocol type IPv4.
pub const PTYPE: [u8; 2] = [0x08, 0x00];
pub const HLEN: u8 = 6;
pub const PLEN: u8 = 4;
pub const REQUEST: [u8; 2] = [0, 1];
pub const REPLY: [u8; 2] = [0, 2];
pub const BROADCAST: [u8; 6] = [0xff; 6];
