//! What somebody on the LAN can do who has captured adverts but knows no
//! password: everything that CARP's own digest does not cover, checksums mended.

use std::net::Ipv4Addr;

use vipd::carp::Interval;

/// What is changed of a captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Nothing: it is played back.
    None,
    /// advbase and advskew: any rank, a bow-out, a farewell.
    Interval(Interval),
    /// The demotion byte.
    Demotion(u8),
    /// The IP source address.
    Source(Ipv4Addr),
    /// The trailer is taken off: an advert as legacy hosts send.
    Unsigned,
    /// The number in the trailer, so that it looks new.
    Number,
    /// The key id in the trailer.
    Key,
}

/// Alters an Ethernet frame that carries CARP. What is not there to be changed is
/// left.
pub fn forge(frame: &mut Vec<u8>, forgery: Forgery) {
    match forgery {
        Forgery::None => {}
        Forgery::Interval(interval) => {
            frame[CARP + 2] = interval.advskew;
            frame[CARP + 5] = interval.advbase;
        }
        Forgery::Demotion(demote) => frame[CARP + 4] = demote,
        Forgery::Source(address) => frame[IP + 12..IP + 16].copy_from_slice(&address.octets()),
        Forgery::Unsigned => {
            frame.truncate(CARP + HEADER);
            frame[IP + 2..IP + 4].copy_from_slice(&((CARP + HEADER - IP) as u16).to_be_bytes());
        }
        Forgery::Number => {
            if let Some(byte) = frame.get_mut(CARP + HEADER + NUMBER) {
                *byte ^= 0x40;
            }
        }
        Forgery::Key => {
            if let Some(byte) = frame.get_mut(CARP + HEADER + KEY) {
                *byte ^= 0x01;
            }
        }
    }
    mend_ip(frame);
    mend(frame, CARP, CARP + HEADER, 6);
}

/// Makes the checksum of the IP header right.
pub fn mend_ip(frame: &mut [u8]) {
    mend(frame, IP, CARP, 10);
}

/// Makes the checksum of `from..to` right; it is at `at` in there.
fn mend(frame: &mut [u8], from: usize, to: usize, at: usize) {
    frame[from + at..from + at + 2].fill(0);
    let sum = frame[from..to]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[from + at..from + at + 2].copy_from_slice(&(!folded as u16).to_be_bytes());
}

/// Where the IP header begins, and the CARP header behind it.
const IP: usize = 14;
const CARP: usize = 34;
const HEADER: usize = 36;

/// In the trailer.
const KEY: usize = 8;
const NUMBER: usize = 20;
