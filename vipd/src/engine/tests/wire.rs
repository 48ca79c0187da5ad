//! What is heard: whose adverts are believed, and what is only counted.

use super::*;
use crate::carp::{Difference, Mismatch};

/// Hears `datagram` every second for a minute, and more often than a backup
/// would wait; returns what was done.
fn hear_for_a_minute(daemon: &mut Daemon, mut datagram: impl FnMut() -> Vec<u8>) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..60 {
        steps.extend(daemon.hear(&datagram()));
        steps.extend(daemon.advance(ms(1000)));
    }
    steps
}

/// As if nobody had been heard: it takes over after three seconds, and stays.
fn assert_not_impressed(daemon: &Daemon, steps: &[Step]) {
    assert_eq!(count(steps, "log backup to master: master_timeout"), 1);
    assert_eq!(count(steps, "silence"), 0);
    assert_eq!(daemon.view(G0).since.unwrap().0, T0 + ms(3000));
    assert_eq!(daemon.view(G0).counters.adverts_received, 0);
    assert_eq!(daemon.view(G0).counters.challenges, 0);
}

#[test]
fn a_healthy_master_is_followed() {
    let mut daemon = Daemon::listening(vec![group()]);
    let mut master = Neighbour::new(HIGHER);

    let steps = hear_for_a_minute(&mut daemon, || master.advert(1, 10));

    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(daemon.view(G0).counters.adverts_received, 60);
}

#[test]
fn adverts_with_another_password_are_counted_and_told_once() {
    let foreign = GroupConfig {
        auth: Auth::new(Key::from_passphrase(b"Secret").unwrap(), Policy::Off),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![group()]);
    let mut neighbour = Neighbour::of(&foreign, HIGHER);

    let steps = hear_for_a_minute(&mut daemon, || neighbour.advert(0, 1));

    assert_not_impressed(&daemon, &steps);
    assert_eq!(count(&steps, "log bad digest of 10.0.0.6"), 1);
    assert_eq!(daemon.view(G0).counters.bad_digest, 60);
}

#[test]
fn adverts_for_another_set_of_addresses_are_counted_and_told_once() {
    let foreign = GroupConfig {
        vips: vec![VIP, Ipv4Addr::new(10, 0, 0, 101)],
        ..group()
    };
    let mut daemon = Daemon::listening(vec![group()]);
    let mut neighbour = Neighbour::of(&foreign, HIGHER);

    let steps = hear_for_a_minute(&mut daemon, || neighbour.advert(0, 1));

    assert_not_impressed(&daemon, &steps);
    assert_eq!(count(&steps, "log bad digest"), 1);
    assert_eq!(daemon.view(G0).counters.bad_digest, 60);
}

