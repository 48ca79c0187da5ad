//! An ARP frame for IPv4 over Ethernet (RFC 826), and how the responder sorts
//! one. The XDP program, the daemon's announcements and the simulated hosts all
//! use these. What follows from a frame is in [`crate::responder`].

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

/// A frame that is no whole ARP frame for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl ArpFrame {
    /// Asks everybody who has `tpa`. With `spa` 0.0.0.0 it is a probe (RFC 5227, 2.1.1).
    #[must_use]
    pub const fn request(sha: [u8; 6], spa: [u8; 4], tpa: [u8; 4]) -> Self {
        Self::new(BROADCAST, sha, REQUEST, sha, spa, [0; 6], tpa)
    }

    /// A gratuitous request, RFC 5227's "ARP announcement": it tells everybody
    /// that `mac` has `vip`. The target's hardware address is zero, as that
    /// RFC's section 2.3 and `arping -U` have it.
    #[must_use]
    pub const fn announce_request(mac: [u8; 6], vip: [u8; 4]) -> Self {
        Self::request(mac, vip, vip)
    }

    /// The same as a gratuitous reply, for the hosts that update their caches by
    /// replies only. The target's hardware address is the sender's, as
    /// `arping -A` sends it: RFC 5227 asks for no such reply, and RFC 5944,
    /// section 4.6, leaves the field unused.
    #[must_use]
    pub const fn announce_reply(mac: [u8; 6], vip: [u8; 4]) -> Self {
        Self::new(BROADCAST, mac, REPLY, mac, vip, mac, vip)
    }

    /// The reply to this request. It goes to the sender's hardware address in
    /// the ARP body and not to the Ethernet source, as Linux does it
    /// (`arp_process` in net/ipv4/arp.c): a proxy may have relayed the request.
    /// Its Ethernet source is the interface's own MAC: the owner's may be
    /// another host's, and a switch must never learn it on this port.
    #[must_use]
    pub const fn answer(&self, interface_mac: [u8; 6], owner_mac: [u8; 6]) -> Self {
        Self::new(
            self.sha,
            interface_mac,
            REPLY,
            owner_mac,
            self.tpa,
            self.sha,
            self.spa,
        )
    }

    /// Takes the first [`LEN`] bytes, for padding follows. It checks what cannot
    /// differ in an ARP frame for IPv4 over Ethernet; see [`Fields::kind`] for the rest.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let frame = Self::from_bytes(bytes.first_chunk().ok_or(Malformed)?);
        let is_arp = frame.ethertype == ETHERTYPE
            && frame.htype == HTYPE
            && frame.ptype == PTYPE
            && frame.hlen == HLEN
            && frame.plen == PLEN;
        if is_arp && (frame.oper == REQUEST || frame.oper == REPLY) {
            Ok(frame)
        } else {
            Err(Malformed)
        }
    }

    /// Every byte string of this length is some frame, be it nonsense.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            eth_dst: take(&mut rest),
            eth_src: take(&mut rest),
            ethertype: take(&mut rest),
            htype: take(&mut rest),
            ptype: take(&mut rest),
            hlen: u8::from_ne_bytes(take(&mut rest)),
            plen: u8::from_ne_bytes(take(&mut rest)),
            oper: take(&mut rest),
            sha: take(&mut rest),
            spa: take(&mut rest),
            tha: take(&mut rest),
            tpa: take(&mut rest),
        }
    }

    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut at = 0;
        for field in [
            self.eth_dst.as_slice(),
            &self.eth_src,
            &self.ethertype,
            &self.htype,
            &self.ptype,
            &[self.hlen, self.plen],
            &self.oper,
            &self.sha,
            &self.spa,
            &self.tha,
            &self.tpa,
        ] {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        bytes
    }

    /// What the rules look at.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let [h0, h1] = self.htype;
        let [p0, p1] = self.ptype;
        let [o0, o1] = self.oper;
        Fields {
            fixed: u64::from_le_bytes([h0, h1, p0, p1, self.hlen, self.plen, o0, o1]),
            eth_dst: mac_word(self.eth_dst),
            sha: mac_word(self.sha),
            spa: u32::from_le_bytes(self.spa),
            tpa: u32::from_le_bytes(self.tpa),
        }
    }

    const fn new(
        eth_dst: [u8; 6],
        eth_src: [u8; 6],
        oper: [u8; 2],
        sha: [u8; 6],
        spa: [u8; 4],
        tha: [u8; 6],
        tpa: [u8; 4],
    ) -> Self {
        Self {
            eth_dst,
            eth_src,
            ethertype: ETHERTYPE,
            htype: HTYPE,
            ptype: PTYPE,
            hlen: HLEN,
            plen: PLEN,
            oper,
            sha,
            spa,
            tha,
            tpa,
        }
    }
}

/// The fields of an ARP frame by which it is sorted, each as one number whose
/// lowest byte came first on the wire: the BPF verifier and the compiler both
/// cope with numbers in registers better than with bytes on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// From `htype` to `oper`.
    pub fixed: u64,
    pub eth_dst: u64,
    pub sha: u64,
    pub spa: u32,
    pub tpa: u32,
}

/// What a frame is to the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not ARP for IPv4 over Ethernet, or a request that no one can be answered at.
    Malformed,
    /// Asks for `tpa`. A probe (`spa` 0.0.0.0) is one too.
    Request,
    /// Says that the sender has `spa`: a reply, or a request for the sender's
    /// own address. Never answered.
    Claim,
}

impl Fields {
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self.fixed {
            FIXED_REPLY => Kind::Claim,
            FIXED_REQUEST if !is_host(self.sha) => Kind::Malformed,
            FIXED_REQUEST if self.spa == self.tpa => Kind::Claim,
            FIXED_REQUEST => Kind::Request,
            _ => Kind::Malformed,
        }
    }

    /// Whether a request was sent to this host: to its MAC, or to a group of
    /// hosts. A frame for another host's MAC reaches a promiscuous interface and
    /// is that host's to answer; the kernel ignores it likewise. Linux takes a
    /// request sent to any group address, not to broadcast only, so the
    /// responder must be there before it.
    #[inline(always)]
    #[must_use]
    pub const fn is_to(self, interface_mac: u64) -> bool {
        self.eth_dst & GROUP_BIT != 0 || self.eth_dst == interface_mac
    }
}

/// A MAC as one number, its first byte lowest.
#[inline(always)]
#[must_use]
pub const fn mac_word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// Whether a MAC can be one host's: neither zero nor a group address.
const fn is_host(mac: u64) -> bool {
    mac != 0 && mac & GROUP_BIT == 0
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    // The caller's fields make up LEN bytes, and LEN bytes is what it has.
    let Some((head, tail)) = rest.split_first_chunk() else {
        return [0; N];
    };
    *rest = tail;
    *head
}

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

/// The individual/group bit: the first that the wire carries of a MAC (IEEE 802, 8.2).
const GROUP_BIT: u64 = 1;
const FIXED_REQUEST: u64 = u64::from_le_bytes([0, 1, 8, 0, HLEN, PLEN, 0, 1]);
const FIXED_REPLY: u64 = u64::from_le_bytes([0, 1, 8, 0, HLEN, PLEN, 0, 2]);

#[cfg(test)]
mod tests;
