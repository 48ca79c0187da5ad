//! The order of effects, for each change of role.
//!
//! Taking over: advert, addresses, lease, announcements. Giving up: silence,
//! bow-out or farewell, addresses.

use super::*;

fn placed(placement: Placement) -> GroupConfig {
    GroupConfig {
        placement,
        ..group()
    }
}

#[test]
fn a_start_clears_what_an_earlier_run_may_have_left() {
    let mut daemon = Daemon::new(vec![group()]);

    let steps = daemon.link(ETH0, up(ETH0));

    assert_eq!(
        words(&steps),
        ["silence", "remove", "log init to backup: start"]
    );
}

#[test]
fn a_start_leaves_addresses_alone_that_are_not_on_the_interface() {
    for placement in [Placement::Loopback, Placement::None] {
        let mut daemon = Daemon::new(vec![placed(placement)]);

        let steps = daemon.link(ETH0, up(ETH0));

        assert_eq!(words(&steps), ["silence", "log init to backup: start"]);
    }
}

#[test]
fn taking_over_is_advert_then_address_then_lease_then_announcement() {
    let mut daemon = Daemon::listening(vec![group()]);

    let steps = daemon.advance(ms(3000));

    assert_eq!(words(&steps), TAKEOVER);
}

#[test]
fn taking_over_places_nothing_where_the_addresses_are_there_already() {
    for placement in [Placement::Loopback, Placement::None] {
        let mut daemon = Daemon::listening(vec![placed(placement)]);

        let steps = daemon.advance(ms(3000));

        let expected = [
            "advert 1/0",
            "lease",
            "request 10.0.0.100",
            "reply 10.0.0.100",
            "log backup to master: master_timeout",
        ];
        assert_eq!(words(&steps), expected);
    }
}

#[test]
fn nothing_is_answered_or_announced_before_the_addresses_are_placed() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.places_at_once = false;

    let before = daemon.advance(ms(3000));
    assert_eq!(words(&before), TAKEOVER[..2]);
    assert_eq!(daemon.lease(), None);
    daemon.stall(ms(20));
    let after = daemon.handle(Input::Placed { group: G0 });

    assert_eq!(words(&after), TAKEOVER[2..]);
}

#[test]
fn taking_over_is_the_same_for_whatever_reason() {
    let with = |preempt, adverts: &[(u8, u8)]| {
        let mut daemon = Daemon::listening(vec![GroupConfig { preempt, ..group() }]);
        let mut neighbour = Neighbour::new(HIGHER);
        for (advbase, advskew) in adverts {
            daemon.hear(&neighbour.advert(*advbase, *advskew));
        }
        daemon.advance(ms(0))
    };
    let cases = [
        (with(true, &[(1, 100)]), "preempt"),
        (with(false, &[(3, 1)]), "master_too_slow"),
        (with(false, &[(1, 100), (255, 255)]), "master_resigned"),
    ];
    for (steps, reason) in cases {
        let log = format!("log backup to master: {reason}");
        assert_eq!(words(&steps)[..5], TAKEOVER[..5], "{reason}");
        assert_eq!(words(&steps)[5..], [log]);
    }
}

/// Makes a master give up for this reason; the steps from then on.
fn give_up(daemon: &mut Daemon, reason: Reason) -> Vec<Step> {
    match reason {
        Reason::BetterMaster => {
            // By the same advbase and skew it cannot be better: the group has 1/10.
            daemon.hear(&Neighbour::new(HIGHER).advert(1, 0))
        }
        Reason::TieLost => {
            let steps = daemon.hear(&Neighbour::new(LOWER).advert(1, 10));
            assert_eq!(words(&steps)[0], "log equal timers of 10.0.0.4");
            steps[1..].to_vec()
        }
        Reason::StepDown => daemon.handle(Input::StepDown { group: None }),
        Reason::Unfit => daemon.handle(Input::Fitness {
            group: G0,
            fitness: Fitness {
                demotion: 0,
                withheld: true,
            },
        }),
        Reason::LinkDown => {
            let link = Link {
                up: false,
                ..up(ETH0)
            };
            daemon.link(ETH0, link)
        }
        Reason::LeaseExpired => {
            daemon.stall(LEASE);
            daemon.handle(Input::Deadline)
        }
        Reason::MapFault | Reason::AddressFault => {
            let effect = if reason == Reason::MapFault {
                Effect::Map
            } else {
                Effect::Address
            };
            daemon.handle(Input::Failed { group: G0, effect })
        }
        Reason::Shutdown => daemon.handle(Input::Shutdown),
        Reason::Start
        | Reason::LinkUp
        | Reason::MasterTimeout
        | Reason::MasterResigned
        | Reason::MasterTooSlow
        | Reason::Preempt
        | Reason::MasterDemoted
        | Reason::Resumed => panic!("{reason:?} ends no mastership"),
    }
}

