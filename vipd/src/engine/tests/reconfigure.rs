//! Another configuration for an engine that runs.

use super::*;

const SECOND_VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);

fn signing() -> GroupConfig {
    GroupConfig {
        auth: Auth::new(Key::from_passphrase(b"secret").unwrap(), Policy::Send),
        ..group()
    }
}

fn with_two() -> GroupConfig {
    GroupConfig {
        vips: vec![VIP, SECOND_VIP],
        ..group()
    }
}

fn beside() -> GroupConfig {
    GroupConfig {
        name: "eth0-8".to_string(),
        vhid: vhid(8),
        vips: vec![Ipv4Addr::new(10, 0, 0, 108)],
        ..group()
    }
}

impl Daemon {
    fn reconfigure(&mut self, groups: Vec<GroupConfig>) -> (Ids, Vec<Step>) {
        let config = Config {
            interfaces: vec!["eth0".to_string(), "eth1".to_string()],
            groups,
        };
        let ids = self.engine.reconfigure(config, 77, self.now);
        (ids, self.drain())
    }
}

#[test]
fn what_does_not_differ_is_not_touched() {
    let groups = || vec![signing(), beside()];
    // As a backup, in the middle of a takeover, as a master.
    for moments in [[500, 2999], [3001, 3700], [9000, 9100]] {
        let mut alone = Daemon::listening(groups());
        let mut reloaded = Daemon::listening(groups());
        let mut all = [Vec::new(), Vec::new()];
        for (daemon, steps) in [&mut alone, &mut reloaded].into_iter().zip(&mut all) {
            let mut past = 0;
            for moment in moments {
                steps.extend(daemon.advance(ms(moment - past)));
                past = moment;
            }
        }
        let (ids, steps) = reloaded.reconfigure(groups());
        assert_eq!(ids.groups, [G0, G1]);
        assert_eq!(words(&steps), [""; 0]);
        for (daemon, steps) in [&mut alone, &mut reloaded].into_iter().zip(&mut all) {
            steps.extend(daemon.advance(ms(20_000)));
        }
        let frames = |steps: &[Step]| -> Vec<_> {
            let frames = steps.iter().map(|step| (step.at, step.frame.clone()));
            frames.collect()
        };
        assert_eq!(words(&all[0]), words(&all[1]));
        assert_eq!(frames(&all[0]), frames(&all[1]));
        assert_eq!(alone.view(G0).counters, reloaded.view(G0).counters);
        assert!(count(&all[0], "advert") >= 38, "two groups, a second each");
    }
}

