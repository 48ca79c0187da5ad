//! The right to answer: from a send, for a while.

use super::*;

#[test]
fn a_lease_counts_from_just_before_the_send() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.send_duration = ms(40);

    daemon.advance(ms(3000));

    assert_eq!(daemon.lease(), Some(T0 + ms(3000) + LEASE));
    assert_eq!(daemon.now, T0 + ms(3040));
}

#[test]
fn a_lease_is_as_long_as_the_timers_say() {
    for (advbase, advskew, dead_ratio) in [(1, 0, 3), (1, 254, 3), (2, 10, 5), (1, 0, 1), (0, 0, 3)]
    {
        let timing = timing(advbase, advskew, dead_ratio);
        let mut daemon = Daemon::listening(vec![GroupConfig { timing, ..group() }]);

        daemon.advance(timing.master_down(None));

        let sent = T0 + timing.master_down(None);
        assert_eq!(daemon.lease(), Some(sent + timing.lease()), "{timing:?}");
    }
}

#[test]
fn each_advert_that_went_out_renews_the_lease() {
    let mut daemon = Daemon::master();

    for second in 4..60 {
        let steps = daemon.advance(ms(1000));
        assert_eq!(count(&steps, "advert 1/0"), 1);
        assert_eq!(count(&steps, "lease"), 1);
        assert_eq!(daemon.lease(), Some(T0 + ms(second * 1000) + LEASE));
    }
}

#[test]
fn an_advert_that_did_not_go_out_renews_nothing() {
    let mut daemon = Daemon::master();
    let lease = daemon.lease();
    daemon.failing.insert(Effect::Send);

    let steps = daemon.advance(ms(2500));

    assert_eq!(count(&steps, "advert"), 2);
    assert_eq!(daemon.lease(), lease);
}

#[test]
fn mastership_ends_with_the_lease_and_not_later_for_a_send_that_took_long() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.send_duration = ms(500);
    daemon.advance(ms(3000));
    daemon.failing.insert(Effect::Send);

    let mut steps = daemon.advance(ms(5000));

    steps.retain(|step| step.words == "silence");
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].at, T0 + ms(3000) + LEASE);
}

#[test]
fn a_lease_that_is_written_late_counts_from_the_last_advert_all_the_same() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.places_at_once = false;

    let placing = daemon.advance(ms(4500));
    daemon.handle(Input::Placed { group: G0 });

    assert_eq!(words(&placing), ["advert 1/0", "place", "advert 1/0"]);
    assert_eq!(daemon.lease(), Some(T0 + ms(4000) + LEASE));
}

#[test]
fn a_master_that_wakes_after_its_lease_sends_no_advert_but_falls_back_and_listens() {
    let mut daemon = Daemon::master();
    daemon.stall(ms(10_000));

    let steps = daemon.handle(Input::Deadline);
    let then = daemon.advance(ms(3000));

    assert_eq!(
        words(&steps),
        ["silence", "remove", "log master to backup: lease_expired"]
    );
    assert_eq!(words(&then), TAKEOVER, "it announces again, too");
    assert_eq!(then[0].at, T0 + ms(3000 + 10_000 + 3000));
}

