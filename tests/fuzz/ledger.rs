//! The ledger on disk, as a crash or somebody's editor left it: what is read of
//! it is written so that it reads the same, and is nothing but what vipd writes.

use std::net::Ipv4Addr;

use vipd::daemon::reread_ledger;

use super::Said;

pub(super) fn check(data: &[u8]) -> Said {
    // The daemon refuses a file that is no text.
    let Ok(text) = std::str::from_utf8(data) else {
        return Said::No;
    };
    let written = reread_ledger(text);
    assert_eq!(reread_ledger(&written), written);
    for line in written.lines() {
        let (name, value) = line.split_once(' ').expect("a name and a value");
        match name {
            "lo" | "interface" => assert!(value.parse::<Ipv4Addr>().is_ok(), "{line:?}"),
            _ => assert!(["arp_ignore", "arp_announce"].contains(&name), "{line:?}"),
        }
        assert!(text.contains(line), "{line:?} was not there");
    }
    (!written.is_empty()).into()
}
