//! A password file to a key: the same as UCARP makes of it, which reads a line
//! with `fgets` into 512 bytes and ends it at the first CR or LF.

use std::net::{IpAddr, Ipv4Addr};

use vipd::carp::{Authenticator, Key, KeyError, Vhid};

use super::Said;

pub(super) fn check(data: &[u8]) -> Said {
    let mut line = Vec::new();
    for byte in data.iter().take(511) {
        if [b'\r', b'\n'].contains(byte) {
            break;
        }
        line.push(*byte);
    }
    match (Key::from_passfile(data), line.len()) {
        (Err(KeyError::Empty), 0) => Said::No,
        (Err(KeyError::TooLong(len)), 20..) => {
            assert_eq!(len, line.len());
            Said::No
        }
        (Ok(key), 1..20) => {
            let same = Key::from_passphrase(&line).expect("it is short enough");
            assert_eq!(signature(&key), signature(&same));
            let mut other = line;
            other[0] ^= 1;
            let other = Key::from_passphrase(&other).expect("it is as long");
            assert_ne!(signature(&key), signature(&other));
            Said::Yes
        }
        (Ok(_), len) => panic!("{len} bytes are a key"),
        (Err(error), len) => panic!("{len} bytes: {error}"),
    }
}

/// Keys are not for showing; what they sign is.
fn signature(key: &Key) -> [u8; 20] {
    let vhid = Vhid::new(1).expect("not 0");
    let vip = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 100));
    Authenticator::new(key, vhid, &[vip]).sign(7)
}