/// A master that advertises 1/10, just after its takeover.
fn master_with(placement: Placement) -> Daemon {
    let config = GroupConfig {
        timing: timing(1, 10, 3),
        ..placed(placement)
    };
    let mut daemon = Daemon::listening(vec![config]);
    daemon.advance(ms(3040));
    assert_eq!(daemon.role(G0), Role::Master);
    daemon
}

const LAST_WORDS: [(Reason, &[&str], &str); 9] = [
    (Reason::BetterMaster, &["farewell 1/255"], "backup"),
    (Reason::TieLost, &["farewell 1/255"], "backup"),
    (
        Reason::StepDown,
        &["bow-out 255/255", "bow-out 255/255"],
        "backup",
    ),
    (
        Reason::Unfit,
        &["bow-out 255/255", "bow-out 255/255"],
        "backup",
    ),
    (Reason::LinkDown, &[], "init"),
    (Reason::LeaseExpired, &[], "backup"),
    (
        Reason::MapFault,
        &["bow-out 255/255", "bow-out 255/255"],
        "backup",
    ),
    (
        Reason::AddressFault,
        &["bow-out 255/255", "bow-out 255/255"],
        "backup",
    ),
    (
        Reason::Shutdown,
        &["bow-out 255/255", "bow-out 255/255"],
        "init",
    ),
];

#[test]
fn giving_up_is_silence_then_last_words_then_the_addresses() {
    for (reason, last_words, role) in LAST_WORDS {
        let mut daemon = master_with(Placement::Interface);

        let steps = give_up(&mut daemon, reason);

        let log = format!("log master to {role}: {}", reason.as_str());
        // Whose role another host takes over still serves the clients that do
        // not know yet.
        let drains = matches!(
            reason,
            Reason::BetterMaster
                | Reason::TieLost
                | Reason::StepDown
                | Reason::Unfit
                | Reason::Shutdown
        );
        let mut expected = vec!["silence"];
        expected.extend(last_words);
        expected.extend((!drains).then_some("remove"));
        expected.push(&log);
        assert_eq!(words(&steps), expected);
        assert_eq!(daemon.lease(), None);
        if drains {
            assert_eq!(words(&daemon.advance(ms(1300))), ["remove"], "{reason:?}");
        }
    }
}

#[test]
fn giving_up_removes_no_addresses_that_are_not_placed_on_the_interface() {
    for placement in [Placement::Loopback, Placement::None] {
        for (reason, last_words, _) in LAST_WORDS {
            let mut daemon = master_with(placement);

            let steps = give_up(&mut daemon, reason);

            assert_eq!(words(&steps)[1..=last_words.len()], *last_words);
            assert_eq!(steps.len(), last_words.len() + 2, "{reason:?}");
        }
    }
}

#[test]
fn giving_up_while_the_addresses_are_being_placed_removes_them() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.places_at_once = false;
    daemon.advance(ms(3000));

    let steps = daemon.handle(Input::StepDown { group: None });
    let late = daemon.handle(Input::Placed { group: G0 });

    let expected = [
        "silence",
        "bow-out 255/255",
        "bow-out 255/255",
        "remove",
        "log backup to master: master_timeout",
        "log master to backup: step_down",
    ];
    assert_eq!(words(&steps), expected);
    assert!(late.is_empty(), "{late:?}");
}

