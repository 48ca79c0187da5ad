//! Who may still answer when this host takes over.

use super::*;
use crate::carp::election::answering::MAX_HOSTS;

/// Takes over from `LOWER`, which preempted `HIGHER` 300 ms after it was heard.
fn after_two(between: impl FnOnce(&mut Election)) -> Election {
    let mut election = following(config(1, 0, true), vipd(HIGHER, 1, 200), T0);
    between(&mut election);
    election.advert(vipd(LOWER, 1, 100), T0 + ms(300));
    election.advert(vipd(LOWER, 1, 100), T0 + ms(400));
    let (_, outcome) = expire(&mut election);
    assert_eq!(reason(outcome), Some(Reason::Preempt));
    election
}

#[test]
fn a_master_that_was_preempted_by_another_and_said_nothing_is_waited_for() {
    let mut election = after_two(|_| {});

    election.advert(vipd(LOWER, 1, 255), T0 + ms(500));

    assert_eq!(election.predecessor(), Some(T0 + ms(3000)));
}

#[test]
fn nobody_is_waited_for_once_all_have_said_farewell() {
    let mut election = after_two(|election| {
        election.advert(vipd(HIGHER, 1, 255), T0 + ms(200));
    });

    election.advert(vipd(LOWER, 1, 255), T0 + ms(500));

    assert_eq!(election.predecessor(), None);
}

#[test]
fn the_wait_is_as_long_as_an_advert_from_the_end_of_the_lease_can_be_late() {
    let mut election = following(config(1, 0, true), vipd(HIGHER, 1, 200), T0);
    expire(&mut election);

    let lease = Timing {
        interval: Interval::new(1, 200),
        dead_ratio: 3,
    }
    .lease();
    assert_eq!(election.predecessor(), Some(T0 + lease + ms(3000) / 64));
}

#[test]
fn what_a_legacy_host_says_with_the_masters_address_does_not_end_the_wait() {
    let mut election = following(config(1, 0, true), vipd(HIGHER, 1, 200), T0);

    election.advert(bow_out(HIGHER), T0 + ms(100));
    expire(&mut election);

    assert_eq!(election.role(), Role::Master);
    assert_eq!(election.predecessor(), Some(T0 + ms(3000)));
}

#[test]
fn a_bow_out_beside_another_living_master_is_no_reason_to_hurry() {
    // Two claimed the role at once, and the one heard last could not keep it.
    let mut election = listening(config(1, 10, false), T0);
    election.advert(vipd(HIGHER, 1, 10), T0);
    election.advert(vipd(LOWER, 1, 10), T0 + ms(1));
    let resigned = Peer {
        is_vipd: true,
        ..bow_out(LOWER)
    };

    election.advert(resigned, T0 + ms(2));
    let skew = Interval::new(1, 10).skew();
    assert_eq!(election.poll_timeout(), Some(T0 + ms(3000) + skew));
    election.advert(vipd(HIGHER, 1, 10), T0 + ms(1000));

    assert!(election.poll_timeout() > Some(T0 + ms(4000)));
}

#[test]
fn a_master_that_was_taken_for_dead_and_is_heard_after_all_is_waited_for() {
    let mut election = master(config(1, 0, false), T0);
    assert_eq!(election.predecessor(), None);

    election.advert(vipd(HIGHER, 1, 100), T0 + ms(1));
    assert_eq!(election.predecessor(), Some(T0 + ms(3001)));
    election.advert(vipd(HIGHER, 1, 255), T0 + ms(2));
    assert_eq!(election.predecessor(), None);

    election.advert(counted(vipd(HIGHER, 1, 100), COUNTER - 1), T0 + ms(3));
    assert_eq!(
        election.predecessor(),
        None,
        "the farewell has overtaken it"
    );
}

fn counted(peer: Peer, counter: u64) -> Peer {
    Peer { counter, ..peer }
}

#[test]
fn an_advert_that_arrives_after_its_senders_farewell_is_not_waited_for() {
    // Found by the simulator: hosts of one rank claim the role together, and one
    // has yielded before this one claims it. Around zero, too.
    for farewell in [COUNTER, 0] {
        let mut election = listening(config(1, 0, false), T0);
        election.advert(counted(vipd(HIGHER, 1, 255), farewell), T0 + ms(10));
        expire(&mut election);

        let late = counted(vipd(HIGHER, 1, 0), farewell.wrapping_sub(1));
        assert_eq!(election.advert(late, T0 + ms(3001)), Outcome::Nothing);

        assert_eq!(election.role(), Role::Master);
        assert_eq!(election.predecessor(), None);
    }
}

#[test]
fn an_advert_that_arrives_after_its_senders_bow_out_does_not_put_the_takeover_off() {
    let resigns = Peer {
        is_vipd: true,
        ..bow_out(HIGHER)
    };
    let mut election = following(config(1, 10, false), vipd(HIGHER, 1, 0), T0);
    election.advert(counted(resigns, COUNTER + 2), T0 + ms(10));
    let takes_over_at = election.poll_timeout();

    election.advert(counted(vipd(HIGHER, 1, 0), COUNTER + 1), T0 + ms(11));

    assert_eq!(election.poll_timeout(), takes_over_at);
}

#[test]
fn a_farewell_that_arrives_after_the_next_claim_of_its_sender_does_not_end_the_wait() {
    let mut election = following(config(1, 0, true), vipd(HIGHER, 1, 200), T0);
    expire(&mut election);
    let waits_until = election.predecessor();
    assert!(waits_until.is_some());

    election.advert(counted(vipd(HIGHER, 1, 255), COUNTER - 1), T0 + ms(10));

    assert_eq!(election.predecessor(), waits_until);
}

#[test]
fn who_claims_the_role_again_after_its_farewell_is_waited_for() {
    // With the same daemon, and with one that counts from elsewhere.
    for counter in [COUNTER + 1, COUNTER.wrapping_sub(1 << 40), 1 << 63] {
        let mut election = master(config(1, 0, false), T0);
        election.advert(vipd(HIGHER, 1, 255), T0 + ms(1));

        let again = counted(vipd(HIGHER, 1, 100), counter);
        election.advert(again, T0 + ms(2));

        assert_eq!(election.predecessor(), Some(T0 + ms(3002)), "{counter}");
    }
}

#[test]
fn those_who_have_left_are_forgotten_before_those_who_may_answer() {
    let mut election = following(config(1, 0, false), vipd(HIGHER, 1, 200), T0);
    for host in 0..200 {
        election.advert(vipd(Ipv4Addr::new(10, 1, 1, host), 1, 255), T0);
    }
    assert_eq!(election.answering.len(), MAX_HOSTS);
    assert_eq!(election.answering.until(), Some(T0 + ms(3000)));
}

#[test]
fn many_masters_are_not_all_kept_in_mind() {
    let mut election = listening(config(1, 0, true), T0);
    for host in 0..200 {
        election.advert(vipd(Ipv4Addr::new(10, 1, 1, host), 1, 200), T0);
    }

    assert_eq!(election.answering.len(), MAX_HOSTS);
}
