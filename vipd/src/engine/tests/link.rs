//! Interfaces come, go and change.

use super::*;

fn down() -> Link {
    Link {
        up: false,
        ..up(ETH0)
    }
}

#[test]
fn no_group_takes_part_before_its_interface_is_known() {
    let mut daemon = Daemon::new(vec![group()]);

    daemon.link(ETH1, up(ETH1));
    let steps = daemon.hear(&Neighbour::new(HIGHER).advert(255, 255));

    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(daemon.engine.poll_timeout(), None);
    assert_eq!(daemon.role(G0), Role::Init);
}

#[test]
fn no_group_takes_part_without_an_address_to_send_from() {
    let mut daemon = Daemon::new(vec![group()]);
    let bare = Link {
        address: None,
        ..up(ETH0)
    };

    let without = daemon.link(ETH0, bare);
    let with = daemon.link(ETH0, up(ETH0));

    assert!(without.is_empty(), "{without:?}");
    assert_eq!(count(&with, "log init to backup"), 1);
}

#[test]
fn a_configured_source_is_enough_to_send_from() {
    let source = Ipv4Addr::new(10, 0, 0, 77);
    let config = GroupConfig {
        source: Some(source),
        ..group()
    };
    let mut daemon = Daemon::new(vec![config]);
    let bare = Link {
        address: None,
        ..up(ETH0)
    };

    daemon.link(ETH0, bare);
    let steps = daemon.advance(ms(3000));

    let (from, _) = Advertisement::parse(&steps[0].frame[14..]).unwrap();
    assert_eq!(from, source);
}

#[test]
fn a_configured_source_goes_before_the_interfaces_address() {
    let source = Ipv4Addr::new(10, 0, 0, 77);
    let config = GroupConfig {
        source: Some(source),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![config]);

    let steps = daemon.advance(ms(3000));
    // It would win the tie with the interface's address.
    let tie = daemon.hear(&Neighbour::new(HIGHER).advert(1, 0));

    let (from, _) = Advertisement::parse(&steps[0].frame[14..]).unwrap();
    assert_eq!(from, source);
    assert_eq!(count(&tie, "log master to backup: tie_lost"), 1);
}

#[test]
fn a_group_whose_link_is_down_is_silent_until_it_is_up_and_then_listens() {
    let mut daemon = Daemon::master();

    daemon.link(ETH0, down());
    let dead = daemon.advance(ms(60_000));
    assert!(dead.is_empty(), "{dead:?}");
    let back = daemon.link(ETH0, up(ETH0));
    let quiet = daemon.advance(ms(3000) - NANOSECOND);
    let taken = daemon.advance(NANOSECOND);

    assert_eq!(
        words(&back),
        ["silence", "remove", "log init to backup: link_up"]
    );
    assert!(quiet.is_empty(), "{quiet:?}");
    assert_eq!(words(&taken), TAKEOVER);
}

#[test]
fn a_backup_whose_link_goes_down_only_says_so() {
    let mut daemon = Daemon::listening(vec![group()]);

    let first = daemon.link(ETH0, down());
    let second = daemon.link(ETH0, down());

    assert_eq!(words(&first), ["log backup to init: link_down"]);
    assert!(second.is_empty(), "{second:?}");
}

#[test]
fn a_link_that_is_down_at_the_start_is_waited_for() {
    let mut daemon = Daemon::new(vec![group()]);

    let first = daemon.link(ETH0, down());
    let second = daemon.link(ETH0, up(ETH0));

    assert!(first.is_empty(), "{first:?}");
    assert_eq!(count(&second, "log init to backup: link_up"), 1);
}

#[test]
fn a_link_that_is_told_again_changes_nothing_for_a_backup() {
    let mut daemon = Daemon::listening(vec![group()]);
    let timeout = daemon.engine.poll_timeout();

    let steps = daemon.link(ETH0, up(ETH0));

    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(daemon.engine.poll_timeout(), timeout);
    assert_eq!(daemon.engine.link(ETH0), Some(up(ETH0)));
}

#[test]
fn a_master_whose_link_is_told_again_announces_itself_at_a_bounded_rate() {
    // Found by the simulator: a link that was away for a millisecond, in which
    // another host claimed the addresses.
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));

    let first = daemon.link(ETH0, up(ETH0));
    let mut later = Vec::new();
    for _ in 0..1000 {
        later.extend(daemon.link(ETH0, up(ETH0)));
        later.extend(daemon.advance(ms(10)));
    }

    assert_eq!(words(&first), ["request 10.0.0.100", "reply 10.0.0.100"]);
    assert_eq!(count(&later, "request"), 12, "two at once, one a second");
    assert_eq!(count(&later, "advert"), 10, "its beat, no more");
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn a_master_whose_mac_changes_answers_with_it_and_announces_it() {
    let mut daemon = Daemon::master();
    daemon.advance(ms(20_000));
    let lease = daemon.lease();
    let mac = MacAddr([2, 0, 0, 0, 0, 0x55]);

    let steps = daemon.link(ETH0, Link { mac, ..up(ETH0) });
    let later = daemon.advance(ms(20_000));

    assert_eq!(
        words(&steps),
        ["lease", "request 10.0.0.100", "reply 10.0.0.100"]
    );
    assert_eq!(steps[1].frame[6..12], mac.0);
    assert_eq!(steps[1].frame[22..28], mac.0);
    assert_eq!(count(&later, "request"), 4);
    assert_eq!(daemon.map[&G0].0, mac);
    assert!(daemon.lease() > lease);
}

#[test]
fn a_new_mac_makes_no_lease_longer() {
    let mut daemon = Daemon::master();
    let lease = daemon.lease();
    daemon.stall(ms(500));

    let mac = MacAddr([2, 0, 0, 0, 0, 0x55]);
    daemon.link(ETH0, Link { mac, ..up(ETH0) });

    assert_eq!(daemon.lease(), lease);
}

#[test]
fn a_backup_whose_mac_changes_says_nothing() {
    let mut daemon = Daemon::listening(vec![group()]);
    let mac = MacAddr([2, 0, 0, 0, 0, 0x55]);

    let steps = daemon.link(ETH0, Link { mac, ..up(ETH0) });
    let taken = daemon.advance(ms(3000));

    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(words(&taken), TAKEOVER);
    assert_eq!(daemon.map[&G0].0, mac);
}

#[test]
fn the_next_advert_comes_from_the_new_address() {
    let mut daemon = Daemon::master();
    let address = Some(Ipv4Addr::new(10, 0, 0, 77));

    let steps = daemon.link(
        ETH0,
        Link {
            address,
            ..up(ETH0)
        },
    );
    let advert = &daemon.advance(ms(1000))[0];

    assert!(steps.is_empty(), "{steps:?}");
    let (from, _) = Advertisement::parse(&advert.frame[14..]).unwrap();
    assert_eq!(Some(from), address);
}

#[test]
fn an_address_that_is_taken_away_is_used_on() {
    let mut daemon = Daemon::master();

    let steps = daemon.link(
        ETH0,
        Link {
            address: None,
            ..up(ETH0)
        },
    );
    let advert = &daemon.advance(ms(1000))[0];

    assert!(steps.is_empty(), "{steps:?}");
    let (from, _) = Advertisement::parse(&advert.frame[14..]).unwrap();
    assert_eq!(Some(from), up(ETH0).address);
}
