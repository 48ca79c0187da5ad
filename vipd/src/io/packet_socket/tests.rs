//! The filter for vhids, run in the kernel on a pair of sockets.

use std::os::unix::net::UnixDatagram;

use super::*;

/// Runs the filter where it will run, in the kernel: a datagram socket of any
/// family takes one, and needs no privilege.
fn passes(vhids: &[u8], datagram: &[u8]) -> bool {
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    receiver.set_nonblocking(true).unwrap();
    socket2::SockRef::from(&receiver)
        .attach_filter(&vhid_filter(vhids))
        .unwrap();
    sender.send(datagram).unwrap();
    let mut buffer = [0; 128];
    match receiver.recv(&mut buffer) {
        Ok(length) => {
            assert_eq!(&buffer[..length], datagram);
            true
        }
        Err(e) => {
            assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
            false
        }
    }
}

fn advert(header_words: u8, vhid: u8) -> Vec<u8> {
    let mut datagram = vec![0; usize::from(header_words) * 4];
    datagram[0] = 0x40 | header_words;
    datagram.extend([0x21, vhid]);
    datagram.extend([0; 34]);
    datagram
}

#[test]
fn only_the_vhids_asked_for_pass() {
    let mut vhids = vec![42, 1, 255, 7, 7];
    for vhid in 0..=255 {
        assert_eq!(
            passes(&vhids, &advert(5, vhid)),
            vhids.contains(&vhid),
            "vhid {vhid}"
        );
    }
    vhids.clear();
    assert!(passes(&vhids, &advert(5, 9)));
}

#[test]
fn the_filter_finds_the_vhid_behind_ip_options() {
    for header_words in 5..=15 {
        assert!(passes(&[42], &advert(header_words, 42)));
        assert!(!passes(&[42], &advert(header_words, 43)));
    }
}

#[test]
fn a_datagram_too_short_for_a_vhid_is_dropped() {
    for length in 1..22 {
        assert!(
            !passes(&[0, 42], &advert(5, 42)[..length]),
            "{length} bytes"
        );
    }
    assert!(passes(&[42], &advert(5, 42)[..22]));
}

#[test]
fn every_vhid_at_once_fits_into_one_program() {
    let all: Vec<u8> = (1..=255).collect();
    assert!(passes(&all, &advert(5, 1)));
    assert!(passes(&all, &advert(5, 255)));
    assert!(!passes(&all, &advert(5, 0)));

    let with_zero: Vec<u8> = (0..=255).collect();
    assert!(passes(&with_zero, &advert(5, 0)));
    assert!(!passes(&with_zero, &advert(5, 0)[..20]));
}
