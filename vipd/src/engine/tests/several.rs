//! Several groups, several interfaces, and the end of all of them.

use super::*;

/// vhid 8 on the first interface, beside vhid 7.
fn beside() -> GroupConfig {
    GroupConfig {
        vhid: vhid(8),
        vips: vec![Ipv4Addr::new(10, 0, 0, 108)],
        ..group()
    }
}

/// vhid 7 again, on the other interface.
fn elsewhere() -> GroupConfig {
    GroupConfig {
        interface: ETH1,
        ..group()
    }
}

fn masters(groups: Vec<GroupConfig>) -> Daemon {
    let count = groups.len();
    let mut daemon = Daemon::listening(groups);
    daemon.advance(ms(3000));
    let masters = daemon.engine.groups().filter(|g| g.role == Role::Master);
    assert_eq!(masters.count(), count);
    daemon
}

/// Those of one group.
fn of(steps: &[Step], group: GroupId) -> Vec<&str> {
    let own = steps.iter().filter(|step| step.group == group);
    own.map(|step| step.words.as_str()).collect()
}

#[test]
fn an_advert_reaches_the_group_of_its_vhid_and_interface_only() {
    let groups = || vec![group(), beside(), elsewhere()];
    for (sender, interface, heard) in [
        (group(), ETH0, GroupId(0)),
        (beside(), ETH0, GroupId(1)),
        (elsewhere(), ETH1, GroupId(2)),
    ] {
        let mut daemon = masters(groups());

        let advert = Neighbour::of(&sender, LOWER).advert(0, 1);
        let steps = daemon.hear_on(interface, &advert);

        assert!(steps.iter().all(|step| step.group == heard), "{steps:?}");
        for id in [0, 1, 2].map(GroupId) {
            let expected = if id == heard {
                Role::Backup
            } else {
                Role::Master
            };
            assert_eq!(daemon.role(id), expected);
        }
    }
}

#[test]
fn groups_of_one_interface_do_not_disturb_each_other() {
    let mut alone = masters(vec![group()]);
    let expected = alone.advance(ms(30_000));

    let mut daemon = masters(vec![group(), beside()]);
    let mut loud = Neighbour::of(&beside(), HIGHER);
    let mut steps = Vec::new();
    for _ in 0..300 {
        steps.extend(daemon.hear(&loud.advert(1, 100)));
        steps.extend(daemon.advance(ms(100)));
    }

    assert_eq!(of(&steps, G0), words(&expected));
    assert!(daemon.view(G1).counters.challenges == 300);
    assert_eq!(daemon.view(G0).counters, alone.view(G0).counters);
}

#[test]
fn a_link_that_goes_down_halts_all_its_groups_and_no_others() {
    let mut daemon = masters(vec![group(), beside(), elsewhere()]);

    let down = Link {
        up: false,
        ..up(ETH0)
    };
    let steps = daemon.link(ETH0, down);

    for id in [G0, G1] {
        assert_eq!(
            of(&steps, id),
            ["silence", "remove", "log master to init: link_down"]
        );
    }
    assert!(of(&steps, GroupId(2)).is_empty());
    assert_eq!(daemon.role(GroupId(2)), Role::Master);
}

#[test]
fn stepping_down_concerns_one_group_or_all() {
    let mut one = masters(vec![group(), beside(), elsewhere()]);
    one.handle(Input::StepDown { group: Some(G1) });
    assert_eq!(
        [0, 1, 2].map(|id| one.role(GroupId(id))),
        [Role::Master, Role::Backup, Role::Master]
    );

    let mut all = masters(vec![group(), beside(), elsewhere()]);
    all.handle(Input::StepDown { group: None });
    assert_eq!([0, 1, 2].map(|id| all.role(GroupId(id))), [Role::Backup; 3]);
}

