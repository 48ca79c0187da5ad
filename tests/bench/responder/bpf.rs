//! Just enough of bpf(2) and of an assembler for programs of two dozen
//! instructions: aya loads what was compiled, and this must depend on a number.
#![expect(unsafe_code, reason = "bpf(2) has no safe binding")]

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context as _, Result};
use vipd_common::arp::{self, ArpFrame};

pub(super) const XDP_DROP: u32 = 1;
pub(super) const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;

/// An XDP program in the kernel.
pub(super) struct Program(OwnedFd);

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Program {
    /// Passes everything.
    pub(super) fn empty() -> Result<Self> {
        Self::load(&[mov_imm(R0, XDP_PASS), EXIT])
    }

    /// Writes `frame`, as a request for any of these addresses, and calls the
    /// program in the array.
    pub(super) fn that_asks(
        frame: &[u8],
        addresses: Range<u32>,
        callee: &ProgramArray,
    ) -> Result<Self> {
        let mut code = vec![
            mov(R6, R1),
            load_u32(R7, R1, 0),
            load_u32(R8, R1, 4),
            mov(R2, R7),
            add_imm(R2, arp::LEN as u32),
        ];
        let mut body = Vec::new();
        let (words, rest) = frame[..arp::LEN].as_chunks::<8>();
        for (offset, word) in (0..).step_by(8).zip(words) {
            body.extend(mov_imm64(R2, u64::from_ne_bytes(*word)));
            body.push(store_u64(R7, offset, R2));
        }
        for (offset, half) in (8 * words.len() as i16..)
            .step_by(2)
            .zip(rest.as_chunks::<2>().0)
        {
            body.push(mov_imm(R2, u32::from(u16::from_ne_bytes(*half))));
            body.push(store_u16(R7, offset, R2));
        }
        if addresses.len() > 1 {
            body.extend([
                call(GET_PRANDOM_U32),
                mod_imm(R0, addresses.len() as u32),
                add_imm(R0, addresses.start),
                to_be32(R0),
                store_u32(R7, std::mem::offset_of!(ArpFrame, tpa) as i16, R0),
            ]);
        }
        body.push(mov(R1, R6));
        body.extend(map_fd(R2, callee.0.as_fd()));
        body.extend([mov_imm(R3, 0), call(TAIL_CALL)]);
        code.push(jump_if_greater(R2, R8, body.len() as i16));
        code.extend(body);
        code.extend([mov_imm(R0, XDP_PASS), EXIT]);
        Self::load(&code)
    }

    fn load(code: &[u64]) -> Result<Self> {
        let mut attr = Attr::new();
        attr.set_u32(0, BPF_PROG_TYPE_XDP);
        attr.set_u32(4, code.len() as u32);
        attr.set_u64(8, code.as_ptr() as u64);
        attr.set_u64(16, c"GPL".as_ptr() as u64);
        // As the responder's: only such programs call each other.
        attr.set_u32(44, BPF_F_XDP_HAS_FRAGS);
        attr.set_u32(68, BPF_XDP);
        let fd = attr
            .call(BPF_PROG_LOAD)
            .context("cannot load the program that asks")?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The verdict of the last run, and the nanoseconds that one takes.
    pub(super) fn test_run(&self, frame: &[u8], repeat: u32) -> Result<(u32, u32)> {
        let mut attr = Attr::new();
        attr.set_u32(0, self.0.as_raw_fd() as u32);
        attr.set_u32(8, frame.len() as u32);
        attr.set_u64(16, frame.as_ptr() as u64);
        attr.set_u32(32, repeat);
        attr.call(BPF_PROG_TEST_RUN)
            .context("cannot run the program that asks")?;
        Ok((attr.u32(4), attr.u32(36)))
    }
}

/// One program, to be called.
pub(super) struct ProgramArray(OwnedFd);

impl ProgramArray {
    pub(super) fn new() -> Result<Self> {
        let mut attr = Attr::new();
        for (offset, value) in [(0, BPF_MAP_TYPE_PROG_ARRAY), (4, 4), (8, 4), (12, 1)] {
            attr.set_u32(offset, value);
        }
        let fd = attr
            .call(BPF_MAP_CREATE)
            .context("cannot make an array of programs")?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn set(&self, program: BorrowedFd<'_>) -> Result<()> {
        let (key, value) = (0_u32, program.as_raw_fd());
        let mut attr = Attr::new();
        attr.set_u32(0, self.0.as_raw_fd() as u32);
        attr.set_u64(8, &raw const key as u64);
        attr.set_u64(16, &raw const value as u64);
        attr.call(BPF_MAP_UPDATE_ELEM)
            .context("cannot put a program into the array")?;
        Ok(())
    }
}

/// `union bpf_attr` of linux/bpf.h.
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    const fn new() -> Self {
        Self([0; 128])
    }

    fn set_u32(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u64(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }

    fn u32(&self, offset: usize) -> u32 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| self.0[offset + index]);
        u32::from_ne_bytes([a, b, c, d])
    }

    fn call(&mut self, command: libc::c_int) -> io::Result<libc::c_int> {
        let attr = self.0.as_mut_ptr();
        // SAFETY: what the commands used here read and write is in the attributes,
        // or in what those point to, which their maker borrows.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, self.0.len()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result as libc::c_int)
        }
    }
}

