//! A datagram to an advertisement and back: what is read of an advertisement is
//! what it was written from, and what is read of any datagram survives being
//! sent on.

use std::net::Ipv4Addr;

use vipd::carp::packet::{Body, Packet, Source};
use vipd::carp::trailer::Trailer;
use vipd::carp::{Advertisement, Interval, Vhid};

use super::Said;
use super::bytes::Bytes;

pub(super) fn check(data: &[u8]) -> Said {
    if let Ok(packet) = Packet::parse(data) {
        let trailer = match packet.body {
            Body::Advert { trailer, .. } => trailer,
            Body::Introduction(trailer) => Some(trailer),
        };
        if let Some(trailer) = trailer {
            assert_eq!(Trailer::parse(&trailer.emit()), Some(trailer));
        }
    }
    let parsed = Advertisement::parse(data);
    if let Ok((from, advert)) = &parsed {
        assert_eq!(reread(*from, advert), Ok((*from, *advert)));
    }

    let mut bytes = Bytes::new(data);
    let (vhid, from) = (bytes.byte(), Ipv4Addr::from(bytes.array::<4>()));
    if let Some(vhid) = Vhid::new(vhid) {
        let advert = Advertisement {
            vhid,
            interval: Interval::new(bytes.byte(), bytes.byte()),
            demote: bytes.byte(),
            counter: u64::from_be_bytes(bytes.array()),
            digest: bytes.array(),
            is_vipd: false,
            hidden_advskew: 0,
        };
        // Only the mark has room for it.
        let mark = bytes.byte();
        let advert = match mark & 1 {
            0 => advert,
            _ => Advertisement {
                is_vipd: true,
                hidden_advskew: mark >> 1,
                ..advert
            },
        };
        assert_eq!(reread(from, &advert), Ok((from, advert)));
    }
    parsed.is_ok().into()
}

/// Over the wire, its Ethernet header taken off.
fn reread(
    address: Ipv4Addr,
    advert: &Advertisement,
) -> Result<(Ipv4Addr, Advertisement), vipd::carp::DecodeError> {
    let mac = [2, 0, 0, 0, 0, 1];
    let frame = advert.emit_frame(Source { mac, address }, 7);
    Advertisement::parse(&frame[ETHERNET..])
}

const ETHERNET: usize = 14;
