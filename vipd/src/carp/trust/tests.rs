//! Whom a host believes, message by message.

use super::*;
use crate::carp::Interval;

const HERE: u64 = 1000;
const PERIOD: Duration = Duration::from_secs(1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SESSION: Session = Session(77);

fn at(ms: u64) -> Instant {
    Instant::from_nanos(1_000_000_000_000 + ms * 1_000_000)
}

fn trust(policy: Policy) -> Trust {
    Trust::new(policy, HERE, [], PERIOD)
}

fn peer() -> Peer {
    Peer {
        address: PEER,
        interval: Interval::new(1, 0),
        configured: Interval::new(1, 0),
        demotion: 0,
        counter: 5,
        is_vipd: true,
    }
}

fn advert(trust: &mut Trust, session: Session, number: u64, ms: u64) -> Verdict {
    trust.hear_advert(session, number, peer(), at(ms))
}

/// The session answers what the host asks now.
fn introduce(trust: &mut Trust, session: Session, number: u64, ms: u64) -> Introduced {
    let challenge = Some(trust.challenge());
    trust.hear_introduction(PEER, session, number, None, challenge, at(ms))
}

#[test]
fn nobody_is_believed_before_it_answers_and_nothing_twice() {
    let mut trust = trust(Policy::Require);
    assert_eq!(advert(&mut trust, SESSION, 5, 0), Verdict::Stranger);
    assert!(trust.asks_stranger(SESSION, at(0)));
    assert!(!trust.asks_stranger(SESSION, at(100)), "not so soon");
    assert!(trust.asks_stranger(SESSION, at(250)));

    let introduced = introduce(&mut trust, SESSION, 10, 300);
    assert_eq!(introduced.verdict, Verdict::Believed);
    assert_eq!(introduced.early, None, "it is older");
    for (number, verdict) in [
        (9, Verdict::Replayed),
        (10, Verdict::Replayed),
        (12, Verdict::Believed),
        (12, Verdict::Replayed),
        (11, Verdict::Replayed),
        (u64::MAX, Verdict::Believed),
        (u64::MAX, Verdict::Replayed),
    ] {
        assert_eq!(
            advert(&mut trust, SESSION, number, 400),
            verdict,
            "{number}"
        );
    }
}

#[test]
fn an_answer_to_another_challenge_introduces_nobody() {
    let mut trust = trust(Policy::Require);
    let old = Some(trust.challenge());
    trust.renew(at(0));
    for answers in [None, old, Some(Challenge(1))] {
        let heard = trust.hear_introduction(PEER, SESSION, 10, None, answers, at(1));
        assert_eq!(heard.verdict, Verdict::Stranger, "{answers:?}");
        assert_eq!(advert(&mut trust, SESSION, 11, 2), Verdict::Stranger);
    }
}

#[test]
fn another_challenge_makes_strangers_of_all_and_old_answers_worthless() {
    let mut trust = trust(Policy::Require);
    let answer = Some(trust.challenge());
    introduce(&mut trust, SESSION, 10, 0);
    trust.renew(at(1));
    assert_eq!(advert(&mut trust, SESSION, 11, 2), Verdict::Stranger);
    trust.hear_introduction(PEER, SESSION, 10, None, answer, at(3));
    assert_eq!(advert(&mut trust, SESSION, 12, 4), Verdict::Stranger);

    // It lives, and goes on above what was heard of it.
    introduce(&mut trust, SESSION, 13, 5);
    assert_eq!(advert(&mut trust, SESSION, 12, 6), Verdict::Replayed);
    assert_eq!(advert(&mut trust, SESSION, 14, 6), Verdict::Believed);
}

#[test]
fn a_restarted_host_is_believed_and_its_former_session_never_again() {
    let mut trust = trust(Policy::Require);
    let answer = Some(trust.challenge());
    introduce(&mut trust, SESSION, 10, 0);
    let later = Session(5);
    introduce(&mut trust, later, 1, 100);
    assert_eq!(advert(&mut trust, later, 2, 101), Verdict::Believed);
    // Neither its adverts nor what once introduced it.
    assert_eq!(advert(&mut trust, SESSION, 11, 102), Verdict::Replayed);
    let heard = trust.hear_introduction(PEER, SESSION, 12, None, answer, at(103));
    assert_eq!(heard.verdict, Verdict::Replayed);
    assert_eq!(advert(&mut trust, SESSION, 13, 104), Verdict::Replayed);
    assert_eq!(trust.introduced().collect::<Vec<_>>(), [(PEER, later)]);
}

#[test]
fn messages_that_overtake_one_another_are_believed_all_the_same() {
    // The advert that follows an introduction is there first.
    let mut trust = trust(Policy::Require);
    assert_eq!(advert(&mut trust, SESSION, 11, 0), Verdict::Stranger);
    assert_eq!(introduce(&mut trust, SESSION, 10, 1).early, Some(peer()));
    assert_eq!(advert(&mut trust, SESSION, 11, 2), Verdict::Replayed);
    // A question that follows an advert is there first.
    let asks = Some(Challenge(9));
    let heard = trust.hear_introduction(PEER, SESSION, 13, asks, None, at(3));
    assert!(heard.wants_answer);
    assert_eq!(advert(&mut trust, SESSION, 12, 4), Verdict::Believed);
}

#[test]
fn a_question_is_answered_once_whoever_asks() {
    let mut trust = trust(Policy::Send);
    let asks = Some(Challenge(9));
    for is_introduced in [false, true] {
        if is_introduced {
            introduce(&mut trust, SESSION, 20, 0);
        }
        let first = 10 + 20 * u64::from(is_introduced);
        for (number, wants_answer) in [(first, true), (first, false), (first - 1, false)] {
            let heard = trust.hear_introduction(PEER, SESSION, number, asks, None, at(1));
            assert_eq!(heard.wants_answer, wants_answer, "{number}");
        }
    }
}

#[test]
fn it_asks_at_the_start_and_some_times_more() {
    let mut trust = trust(Policy::Send);
    assert_eq!(trust.poll_timeout(), None);
    trust.renew(at(0));
    let mut asked = Vec::new();
    while let Some(due) = trust.poll_timeout() {
        assert!(!trust.asks_if_due(due - Duration::from_nanos(1)));
        assert!(trust.asks_if_due(due));
        asked.push(due.since(at(0)));
    }
    assert_eq!(asked, [0, 250, 500].map(Duration::from_millis));
    // With a quarter of the interval between, so that it is done before a takeover.
    let mut fast = Trust::new(Policy::Send, HERE, [], Duration::from_nanos(3_906_250));
    fast.renew(at(0));
    assert!(fast.asks_if_due(at(0)));
    assert_eq!(fast.poll_timeout(), Some(at(1)));
    let mut off = self::trust(Policy::Off);
    off.renew(at(0));
    assert_eq!(off.poll_timeout(), None, "nobody asks who does not sign");
}

#[test]
fn unsigned_adverts_are_believed_by_policy_and_never_of_who_has_signed() {
    let stranger = Ipv4Addr::new(10, 0, 0, 3);
    for (policy, unsigned, of_signer) in [
        (Policy::Off, true, true),
        (Policy::Send, true, false),
        (Policy::Require, false, false),
    ] {
        let mut trust = Trust::new(policy, HERE, [PEER], PERIOD);
        assert_eq!(trust.believes(stranger, false), unsigned, "{policy:?}");
        assert_eq!(trust.believes(PEER, false), of_signer, "{policy:?}");
        assert!(trust.believes(stranger, true) && trust.believes(PEER, true));
        assert!(!trust.note_signer(PEER), "it is known");
        assert!(trust.note_signer(stranger), "it is news");
        assert_eq!(trust.believes(stranger, false), of_signer);
    }
}

#[test]
fn a_host_asks_strangers_once_before_it_takes_over_and_waits_no_longer_for_it() {
    let mut trust = trust(Policy::Require);
    let silence = Duration::from_secs(3);
    assert_eq!(trust.wakes_before(at(1000)), at(750));
    assert!(
        !trust.asks_before(at(1000), silence, at(750)),
        "there are none"
    );
    assert_eq!(trust.wakes_before(at(1000)), at(1000));

    advert(&mut trust, SESSION, 5, 1500);
    assert!(!trust.asks_before(at(2000), silence, at(1749)), "not yet");
    assert!(trust.asks_before(at(2000), silence, at(1750)));
    assert!(!trust.asks_before(at(2000), silence, at(1800)), "once");
    assert_eq!(trust.wakes_before(at(2000)), at(2000));
    // Who would take over at once waits for the answer.
    assert!(trust.asks_before(at(2100), silence, at(2100)));
    assert_eq!(trust.wakes_before(at(2100)), at(2350));

    // Not for one that was heard long ago, nor for one that is known.
    assert!(!trust.asks_before(at(9000), silence, at(9000)));
    advert(&mut trust, SESSION, 6, 9000);
    introduce(&mut trust, SESSION, 7, 9001);
    assert!(!trust.asks_before(at(9500), silence, at(9500)));
    let off = self::trust(Policy::Off);
    assert_eq!(off.wakes_before(at(1000)), at(1000));
}

#[test]
fn whoever_invents_sessions_drives_out_no_host_that_is_known() {
    let mut trust = trust(Policy::Require);
    introduce(&mut trust, SESSION, 10, 0);
    for session in 0..2000 {
        advert(&mut trust, Session(100_000 + session), 1, session);
    }
    assert!(trust.known.len() <= KNOWN);
    assert_eq!(advert(&mut trust, SESSION, 11, 3000), Verdict::Believed);
}

#[test]
fn a_host_that_was_started_very_often_is_believed_and_its_past_is_not() {
    let mut trust = trust(Policy::Require);
    let answer = Some(trust.challenge());
    for session in 1..2000 {
        introduce(&mut trust, Session(session), 10, session);
        assert_eq!(
            advert(&mut trust, Session(session), 11, session),
            Verdict::Believed
        );
    }
    assert!(trust.known.len() <= KNOWN);
    for session in 1..1999 {
        trust.hear_introduction(PEER, Session(session), 20, None, answer, at(3000));
        let verdict = advert(&mut trust, Session(session), 21, 3000);
        assert_ne!(verdict, Verdict::Believed, "{session}");
    }
}

#[test]
fn a_daemon_that_goes_on_as_the_one_before_sends_greater_numbers() {
    let mut first = trust(Policy::Send);
    let mut last = 0;
    for _ in 0..1000 {
        last = first.next_number();
    }
    for start in 0..3 {
        let mut next = Trust::new(Policy::Send, 5 + start, [], PERIOD);
        next.resume(first.session(), at(1 + start));
        assert_eq!(next.session(), first.session());
        assert!(next.next_number() > last);
        last = next.next_number();
    }
}
