//! vipd's responder: answers ARP for the virtual IP addresses of the interface
//! it is attached to, as long as the lease in the map is valid.
//!
//! Fail-open for everything that is not ours, fail-silent for what is: a frame
//! in doubt is `XDP_PASS`, a request for a VIP without a valid lease is
//! `XDP_DROP`, and only a proven answer is `XDP_TX`. The rules in plain Rust are
//! in `vipd_common::responder`. VLAN tags are not looked behind: a tagged frame
//! passes, answered or not is the kernel's business.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod frame;
mod maps;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::programs::XdpContext;
use frame::Frame;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr};
use vipd_common::arp::{self, Fields, Kind};

#[inline(always)]
pub(crate) fn handle(ctx: &XdpContext) -> u32 {
    let frame = Frame::new(ctx);
    if !frame.has(EthHdr::LEN) {
        return XDP_PASS;
    }
    let ethertype = frame.u16_at(at::ETHERTYPE);
    if ethertype == EtherType::Arp as u16 {
        handle_arp(frame)
    } else {
        if ethertype == EtherType::Ipv4 as u16
            && frame.has(EthHdr::LEN + Ipv4Hdr::LEN)
            && frame.u8_at(at::IPV4_PROTO) == IpProto::Vrrp as u8
        {
            count!(carp_passed);
        }
        XDP_PASS
    }
}

#[inline(always)]
fn handle_arp(frame: Frame) -> u32 {
    if !frame.has(arp::LEN) {
        count!(arp_malformed);
        return XDP_PASS;
    }
    let fields = Fields {
        fixed: frame.u64_at(at::HTYPE),
        eth_dst: frame.mac_at(at::ETH_DST),
        sha: frame.mac_at(at::SHA),
        spa: frame.u32_at(at::SPA),
        tpa: frame.u32_at(at::TPA),
    };
    match fields.kind() {
        Kind::Malformed => {
            count!(arp_malformed);
            XDP_PASS
        }
        Kind::Claim => handle_claim(fields),
        Kind::Request => handle_request(frame, fields),
    }
}

#[inline(always)]
fn handle_request(frame: Frame, fields: Fields) -> u32 {
    let Some(group) = maps::group_of(fields.tpa) else {
        count!(arp_passed);
        return XDP_PASS;
    };
    let interface_mac = maps::interface_mac();
    if !fields.is_to(interface_mac) {
        count!(arp_passed);
        return XDP_PASS;
    }
    let Some(owner_mac) = maps::owner(group) else {
        count!(arp_silenced);
        return XDP_DROP;
    };

    // As `ArpFrame::answer` has it, in place: padding and length stay.
    frame.set_mac_at(at::ETH_DST, fields.sha);
    frame.set_mac_at(at::ETH_SRC, interface_mac);
    frame.set_u16_at(at::OPER, u16::from_le_bytes(arp::REPLY));
    frame.set_mac_at(at::SHA, owner_mac);
    frame.set_u32_at(at::SPA, fields.tpa);
    frame.set_mac_at(at::THA, fields.sha);
    frame.set_u32_at(at::TPA, fields.spa);
    count!(arp_answered);
    XDP_TX
}

/// Another host that claims an address under our lease is in conflict with us.
/// The kernel sees the frame in any case: it keeps its neighbour table by it.
#[inline(always)]
fn handle_claim(fields: Fields) -> u32 {
    if let Some(group) = maps::group_of(fields.spa)
        && let Some(owner_mac) = maps::owner(group)
        && owner_mac != fields.sha
    {
        maps::record_conflict(group, fields.sha, fields.spa);
        count!(arp_conflict);
    } else {
        count!(arp_passed);
    }
    XDP_PASS
}

/// Offsets into a frame.
mod at {
    use core::mem::offset_of;

    use network_types::eth::EthHdr;
    use network_types::ip::Ipv4Hdr;
    use vipd_common::arp::ArpFrame;

    pub(super) const ETH_DST: usize = offset_of!(ArpFrame, eth_dst);
    pub(super) const ETH_SRC: usize = offset_of!(ArpFrame, eth_src);
    pub(super) const ETHERTYPE: usize = offset_of!(ArpFrame, ethertype);
    pub(super) const HTYPE: usize = offset_of!(ArpFrame, htype);
    pub(super) const OPER: usize = offset_of!(ArpFrame, oper);
    pub(super) const SHA: usize = offset_of!(ArpFrame, sha);
    pub(super) const SPA: usize = offset_of!(ArpFrame, spa);
    pub(super) const THA: usize = offset_of!(ArpFrame, tha);
    pub(super) const TPA: usize = offset_of!(ArpFrame, tpa);
    pub(super) const IPV4_PROTO: usize = EthHdr::LEN + offset_of!(Ipv4Hdr, proto);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop, so an object that could panic would not load.
    loop {}
}