#[test]
fn a_forged_advert_does_not_unseat_a_master() {
    let mut daemon = Daemon::master();
    let heard = Neighbour::new(LOWER).advert(0, 1);
    let (address, mut advert) = Advertisement::parse(&heard).unwrap();
    advert.digest[19] ^= 1;
    let mac = [2, 0, 0, 0, 0, 0xee];
    let forged = advert.emit_frame(Source { mac, address }, 0);

    let steps = daemon.hear(&forged[14..]);

    assert_eq!(words(&steps), ["log bad digest of 10.0.0.4"]);
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn adverts_of_another_vhid_are_counted_with_the_interface() {
    let foreign = GroupConfig {
        vhid: vhid(9),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![group()]);
    let mut neighbour = Neighbour::of(&foreign, HIGHER);

    let steps = hear_for_a_minute(&mut daemon, || neighbour.advert(0, 1));

    assert_not_impressed(&daemon, &steps);
    assert_eq!(count(&steps, "log"), 1, "the takeover's");
    let rejected = daemon.engine.rejected(ETH0).unwrap();
    assert_eq!(rejected, &Rejected::from([(Rejection::UnknownVhid, 60)]));
}

#[test]
fn adverts_on_another_interface_are_not_the_groups() {
    let mut daemon = Daemon::listening(vec![group()]);

    let steps = daemon.hear_on(ETH1, &Neighbour::new(HIGHER).advert(1, 0));

    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(daemon.view(G0).counters.adverts_received, 0);
    let rejected = daemon.engine.rejected(ETH1).unwrap();
    assert_eq!(rejected, &Rejected::from([(Rejection::UnknownVhid, 1)]));
    assert!(daemon.engine.rejected(ETH0).unwrap().is_empty());
}

#[test]
fn garbage_is_counted_by_its_flaw() {
    let good = Neighbour::new(HIGHER).advert(1, 0);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let mut daemon = Daemon::listening(vec![group()]);
    let timeout = daemon.engine.poll_timeout();

    for bytes in [vec![], vec![0x45; 10], good[..55].to_vec()] {
        assert!(daemon.hear(&bytes).is_empty());
    }
    assert!(daemon.hear(&with(12, 11)).is_empty(), "a broken IP header");
    assert!(
        daemon.hear(&with(22, 1)).is_empty(),
        "another skew, unsummed"
    );

    let expected = Rejected::from([
        (Rejection::Decode(DecodeError::TooShort), 3),
        (Rejection::Decode(DecodeError::BadIpHeader), 1),
        (Rejection::Decode(DecodeError::BadChecksum), 1),
    ]);
    assert_eq!(daemon.engine.rejected(ETH0), Some(&expected));
    assert_eq!(daemon.engine.poll_timeout(), timeout);
}

#[test]
fn what_does_not_exist_is_ignored() {
    let mut daemon = Daemon::listening(vec![group()]);
    let nowhere = InterfaceId(9);
    let nobody = GroupId(9);

    for input in [
        Input::Datagram {
            interface: nowhere,
            bytes: &[0; 56],
        },
        Input::Link {
            interface: nowhere,
            link: up(ETH0),
        },
        Input::Placed { group: nobody },
        Input::StepDown {
            group: Some(nobody),
        },
    ] {
        assert!(daemon.handle(input).is_empty(), "{input:?}");
    }
    assert!(daemon.engine.group(nobody).is_none());
    assert!(daemon.engine.link(nowhere).is_none());
    assert!(daemon.engine.rejected(nowhere).is_none());
}

#[test]
fn own_adverts_that_come_back_are_a_loop_and_told_once() {
    // OpenBSD: "replay or network loop detected".
    let mut daemon = Daemon::listening(vec![group()]);
    let mut own: Vec<_> = daemon.advance(ms(5000));
    own.retain(|step| step.words.starts_with("advert"));
    assert_eq!(own.len(), 3);

    let first = daemon.hear(&own[0].frame[14..]);
    let others: Vec<_> = own[1..]
        .iter()
        .flat_map(|step| daemon.hear(&step.frame[14..]))
        .collect();

    assert_eq!(words(&first), ["log looped"]);
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(daemon.view(G0).counters.looped, 3);
    assert_eq!(daemon.view(G0).counters.adverts_received, 0);
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn a_backup_does_not_follow_its_own_adverts() {
    let mut daemon = Daemon::listening(vec![group()]);
    let own = daemon.advance(ms(3000))[0].frame.clone();
    daemon.handle(Input::StepDown { group: None });
    let timeout = daemon.engine.poll_timeout();
    daemon.stall(ms(100));

    daemon.hear(&own[14..]);

    assert_eq!(daemon.engine.poll_timeout(), timeout);
}

#[test]
fn an_adopted_counter_is_no_loop() {
    // UCARP adopts the counter of whoever it heard (carp.c:534-538).
    let mut daemon = Daemon::listening(vec![group()]);
    let own = daemon.advance(ms(3000))[0].frame.clone();
    let (_, advert) = Advertisement::parse(&own[14..]).unwrap();
    let mut neighbour = Neighbour::new(LOWER);
    neighbour.counter = advert.counter - 1;

    daemon.hear(&neighbour.advert(0, 1));

    assert_eq!(daemon.view(G0).counters.looped, 0);
    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn a_host_with_our_address_is_told_once_and_takes_part() {
    // UCARP drops its adverts unseen, and both stay master (carp.c:434).
    let mut daemon = Daemon::listening(vec![group()]);
    let own = daemon.advance(ms(3000))[0].frame.clone();
    let (_, advert) = Advertisement::parse(&own[14..]).unwrap();
    let mut twin = Neighbour::new(up(ETH0).address.unwrap());
    // One that this host has not sent yet.
    twin.counter = advert.counter;

    let first = daemon.hear(&twin.advert(1, 1));
    let second = daemon.hear(&twin.advert(1, 1));

    assert_eq!(count(&first, "log same source 10.0.0.5"), 1);
    assert_eq!(count(&second, "log"), 0);
    assert_eq!(daemon.view(G0).counters.adverts_received, 2);
}

#[test]
fn each_advert_carries_the_next_counter_whatever_peers_send() {
    // Sending OpenBSD its own counter back is a loop to it: carp-rs does so.
    let mut daemon = Daemon::master();
    let mut neighbour = Neighbour::new(HIGHER);

    let mut steps = Vec::new();
    for _ in 0..5 {
        steps.extend(daemon.hear(&neighbour.advert(1, 100)));
        steps.extend(daemon.advance(ms(1000)));
    }
    steps.extend(daemon.handle(Input::StepDown { group: None }));

    let counters = counters(&steps);
    assert_eq!(counters.len(), 5 + 5 + 2);
    for pair in counters.windows(2) {
        assert_eq!(pair[1], pair[0] + 1);
    }
}

/// The counters of all adverts and bow-outs among the steps.
fn counters(steps: &[Step]) -> Vec<u64> {
    let adverts = steps
        .iter()
        .filter(|step| step.words.starts_with("advert") || step.words.starts_with("bow-out"));
    adverts
        .map(|step| Advertisement::parse(&step.frame[14..]).unwrap().1.counter)
        .collect()
}

#[test]
fn counters_begin_elsewhere_for_each_group_and_each_start() {
    let started_with = |seed| {
        let beside = GroupConfig {
            vhid: vhid(8),
            ..group()
        };
        let mut daemon = Daemon::seeded(vec![group(), beside], seed);
        daemon.link(ETH0, up(ETH0));
        counters(&daemon.advance(ms(3000)))
    };

    let mut first = [started_with(1), started_with(2)].concat();

    assert_eq!(first.len(), 4);
    assert_eq!(started_with(1), first[..2], "nothing but the seed decides");
    first.sort_unstable();
    for pair in first.windows(2) {
        assert!(pair[1] - pair[0] > 1 << 32, "{first:?}");
    }
}

#[test]
fn an_advert_is_sent_from_the_interfaces_own_mac_and_address() {
    // UCARP forges 00:00:5e:00:00:vhid, which hypervisors drop (UCarp#19).
    let mut daemon = Daemon::listening(vec![group()]);

    let frame = daemon.advance(ms(3000))[0].frame.clone();

    assert_eq!(frame.len(), 78);
    assert_eq!(frame[..6], [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12]);
    assert_eq!(frame[6..12], [2, 0, 0, 0, 0, 5]);
    assert_eq!(frame[26..30], [10, 0, 0, 5]);
}

#[test]
fn a_peer_of_the_same_rank_is_told_once() {
    let mut daemon = Daemon::listening(vec![group()]);
    let mut peer = Neighbour::new(HIGHER);

    let steps = hear_for_a_minute(&mut daemon, || peer.advert(1, 0));

    assert_eq!(words(&steps), ["log equal timers of 10.0.0.6"]);
}

#[test]
fn a_bad_digest_is_explained_once_and_counted_by_its_reason() {
    let mut daemon = Daemon::listening(vec![group()]);
    let second = Ipv4Addr::new(10, 0, 0, 101);
    let with = |password: &[u8], vips: Vec<Ipv4Addr>| GroupConfig {
        auth: Auth::new(Key::from_passphrase(password).unwrap(), Policy::Off),
        vips,
        ..group()
    };
    let mut other = Neighbour::of(&with(b"Secret", vec![VIP]), HIGHER);
    let mut more = Neighbour::of(&with(b"secret", vec![VIP, second]), LOWER);
    let mut logged = 0;
    for _ in 0..5 {
        daemon.stall(ms(2000));
        logged += count(&daemon.hear(&other.advert(1, 0)), "log bad digest");
        daemon.stall(ms(2000));
        logged += count(&daemon.hear(&more.advert(1, 0)), "log bad digest");
    }
    let counters = daemon.view(G0).counters;
    assert_eq!(
        (counters.bad_digest, counters.bad_digest_addresses),
        (10, 5)
    );
    assert_eq!(counters.adverts_received, 0);
    assert_eq!(logged, 2, "one line for each reason");

    daemon.stall(ms(61_000));
    daemon.engine.handle(
        Input::Datagram {
            interface: ETH0,
            bytes: &more.advert(1, 0),
        },
        daemon.now,
    );
    let difference = Difference::HasToo(second);
    let said = std::iter::from_fn(|| daemon.engine.poll_output()).any(|output| {
        matches!(
            output,
            Output::Log(Event::BadDigest { mismatch: Mismatch::Addresses(found), .. })
                if found == difference
        )
    });
    assert!(said);
}

#[test]
fn a_vrrp_router_with_the_groups_number_is_named() {
    let mut daemon = Daemon::listening(vec![group()]);
    // One address, no authentication, priority 100; from keepalived, 10.0.0.6.
    let vrrp2 = |router: u8| {
        let mut bytes = vec![
            0x45, 0, 0, 40, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 6, 224, 0, 0, 18,
        ];
        bytes.extend([0x21, router, 100, 1, 0, 1, 0, 0, 10, 0, 0, 200]);
        bytes.extend([0; 8]);
        for (from, to, at) in [(0, 20, 10), (20, 40, 26)] {
            let sum: u32 = bytes[from..to]
                .chunks(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    };
    assert_eq!(words(&daemon.hear(&vrrp2(7))), ["log vrrp router 10.0.0.6"]);
    assert_eq!(words(&daemon.hear(&vrrp2(7))), [""; 0], "once");
    assert_eq!(
        words(&daemon.hear(&vrrp2(8))),
        [""; 0],
        "it is nobody's here"
    );
    assert_eq!(daemon.view(G0).counters.vrrp, 2);
}