#[test]
fn a_master_that_wakes_within_its_lease_goes_on() {
    let mut daemon = Daemon::master();
    daemon.stall(LEASE - NANOSECOND);

    let steps = daemon.handle(Input::Deadline);

    assert_eq!(words(&steps)[..1], ["advert 1/0"]);
    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn a_master_that_wakes_after_its_lease_follows_the_successor_that_it_hears_first() {
    // "A master that wakes later than its own lease was not master meanwhile",
    // and what is queued is read before the deadline is handed in.
    let mut daemon = Daemon::master();
    daemon.stall(ms(10_000));

    let steps = daemon.hear(&Neighbour::new(HIGHER).advert(1, 100));

    assert_eq!(
        words(&steps),
        ["silence", "remove", "log master to backup: lease_expired"]
    );
    assert_eq!(daemon.role(G0), Role::Backup);
    assert_eq!(daemon.view(G0).master.unwrap().address, HIGHER);
}

#[test]
fn a_master_that_wakes_after_its_lease_has_nothing_to_bow_out_of() {
    // Legacy backups take over at a bow-out of anybody, though the successor is
    // well.
    for input in [
        Input::StepDown { group: None },
        Input::Shutdown,
        Input::Failed {
            group: G0,
            effect: Effect::Map,
        },
    ] {
        let mut daemon = Daemon::master();
        daemon.stall(LEASE);

        let steps = daemon.handle(input);

        assert_eq!(count(&steps, "bow-out"), 0, "{input:?}: {steps:?}");
        assert_eq!(
            words(&steps)[..3],
            ["silence", "remove", "log master to backup: lease_expired"],
            "{input:?}"
        );
    }
}

#[test]
fn a_master_that_wakes_after_its_lease_defends_nothing() {
    let mut daemon = Daemon::master();
    daemon.stall(LEASE);

    let steps = daemon.handle(Input::Conflict {
        group: G0,
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        address: VIP,
    });

    assert_eq!(count(&steps, "request"), 0);
    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn addresses_that_are_placed_after_the_lease_has_ended_are_not_answered_for() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.places_at_once = false;
    daemon.advance(ms(3000));
    daemon.stall(LEASE);

    let steps = daemon.handle(Input::Placed { group: G0 });

    assert_eq!(count(&steps, "lease"), 0);
    assert_eq!(count(&steps, "request"), 0);
    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn an_advert_that_left_after_the_lease_had_ended_renews_nothing() {
    // Decided in time, but the host stood still before the send: somebody else
    // may have taken over meanwhile.
    let mut daemon = Daemon::master();
    daemon.send_delay = LEASE;

    let steps = daemon.advance(ms(1000));

    assert_eq!(
        words(&steps),
        [
            "advert 1/0",
            "silence",
            "remove",
            "log master to backup: lease_expired"
        ]
    );
    assert_eq!(daemon.lease(), None);
}

#[test]
fn an_advert_that_left_in_time_renews_the_lease_however_late_that_is_told() {
    let mut daemon = Daemon::master();
    daemon.send_duration = LEASE - NANOSECOND;

    let steps = daemon.advance(ms(1000));

    assert_eq!(words(&steps), ["advert 1/0", "lease"]);
    assert_eq!(daemon.lease(), Some(T0 + ms(4000) + LEASE));
}

#[test]
fn a_first_advert_that_left_too_late_begins_no_lease() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.send_delay = LEASE;

    let steps = daemon.advance(ms(3000));

    assert_eq!(count(&steps, "place"), 0);
    assert_eq!(count(&steps, "lease"), 0);
    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn where_the_lease_has_gaps_two_missed_adverts_end_mastership() {
    // With ratio 1 no lease can reach the next advert.
    let config = || GroupConfig {
        timing: timing(1, 0, 1),
        ..group()
    };
    let mut steady = Daemon::listening(vec![config()]);
    steady.advance(ms(2000));
    let steps = steady.advance(ms(60_000));
    assert_eq!(count(&steps, "advert"), 60);
    assert_eq!(steady.role(G0), Role::Master);

    let mut failing = Daemon::listening(vec![config()]);
    failing.advance(ms(2000));
    failing.failing.insert(Effect::Send);
    let before = failing.advance(ms(2000) - ms(2000) / 64 - NANOSECOND);
    let end = failing.advance(NANOSECOND);

    assert_eq!(count(&before, "silence"), 0);
    assert_eq!(words(&end)[..1], ["silence"]);
    assert_eq!(count(&end, "advert"), 0);
}

#[test]
fn a_lease_that_ends_just_when_the_next_advert_is_due_has_a_gap_there() {
    // Two seconds less a 64th are one second and 248/256.
    let config = GroupConfig {
        timing: timing(1, 248, 2),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![config]);

    let steps = daemon.advance(ms(60_000));

    assert_eq!(count(&steps, "silence"), 0);
    assert_eq!(daemon.role(G0), Role::Master);
}