/// A backup that preempts a vipd master, up to and with its first advert.
fn preempting(placement: Placement) -> (Daemon, Neighbour) {
    let mut daemon = Daemon::listening(vec![GroupConfig {
        preempt: true,
        ..placed(placement)
    }]);
    let mut master = Neighbour {
        is_vipd: true,
        ..Neighbour::new(HIGHER)
    };
    daemon.hear(&master.advert(1, 100));
    let steps = daemon.advance(ms(0));
    assert_eq!(words(&steps)[0], TAKEOVER[0]);
    assert_eq!(daemon.lease(), None, "the master may still answer");
    (daemon, master)
}

#[test]
fn a_living_vipd_master_is_waited_for_until_it_says_farewell() {
    for placement in [Placement::Interface, Placement::Loopback, Placement::None] {
        let (mut daemon, mut master) = preempting(placement);

        let steps = daemon.hear(&master.advert(1, 255));

        assert_eq!(words(&steps)[0], "lease", "{placement:?}");
        assert_eq!(daemon.lease(), Some(daemon.now + LEASE));
    }
}

#[test]
fn a_vipd_master_that_says_nothing_is_waited_for_until_its_lease_has_ended() {
    let (mut daemon, _) = preempting(Placement::Interface);
    let heard = daemon.now;
    // And a little longer: what it sent at its end may be on its way.
    let lease = timing(1, 100, 3).earliest_takeover();

    let before = daemon.advance(lease - ms(1));
    assert_eq!(count(&before, "lease"), 0, "{before:?}");
    let after = daemon.advance(ms(1));

    assert_eq!(daemon.now, heard + lease);
    assert!(count(&after, "lease") > 0, "{after:?}");
}

#[test]
fn a_vipd_master_that_does_not_hear_this_host_keeps_the_right_to_answer() {
    let (mut daemon, mut master) = preempting(Placement::Interface);

    for _ in 0..20 {
        daemon.advance(ms(1000));
        daemon.hear(&master.advert(1, 100));
        assert_eq!(daemon.lease(), None);
    }
}

#[test]
fn who_is_stopped_in_the_middle_of_a_claim_first_reads_whether_the_lease_was_renewed() {
    // With a dead ratio of 1 the lease before ends sooner than the claim lapses.
    let mut daemon = Daemon::listening(vec![GroupConfig {
        preempt: true,
        timing: timing(1, 0, 1),
        ..placed(Placement::None)
    }]);
    let mut master = Neighbour {
        is_vipd: true,
        ..Neighbour::new(HIGHER)
    };
    daemon.hear(&master.advert(1, 100));
    daemon.stall(ms(900));
    daemon.send_duration = ms(1500);
    daemon.hear(&master.advert(1, 100));
    let mut steps = daemon.advance(ms(0));
    assert_eq!(words(&steps)[0], TAKEOVER[0]);
    daemon.send_duration = ms(0);

    // What the master has sent meanwhile waits in the socket.
    steps.extend(daemon.hear(&master.advert(1, 100)));
    steps.extend(daemon.handle(Input::Deadline));

    assert_eq!(count(&steps, "lease"), 0, "{:?}", words(&steps));
    assert_eq!(daemon.lease(), None);
}

#[test]
fn an_address_that_is_lost_while_the_master_before_is_waited_for_is_put_back() {
    let (mut daemon, _) = preempting(Placement::Interface);

    let steps = daemon.handle(Input::AddressLost {
        interface: ETH0,
        address: Ipv4Addr::new(10, 0, 0, 100),
    });

    assert_eq!(count(&steps, "place"), 1, "{steps:?}");
}

#[test]
fn a_legacy_master_is_not_waited_for() {
    // CARP's rule: it has no lease, and its farewell looks like any advert.
    let mut daemon = Daemon::listening(vec![GroupConfig {
        preempt: true,
        ..group()
    }]);
    daemon.hear(&Neighbour::new(HIGHER).advert(1, 100));

    daemon.advance(ms(0));

    assert_eq!(daemon.lease(), Some(daemon.now + LEASE));
}

