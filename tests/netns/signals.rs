//! What an operator can say with a signal.

use rustix::process::Signal;
use vipd_tests::lab::{Lab, Prober, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, count, pair, vipd};

#[test]
fn usr1_logs_the_role_in_ucarps_words() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let mut second = Vipd::start(&n2, &vipd(50));
    second.wait_for_role("backup", SOON);
    first.signal(Signal::USR1);
    first.wait_for_log("MASTER on eth0 id 42", SOON);
    second.signal(Signal::USR1);
    second.wait_for_log("BACKUP on eth0 id 42", SOON);
    second.signal(Signal::USR1);
    wait_until("a second line", SOON, || {
        (count(&second, "BACKUP on eth0 id 42") == 2).then_some(())
    });
    assert_eq!(count(&first, " on eth0 id 42"), 1);
}

#[test]
fn usr2_hands_over_and_a_host_that_preempts_comes_back_after_a_while() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = Vipd::start(
        &n1,
        &VipdOptions {
            preempt: true,
            ..vipd(0)
        },
    );
    first.wait_for_role("master", SOON);
    let second = Vipd::start(&n2, &vipd(20));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let prober = Prober::start(&client, VIP, 50);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    first.signal(Signal::USR2);
    second.wait_for_role("master", SOON);
    assert_eq!(second.group()["reason"], "master_resigned");
    first.wait_for_log("reason=step_down", SOON);
    assert!(prober.answered_by_within(n2.mac(), SOON));

    first.wait_for_role("master", SOON);
    assert_eq!(first.group()["reason"], "preempt");
    assert!(prober.answered_by_within(n1.mac(), SOON));
    second.wait_for_role("backup", SOON);
    let changes = prober.finish().changes();
    let macs: Vec<_> = changes.iter().map(|(_, mac)| *mac).collect();
    assert_eq!(macs, [n1.mac(), n2.mac(), n1.mac()]);
    // It holds back for three seconds.
    assert!((changes[2].0 - changes[1].0).as_secs_f32() > 1.0);
}

#[test]
fn usr2_to_a_backup_changes_nothing() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let mut second = Vipd::start(&n2, &vipd(50));
    second.wait_for_role("backup", SOON);
    second.signal(Signal::USR2);
    second.wait_for_log("stepping down", SOON);
    let received = second.counter("adverts_received");
    wait_until("adverts", SOON, || {
        (second.counter("adverts_received") >= received + 2).then_some(())
    });
    assert_eq!(
        (first.role(), second.role()),
        ("master".to_owned(), "backup".to_owned())
    );
}

#[test]
fn a_hangup_is_harmless() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let prober = Prober::start(&client, VIP, 50);
    for _ in 0..3 {
        first.signal(Signal::HUP);
    }
    first.wait_for_log("no configuration file to reload", SOON);
    let sent = first.counter("adverts_sent");
    wait_until("adverts", SOON, || {
        (first.counter("adverts_sent") >= sent + 2).then_some(())
    });
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
}

#[test]
fn every_signal_that_ends_it_restores_the_host() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut vipd = Vipd::start(&n1, &vipd(0));
        vipd.wait_for_role("master", SOON);
        vipd.signal(signal);
        let status = vipd.wait_for_exit(SOON);
        assert_eq!(status.code(), Some(0), "{signal:?}: {status}");
        assert_untouched(&n1);
    }
}

#[test]
fn a_link_that_is_down_holds_no_signal_back() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let mut vipd = Vipd::start(&n1, &vipd(0));
    vipd.wait_for_role("master", SOON);
    n1.link_down();
    vipd.wait_for_role("init", SOON);
    vipd.signal(Signal::USR1);
    vipd.wait_for_log("INIT on eth0 id 42", SOON);
    assert_eq!(vipd.terminate(SOON).code(), Some(0));
    assert_untouched(&n1);
}
