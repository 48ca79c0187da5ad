//! The host refuses to send what the daemon wants to say. (A lease cannot be
//! refused: it is a store into memory that the daemon shares with the kernel.)

use vipd_tests::lab::{Lab, Prober, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, count, pair, vipd, wait_for_master};

/// The queue of the master's interface refuses every frame, while the responder
/// could go on answering: it does not use the queue.
#[test]
fn a_master_that_cannot_advertise_is_silent_before_another_answers() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let mut second = Vipd::start(&n2, &vipd(50));
    wait_for_master(&second, n1.address());
    let prober = Prober::start(&client, VIP, 1000);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    n1.refuse_to_send();
    assert!(prober.answered_by_within(n2.mac(), SOON));
    first.wait_for_role("backup", SOON);
    assert_eq!(first.group()["reason"], "lease_expired");
    assert!(first.counter("send_errors") >= 1);
    assert_eq!(count(&first, "adverts cannot be sent"), 1);
    wait_for_master(&first, n2.address());

    // Nobody hears its claim, so it does not answer, however long it tries.
    second.kill();
    let errors = first.counter("send_errors");
    wait_until("its claims fail", SOON, || {
        (first.counter("send_errors") >= errors + 3).then_some(())
    });
    assert_eq!(first.group()["owner_mac"], serde_json::Value::Null);
    let record = prober.so_far();
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
    n1.send_again();
    first.wait_for_lease(SOON);
    assert!(prober.answered_by_within(n1.mac(), SOON));
    wait_until("it is well again", SOON, || {
        (first.group()["demoted"] == false).then_some(())
    });
}

#[test]
fn a_master_whose_adverts_fail_is_demoted_and_a_better_one_takes_over() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let patient = |advskew, preempt| VipdOptions {
        deadratio: 10,
        preempt,
        ..vipd(advskew)
    };
    // Not to wait for the first election as long as for a dead master.
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    first.kill();
    let first = Vipd::start(&n1, &patient(0, false));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &patient(50, true));
    wait_for_master(&second, n1.address());
    let prober = Prober::start(&client, VIP, 1000);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));

    n1.refuse_to_send();
    wait_until("it is demoted", SOON, || {
        (first.group()["demoted"] == true).then_some(())
    });
    assert!(first.counter("send_errors") >= 3);
    n1.send_again();
    second.wait_for_lease(SOON);
    assert!(prober.answered_by_within(n2.mac(), SOON));
    wait_for_master(&first, n2.address());
    let record = prober.finish();
    assert_eq!(record.answers_after_successor(n1.mac(), n2.mac()), []);
}
