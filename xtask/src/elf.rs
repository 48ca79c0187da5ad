//! The names of an ELF file's sections, and nothing else of ELF: enough to see
//! whether a built object is one that the kernel will take. ELF64, both byte
//! orders (`elf(5)`).

use anyhow::{Context as _, Result, bail, ensure};

/// Names of the sections, in the order of the section header table.
pub(crate) fn section_names(file: &[u8]) -> Result<Vec<String>> {
    ensure!(file.starts_with(b"\x7fELF"), "not an ELF file");
    ensure!(file.get(4) == Some(&CLASS_64), "not a 64-bit ELF file");
    let order = match file.get(5) {
        Some(1) => Order::Little,
        Some(2) => Order::Big,
        other => bail!("byte order {other:?} in the ELF header"),
    };
    let table = order.number::<8>(file, HEADER_SHOFF)?;
    let entry_size = order.number::<2>(file, HEADER_SHENTSIZE)?;
    let count = order.number::<2>(file, HEADER_SHNUM)?;
    let names = order.number::<2>(file, HEADER_SHSTRNDX)?;
    ensure!(names < count, "the ELF file names no section of names");

    let field = |index: usize, offset: usize| -> Result<usize> {
        index
            .checked_mul(entry_size)
            .and_then(|header| header.checked_add(table)?.checked_add(offset))
            .context("section headers beyond the address space")
    };
    let names_at = order.number::<8>(file, field(names, SECTION_OFFSET)?)?;
    let names_size = order.number::<8>(file, field(names, SECTION_SIZE)?)?;
    let strings = names_at
        .checked_add(names_size)
        .and_then(|end| file.get(names_at..end))
        .context("the section of names is cut off")?;

    (0..count)
        .map(|index| {
            let at = order.number::<4>(file, field(index, SECTION_NAME)?)?;
            let tail = strings.get(at..).context("a section's name is cut off")?;
            let end = tail.iter().position(|&byte| byte == 0);
            let name = &tail[..end.context("a section's name has no end")?];
            Ok(String::from_utf8_lossy(name).into_owned())
        })
        .collect()
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn number<const N: usize>(self, file: &[u8], at: usize) -> Result<usize> {
        let bytes = at.checked_add(N).and_then(|end| file.get(at..end));
        let bytes = bytes.with_context(|| format!("the ELF file is cut off before byte {at}"))?;
        let push = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        let number = match self {
            Self::Little => bytes.iter().rev().fold(0, push),
            Self::Big => bytes.iter().fold(0, push),
        };
        usize::try_from(number).context("a number of the ELF file is too large")
    }
}

/// `ELFCLASS64` (`elf(5)`).
const CLASS_64: u8 = 2;
/// Byte offsets in `Elf64_Ehdr`.
const HEADER_SHOFF: usize = 40;
const HEADER_SHENTSIZE: usize = 58;
const HEADER_SHNUM: usize = 60;
const HEADER_SHSTRNDX: usize = 62;
/// Byte offsets in `Elf64_Shdr`.
const SECTION_NAME: usize = 0;
const SECTION_OFFSET: usize = 24;
const SECTION_SIZE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a header, the strings and a section header per name, the
    /// first of which is the section of names.
    fn file(order: Order, names: &[&str]) -> Vec<u8> {
        let strings = names.join("\0") + "\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        if matches!(order, Order::Big) {
            file[5] = 2;
        }
        file.extend(strings.as_bytes());
        let table = file.len();
        put::<8>(order, &mut file, HEADER_SHOFF, table);
        put::<2>(order, &mut file, HEADER_SHENTSIZE, 64);
        put::<2>(order, &mut file, HEADER_SHNUM, names.len());
        let mut name_at = 0;
        for (index, name) in names.iter().enumerate() {
            file.extend([0; 64]);
            put::<4>(order, &mut file, table + index * 64, name_at);
            name_at += name.len() + 1;
        }
        put::<8>(order, &mut file, table + SECTION_OFFSET, 64);
        put::<8>(order, &mut file, table + SECTION_SIZE, strings.len());
        file
    }

    fn put<const N: usize>(order: Order, file: &mut [u8], at: usize, number: usize) {
        let bytes = &mut file[at..at + N];
        bytes.copy_from_slice(&number.to_le_bytes()[..N]);
        if matches!(order, Order::Big) {
            bytes.reverse();
        }
    }

    #[test]
    fn names_are_read_in_both_byte_orders() {
        for order in [Order::Little, Order::Big] {
            let file = file(order, &[".strtab", "xdp", ".BTF"]);
            assert_eq!(section_names(&file).unwrap(), [".strtab", "xdp", ".BTF"]);
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = file(Order::Little, &[".strtab", "xdp", ".BTF"]);
        // Of the last header only the name is read.
        let read = whole.len() - 60;
        for length in 0..read {
            assert!(section_names(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(section_names(&whole[..read]).is_ok());
    }

    #[test]
    fn offsets_beyond_the_file_are_errors() {
        for at in [HEADER_SHOFF, 64 + 9 + SECTION_OFFSET, 64 + 9 + SECTION_SIZE] {
            let mut file = file(Order::Little, &[".strtab", ""]);
            put::<8>(Order::Little, &mut file, at, usize::MAX);
            assert!(section_names(&file).is_err(), "at {at}");
        }
    }

    #[test]
    fn what_is_not_elf64_is_refused() {
        assert!(section_names(b"").is_err());
        assert!(section_names(b"#!/bin/sh\n").is_err());
        let mut file = file(Order::Little, &[".strtab"]);
        file[4] = 1;
        assert!(section_names(&file).is_err());
    }
}
