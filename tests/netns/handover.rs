//! Planned hand-overs lose nothing: not one request to the VIP, whoever hands
//! over and why, and ARP has one answer before and another after.

use rustix::process::Signal;
use vipd_tests::lab::{Echo, Host, Lab, Mac, Prober, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, pair, rounds, vipd, wait_for_master};

fn placed(advskew: u8, addresses: &'static str) -> VipdOptions {
    VipdOptions {
        addresses,
        ..vipd(advskew)
    }
}

/// A client that pings the VIP a thousand times per second, and one that asks for
/// it as often.
struct Client {
    echo: Echo,
    prober: Prober,
}

impl Client {
    fn start(client: &Host, asker: &Host) -> Self {
        let echo = Echo::start(client, VIP, RATE);
        let prober = Prober::start(asker, VIP, RATE);
        echo.wait_for_answer(SOON);
        assert!(prober.who_answers_within(SOON).is_some());
        Self { echo, prober }
    }

    /// Waits until `mac` answers and an echo more has come back; then not one
    /// may be lost.
    fn lost_nothing(self, what: &str, owners: &[Mac]) {
        let last = *owners.last().expect("somebody owns it");
        assert!(self.prober.answered_by_within(last, SOON), "{what}");
        self.echo.wait_for_answer(SOON);
        let echoes = self.echo.finish(SOON);
        let record = self.prober.finish();
        let macs: Vec<_> = record.changes().iter().map(|(_, mac)| *mac).collect();
        assert_eq!(macs, owners, "{what}");
        let lost = echoes.lost();
        assert!(
            lost.is_empty() && echoes.refused.is_empty(),
            "{what}: of {} requests {} were lost: {lost:?}, and refused: {:?}; the owner changed at {:?}",
            echoes.sent.len(),
            lost.len(),
            echoes.refused,
            record.changes(),
        );
        println!(
            "{what}: {} echoes, none lost, the slowest {:?}; ARP unanswered for {:?}",
            echoes.sent.len(),
            echoes.slowest(),
            record.longest_gap(),
        );
    }
}

#[test]
fn a_stop_loses_no_request() {
    for addresses in ["interface", "loopback"] {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let asker = lab.host("asker", "10.99.0.201/24");
        let mut first = Vipd::start(&n1, &placed(0, addresses));
        first.wait_for_lease(SOON);
        let mut second = Vipd::start(&n2, &placed(20, addresses));
        for _ in 0..rounds() {
            wait_for_master(&second, n1.address());
            let users = Client::start(&client, &asker);
            assert!(first.terminate(SOON).success());
            users.lost_nothing(&format!("SIGTERM, {addresses}"), &[n1.mac(), n2.mac()]);
            first = Vipd::start(&n1, &placed(0, addresses));
            wait_for_master(&first, n2.address());
            let users = Client::start(&client, &asker);
            assert!(second.terminate(SOON).success());
            users.lost_nothing(&format!("SIGTERM back, {addresses}"), &[n2.mac(), n1.mac()]);
            second = Vipd::start(&n2, &placed(20, addresses));
        }
    }
}

#[test]
fn stepping_down_loses_no_request() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let asker = lab.host("asker", "10.99.0.201/24");
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let mut second = Vipd::start(&n2, &vipd(20));
    wait_for_master(&second, n1.address());
    for _ in 0..rounds() {
        let users = Client::start(&client, &asker);
        first.signal(Signal::USR2);
        users.lost_nothing("SIGUSR2", &[n1.mac(), n2.mac()]);
        wait_for_master(&first, n2.address());
        let users = Client::start(&client, &asker);
        second.signal(Signal::USR2);
        users.lost_nothing("SIGUSR2 back", &[n2.mac(), n1.mac()]);
        wait_for_master(&second, n1.address());
    }
}

#[test]
fn a_preferred_master_that_returns_loses_no_request() {
    for addresses in ["interface", "loopback"] {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let asker = lab.host("asker", "10.99.0.201/24");
        let second = Vipd::start(&n2, &placed(20, addresses));
        second.wait_for_lease(SOON);
        for _ in 0..rounds() {
            let users = Client::start(&client, &asker);
            let preferred = VipdOptions {
                preempt: true,
                ..placed(0, addresses)
            };
            let mut first = Vipd::start(&n1, &preferred);
            first.wait_for_lease(SOON);
            assert_eq!(first.group()["reason"], "preempt");
            users.lost_nothing(&format!("-P, {addresses}"), &[n2.mac(), n1.mac()]);
            assert!(first.terminate(SOON).success());
            second.wait_for_lease(SOON);
        }
    }
}

#[test]
fn of_three_backups_the_best_takes_over_and_only_it() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let asker = lab.host("asker", "10.99.0.201/24");
    let (n3, n4) = (
        lab.host("n3", "10.99.0.3/24"),
        lab.host("n4", "10.99.0.4/24"),
    );
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    // In no order of preference, and far enough apart for any machine.
    let third = Vipd::start(&n3, &vipd(120));
    let second = Vipd::start(&n2, &vipd(20));
    let fourth = Vipd::start(&n4, &vipd(250));
    for _ in 0..rounds() {
        for backup in [&second, &third, &fourth] {
            wait_for_master(backup, n1.address());
        }
        let unchanged = [&third, &fourth].map(|backup| backup.counter("transitions"));
        let transitions = second.counter("transitions");
        let users = Client::start(&client, &asker);
        assert!(first.terminate(SOON).success());
        users.lost_nothing("SIGTERM among four", &[n1.mac(), n2.mac()]);
        for backup in [&third, &fourth] {
            wait_for_master(backup, n2.address());
        }
        assert_eq!(second.counter("transitions"), transitions + 1);
        assert_eq!(
            [&third, &fourth].map(|backup| backup.counter("transitions")),
            unchanged
        );
        for backup in [&third, &fourth] {
            assert_eq!(backup.counter("adverts_sent"), 0);
        }
        let preferred = VipdOptions {
            preempt: true,
            ..vipd(0)
        };
        first = Vipd::start(&n1, &preferred);
        first.wait_for_lease(SOON);
        wait_until("the best is a backup", SOON, || {
            (second.role() == "backup").then_some(())
        });
    }
}

/// Requests per second, of each kind.
const RATE: u32 = 1000;
