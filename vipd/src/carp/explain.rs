//! Why an advert's digest is not right, as far as that can be found out: the
//! mistakes that people make when they set up a second host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::auth::{Authenticator, Key};
use super::trailer::{KeyId, Trailer};
use super::{Advertisement, Keyring, Vhid};

/// What is different at the host that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It was made with a key of which this host knows nothing.
    UnknownKey(KeyId),
    /// It has no password, as a BSD host that was given none.
    NoPassword,
    /// It has the same password, and other virtual addresses.
    Addresses(Difference),
    /// It counts an IPv6 link-local address as a virtual one: FreeBSD does, OpenBSD
    /// does not when it sends (`HMAC_ORIG` and `HMAC_NOV6LL`).
    LinkLocal(Ipv6Addr),
    /// Another password, or other addresses altogether; or it is no CARP.
    Unknown,
}

/// How its virtual addresses differ from this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It has this one and no other: UCARP cannot have more.
    Only(Ipv4Addr),
    Lacks(Ipv4Addr),
    HasToo(Ipv4Addr),
    /// It has `theirs` where this host has `ours`.
    HasInstead {
        ours: Ipv4Addr,
        theirs: Ipv4Addr,
    },
}

/// Addresses of a group up to which differences are looked for. It bounds the work
/// to some hundred digests, which is some tenths of a millisecond.
const MOST: usize = 16;

/// Looks for what would make the digest right.
pub fn explain(
    keyring: &Keyring,
    vhid: Vhid,
    vips: &[Ipv4Addr],
    advert: &Advertisement,
    trailer: Option<&Trailer>,
) -> Mismatch {
    if let Some(trailer) = trailer
        && !keyring.has(trailer.key)
    {
        return Mismatch::UnknownKey(trailer.key);
    }
    let goes_with = |key: &Key, addresses: &[IpAddr]| {
        Authenticator::new(key, vhid, addresses).verify(advert.counter, &advert.digest)
    };
    let of_v4 =
        |vips: &[Ipv4Addr]| -> Vec<IpAddr> { vips.iter().copied().map(IpAddr::V4).collect() };
    let is_right = |key: &Key, vips: &[Ipv4Addr]| goes_with(key, &of_v4(vips));
    if is_right(&Key::unset(), vips) {
        return Mismatch::NoPassword;
    }
    if vips.len() > MOST {
        return Mismatch::Unknown;
    }
    let found = keyring
        .keys()
        .find_map(|key| difference(vips, |vips| is_right(key, vips)));
    if let Some(difference) = found {
        return Mismatch::Addresses(difference);
    }
    let link_local = link_locals(vhid).find(|address| {
        let addresses = [of_v4(vips), vec![IpAddr::V6(*address)]].concat();
        keyring.keys().any(|key| goes_with(key, &addresses))
    });
    link_local.map_or(Mismatch::Unknown, Mismatch::LinkLocal)
}

/// The link-local addresses that a virtual host is likely to have: of its virtual
/// MAC 00:00:5e:00:01:vhid (RFC 4291, appendix A), and short ones.
fn link_locals(vhid: Vhid) -> impl Iterator<Item = Ipv6Addr> {
    let of_mac = Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        0x0200,
        0x5eff,
        0xfe00,
        0x0100 | u16::from(vhid.value()),
    );
    let short = (1..=255).map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last));
    std::iter::once(of_mac).chain(short)
}

fn difference(ours: &[Ipv4Addr], is_right: impl Fn(&[Ipv4Addr]) -> bool) -> Option<Difference> {
    if ours.len() > 1
        && let Some(vip) = ours.iter().find(|vip| is_right(&[**vip]))
    {
        return Some(Difference::Only(*vip));
    }
    for vip in ours {
        let others: Vec<Ipv4Addr> = ours.iter().copied().filter(|other| other != vip).collect();
        if is_right(&others) {
            return Some(Difference::Lacks(*vip));
        }
    }
    // A slip of the finger is in the last number.
    let [a, b, c, _] = ours.first()?.octets();
    let neighbours = (0..=255).map(|last| Ipv4Addr::new(a, b, c, last));
    let neighbours: Vec<Ipv4Addr> = neighbours.filter(|vip| !ours.contains(vip)).collect();
    for vip in &neighbours {
        if is_right(&[ours, &[*vip]].concat()) {
            return Some(Difference::HasToo(*vip));
        }
    }
    if let [ours] = *ours {
        let theirs = neighbours.into_iter().find(|vip| is_right(&[*vip]))?;
        return Some(Difference::HasInstead { ours, theirs });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carp::Interval;

    const VIPS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 0, 0, 101)];

    fn key(password: &[u8]) -> Key {
        Key::from_passphrase(password).unwrap()
    }

    /// What this host, with `ours`, says of an advert of one with `theirs`.
    fn said(ours: &[Ipv4Addr], theirs: &[Ipv4Addr], key_of_theirs: &Key) -> Mismatch {
        let vhid = Vhid::new(7).unwrap();
        let addresses: Vec<IpAddr> = theirs.iter().copied().map(IpAddr::V4).collect();
        let advert = Advertisement {
            vhid,
            interval: Interval::new(1, 0),
            demote: 0,
            hidden_advskew: 0,
            counter: 9,
            digest: Authenticator::new(key_of_theirs, vhid, &addresses).sign(9),
            is_vipd: false,
        };
        let keyring = Keyring::single(key(b"secret"));
        explain(&keyring, vhid, ours, &advert, None)
    }

    #[test]
    fn each_common_mistake_is_named() {
        let [one, two] = VIPS;
        let three = Ipv4Addr::new(10, 0, 0, 200);
        let right = key(b"secret");
        let cases = [
            (&VIPS[..], vec![one], Difference::Only(one)),
            (&VIPS[..], vec![two], Difference::Only(two)),
            (&VIPS[..], vec![one, two, three], Difference::HasToo(three)),
            (
                &[one, two, three][..],
                vec![one, three],
                Difference::Lacks(two),
            ),
            (&[one][..], vec![], Difference::Lacks(one)),
            (
                &[one][..],
                vec![three],
                Difference::HasInstead {
                    ours: one,
                    theirs: three,
                },
            ),
        ];
        for (ours, theirs, difference) in cases {
            assert_eq!(
                said(ours, &theirs, &right),
                Mismatch::Addresses(difference),
                "{ours:?} and {theirs:?}"
            );
        }
        assert_eq!(said(&VIPS, &VIPS, &Key::unset()), Mismatch::NoPassword);
        assert_eq!(said(&VIPS, &VIPS, &key(b"Secret")), Mismatch::Unknown);
        let of_both = |link_local: Ipv6Addr| {
            let vhid = Vhid::new(7).unwrap();
            let v4 = VIPS.map(IpAddr::V4);
            let addresses = [&v4[..], &[IpAddr::V6(link_local)]].concat();
            let advert = Advertisement {
                vhid,
                interval: Interval::new(1, 0),
                demote: 0,
                hidden_advskew: 0,
                counter: 9,
                digest: Authenticator::new(&right, vhid, &addresses).sign(9),
                is_vipd: false,
            };
            explain(&Keyring::single(key(b"secret")), vhid, &VIPS, &advert, None)
        };
        for address in ["fe80::200:5eff:fe00:107", "fe80::1"] {
            let address = address.parse().unwrap();
            assert_eq!(of_both(address), Mismatch::LinkLocal(address));
        }
        let elsewhere = [Ipv4Addr::new(192, 0, 2, 1)];
        assert_eq!(said(&VIPS, &elsewhere, &right), Mismatch::Unknown);
    }
}
