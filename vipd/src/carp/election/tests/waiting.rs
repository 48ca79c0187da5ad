//! How long a backup waits, and for whom.

use super::*;

#[test]
fn a_master_that_would_time_out_between_its_adverts_is_not_waited_for() {
    // The "will time out" rule: r * b + s < T_peer makes a backup master. UCARP
    // carp.c:618, OpenBSD and FreeBSD `carp_proto_input_c`.
    let own = config(1, 16, false); // waits 3.0625 s
    let mut bearable = following(own, peer(HIGHER, 3, 16), T0);
    let mut too_slow = following(own, peer(HIGHER, 3, 17), T0);

    let (_, bearable) = expire(&mut bearable);
    let (due, too_slow) = expire(&mut too_slow);

    assert_eq!(reason(bearable), Some(Reason::MasterTimeout));
    assert_eq!(reason(too_slow), Some(Reason::MasterTooSlow));
    assert_eq!(due, T0 + Duration::from_nanos(62_500_000));
}

#[test]
fn a_backup_with_advbase_zero_waits_for_a_slow_master() {
    // OpenBSD `carp_proto_input_c`: the rule is off when `sc_advbase` is 0.
    let mut backup = following(config(0, 4, false), peer(HIGHER, 1, 0), T0);

    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(3000) + Duration::from_nanos(15_625_000));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_backup_with_advbase_zero_understands_a_bow_out() {
    let mut backup = following(config(0, 4, false), peer(HIGHER, 0, 1), T0);

    backup.advert(bow_out(HIGHER), T0 + ms(5));
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(5) + Duration::from_nanos(15_625_000));
    assert_eq!(reason(outcome), Some(Reason::MasterResigned));
}

#[test]
fn the_interval_of_a_slow_master_is_respected() {
    // VRRPv3's idea (RFC 5798, section 6.1): three of the master's intervals,
    // not three of this host's own.
    let mut backup = following(config(1, 64, false), peer(HIGHER, 2, 128), T0);

    let (due, _) = expire(&mut backup);

    assert_eq!(due, T0 + ms(3 * 2500 + 250));
}

#[test]
fn a_fast_master_does_not_shorten_the_wait() {
    // Never earlier than CARP allows.
    let mut backup = following(config(2, 0, false), peer(HIGHER, 1, 0), T0);

    let (due, _) = expire(&mut backup);

    assert_eq!(due, T0 + ms(6000));
}

#[test]
fn each_advert_begins_the_wait_anew() {
    let mut backup = listening(config(1, 0, false), T0);

    for second in 0..10 {
        let now = T0 + ms(second * 1000);
        backup.advert(peer(HIGHER, 1, 0), now);
        assert_eq!(backup.poll_timeout(), Some(now + ms(3000)));
    }
}

#[test]
fn a_bow_out_is_answered_after_the_own_skew() {
    // OpenBSD `carp_send_ad`: 255/255 on interface down. Legacy hosts take over
    // at once, all of them together.
    let mut backup = following(config(1, 32, false), peer(HIGHER, 1, 0), T0);

    backup.advert(bow_out(HIGHER), T0 + ms(500));
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(500 + 125));
    assert_eq!(reason(outcome), Some(Reason::MasterResigned));
}

#[test]
fn a_repeated_bow_out_does_not_put_the_takeover_off() {
    let mut backup = following(config(1, 128, false), peer(HIGHER, 1, 0), T0);

    for at in [500, 600, 700] {
        backup.advert(bow_out(HIGHER), T0 + ms(at));
    }

    assert_eq!(backup.poll_timeout(), Some(T0 + ms(500 + 500)));
}

#[test]
fn a_bow_out_of_a_host_that_is_not_the_master_changes_nothing() {
    let mut backup = following(config(1, 0, true), peer(HIGHER, 1, 0), T0);

    backup.advert(bow_out(LOWER), T0 + ms(500));

    assert_eq!(backup.poll_timeout(), Some(T0 + ms(3000)));
    assert_eq!(backup.master(), Some(peer(HIGHER, 1, 0)));
}

#[test]
fn a_bow_out_of_a_host_that_was_never_heard_as_master_changes_nothing() {
    let mut backup = listening(config(1, 0, true), T0);

    backup.advert(bow_out(LOWER), T0 + ms(500));

    assert_eq!(backup.poll_timeout(), Some(T0 + ms(3000)));
}

#[test]
fn an_advert_of_the_next_master_ends_the_wait_after_a_bow_out() {
    let mut backup = resigned(config(1, 128, false), T0);

    backup.advert(peer(LOWER, 1, 64), T0 + ms(260));
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(260 + 3 * 1250 + 500));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn two_masters_heard_alternately_never_trigger_a_preemption() {
    // A worse one beside a better one: preempting the worse would unseat the
    // better, which is alive.
    let mut backup = listening(config(1, 100, true), T0);
    backup.advert(peer(LOWER, 1, 0), T0);

    for second in 1..60 {
        let at = T0 + ms(second * 1000);
        backup.advert(peer(HIGHER, 1, 200), at - ms(300));
        assert_eq!(backup.deadline(at), Outcome::Nothing);
        backup.advert(peer(LOWER, 1, 0), at);
        assert_eq!(backup.deadline(at + ms(600)), Outcome::Nothing);
    }
}

