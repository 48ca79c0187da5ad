//! What fails comes back, and breaks no promise.

use super::*;

#[test]
fn a_first_advert_that_fails_claims_nothing_until_one_goes_out() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.failing.insert(Effect::Send);

    let failed = daemon.advance(ms(3000));
    assert_eq!(words(&failed), ["advert 1/0", "log send failed"]);
    let again = daemon.advance(ms(1000));
    assert_eq!(words(&again), ["advert 1/0"], "one line per episode");
    daemon.failing.clear();
    let sent = daemon.advance(ms(1000));

    assert_eq!(words(&sent), TAKEOVER);
    assert_eq!(daemon.view(G0).counters.send_errors, 2);
}

#[test]
fn a_takeover_whose_adverts_all_fail_is_given_up_unannounced() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.failing.insert(Effect::Send);
    daemon.advance(ms(5000) - NANOSECOND);

    // The third failure demotes the host: by that rank it had claimed nothing.
    let steps = daemon.advance(NANOSECOND);

    let expected = [
        "silence",
        "log backup to master: master_timeout",
        "log master to backup: lease_expired",
    ];
    let last = &words(&steps)[words(&steps).len() - 3..];
    assert_eq!(last, expected);
}

#[test]
fn a_master_whose_adverts_fail_answers_until_its_lease_ends_and_no_longer() {
    let mut daemon = Daemon::master();
    daemon.failing.insert(Effect::Send);

    let steps = daemon.advance(LEASE - NANOSECOND);
    let end = daemon.advance(NANOSECOND);

    assert_eq!(count(&steps, "advert"), 2);
    assert_eq!(count(&steps, "lease"), 0);
    assert_eq!(
        words(&end),
        ["silence", "remove", "log master to backup: lease_expired"]
    );
}

#[test]
fn three_failed_sends_demote_the_adverts_and_three_good_ones_restore_them() {
    let config = GroupConfig {
        timing: timing(1, 0, 10),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![config]);
    daemon.advance(ms(10_000));

    daemon.failing.insert(Effect::Send);
    let failing = daemon.advance(ms(4000));
    assert!(daemon.view(G0).is_demoted);
    daemon.failing.clear();
    let healing = daemon.advance(ms(8000));
    assert!(!daemon.view(G0).is_demoted);

    let adverts = |steps: &[Step]| -> Vec<String> {
        let is_advert = |step: &&Step| step.words.starts_with("advert");
        let words = |step: &Step| step.words.clone();
        steps.iter().filter(is_advert).map(words).collect()
    };
    assert_eq!(
        adverts(&failing),
        ["advert 1/0", "advert 1/0", "advert 1/0", "advert 1/240"]
    );
    assert_eq!(
        adverts(&healing)[..4],
        ["advert 1/240", "advert 1/240", "advert 1/240", "advert 1/0"]
    );
}

#[test]
fn a_refused_lease_ends_the_takeover_before_anything_is_announced() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.failing.insert(Effect::Map);

    let steps = daemon.advance(ms(3000));

    let expected = [
        "advert 1/0",
        "place",
        "lease",
        "log backup to master: master_timeout",
        "silence",
        "bow-out 255/255",
        "bow-out 255/255",
        "remove",
        "log master to backup: map_fault",
    ];
    assert_eq!(words(&steps), expected);
    assert_eq!(daemon.view(G0).counters.map_errors, 1);
}

#[test]
fn a_lease_that_is_not_renewed_ends_mastership_at_once() {
    let mut daemon = Daemon::master();
    daemon.failing.insert(Effect::Map);

    let steps = daemon.advance(ms(1000));

    let expected = [
        "advert 1/0",
        "lease",
        "silence",
        "bow-out 255/255",
        "bow-out 255/255",
        "remove",
        "log master to backup: map_fault",
    ];
    assert_eq!(words(&steps), expected);
}

