//! What a check reads of the answer of a service: a status, or nothing; and the one
//! it reads stands there.

use vipd::io::probe::read_status;

use super::Said;

pub(super) fn check(data: &[u8]) -> Said {
    let Some(status) = read_status(data) else {
        return Said::No;
    };
    assert!(status < 1000);
    assert_eq!(data[..7], *b"HTTP/1.");
    assert_eq!(data[9..12], *format!("{status:03}").as_bytes());
    Said::Yes
}