#[test]
fn a_worse_master_that_follows_a_better_one_is_preempted_at_its_second_advert() {
    let mut backup = following(config(1, 64, true), peer(LOWER, 1, 0), T0);

    backup.advert(peer(HIGHER, 1, 200), T0 + ms(4000));
    // Three of its intervals and the own skew: it is a master like any other.
    let interval = Interval::new(1, 200).period();
    assert_eq!(
        backup.poll_timeout(),
        Some(T0 + ms(4000 + 250) + interval * 3)
    );
    backup.advert(peer(HIGHER, 1, 200), T0 + ms(5800));
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(5800 + 250));
    assert_eq!(reason(outcome), Some(Reason::Preempt));
}

#[test]
fn a_backup_that_wakes_late_listens_for_one_interval_more() {
    // It cannot tell a dead master from its own sleep.
    let mut backup = following(config(1, 0, false), peer(HIGHER, 1, 0), T0);
    let woken = T0 + ms(3000 + 1000) + NANOSECOND;

    assert_eq!(backup.deadline(woken), Outcome::Nothing);
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, woken + ms(1000));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_backup_that_wakes_late_and_knows_no_master_listens_as_after_a_start() {
    // The one that it has not heard may advertise less often than itself.
    let mut backup = listening(config(1, 0, false), T0);
    let woken = T0 + ms(3000 + 1000) + NANOSECOND;

    assert_eq!(backup.deadline(woken), Outcome::Nothing);
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, woken + ms(3000));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_backup_that_wakes_less_than_an_interval_late_takes_over() {
    let mut backup = listening(config(1, 0, false), T0);

    let outcome = backup.deadline(T0 + ms(3000 + 1000));

    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_backup_that_wakes_late_twice_listens_twice() {
    let mut backup = following(config(1, 0, false), peer(HIGHER, 1, 0), T0);

    assert_eq!(backup.deadline(T0 + ms(10_000)), Outcome::Nothing);
    assert_eq!(backup.poll_timeout(), Some(T0 + ms(11_000)));
    assert_eq!(backup.deadline(T0 + ms(20_000)), Outcome::Nothing);
    assert_eq!(backup.poll_timeout(), Some(T0 + ms(21_000)));
    let outcome = backup.deadline(T0 + ms(21_000));

    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_backup_that_wakes_late_listens_for_an_interval_of_a_slow_master() {
    let mut backup = following(config(1, 0, false), peer(HIGHER, 2, 128), T0);

    assert_eq!(backup.deadline(T0 + ms(60_000)), Outcome::Nothing);

    assert_eq!(backup.poll_timeout(), Some(T0 + ms(62_500)));
}

#[test]
fn a_backup_that_woke_late_goes_on_following_a_master_that_it_hears() {
    let mut backup = following(config(1, 0, false), peer(HIGHER, 1, 0), T0);
    backup.deadline(T0 + ms(60_000));

    backup.advert(peer(HIGHER, 1, 0), T0 + ms(60_500));

    assert_eq!(backup.poll_timeout(), Some(T0 + ms(63_500)));
}

#[test]
fn a_backup_that_missed_adverts_listens_for_one_interval_more_each_time() {
    // It cannot tell a dead master from its own deafness.
    let mut backup = following(config(1, 0, false), peer(HIGHER, 2, 0), T0);

    backup.missed(T0 + ms(100));
    assert_eq!(backup.poll_timeout(), Some(T0 + ms(6000)), "long enough");
    for missed_at in [5500, 7000, 8999] {
        backup.missed(T0 + ms(missed_at));
        let due = T0 + ms(missed_at + 2000);
        assert_eq!(
            backup.poll_timeout(),
            Some(due),
            "an interval of its master"
        );
    }
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(8999 + 2000));
    assert_eq!(reason(outcome), Some(Reason::MasterTimeout));
}

#[test]
fn a_backup_that_has_heard_why_to_take_over_first_hears_whether_it_is_still_true() {
    // What it missed may be the advert of another that has taken over.
    let mut backup = following(config(1, 32, false), peer(HIGHER, 1, 0), T0);
    backup.advert(bow_out(HIGHER), T0 + ms(500));

    backup.missed(T0 + ms(600));
    let (due, outcome) = expire(&mut backup);

    assert_eq!(due, T0 + ms(600 + 1125));
    assert_eq!(reason(outcome), Some(Reason::MasterResigned));
}

#[test]
fn a_master_that_missed_adverts_keeps_its_beat() {
    let mut master = listening(config(1, 0, false), T0);
    expire(&mut master);
    let due = master.poll_timeout();

    master.missed(T0 + ms(3900));

    assert_eq!(master.poll_timeout(), due);
}