#[test]
fn addresses_that_cannot_be_placed_end_the_takeover() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.failing.insert(Effect::Address);

    let steps = daemon.advance(ms(3000));

    let expected = [
        "advert 1/0",
        "place",
        "silence",
        "bow-out 255/255",
        "bow-out 255/255",
        "remove",
        "log backup to master: master_timeout",
        "log master to backup: address_fault",
    ];
    assert_eq!(words(&steps), expected);
    assert_eq!(daemon.view(G0).counters.address_errors, 1);
}

#[test]
fn addresses_may_take_half_a_second_to_be_placed_however_short_the_timers_are() {
    let mut daemon = Daemon::listening(vec![GroupConfig {
        timing: timing(0, 1, 3),
        ..group()
    }]);
    daemon.places_at_once = false;
    daemon.advance(ms(50));
    assert_eq!(daemon.role(G0), Role::Master);

    daemon.advance(ms(400));
    assert_eq!(daemon.role(G0), Role::Master);

    let steps = daemon.advance(ms(100));
    let given_up = "log master to backup: address_fault";
    assert!(words(&steps).contains(&given_up));
}

#[test]
fn a_lost_address_that_cannot_be_put_back_ends_mastership() {
    let mut daemon = Daemon::master();
    daemon.failing.insert(Effect::Address);

    let steps = daemon.handle(Input::AddressLost {
        interface: ETH0,
        address: VIP,
    });

    let expected = [
        "log lost 10.0.0.100",
        "place",
        "silence",
        "bow-out 255/255",
        "bow-out 255/255",
        "remove",
        "log master to backup: address_fault",
    ];
    assert_eq!(words(&steps), expected);
}

#[test]
fn a_group_that_failed_listens_before_it_tries_again() {
    let mut daemon = Daemon::master();
    daemon.handle(Input::Failed {
        group: G0,
        effect: Effect::Map,
    });

    // Twice as long as any healthy host.
    let quiet = daemon.advance(ms(6000) - NANOSECOND);
    let again = daemon.advance(NANOSECOND);

    assert!(quiet.is_empty(), "{quiet:?}");
    assert_eq!(words(&again), TAKEOVER);
}

#[test]
fn a_preferred_host_that_cannot_answer_leaves_the_addresses_to_a_healthy_one() {
    // Preempting at the healthy host's first advert, failing, bowing out and
    // beginning again would leave the addresses without anybody.
    let mut daemon = Daemon::listening(vec![GroupConfig {
        preempt: true,
        ..group()
    }]);
    daemon.failing.insert(Effect::Map);
    daemon.advance(ms(3000));
    let mut healthy = Neighbour::new(HIGHER);

    let mut steps = Vec::new();
    for _ in 0..9 {
        steps.extend(daemon.hear(&healthy.advert(1, 100)));
        steps.extend(daemon.advance(ms(1000)));
    }

    assert!(steps.is_empty(), "{steps:?}");
}

#[test]
fn a_failure_reported_to_a_backup_is_counted_and_changes_nothing() {
    let mut daemon = Daemon::listening(vec![group()]);
    let timeout = daemon.engine.poll_timeout();

    for effect in [Effect::Map, Effect::Address, Effect::Announce] {
        let steps = daemon.handle(Input::Failed { group: G0, effect });
        assert!(steps.is_empty(), "{steps:?}");
    }

    assert_eq!(daemon.engine.poll_timeout(), timeout);
    assert_eq!(daemon.view(G0).counters.map_errors, 1);
    assert_eq!(daemon.view(G0).counters.address_errors, 1);
}

#[test]
fn what_was_pending_for_the_failed_group_is_withdrawn_and_for_others_is_kept() {
    let other = GroupConfig {
        vhid: vhid(8),
        vips: vec![Ipv4Addr::new(10, 0, 0, 108)],
        ..group()
    };
    let mut daemon = Daemon::listening(vec![group(), other]);
    daemon.failing.insert(Effect::Map);
    daemon.failing_group = Some(G0);

    let steps = daemon.advance(ms(3000));

    let of = |id| -> Vec<Step> {
        let own = steps.iter().filter(|step| step.group == id);
        own.cloned().collect()
    };
    assert_eq!(count(&of(G0), "request") + count(&of(G0), "reply"), 0);
    let expected = [
        "advert 1/0",
        "place",
        "lease",
        "request 10.0.0.108",
        "reply 10.0.0.108",
        "log backup to master: master_timeout",
    ];
    assert_eq!(words(&of(G1)), expected);
    assert_eq!(
        (daemon.role(G0), daemon.role(G1)),
        (Role::Backup, Role::Master)
    );
}