#[test]
fn a_stepped_down_group_leaves_the_role_to_others_for_a_while() {
    let mut daemon = Daemon::listening(vec![GroupConfig {
        preempt: true,
        ..group()
    }]);
    daemon.advance(ms(3000));
    daemon.handle(Input::StepDown { group: Some(G0) });
    let mut successor = Neighbour::new(HIGHER);

    let mut steps = Vec::new();
    for _ in 0..5 {
        daemon.hear(&successor.advert(1, 100));
        steps.extend(daemon.advance(ms(990)));
    }

    assert_eq!(count(&steps, "log backup to master: preempt"), 1);
    let back = daemon.view(G0).since.unwrap().0;
    // At the first advert that was heard three seconds after or later.
    assert_eq!(back, T0 + ms(3000 + 4 * 990));
}

#[test]
fn the_earliest_deadline_of_all_groups_is_the_engines() {
    let slow = GroupConfig {
        timing: timing(10, 0, 3),
        ..beside()
    };
    let mut daemon = Daemon::listening(vec![slow, group()]);
    assert_eq!(daemon.engine.poll_timeout(), Some(T0 + ms(3000)));

    daemon.hear(&Neighbour::new(HIGHER).advert(20, 0));
    assert_eq!(daemon.engine.poll_timeout(), Some(T0), "too slow: at once");

    daemon.advance(ms(0));
    assert_eq!(daemon.role(G1), Role::Master);
    assert_eq!(
        daemon.engine.poll_timeout(),
        Some(T0 + ms(1000)),
        "its beat"
    );
    daemon.advance(ms(1000));
    assert_eq!(
        daemon.engine.poll_timeout(),
        Some(T0 + ms(1100)),
        "its second announcement"
    );
}

#[test]
fn the_end_of_a_lease_is_a_deadline_too() {
    let mut daemon = Daemon::listening(vec![GroupConfig {
        timing: timing(1, 0, 3),
        placement: Placement::None,
        ..group()
    }]);
    daemon.advance(ms(10_000));
    daemon.failing.insert(Effect::Send);

    daemon.advance(ms(2000));

    // Its third missed beat would be at 13 s.
    assert_eq!(daemon.engine.poll_timeout(), Some(T0 + ms(10_000) + LEASE));
}

#[test]
fn a_deadline_handed_in_early_does_nothing() {
    for mut daemon in [Daemon::listening(vec![group()]), Daemon::master()] {
        let timeout = daemon.engine.poll_timeout().unwrap();
        daemon.now = timeout - NANOSECOND;

        let steps = daemon.handle(Input::Deadline);

        assert!(steps.is_empty(), "{steps:?}");
        assert_eq!(daemon.engine.poll_timeout(), Some(timeout));
    }
}

#[test]
fn a_shutdown_falls_silent_bows_out_and_takes_the_addresses_along() {
    let mut daemon = masters(vec![group(), elsewhere()]);

    let steps = daemon.handle(Input::Shutdown);

    for id in [G0, G1] {
        let expected = [
            "silence",
            "bow-out 255/255",
            "bow-out 255/255",
            "log master to init: shutdown",
        ];
        assert_eq!(of(&steps, id), expected);
    }
    assert!(daemon.map.is_empty());
    assert!(!daemon.engine.is_drained());
    let later = daemon.advance(ms(1300));
    assert_eq!(words(&later), ["remove", "remove"]);
    assert!(daemon.engine.is_drained());
}

#[test]
fn a_shutdown_waits_for_the_clients_of_an_address_on_the_loopback_device() {
    for (placement, drains) in [(Placement::Loopback, true), (Placement::None, false)] {
        let placed = GroupConfig {
            placement,
            ..group()
        };
        let mut daemon = masters(vec![placed]);

        daemon.handle(Input::Shutdown);

        assert_eq!(daemon.engine.is_drained(), !drains, "{placement:?}");
        // The daemon removes it when it ends, whatever was its role.
        assert!(daemon.advance(ms(1300)).is_empty());
        assert!(daemon.engine.is_drained());
    }
}