#[test]
fn the_addresses_come_off_soon_after_a_successor_is_heard() {
    let mut daemon = Daemon::master();
    daemon.handle(Input::Shutdown);
    daemon.advance(ms(400));

    daemon.hear(&Neighbour::new(HIGHER).advert(255, 255));
    assert!(
        daemon.advance(ms(250)).is_empty(),
        "a bow-out is no successor's"
    );
    daemon.hear(&Neighbour::new(HIGHER).advert(1, 0));
    assert!(daemon.advance(ms(249)).is_empty());

    assert_eq!(words(&daemon.advance(ms(1))), ["remove"]);
}

#[test]
fn a_host_that_is_master_again_keeps_its_addresses() {
    let mut daemon = Daemon::master();
    daemon.hear(&Neighbour::new(HIGHER).advert(0, 1));
    daemon.hear(&Neighbour::new(HIGHER).advert(255, 255));

    let steps = daemon.advance(ms(5000));

    assert_eq!(count(&steps, "lease"), 6);
    assert_eq!(count(&steps, "remove"), 0);
}

#[test]
fn a_new_daemon_goes_on_with_the_lease_of_the_one_before_it() {
    let mut daemon = Daemon::new(vec![group()]);
    let until = daemon.now + ms(700);
    daemon.handle(Input::Adopt {
        group: G0,
        until,
        session: Session(7),
    });

    let steps = daemon.link(ETH0, up(ETH0));

    let expected = [
        "advert 1/0",
        "place",
        "request 10.0.0.100",
        "reply 10.0.0.100",
        "log init to master: resumed",
        "lease",
    ];
    assert_eq!(words(&steps), expected);
    assert_eq!(daemon.role(G0), Role::Master);
    assert_eq!(daemon.lease(), Some(daemon.now + LEASE));
}

#[test]
fn a_lease_is_given_up_where_the_end_comes_before_it_is_gone_on_with() {
    let mut daemon = Daemon::new(vec![group()]);
    let until = daemon.now + ms(700);
    daemon.handle(Input::Adopt {
        group: G0,
        until,
        session: Session(7),
    });

    let steps = daemon.handle(Input::Shutdown);

    // The address is where the earlier daemon put it.
    assert_eq!(words(&steps), ["silence", "remove"]);
}

#[test]
fn a_lease_that_has_ended_is_not_gone_on_with() {
    let mut daemon = Daemon::new(vec![group()]);
    let until = daemon.now;
    daemon.handle(Input::Adopt {
        group: G0,
        until,
        session: Session(7),
    });

    let steps = daemon.link(ETH0, up(ETH0));

    assert_eq!(words(&steps)[0], "silence");
    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn a_lease_that_this_host_could_not_have_given_itself_is_not_gone_on_with() {
    // Found by fuzzing: whatever stood in the map was believed, for years.
    for too_long in [LEASE + ms(1), Duration::from_secs(1 << 40)] {
        let mut daemon = Daemon::new(vec![group()]);
        let until = daemon.now + too_long;

        let adopted = daemon.handle(Input::Adopt {
            group: G0,
            until,
            session: Session(7),
        });
        daemon.link(ETH0, up(ETH0));

        assert_eq!(words(&adopted), ["silence"]);
        assert_eq!(daemon.role(G0), Role::Backup);
    }
}

#[test]
fn a_resumed_master_that_cannot_advertise_ends_with_the_lease() {
    let mut daemon = Daemon::new(vec![group()]);
    daemon.failing.insert(Effect::Send);
    let until = daemon.now + ms(700);
    daemon.handle(Input::Adopt {
        group: G0,
        until,
        session: Session(7),
    });
    daemon.link(ETH0, up(ETH0));

    let steps = daemon.advance(ms(700));

    assert_eq!(
        count(&steps, "log master to backup: lease_expired"),
        1,
        "{steps:?}"
    );
}

#[test]
fn a_backup_has_nothing_to_give_up() {
    let mut daemon = Daemon::listening(vec![group()]);

    let stepped = daemon.handle(Input::StepDown { group: None });
    let halted = daemon.handle(Input::Shutdown);

    assert!(stepped.is_empty(), "{stepped:?}");
    assert_eq!(words(&halted), ["log backup to init: shutdown"]);
}
