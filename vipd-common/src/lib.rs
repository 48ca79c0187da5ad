//! What the kernel half and the user half of vipd both read and write: the
//! shapes of the BPF maps, the bytes of an ARP frame, and the rules by which the
//! responder treats one.
//!
//! Every address is a byte array in network order, so that it moves between a
//! packet and a map without a thought about endianness. Numbers are in host
//! order. No type here has implicit padding, a `bool`, an `Option` or an enum:
//! the kernel, bpftool and both compilers must agree on each byte.
#![no_std]

pub mod arp;
pub mod responder;

/// Version of the map layouts. It is part of the pinned state, so that a daemon
/// never adopts maps whose bytes mean something else.
///
/// Its low half is the version of what leases are made of, [`VipKey`], [`Vip`]
/// and [`Group`]; the high half that of everything else, and of the program's
/// and the maps' dealings with each other. Where only the high half differs,
/// older or newer, the leases can be taken over into maps made anew; a change of
/// the three types, or of what their bytes mean, is a new low half.
pub const ABI: u32 = 1;

/// The half of an [`ABI`] that tells whether leases mean the same.
#[must_use]
pub const fn leases_of(abi: u32) -> u32 {
    abi & 0xffff
}

/// Names of the maps, as bpftool shows them and as they are pinned.
/// The kernel keeps at most 15 characters (`BPF_OBJ_NAME_LEN` is 16 with the NUL).
pub mod map {
    /// `VipKey` -> `Vip`: the addresses answered for.
    pub const VIPS: &str = "vips";
    /// `Group` at the index that is the group's key: who owns its addresses, and
    /// until when. User space maps this one into its memory.
    pub const GROUPS: &str = "groups";
    /// One `Interface`, at index 0: the interface the responder stands on.
    pub const INTERFACE: &str = "interface";
    /// One `Counters` per CPU, at index 0.
    pub const COUNTERS: &str = "counters";
    /// `u32` group id -> `Conflict`: others who claimed an address we own.
    pub const CONFLICTS: &str = "conflicts";
}

/// Values of [`Interface::mode`].
pub mod mode {
    /// In the driver.
    pub const NATIVE: u16 = 1;
    /// In the kernel's stack.
    pub const GENERIC: u16 = 2;
    /// In the kernel's stack, for the driver refused it.
    pub const NATIVE_REFUSED: u16 = 3;
}

/// How many VIPs one interface can carry.
pub const MAX_VIPS: u32 = 65_536;

/// How many groups one interface can carry; their keys are below it. There are
/// 255 vhids, of which each can be a key. Groups are an array, which the
/// responder reads for the cost of an index, and bpftool prints every row.
pub const MAX_GROUPS: u32 = 256;

/// An address that is answered for, on the interface whose maps these are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VipKey {
    /// IPv4 address, network order.
    pub address: [u8; 4],
    /// VLAN id; 0 is untagged, the only one served.
    pub vlan: u16,
    pub pad: u16,
}

/// What an address belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Key into the groups map. A failover of any number of addresses is one
    /// write there.
    pub group: u32,
}

/// Who answers for a group, and until when: two words, each of which is written
/// and read whole. A row of zeros is no group.
///
/// Renewing a lease writes one word. Another owner takes three writes: the lease
/// 0, the MAC, the new lease. The responder reads the lease first, so that
/// all it can meet half-way is the new MAC while the lease before was in force,
/// some nanoseconds early; never an old MAC under a new lease where loads keep
/// their order (x86), and elsewhere for no longer than a load takes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// CLOCK_BOOTTIME nanosecond before which this host may answer; 0 is never.
    pub lease_until_ns: u64,
    /// The owner's MAC, as told in the ARP payload. It starts the second word, so
    /// that no reader sees half a MAC.
    pub owner_mac: [u8; 6],
    /// For people who look at the map: CARP's virtual host id.
    pub vhid: u8,
    pub pad: u8,
}

/// The interface the responder is attached to. Its layout is the same in every
/// [`ABI`], so that a daemon can tell what another one left.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Ethernet source of every reply. The owner's MAC may be another host's,
    /// and a switch must never learn it on this port.
    pub mac: [u8; 6],
    /// How the program is attached, see [`mode`]; the kernel does not tell.
    pub mode: u16,
    /// Version of the layouts, see [`ABI`].
    pub abi: u32,
    /// Index of the interface the maps were made for.
    pub ifindex: u32,
}

/// Frames by what became of them. Per CPU; sum before showing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests for a VIP, answered.
    pub arp_answered: u64,
    /// Requests for a VIP whose lease is not valid, dropped.
    pub arp_silenced: u64,
    /// ARP for addresses that are not ours, passed.
    pub arp_passed: u64,
    /// ARP with a wrong hardware type, protocol type, length or operation, or
    /// cut short; passed.
    pub arp_malformed: u64,
    /// ARP by which another host claims a VIP that this host owns, passed.
    pub arp_conflict: u64,
    /// IPv4 packets of protocol 112, passed.
    pub carp_passed: u64,
}

impl core::iter::Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            arp_answered: sum.arp_answered + one.arp_answered,
            arp_silenced: sum.arp_silenced + one.arp_silenced,
            arp_passed: sum.arp_passed + one.arp_passed,
            arp_malformed: sum.arp_malformed + one.arp_malformed,
            arp_conflict: sum.arp_conflict + one.arp_conflict,
            carp_passed: sum.carp_passed + one.carp_passed,
        })
    }
}

/// The last time another host claimed an address of a group we own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// CLOCK_BOOTTIME nanosecond of the last claim.
    pub last_ns: u64,
    pub count: u64,
    /// Who claimed it: the ARP sender's hardware address.
    pub mac: [u8; 6],
    pub pad: u16,
    /// The address claimed, network order.
    pub address: [u8; 4],
    pub pad2: u32,
}

const _: () = {
    assert!(size_of::<VipKey>() == 8);
    assert!(size_of::<Vip>() == 4);
    assert!(size_of::<Group>() == 16);
    assert!(size_of::<Interface>() == 16);
    assert!(size_of::<Counters>() == 48);
    assert!(size_of::<Conflict>() == 32);
};

#[cfg(feature = "user")]
#[expect(
    unsafe_code,
    reason = "aya::Pod is the promise that a type is plain bytes"
)]
mod pod {
    // SAFETY: repr(C), explicit padding, every bit pattern is a value; the sizes are asserted above.
    unsafe impl aya::Pod for super::VipKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Vip {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Group {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Interface {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Counters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Conflict {}
}
