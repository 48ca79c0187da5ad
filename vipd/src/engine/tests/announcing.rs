//! Who is told that this host answers, and how often.

use super::*;

const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn conflict() -> Input<'static> {
    Input::Conflict {
        group: G0,
        mac: OTHER_MAC,
        address: VIP,
    }
}

/// When there was a round of announcements, in milliseconds after `T0`.
fn rounds(steps: &[Step]) -> Vec<u128> {
    let requests = steps
        .iter()
        .filter(|step| step.words.starts_with("request"));
    requests.map(|step| step.at.since(T0).as_millis()).collect()
}

#[test]
fn a_takeover_is_announced_in_five_rounds_beyond_the_locktime_of_linux() {
    // arp(7), `locktime`: an entry younger than a second does not change.
    let mut daemon = Daemon::listening(vec![group()]);

    let steps = daemon.advance(ms(60_000));

    assert_eq!(rounds(&steps), [3000, 4100, 5200, 6300, 7400]);
    assert_eq!(count(&steps, "reply"), 5);
    assert_eq!(daemon.view(G0).counters.announcements, 10);
}

#[test]
fn each_address_is_announced_in_both_forms() {
    let vips = [100, 101, 102].map(|last| Ipv4Addr::new(10, 0, 0, last));
    let config = GroupConfig {
        vips: vips.to_vec(),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![config]);

    let mut steps = daemon.advance(ms(10_000));

    steps.retain(|step| step.words.starts_with("re"));
    steps.retain(|step| step.words != "remove");
    assert_eq!(steps.len(), 5 * 2 * 3);
    let round = [
        "request 10.0.0.100",
        "reply 10.0.0.100",
        "request 10.0.0.101",
        "reply 10.0.0.101",
        "request 10.0.0.102",
        "reply 10.0.0.102",
    ];
    for rows in steps.chunks(6) {
        assert_eq!(words(rows), round);
    }
}

#[test]
fn an_announcement_is_a_broadcast_from_the_own_mac_about_the_address() {
    let mut daemon = Daemon::listening(vec![group()]);

    let steps = daemon.advance(ms(3000));

    #[rustfmt::skip]
    let request = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // to everybody
        2, 0, 0, 0, 0, 5,                   // from this host
        0x08, 0x06,                         // ARP
        0, 1, 8, 0, 6, 4,                   // for IPv4 over Ethernet
        0, 1,                               // a request
        2, 0, 0, 0, 0, 5, 10, 0, 0, 100,    // this host has the address
        0, 0, 0, 0, 0, 0, 10, 0, 0, 100,    // and asks for it
    ];
    #[rustfmt::skip]
    let reply = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        2, 0, 0, 0, 0, 5,
        0x08, 0x06,
        0, 1, 8, 0, 6, 4,
        0, 2,                               // a reply
        2, 0, 0, 0, 0, 5, 10, 0, 0, 100,
        2, 0, 0, 0, 0, 5, 10, 0, 0, 100,
    ];
    assert_eq!(steps[3].frame, request);
    assert_eq!(steps[4].frame, reply);
}

#[test]
fn giving_up_ends_the_announcements() {
    let mut daemon = Daemon::master();
    daemon.handle(Input::StepDown { group: None });

    let steps = daemon.advance(ms(5000));

    assert_eq!(words(&steps), ["remove"]);
}

#[test]
fn every_takeover_is_announced_in_full() {
    let mut daemon = Daemon::master();
    daemon.handle(Input::StepDown { group: None });

    let steps = daemon.advance(ms(20_000));

    assert_eq!(rounds(&steps), [9000, 10_100, 11_200, 12_300, 13_400]);
}

#[test]
fn a_conflict_is_answered_at_once_and_told_once() {
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));

    let first = daemon.handle(conflict());
    let second = daemon.handle(conflict());

    let expected = [
        "log conflict about 10.0.0.100 with 02:00:00:00:00:09",
        "request 10.0.0.100",
        "reply 10.0.0.100",
    ];
    assert_eq!(words(&first), expected);
    assert_eq!(words(&second), expected[1..]);
    assert_eq!(daemon.view(G0).counters.conflicts, 2);
}

#[test]
fn conflicts_without_end_are_answered_once_a_second() {
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));

    let mut steps = Vec::new();
    for _ in 0..10_000 {
        steps.extend(daemon.handle(conflict()));
        steps.extend(daemon.advance(ms(1)));
    }

    // Three at once, then one a second.
    assert_eq!(rounds(&steps).len(), 13);
    assert_eq!(count(&steps, "log"), 1);
    assert_eq!(count(&steps, "advert"), 10, "its beat, no more");
    assert_eq!(daemon.view(G0).counters.conflicts, 10_000);
}

#[test]
fn a_conflict_is_answered_in_three_rounds() {
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));

    let mut steps = daemon.handle(conflict());
    steps.extend(daemon.advance(ms(20_000)));

    assert_eq!(rounds(&steps), [23_000, 24_100, 25_200]);
}

#[test]
fn announcements_that_fail_are_owed_until_they_get_out() {
    // Found by the simulator: an interface that could send nothing while another
    // host's claim was to be answered, and not long enough for the lease to end.
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));

    daemon.failing.insert(Effect::Announce);
    let mut failed = daemon.handle(conflict());
    failed.extend(daemon.advance(ms(60_000)));
    daemon.failing.clear();
    let announced = rounds(&daemon.advance(ms(20_000)));

    assert_eq!(announced.len(), 3, "{announced:?}");
    assert!(announced[0] <= 83_000 + 1100, "{announced:?}");
    let tried = rounds(&failed);
    assert_eq!(tried.len(), 60_000 / 1100 + 1, "{tried:?}");
    assert_eq!(count(&failed, "log"), 1, "the conflict");
}