#[test]
fn an_address_is_placed_then_answered_then_announced() {
    let mut daemon = Daemon::master();
    daemon.advance(ms(10_500));
    let (_, steps) = daemon.reconfigure(vec![with_two()]);
    assert_eq!(
        words(&steps),
        [
            "place",
            "know [10.0.0.101]",
            "request 10.0.0.100",
            "reply 10.0.0.100",
            "request 10.0.0.101",
            "reply 10.0.0.101",
        ]
    );
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn an_address_that_is_not_placed_yet_is_not_answered() {
    let mut daemon = Daemon::master();
    daemon.places_at_once = false;
    let (_, steps) = daemon.reconfigure(vec![with_two()]);
    assert_eq!(words(&steps), ["place"]);
    let steps = daemon.handle(Input::Announce { group: G0 });
    assert_eq!(count(&steps, "request 10.0.0.101"), 0);

    // The role is lost meanwhile: it is known, and silent with the others.
    let steps = daemon.handle(Input::StepDown { group: None });
    let (silence, know) = (
        words(&steps).iter().position(|word| *word == "silence"),
        words(&steps)
            .iter()
            .position(|word| *word == "know [10.0.0.101]"),
    );
    assert!(silence.is_some() && silence < know, "{:?}", words(&steps));
}

#[test]
fn an_address_that_is_given_up_falls_silent_before_anything_else() {
    let mut daemon = Daemon::listening(vec![with_two()]);
    daemon.advance(ms(3000));
    let (_, steps) = daemon.reconfigure(vec![group()]);
    assert_eq!(words(&steps), ["drop [10.0.0.101]"]);
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn for_ten_minutes_each_advert_is_sent_in_both_sets() {
    let mut daemon = Daemon::master();
    daemon.reconfigure(vec![with_two()]);
    let steps = daemon.advance(Duration::from_secs(599));
    let adverts: Vec<_> = steps
        .iter()
        .filter(|step| step.words.starts_with("advert"))
        .collect();
    assert_eq!(adverts.len(), 2 * 599);
    for beat in adverts.chunks(2) {
        assert_eq!(beat[0].words, "advert 1/0 of another set");
        assert_eq!(beat[1].words, "advert 1/0");
        assert_eq!(beat[0].at, beat[1].at);
    }
    daemon.advance(ms(1000));
    let steps = daemon.advance(ms(10_000));
    assert_eq!(count(&steps, "advert 1/0"), 10);
    assert_eq!(count(&steps, "advert 1/0 of another set"), 0);
}

#[test]
fn the_lease_counts_from_the_first_advert_and_needs_all_of_them() {
    let mut daemon = Daemon::master();
    daemon.reconfigure(vec![with_two()]);
    daemon.send_delay = ms(100);
    let due = daemon.now + ms(1000);
    daemon.advance(ms(1300));
    assert_eq!(daemon.lease(), Some(due + ms(100) + LEASE));

    // Of each beat one gets out and one does not, so that some hear nothing.
    let mut daemon = Daemon::master();
    daemon.reconfigure(vec![with_two()]);
    let before = daemon.lease();
    let end = daemon.now + ms(3500);
    while let Some(due) = daemon.engine.poll_timeout().filter(|due| *due < end) {
        daemon.now = due;
        daemon.engine.handle(Input::Deadline, due);
        let mut sent = 0;
        while let Some(output) = daemon.engine.poll_output() {
            if let Output::Transmit {
                group,
                purpose: Purpose::Advert,
                ..
            } = output
            {
                sent += 1;
                let told = match sent {
                    1 => Input::Sent { group, at: due },
                    _ => Input::Failed {
                        group,
                        effect: Effect::Send,
                    },
                };
                daemon.engine.handle(told, due);
            } else {
                daemon.perform(output);
            }
        }
        assert!(daemon.lease().is_none() || daemon.lease() == before);
    }
    assert_eq!(daemon.role(G0), Role::Backup);
    assert_eq!(
        daemon.view(G0).since.map(|(_, reason)| reason),
        Some(Reason::LeaseExpired)
    );
}

#[test]
fn whoever_has_either_set_follows_and_takes_nothing_for_a_mistake() {
    // As configured by the neighbour: the old set, the new one, both.
    for both in [false, true] {
        for (ours, theirs) in [(group(), with_two()), (with_two(), group())] {
            let mut master = Daemon::master();
            master.reconfigure(vec![with_two()]);
            let mut backup = Daemon::new(vec![ours.clone()]);
            backup.now = master.now;
            let address = Some(HIGHER);
            backup.link(
                ETH0,
                Link {
                    address,
                    ..up(ETH0)
                },
            );
            if both {
                backup.reconfigure(vec![theirs]);
            }
            for _ in 0..100 {
                let steps = master.advance(ms(500));
                backup.now = master.now;
                for step in steps.iter().filter(|step| step.words.starts_with("advert")) {
                    backup.hear(&step.frame[14..]);
                }
                backup.advance(Duration::ZERO);
                assert_eq!(backup.role(G0), Role::Backup);
            }
            let counters = backup.view(G0).counters;
            // The very first advert of somebody is not known to belong to another one.
            assert!(counters.bad_digest <= 1, "{counters:?}");
            let heard = counters.adverts_received;
            assert_eq!(
                (heard, counters.other_set + counters.bad_digest),
                match both {
                    true => (100, 0),
                    false => (50, 50),
                }
            );
        }
    }
}

#[test]
fn its_own_advert_of_the_other_set_is_a_loop_and_no_mistake() {
    let mut daemon = Daemon::master();
    daemon.reconfigure(vec![with_two()]);
    let steps = daemon.advance(ms(1000));
    for step in steps.iter().filter(|step| step.words.starts_with("advert")) {
        daemon.hear(&step.frame[14..]);
    }
    let counters = daemon.view(G0).counters;
    assert_eq!(
        (counters.looped, counters.bad_digest, counters.other_set),
        (2, 0, 0)
    );
}

#[test]
fn of_many_changes_the_last_two_sets_are_kept() {
    let mut daemon = Daemon::master();
    let three = GroupConfig {
        vips: vec![VIP, SECOND_VIP, Ipv4Addr::new(10, 0, 0, 102)],
        ..group()
    };
    daemon.reconfigure(vec![with_two()]);
    daemon.reconfigure(vec![three.clone()]);
    let hears = |daemon: &mut Daemon, config: &GroupConfig| {
        let before = daemon.view(G0).counters.adverts_received;
        let advert = Neighbour::of(config, HIGHER).advert(1, 100);
        daemon.hear(&advert);
        daemon.view(G0).counters.adverts_received > before
    };
    assert!(hears(&mut daemon, &three));
    assert!(hears(&mut daemon, &with_two()));
    assert!(!hears(&mut daemon, &group()));
    // The keys are those that are configured now, in both.
    let rotated = GroupConfig {
        auth: Auth::new(Key::from_passphrase(b"another").unwrap(), Policy::Off),
        ..three.clone()
    };
    daemon.reconfigure(vec![rotated.clone()]);
    assert!(!hears(&mut daemon, &with_two()));
    let two_rotated = GroupConfig {
        vips: with_two().vips,
        ..rotated
    };
    assert!(hears(&mut daemon, &two_rotated));
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn a_group_that_is_removed_ends_alone() {
    let mut daemon = Daemon::listening(vec![group(), beside()]);
    daemon.advance(ms(3500));
    let (ids, steps) = daemon.reconfigure(vec![beside()]);
    assert_eq!(ids.groups, [G1]);
    assert_eq!(
        words(&steps),
        [
            "silence",
            "bow-out 255/255",
            "bow-out 255/255",
            "log master to init: shutdown"
        ]
    );
    assert!(steps.iter().all(|step| step.group == G0));
    assert!(!daemon.engine.is_drained());
    // Nothing wakes it any more.
    daemon.link(ETH0, up(ETH0));
    let steps = daemon.advance(ms(1300));
    let own: Vec<_> = steps
        .iter()
        .filter(|step| step.group == G0)
        .cloned()
        .collect();
    assert_eq!(words(&own), ["remove", "drop [10.0.0.100]", "forget"]);
    assert!(daemon.engine.is_drained() && daemon.engine.group(G0).is_none());
    assert_eq!(daemon.role(G1), Role::Master);

    // The same once more has another number, and begins as at a start.
    let (ids, steps) = daemon.reconfigure(vec![group(), beside()]);
    assert_eq!(ids.groups, [GroupId(2), G1]);
    assert_eq!(
        words(&steps),
        [
            "know [10.0.0.100]",
            "silence",
            "remove",
            "log init to backup: start"
        ]
    );
    let steps = daemon.advance(ms(3000));
    assert_eq!(daemon.role(GroupId(2)), Role::Master);
    assert_ne!(count(&steps, "advert"), 0);
}

#[test]
fn a_group_that_is_placed_elsewhere_ends_before_it_begins_anew() {
    let mut daemon = Daemon::master();
    let on_loopback = GroupConfig {
        placement: Placement::Loopback,
        ..group()
    };
    let (ids, steps) = daemon.reconfigure(vec![on_loopback]);
    assert_eq!(ids.groups, [G1]);
    // What it has no address any more for looks like another set here.
    let said = words(&steps).into_iter();
    let said: Vec<_> = said
        .map(|word| word.trim_end_matches(" of another set"))
        .collect();
    assert_eq!(
        said,
        [
            "silence",
            "bow-out 255/255",
            "bow-out 255/255",
            "log master to init: shutdown",
            "drop [10.0.0.100]",
            "forget",
            "know [10.0.0.100]",
            "silence",
            "log init to backup: start",
        ]
    );
}

#[test]
fn an_address_may_move_from_one_group_to_another() {
    let mut daemon = Daemon::listening(vec![with_two(), beside()]);
    daemon.advance(ms(3500));
    let mut taker = beside();
    taker.vips.push(SECOND_VIP);
    let (_, steps) = daemon.reconfigure(vec![group(), taker]);
    let order: Vec<_> = words(&steps).into_iter().take(3).collect();
    assert_eq!(order, ["drop [10.0.0.101]", "place", "know [10.0.0.101]"]);

    // Also from one that is removed: it does not take it along when it is drained.
    let mut daemon = Daemon::listening(vec![with_two(), beside()]);
    daemon.advance(ms(3500));
    let mut taker = beside();
    taker.vips.push(VIP);
    let (_, mut steps) = daemon.reconfigure(vec![taker]);
    steps.extend(daemon.advance(ms(2000)));
    let drops: Vec<_> = words(&steps)
        .into_iter()
        .filter(|it| it.starts_with("drop"))
        .collect();
    assert_eq!(drops, ["drop [10.0.0.100]", "drop [10.0.0.101]"]);
}

#[test]
fn changed_timers_leave_the_role_and_promise_the_shorter_for_a_while() {
    // advbase, advskew and deadratio, and the lease for the first ten minutes.
    for (new, lease) in [
        (timing(1, 100, 3), LEASE),
        (timing(5, 0, 3), LEASE),
        (timing(1, 0, 10), LEASE),
        (timing(1, 0, 2), timing(1, 0, 2).lease()),
        (timing(0, 2, 20), timing(0, 2, 3).lease()),
    ] {
        let mut daemon = Daemon::master();
        daemon.advance(ms(700));
        let at = daemon.now;
        let (_, steps) = daemon.reconfigure(vec![GroupConfig {
            timing: new,
            ..group()
        }]);
        let Interval { advbase, advskew } = new.interval;
        let advert = format!("advert {advbase}/{advskew}");
        // Where the lease is cut, that comes before the advert.
        let expected: Vec<&str> = match lease < LEASE {
            true => vec!["lease", &advert, "lease"],
            false => vec![&advert, "lease"],
        };
        assert_eq!(words(&steps), expected, "{new:?}");
        assert_eq!(daemon.lease(), Some(at + lease));
        let steps = daemon.advance(Duration::from_secs(599));
        assert_eq!(daemon.role(G0), Role::Master, "{new:?}");
        assert_eq!(count(&steps, "log"), 0, "{new:?}: {steps:?}");
        daemon.advance(Duration::from_secs(30));
        let own = daemon.lease().unwrap();
        assert!(
            own > daemon.now + new.lease() - new.interval.period() - ms(1),
            "{new:?}"
        );
        assert_eq!(daemon.role(G0), Role::Master, "{new:?}");
    }
}

#[test]
fn a_backup_waits_by_the_longer_timers_for_a_while() {
    let slow = || GroupConfig {
        timing: timing(1, 0, 10),
        ..group()
    };
    let quick = || GroupConfig {
        timing: timing(1, 0, 2),
        ..group()
    };
    let heard_and_left_alone = |after: Duration| {
        let mut daemon = Daemon::listening(vec![slow()]);
        daemon.reconfigure(vec![quick()]);
        let mut master = Neighbour::new(LOWER);
        let end = daemon.now + after;
        while daemon.now < end {
            daemon.hear(&master.advert(1, 0));
            daemon.advance(ms(1000));
        }
        daemon.hear(&master.advert(1, 0));
        let since = daemon.now;
        daemon.advance(ms(11_000));
        assert_eq!(daemon.role(G0), Role::Master);
        daemon.view(G0).since.unwrap().0.since(since)
    };
    assert_eq!(heard_and_left_alone(ms(5000)), ms(10_000));
    assert_eq!(heard_and_left_alone(Duration::from_secs(601)), ms(2000));
}

#[test]
fn a_group_with_another_name_has_its_signers_remembered() {
    let mut daemon = Daemon::listening(vec![signing()]);
    let renamed = GroupConfig {
        name: "web".to_string(),
        auth: Auth {
            signers: Vec::new(),
            ..signing().auth
        },
        ..signing()
    };
    let signers = vec![HIGHER];
    let known = Auth {
        signers,
        ..signing().auth
    };
    daemon.reconfigure(vec![beside()]);
    let known = GroupConfig {
        auth: known,
        ..signing()
    };
    daemon.reconfigure(vec![known]);
    let (_, steps) = daemon.reconfigure(vec![renamed]);
    assert_eq!(words(&steps), ["remember 10.0.0.6"]);
}