#[test]
fn after_a_shutdown_nothing_is_ever_done_again() {
    let mut daemon = masters(vec![group(), elsewhere()]);
    daemon.handle(Input::Shutdown);
    daemon.advance(ms(1300));
    let foreign = GroupConfig {
        auth: Auth::new(Key::from_passphrase(b"other").unwrap(), Policy::Off),
        ..group()
    };
    let adverts = [
        Neighbour::new(HIGHER).advert(255, 255),
        Neighbour::new(HIGHER).advert(1, 0),
        Neighbour::of(&foreign, HIGHER).advert(1, 0),
    ];
    let mut inputs = vec![
        Input::Deadline,
        Input::Link {
            interface: ETH0,
            link: Link {
                up: false,
                ..up(ETH0)
            },
        },
        Input::Link {
            interface: ETH0,
            link: up(ETH0),
        },
        Input::Sent {
            group: G0,
            at: daemon.now,
        },
        Input::Placed { group: G0 },
        Input::AddressLost {
            interface: ETH0,
            address: VIP,
        },
        Input::Conflict {
            group: G0,
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
            address: VIP,
        },
        Input::StepDown { group: None },
        Input::Shutdown,
    ];
    for effect in [
        Effect::Send,
        Effect::Map,
        Effect::Address,
        Effect::Announce,
        Effect::Introduce,
    ] {
        inputs.push(Input::Failed { group: G0, effect });
    }
    for bytes in &adverts {
        inputs.push(Input::Datagram {
            interface: ETH0,
            bytes,
        });
    }

    for input in inputs {
        let steps = daemon.handle(input);
        assert!(steps.is_empty(), "{input:?}: {steps:?}");
        assert_eq!(daemon.engine.poll_timeout(), None, "{input:?}");
        assert_eq!(daemon.role(G0), Role::Init, "{input:?}");
    }
}

#[test]
fn a_view_of_a_backup_shows_whom_it_follows() {
    let mut daemon = Daemon::listening(vec![group()]);
    let before = daemon.view(G0).master;
    daemon.stall(ms(10));

    daemon.hear(&Neighbour::new(HIGHER).advert(1, 7));

    let view = daemon.view(G0);
    let master = view.master.unwrap();
    assert!(before.is_none());
    assert_eq!(master.address, HIGHER);
    assert_eq!(master.interval, Interval::new(1, 7));
    assert_eq!(view.lease, None);
    assert_eq!(view.since, Some((T0, Reason::Start)));
    assert_eq!(view.counters.transitions, 1);
}

#[test]
fn a_view_of_a_master_shows_itself_and_its_lease() {
    let daemon = Daemon::master();

    let view = daemon.view(G0);

    let master = view.master.unwrap();
    assert_eq!(Some(master.address), up(ETH0).address);
    assert_eq!(master.interval, Interval::new(1, 0));
    assert_eq!(view.lease, Some((up(ETH0).mac, T0 + ms(3000) + LEASE)));
    assert_eq!(view.since, Some((T0 + ms(3000), Reason::MasterTimeout)));
    assert_eq!(view.counters.adverts_sent, 1);
    assert_eq!(view.counters.transitions, 2);
    assert!(!view.is_demoted);
}

#[test]
fn a_view_shows_no_lease_before_this_host_answers() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.places_at_once = false;

    daemon.advance(ms(3000));

    assert_eq!(daemon.role(G0), Role::Master);
    assert_eq!(daemon.view(G0).lease, None);
}

#[test]
fn groups_of_another_interface_have_missed_nothing() {
    let mut daemon = Daemon::listening(vec![group(), elsewhere()]);
    daemon.advance(ms(2500));

    // No master is known: it listens as after a start.
    daemon.handle(Input::Missed { interface: ETH0 });
    daemon.advance(ms(2999));

    assert_eq!(daemon.role(G0), Role::Backup);
    assert_eq!(daemon.role(G1), Role::Master);
    daemon.advance(ms(1));
    assert_eq!(daemon.role(G0), Role::Master);
}