type Wanted = fn(&Output) -> bool;

/// Takes outputs, unperformed, until the engine wants `wanted`; it is told that
/// adverts went out and addresses are placed.
fn drain_until(daemon: &mut Daemon, wanted: Wanted) {
    let at = daemon.now;
    while let Some(output) = daemon.engine.poll_output() {
        let group = G0;
        if matches!(output, Output::Transmit { .. }) {
            daemon.engine.handle(Input::Sent { group, at }, at);
        } else if matches!(output, Output::PlaceAddresses { .. }) {
            daemon.engine.handle(Input::Placed { group }, at);
        }
        if daemon.engine.outputs.iter().any(wanted) {
            return;
        }
    }
    panic!("it is never wanted");
}

#[test]
fn whatever_waits_to_be_done_for_a_claim_is_withdrawn_when_mastership_ends() {
    let wanted: [(&str, Wanted); 3] = [
        ("place", |output| {
            matches!(output, Output::PlaceAddresses { .. })
        }),
        ("lease", |output| matches!(output, Output::Lease { .. })),
        ("request", |output| {
            matches!(
                output,
                Output::Transmit {
                    purpose: Purpose::Announce,
                    ..
                }
            )
        }),
    ];
    for (name, wanted) in wanted {
        let mut daemon = Daemon::listening(vec![group()]);
        daemon.stall(ms(3000));
        daemon.engine.handle(Input::Deadline, daemon.now);
        drain_until(&mut daemon, wanted);

        let steps = daemon.handle(Input::StepDown { group: None });

        assert_eq!(count(&steps, name), 0, "{name}: {steps:?}");
        assert_eq!(count(&steps, "silence"), 1, "{name}");
        let removed = count(&steps, "remove") + count(&daemon.advance(ms(1300)), "remove");
        assert_eq!(removed, 1, "{name}");
    }
}

#[test]
fn an_advert_that_waits_to_be_sent_is_withdrawn_when_mastership_ends() {
    let mut daemon = Daemon::master();
    daemon.stall(ms(1000));
    daemon.engine.handle(Input::Deadline, daemon.now);

    daemon
        .engine
        .handle(Input::StepDown { group: None }, daemon.now);
    let steps = daemon.drain();

    assert_eq!(count(&steps, "advert"), 0);
    assert_eq!(count(&steps, "bow-out"), 2);
    assert_eq!(words(&steps)[0], "silence");
}

#[test]
fn a_claim_is_not_made_late_for_others_may_have_made_theirs() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.stall(ms(3000));
    daemon.engine.handle(Input::Deadline, daemon.now);

    let Some(Output::Transmit { not_after, .. }) = daemon.engine.poll_output() else {
        panic!("a claim begins with an advert");
    };

    assert_eq!(not_after, Some(daemon.now + ms(3000) / 64));
}

#[test]
fn a_claim_that_nobody_heard_is_not_given_up_for_a_bow_out() {
    let mut daemon = Daemon::listening(vec![group()]);
    daemon.failing.insert(Effect::Send);
    daemon.advance(ms(3000));
    assert_eq!(daemon.role(G0), Role::Master);

    daemon.hear(&Neighbour::new(HIGHER).advert(255, 255));

    assert_eq!(daemon.role(G0), Role::Master);
}

#[test]
fn a_role_is_not_given_away_after_the_lease() {
    let mut daemon = Daemon::master();
    let ends = daemon.now + LEASE;
    daemon.stall(ms(500));
    daemon
        .engine
        .handle(Input::StepDown { group: None }, daemon.now);

    let mut last_words = Vec::new();
    while let Some(output) = daemon.engine.poll_output() {
        if let Output::Transmit { not_after, .. } = output {
            last_words.push(not_after);
        }
    }

    assert_eq!(last_words, [Some(ends); 2]);
}