// Instructions, by RFC 9669. One is eight bytes: opcode, registers, offset, immediate.

const fn op(code: u8, dst: u8, src: u8, offset: i16, imm: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") {
        dst | src << 4
    } else {
        dst << 4 | src
    };
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = imm.to_ne_bytes();
    u64::from_ne_bytes([code, registers, o0, o1, i0, i1, i2, i3])
}

const fn mov(dst: u8, src: u8) -> u64 {
    op(0xbf, dst, src, 0, 0)
}

const fn mov_imm(dst: u8, imm: u32) -> u64 {
    op(0xb7, dst, 0, 0, imm)
}

const fn mov_imm64(dst: u8, imm: u64) -> [u64; 2] {
    [
        op(0x18, dst, 0, 0, imm as u32),
        op(0, 0, 0, 0, (imm >> 32) as u32),
    ]
}

fn map_fd(dst: u8, fd: BorrowedFd<'_>) -> [u64; 2] {
    const BPF_PSEUDO_MAP_FD: u8 = 1;
    [
        op(0x18, dst, BPF_PSEUDO_MAP_FD, 0, fd.as_raw_fd() as u32),
        0,
    ]
}

const fn add_imm(dst: u8, imm: u32) -> u64 {
    op(0x07, dst, 0, 0, imm)
}

/// Of the low 32 bits.
const fn mod_imm(dst: u8, imm: u32) -> u64 {
    op(0x94, dst, 0, 0, imm)
}

const fn to_be32(dst: u8) -> u64 {
    op(0xdc, dst, 0, 0, 32)
}

const fn load_u32(dst: u8, src: u8, offset: i16) -> u64 {
    op(0x61, dst, src, offset, 0)
}

const fn store_u16(dst: u8, offset: i16, src: u8) -> u64 {
    op(0x6b, dst, src, offset, 0)
}

const fn store_u32(dst: u8, offset: i16, src: u8) -> u64 {
    op(0x63, dst, src, offset, 0)
}

const fn store_u64(dst: u8, offset: i16, src: u8) -> u64 {
    op(0x7b, dst, src, offset, 0)
}

const fn jump_if_greater(dst: u8, src: u8, by: i16) -> u64 {
    op(0x2d, dst, src, by, 0)
}

const fn call(helper: u32) -> u64 {
    op(0x85, 0, 0, 0, helper)
}

const EXIT: u64 = op(0x95, 0, 0, 0, 0);

const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R6: u8 = 6;
const R7: u8 = 7;
const R8: u8 = 8;

/// Helpers, commands and kinds by linux/bpf.h.
const GET_PRANDOM_U32: u32 = 7;
const TAIL_CALL: u32 = 12;
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