#[test]
fn a_master_that_was_relieved_owes_no_announcement() {
    let mut daemon = Daemon::master();
    daemon.failing.insert(Effect::Announce);
    daemon.handle(conflict());

    daemon.hear(&Neighbour::new(LOWER).advert(0, 1));
    daemon.handle(Input::Failed {
        group: G0,
        effect: Effect::Announce,
    });

    assert_eq!(daemon.role(G0), Role::Backup);
    assert_eq!(count(&daemon.advance(ms(2900)), "request"), 0);
}

#[test]
fn a_conflict_takes_no_round_from_a_takeover() {
    let mut daemon = Daemon::listening(vec![group()]);
    let mut steps = daemon.advance(ms(3000));

    steps.extend(daemon.handle(conflict()));
    steps.extend(daemon.advance(ms(20_000)));

    assert_eq!(rounds(&steps), [3000, 3000, 4100, 5200, 6300]);
}

#[test]
fn a_backup_has_no_conflict_to_answer() {
    let mut daemon = Daemon::listening(vec![group()]);

    let steps = daemon.handle(conflict());

    assert_eq!(count(&steps, "log conflict"), 1);
    assert_eq!(steps.len(), 1);
    assert_eq!(daemon.view(G0).counters.conflicts, 1);
}

#[test]
fn a_claim_that_is_not_yet_answered_for_is_not_defended_by_announcements() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.places_at_once = false;
    daemon.advance(ms(3000));

    let conflicts = daemon.handle(conflict());
    let challenges = daemon.hear(&Neighbour::new(HIGHER).advert(1, 100));

    assert_eq!(count(&conflicts, "request"), 0);
    assert_eq!(
        words(&challenges),
        ["log challenged by 10.0.0.6", "advert 1/0"]
    );
}

#[test]
fn a_challenge_is_answered_with_an_advert_and_an_announcement() {
    // UCARP leaves the loser waiting for the next beat (carp.c:557-626).
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_500));

    let steps = daemon.hear(&Neighbour::new(HIGHER).advert(1, 100));

    let expected = [
        "log challenged by 10.0.0.6",
        "advert 1/0",
        "request 10.0.0.100",
        "reply 10.0.0.100",
        "lease",
    ];
    assert_eq!(words(&steps), expected);
}

#[test]
fn challenges_without_end_are_answered_at_a_bounded_rate() {
    // UCARP announces for each: 10,000 replays made 10,001 announcements
    // (carp.c:586-592).
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));
    let mut neighbour = Neighbour::new(HIGHER);

    let mut steps = Vec::new();
    for _ in 0..10_000 {
        steps.extend(daemon.hear(&neighbour.advert(1, 100)));
        steps.extend(daemon.advance(ms(1)));
    }

    // Three at once, then one a second.
    assert_eq!(rounds(&steps).len(), 13);
    assert_eq!(
        count(&steps, "advert"),
        100 + 10,
        "ten a second and its beat"
    );
    assert_eq!(count(&steps, "log"), 1);
    assert_eq!(daemon.view(G0).counters.challenges, 10_000);
}

#[test]
fn a_bow_out_heard_by_a_master_is_announced_over_but_no_challenge_to_tell_of() {
    // Two were master and the other leaves: its clients must come here.
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_500));

    let steps = daemon.hear(&Neighbour::new(HIGHER).advert(255, 255));

    assert_eq!(count(&steps, "log"), 0);
    assert_eq!(count(&steps, "request"), 1);
}

fn lost(address: Ipv4Addr) -> Input<'static> {
    Input::AddressLost {
        interface: ETH0,
        address,
    }
}

#[test]
fn a_lost_address_is_put_back_and_told_once() {
    let mut daemon = Daemon::master();

    let first = daemon.handle(lost(VIP));
    let second = daemon.handle(lost(VIP));

    assert_eq!(words(&first), ["log lost 10.0.0.100", "place"]);
    assert_eq!(words(&second), ["place"]);
    assert_eq!(daemon.view(G0).counters.addresses_lost, 2);
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn an_address_is_put_back_only_where_this_host_placed_it() {
    let with = |placement| {
        let config = GroupConfig {
            placement,
            ..group()
        };
        Daemon::listening(vec![config])
    };
    let mut backup = with(Placement::Interface);
    assert!(backup.handle(lost(VIP)).is_empty());

    let mut placing = with(Placement::Interface);
    placing.places_at_once = false;
    placing.advance(ms(3000));
    assert!(placing.handle(lost(VIP)).is_empty());

    for placement in [Placement::Loopback, Placement::None] {
        let mut daemon = with(placement);
        daemon.advance(ms(3000));
        assert!(daemon.handle(lost(VIP)).is_empty(), "{placement:?}");
    }

    let mut master = Daemon::master();
    let foreign = Ipv4Addr::new(10, 0, 0, 101);
    assert!(master.handle(lost(foreign)).is_empty());
    let elsewhere = Input::AddressLost {
        interface: ETH1,
        address: VIP,
    };
    assert!(master.handle(elsewhere).is_empty());
}
