//! What the kernel says of pinned things and of locks, and the mode that a map
//! holds: no number is read that is not there, and nothing is taken over in a
//! mode that is not wanted.

use vipd::io::xdp::Mode;
use vipd::io::xdp::fuzzing::{adopted, described, lock_holder};
use vipd_common::mode;

use super::Said;
use super::bytes::Bytes;

pub(super) fn check(data: &[u8]) -> Said {
    let mut bytes = Bytes::new(data);
    let choice = bytes.byte();
    let found = u16::from_le_bytes(bytes.array());
    let text = String::from_utf8_lossy(bytes.rest());

    let wanted = [Mode::Auto, Mode::Native, Mode::Generic][usize::from(choice % 3)];
    let kind = (choice & 0x80 != 0).then_some("veth");
    if let Ok(attached) = adopted(wanted, kind, found) {
        let is_native = found == mode::NATIVE;
        assert_eq!(attached.mode, if is_native { "native" } else { "generic" });
        assert!(is_native || wanted != Mode::Native);
        assert!(!is_native || wanted != Mode::Generic);
        assert!((mode::NATIVE..=mode::NATIVE_REFUSED).contains(&found));
    }

    let mut numbers = 0;
    for name in NAMES {
        let (value, number) = described(&text, name);
        if let Some(number) = number {
            let value = value.unwrap_or_default();
            let digits = value.strip_prefix("0x").unwrap_or(&value);
            let radix = if digits.len() < value.len() { 16 } else { 10 };
            assert_eq!(u64::from_str_radix(digits, radix), Ok(number), "{value:?}");
            numbers += 1;
        }
    }
    for line in text.lines() {
        if let Some(pid) = lock_holder(line, FILE) {
            assert!(line.contains(FILE) && line.contains(&pid.to_string()) || line.contains('+'));
            assert!(line.contains("FLOCK"));
            numbers += 1;
        }
    }
    (numbers > 0).into()
}

const NAMES: [&str; 8] = [
    "link_type",
    "prog_id",
    "ifindex",
    "map_type",
    "key_size",
    "value_size",
    "max_entries",
    "map_flags",
];
const FILE: &str = "fe:00:10018926";
