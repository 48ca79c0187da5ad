//! Gratuitous ARP: when, how often, and in which form.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd::carp::packet::Source;
use vipd::carp::{Advertisement, Authenticator, Interval, Key, Vhid};
use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;
use vipd_common::arp::{ArpFrame, Kind};
use vipd_tests::lab::{Host, Lab, Sniffer, Vipd, VipdOptions, now, wait_until};

use crate::scene::{SOON, VIP, count, pair, vipd, wait_for_address};

const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 101);

const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// When a host announced in one of the two forms.
fn rounds(sniffer: &Sniffer, host: &Host, vip: Ipv4Addr, oper: [u8; 2]) -> Vec<Duration> {
    let announcements = sniffer.announcements(vip);
    let ours = announcements
        .iter()
        .filter(|(_, arp)| arp.sha == host.mac() && arp.oper == oper);
    ours.map(|(at, _)| *at).collect()
}

#[test]
fn a_takeover_is_announced_in_both_forms_for_each_address_and_repeatedly() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let both = |advskew| VipdOptions {
        vips: vec![VIP, OTHER_VIP],
        ..vipd(advskew)
    };
    let mut first = Vipd::start(&n1, &both(0));
    first.wait_for_role("master", SOON);
    let second = Vipd::start(&n2, &both(50));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let sniffer = Sniffer::start(&client);
    first.kill();
    for vip in [VIP, OTHER_VIP] {
        for oper in [REQUEST, REPLY] {
            let at = wait_until("several rounds", SOON, || {
                let at = rounds(&sniffer, &n2, vip, oper);
                (at.len() >= 4).then_some(at)
            });
            // On average above Linux's locktime of a second, within which a client
            // takes no second announcement.
            let took = at[3] - at[0];
            assert!(took > Duration::from_secs(3), "{vip}: {at:?}");
        }
    }
    for (_, arp) in sniffer.arp() {
        if arp.sha == n2.mac() && arp.fields().kind() == Kind::Claim && arp.spa == arp.tpa {
            assert_eq!(arp.eth_src, n2.mac());
            assert_eq!(arp.eth_dst, [0xff; 6]);
        }
    }
    // It announces what it has the right to only.
    let adverts = sniffer.adverts();
    let (won, ..) = adverts
        .iter()
        .find(|(_, from, _)| *from == n2.address())
        .expect("a master advertises");
    assert!(rounds(&sniffer, &n2, VIP, REQUEST)[0] >= *won);
}

#[test]
fn the_winner_of_a_healed_network_announces_itself_again() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    n2.cut();
    let second = Vipd::start(&n2, &vipd(50));
    second.wait_for_role("master", SOON);
    // The first has long done with the announcements of its own takeover.
    let mut last = first.counter("announcements");
    let mut since = now();
    wait_until("the first is done announcing", SOON, || {
        let announced = first.counter("announcements");
        if announced != last {
            (last, since) = (announced, now());
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    });
    let sniffer = Sniffer::start(&client);
    n2.heal();
    second.wait_for_role("backup", SOON);
    wait_until("several announcements", SOON, || {
        let both = [REQUEST, REPLY].map(|oper| rounds(&sniffer, &n1, VIP, oper).len());
        both.iter().all(|count| *count >= 2).then_some(())
    });
    assert_eq!(first.role(), "master");
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    // The loser may have been due for a round before the first advert reached it,
    // not for the next one.
    let last_of_the_loser = rounds(&sniffer, &n2, VIP, REQUEST).last().copied();
    let heard = rounds(&sniffer, &n1, VIP, REQUEST)[0] + Duration::from_millis(700);
    assert!(last_of_the_loser.is_none_or(|at| at < heard));
    first.wait_for_log("a less preferred host claims to be master", SOON);
    wait_for_address(&n2, VIP, false);
}

/// An advert as a host with the right password makes it.
fn advert(from: &Host, interval: Interval, counter: u64) -> Vec<u8> {
    let vhid = Vhid::new(42).expect("it is not zero");
    let key = Key::from_passphrase(b"secret").expect("a good password");
    let advert = Advertisement {
        vhid,
        interval,
        demote: 0,
        hidden_advskew: 0,
        counter,
        digest: Authenticator::new(&key, vhid, &[VIP.into()]).sign(counter),
        is_vipd: false,
    };
    let source = Source {
        mac: from.mac(),
        address: from.address(),
    };
    advert.emit_frame(source, 0)
}

#[test]
fn a_flood_of_inferior_adverts_is_answered_once_a_second() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let sniffer = Sniffer::start(&client);
    let sender = client.run_in(|| {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens")
    });
    let began = now();
    let mut sent = 0;
    wait_until("rounds of announcements", SOON, || {
        for _ in 0..5 {
            sender
                .send(&advert(&client, Interval::new(1, 200), 1000 + sent))
                .expect("the link is up");
            sent += 1;
        }
        (rounds(&sniffer, &n1, VIP, REPLY).len() >= 7).then_some(())
    });
    let took = now() - began;
    let rounds = rounds(&sniffer, &n1, VIP, REPLY);
    // The sends and the receipts jitter, so single gaps say little.
    assert!(took > Duration::from_secs(3), "{rounds:?} within {took:?}");
    // The first may follow on each other, for they are the ones that matter.
    for pair in rounds[3..].windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(500), "{rounds:?}");
    }
    assert!(first.counter("challenges") > 100, "of {sent} sent");
    assert_eq!(first.role(), "master");
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert_eq!(
        count(&first, "a less preferred host claims to be master"),
        1
    );
    let adverts = sniffer.adverts();
    let answers = adverts
        .iter()
        .filter(|(_, from, _)| *from == n1.address())
        .count();
    assert!(
        answers < 15 * (took.as_secs() as usize + 2),
        "{answers} adverts in {took:?}"
    );
}

#[test]
fn another_host_that_claims_the_address_by_arp_is_answered_and_told_of() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let sniffer = Sniffer::start(&client);
    let claim = ArpFrame::announce_request(client.mac(), VIP.octets()).to_bytes();
    let announced = first.counter("announcements");
    client.run_in(|| {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        let sender = FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens");
        sender.send(&claim).expect("the link is up");
    });
    first.wait_for_log("another host claims our address by ARP", SOON);
    wait_until("it is announced again", SOON, || {
        (first.counter("announcements") > announced
            && !rounds(&sniffer, &n1, VIP, REPLY).is_empty())
        .then_some(())
    });
    assert_eq!(first.counter("conflicts"), 1);
    assert_eq!(first.counter("arp_conflict"), 1);
}
