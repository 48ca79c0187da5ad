//! The maps, what the rules ask of them, and the program's entry: whatever the
//! loader finds by name. The names are those of `vipd_common::map`.
//!
//! Values are read and written as whole words, each of which is whole at any
//! time; user space may write the same entry meanwhile.
#![expect(
    unsafe_code,
    reason = "map values are reached through raw pointers, symbols are exported by name"
)]

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use vipd_common::{Conflict, Counters, Group, Interface, MAX_GROUPS, MAX_VIPS, Vip, VipKey};

// `frags` so that a native program is taken at an MTU above a page; what it
// looks at is in the first part of a frame in any case.
#[xdp(frags)]
pub(crate) fn vipd(ctx: XdpContext) -> u32 {
    crate::handle(&ctx)
}

#[btf_map(name = "vips")]
static VIPS: HashMap<VipKey, Vip, { MAX_VIPS as usize }> = HashMap::new();

#[btf_map(name = "groups")]
static GROUPS: Array<Group, { MAX_GROUPS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map(name = "interface")]
static INTERFACE: Array<Interface, 1> = Array::new();

#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

#[btf_map(name = "conflicts")]
static CONFLICTS: HashMap<u32, Conflict, { MAX_GROUPS as usize }> = HashMap::new();

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The group of a VIP, or `None` where the address is none.
#[inline(always)]
pub(crate) fn group_of(address: u32) -> Option<u32> {
    let key = VipKey {
        address: address.to_le_bytes(),
        vlan: 0,
        pad: 0,
    };
    let vip = VIPS.get_ptr(key)?;
    // SAFETY: the kernel keeps the entry readable for as long as the program runs.
    Some(unsafe { (&raw const (*vip).group).read_volatile() })
}

/// The MAC to answer for a group, or `None` where this host may not answer now.
#[inline(always)]
pub(crate) fn owner(group: u32) -> Option<u64> {
    let group = GROUPS.get_ptr(group)?.cast::<u64>();
    // SAFETY: `lease_until_ns` is the first of the two words that a group is.
    let lease_until_ns = unsafe { group.read_volatile() };
    // SAFETY: `owner_mac` starts the second; see `Group` for the order of these two.
    let owner_mac = unsafe { group.add(1).read_volatile() };
    // The clock costs as much as the rest of an answer.
    if lease_until_ns == 0 || boot_ns() >= lease_until_ns {
        return None;
    }
    Some(u64::from_le(owner_mac) & MAC_MASK)
}

/// Ethernet source of every reply.
#[inline(always)]
pub(crate) fn interface_mac() -> u64 {
    // Index 0 of a one-element array exists; the verifier wants to hear it.
    let Some(interface) = INTERFACE.get_ptr(0) else {
        return 0;
    };
    // SAFETY: `mac` and its padding are the first word of an interface.
    let mac = unsafe { interface.cast::<u64>().read_volatile() };
    u64::from_le(mac) & MAC_MASK
}

/// Notes who claimed an address of ours. When two CPUs do so at once each of the
/// fields is from one of them, and the count may miss one.
#[inline(always)]
pub(crate) fn record_conflict(group: u32, mac: u64, address: u32) {
    let now_ns = boot_ns();
    let mac = mac.to_le();
    let address = u64::from(address).to_le();
    let Some(conflict) = CONFLICTS.get_ptr_mut(group) else {
        let conflict = [now_ns, 1, mac, address];
        // SAFETY: a conflict is these four words; its layout is asserted below.
        let conflict = unsafe { core::mem::transmute::<[u64; 4], Conflict>(conflict) };
        // Where another CPU was first, one claim is not counted; where the map
        // is full of groups that were removed, none is.
        let _: Result<(), i32> = CONFLICTS.insert(group, conflict, u64::from(BPF_NOEXIST));
        return;
    };
    let words = conflict.cast::<u64>();
    // SAFETY: `last_ns` is the first word.
    unsafe { words.write_volatile(now_ns) };
    let count = words.wrapping_add(1);
    // SAFETY: `count` is the second.
    unsafe { count.write_volatile(count.read_volatile() + 1) };
    // SAFETY: `mac` and its padding are the third.
    unsafe { words.add(2).write_volatile(mac) };
    // SAFETY: `address` and its padding are the fourth.
    unsafe { words.add(3).write_volatile(address) };
}

/// Adds one to a field of [`Counters`].
#[macro_export]
macro_rules! count {
    ($field:ident) => {
        $crate::maps::count(core::mem::offset_of!(vipd_common::Counters, $field))
    };
}

#[inline(always)]
pub(crate) fn count(offset: usize) {
    // As with the interface: it exists.
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    let counter = counters.wrapping_byte_add(offset).cast::<u64>();
    // SAFETY: a field of this CPU's counters, which no program interrupts here.
    unsafe { *counter += 1 }
}

#[inline(always)]
fn boot_ns() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_ktime_get_boot_ns() }
}

const MAC_MASK: u64 = 0xffff_ffff_ffff;

const _: () = {
    assert!(core::mem::offset_of!(Group, lease_until_ns) == 0);
    assert!(core::mem::offset_of!(Group, owner_mac) == 8);
    assert!(core::mem::offset_of!(Interface, mac) == 0);
    assert!(core::mem::offset_of!(Conflict, last_ns) == 0);
    assert!(core::mem::offset_of!(Conflict, count) == 8);
    assert!(core::mem::offset_of!(Conflict, mac) == 16);
    assert!(core::mem::offset_of!(Conflict, address) == 24);
};
