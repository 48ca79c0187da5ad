//! A frame in the kernel's buffer. The only place that touches one; its shape
//! is dictated by the verifier, and by what LLVM makes of Rust for it.
//!
//! Everything is read and written as volatile 16-bit words. Plain copies become
//! calls to memmove or memset, whose pointer arithmetic takes CAP_PERFMON;
//! and the target has no unaligned loads, so that wider ones fall apart into
//! bytes. Packet data is 16-bit aligned by the kernel.
#![expect(unsafe_code, reason = "packet memory is reached through raw pointers")]

use core::arch::asm;

use aya_ebpf::programs::XdpContext;

#[derive(Clone, Copy)]
pub(crate) struct Frame {
    data: *mut u8,
    end: *mut u8,
}

/// Every accessor takes a constant offset for which [`Frame::has`] was asked on
/// the same path: the verifier refuses to load the program otherwise.
impl Frame {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        let data: *mut u8;
        let end: *mut u8;
        // The context's fields are 32 bits wide to the program, and the kernel
        // turns the loads into loads of pointers. Written in Rust, LLVM may place
        // the widening in another block, as shifts, which no verifier allows on a
        // pointer.
        //
        // SAFETY: both are fields of the context that the kernel passed to the program.
        unsafe {
            asm!(
                "{data} = *(u32 *)({ctx} + 0)",
                "{end} = *(u32 *)({ctx} + 4)",
                ctx = in(reg) ctx.ctx,
                data = out(reg) data,
                end = lateout(reg) end,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self { data, end }
    }

    /// Whether the frame's first `len` bytes are there.
    #[inline(always)]
    pub(crate) fn has(self, len: usize) -> bool {
        self.data.wrapping_add(len) <= self.end
    }

    #[inline(always)]
    pub(crate) fn u8_at(self, offset: usize) -> u8 {
        // SAFETY: the verifier has seen the bounds check.
        unsafe { self.data.wrapping_add(offset).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn u16_at(self, offset: usize) -> u16 {
        // SAFETY: the verifier has seen the bounds check; offsets are even.
        u16::from_le(unsafe { self.data.wrapping_add(offset).cast::<u16>().read_volatile() })
    }

    #[inline(always)]
    pub(crate) fn u32_at(self, offset: usize) -> u32 {
        u32::from(self.u16_at(offset)) | u32::from(self.u16_at(offset + 2)) << 16
    }

    #[inline(always)]
    pub(crate) fn mac_at(self, offset: usize) -> u64 {
        u64::from(self.u32_at(offset)) | u64::from(self.u16_at(offset + 4)) << 32
    }

    #[inline(always)]
    pub(crate) fn u64_at(self, offset: usize) -> u64 {
        u64::from(self.u32_at(offset)) | u64::from(self.u32_at(offset + 4)) << 32
    }

    #[inline(always)]
    pub(crate) fn set_u16_at(self, offset: usize, word: u16) {
        // SAFETY: the verifier has seen the bounds check; offsets are even.
        unsafe {
            self.data
                .wrapping_add(offset)
                .cast::<u16>()
                .write_volatile(word.to_le())
        }
    }

    #[inline(always)]
    pub(crate) fn set_u32_at(self, offset: usize, word: u32) {
        self.set_u16_at(offset, word as u16);
        self.set_u16_at(offset + 2, (word >> 16) as u16);
    }

    #[inline(always)]
    pub(crate) fn set_mac_at(self, offset: usize, mac: u64) {
        self.set_u32_at(offset, mac as u32);
        self.set_u16_at(offset + 4, (mac >> 32) as u16);
    }
}
