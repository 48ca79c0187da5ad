//! Somebody on the LAN who has captured every advert and introduction since before
//! the daemons started, and plays them back: as they were and altered in every way
//! that needs no password, in every order, to everybody and to each. No role moves.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vipd::carp::Interval;
use vipd_tests::forger::{Forgery, forge};
use vipd_tests::lab::{
    Census, Count, EVERYBODY, Forger, Host, Lab, Mac, Storm, Ucarp, Vipd, VipdOptions, wait_until,
};
use vipd_tests::sim::rng::Rng;

use crate::scene::{SOON, VIP, count, pair, ucarp, vipd, wait_for_master};

mod failover;
mod rollout;

/// What a member of the group would like to hear least.
const BEST: Interval = Interval::new(0, 0);

/// An address at which nobody is.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 77);

/// What is done to a frame, one thing after the other.
type Recipe = Vec<Forgery>;

/// How many forged frames a pair is shown: what `VIPD_FORGERIES` says, or some.
fn forgeries() -> u64 {
    match std::env::var("VIPD_FORGERIES") {
        Ok(number) => number.parse().expect("VIPD_FORGERIES is a number"),
        Err(_) => 20_000,
    }
}

/// Each would take over from a worse master, so that it must not believe in one.
fn signing(auth: &'static str, advskew: u8) -> VipdOptions {
    VipdOptions {
        auth: Some(auth),
        preempt: true,
        ..vipd(advskew)
    }
}

/// All that can be done to a frame where these hosts sign.
struct Kit {
    auth: &'static str,
    recipes: Vec<Recipe>,
}

impl Kit {
    fn new(auth: &'static str, hosts: &[&Host]) -> Self {
        let ordinary = Interval::new(1, 0);
        let ranks = [
            BEST,
            Interval::new(0, 1),
            ordinary,
            Interval::new(1, 254),
            Interval::new(255, 0),
            Interval::BOW_OUT,
            ordinary.farewell(),
        ];
        let mut recipes = vec![
            vec![Forgery::None],
            vec![Forgery::Number],
            vec![Forgery::Key],
            vec![Forgery::Unsigned],
            vec![Forgery::Demotion(1)],
            vec![Forgery::Demotion(255)],
        ];
        for rank in ranks {
            recipes.push(vec![Forgery::Interval(rank)]);
            recipes.push(vec![Forgery::Number, Forgery::Interval(rank)]);
            recipes.push(vec![Forgery::Unsigned, Forgery::Interval(rank)]);
        }
        let hosts = hosts.iter().map(|host| host.address());
        for source in hosts.chain([STRANGER]) {
            let source = Forgery::Source(source);
            recipes.push(vec![source]);
            for rank in [BEST, Interval::BOW_OUT].map(Forgery::Interval) {
                recipes.push(vec![source, rank]);
                recipes.push(vec![source, rank, Forgery::Unsigned]);
            }
        }
        Self { auth, recipes }
    }

    /// Every frame by every recipe, recipe by recipe; except for what a legacy host
    /// might have sent, where such are believed.
    fn forge(&self, captured: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let by = |recipe: &Recipe| -> Vec<Vec<u8>> {
            let mut frames = captured.to_vec();
            for frame in &mut frames {
                recipe.iter().for_each(|forgery| forge(frame, *forgery));
            }
            frames
        };
        let mut frames: Vec<_> = self.recipes.iter().flat_map(by).collect();
        let is_legacy = |frame: &Vec<u8>| is_unsigned(frame) && source(frame) == STRANGER;
        frames.retain(|frame| self.auth == "require" || !is_legacy(frame));
        frames
    }
}

/// All that was captured, without end: played back as fast as may be, and forged.
fn storms(forger: &Forger, auth: &'static str, hosts: &[&Host]) -> [Storm; 2] {
    let kit = Kit::new(auth, hosts);
    let pause = Duration::from_millis(1);
    [
        forger.storm(pause, |captured| captured),
        forger.storm(pause, move |captured| kit.forge(&captured)),
    ]
}

/// Waits until so many frames more were sent.
fn wait_for_storms(storms: &[Storm], more: u64) {
    for storm in storms {
        let enough = storm.sent() + more;
        wait_until("forgeries", SOON, || (storm.sent() >= enough).then_some(()));
    }
}

/// Waits until forgeries of each kind were judged.
fn wait_for_verdicts(vipd: &Vipd) {
    for counter in ["replayed", "bad_signature", "unsigned_refused"] {
        wait_until(counter, SOON, || (vipd.counter(counter) > 0).then_some(()));
    }
}

/// What no forgery may change of a daemon: role, reason, master, transitions.
fn stand(vipd: &Vipd) -> [Value; 4] {
    let group = vipd.group();
    let transitions = &group["counters"]["transitions"];
    [
        &group["role"],
        &group["reason"],
        &group["master"],
        transitions,
    ]
    .map(Clone::clone)
}

/// Waits for adverts that are believed.
fn wait_for_adverts(vipd: &Vipd, more: u64) {
    let enough = vipd.counter("adverts_received") + more;
    wait_until("adverts that are believed", SOON, || {
        (vipd.counter("adverts_received") >= enough).then_some(())
    });
}

/// One host answered, the same one always, and every request.
fn assert_served(count: &Count) {
    assert_eq!(count.unanswered, [], "of {}", count.asked);
    assert_eq!(count.by_another, 0);
    assert_eq!(count.twice, Vec::<u32>::new());
}

/// Where a frame comes from, as its IP header has it.
fn source(frame: &[u8]) -> Ipv4Addr {
    let octets: [u8; 4] = frame[26..30].try_into().expect("four bytes");
    octets.into()
}

/// Whether it is an advert that is not signed.
fn is_unsigned(frame: &[u8]) -> bool {
    frame.len() < SIGNED_LEN && frame[CARP_AT + 1] != 0
}

/// Plays at least so many forgeries: in the captured order, backwards and in none,
/// to everybody and to each host alone, its own frames included. Returns how many
/// were sent; all of them have been judged.
fn flood(forger: &Forger, kit: &Kit, members: &[(&Host, &Vipd)], at_least: u64) -> u64 {
    let stands: Vec<_> = members.iter().map(|(_, vipd)| stand(vipd)).collect();
    let count = |name: &str| -> Vec<u64> {
        let members = members.iter();
        members.map(|(_, vipd)| vipd.counter(name)).collect()
    };
    let before = JUDGED.map(count);
    let mut refused = vec![0; members.len()];
    let macs: Vec<Mac> = members.iter().map(|(host, _)| host.mac()).collect();
    let mut rng = Rng::new(at_least);
    let (mut sent, mut round) = (0, 0);
    while sent < at_least {
        let mut frames = kit.forge(&forger.captured());
        match round % 3 {
            0 => {}
            1 => frames.reverse(),
            _ => rng.shuffle(&mut frames),
        }
        // Every order comes with every destination.
        let to = match round / 3 % (1 + macs.len()) {
            0 => EVERYBODY,
            place => macs[place - 1],
        };
        round += 1;
        for frames in frames.chunks(AT_ONCE) {
            let passed = count("carp_passed");
            send(forger, frames, to);
            sent += frames.len() as u64;
            for ((host, vipd), passed) in members.iter().zip(passed) {
                if to == EVERYBODY || to == host.mac() {
                    wait_until("the frames are there", SOON, || {
                        (vipd.counter("carp_passed") >= passed + frames.len() as u64).then_some(())
                    });
                }
            }
            for ((host, _), refused) in members.iter().zip(&mut refused) {
                let is_refused =
                    |frame: &&Vec<u8>| is_unsigned(frame) && source(frame) != host.address();
                if to == EVERYBODY || to == host.mac() {
                    *refused += frames.iter().filter(is_refused).count() as u64;
                }
            }
        }
        let unmoved: Vec<_> = members.iter().map(|(_, vipd)| stand(vipd)).collect();
        assert_eq!(unmoved, stands, "after {sent} forgeries");
    }
    for (place, (host, vipd)) in members.iter().enumerate() {
        for (name, before) in JUDGED.iter().zip(&before) {
            let grown = vipd.counter(name) - before[place];
            println!("{}: {name} {grown}", host.name());
            // None was lost on the way: it is known of these how each is judged.
            let least = match *name {
                "unsigned_refused" => refused[place],
                _ => 1,
            };
            assert!(grown >= least, "{}: {name} {grown} of {least}", host.name());
        }
        assert_quiet(vipd);
    }
    sent
}

/// Not faster than queues in the kernel are emptied.
fn send(forger: &Forger, frames: &[Vec<u8>], to: Mac) {
    for frames in frames.chunks(IN_A_ROW) {
        frames.iter().for_each(|frame| forger.send(frame, to));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whatever repeats was told once.
fn assert_quiet(vipd: &Vipd) {
    let log = vipd.log();
    let complaints = log.lines().filter(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "WARN" || word == "ERROR")
    });
    let mut beginnings: Vec<Vec<&str>> = complaints
        .map(|line| line.split_whitespace().skip(2).take(4).collect())
        .collect();
    beginnings.sort_unstable();
    let all = beginnings.len();
    beginnings.dedup();
    assert_eq!(beginnings.len(), all, "{log}");
}

/// Has the kernel pass on what seems to come from the host itself, which it drops by
/// default: the daemon shall judge that too.
fn accept_reflections(host: &Host) {
    let written = host.run_in(|| fs::write("/proc/sys/net/ipv4/conf/eth0/accept_local", "1"));
    written.expect("root may change it");
}

fn a_pair_is_not_moved(auth: &'static str) {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    accept_reflections(&n1);
    accept_reflections(&n2);
    // Both have been master, so that there are adverts of both.
    let mut second = Vipd::start(&n2, &signing(auth, 50));
    second.wait_for_lease(SOON);
    let first = Vipd::start(&n1, &signing(auth, 0));
    first.wait_for_lease(SOON);
    wait_for_master(&second, n1.address());

    let kit = Kit::new(auth, &[&n1, &n2]);
    let asked = forgeries();
    let census = Census::start(&client, VIP, RATE);
    census.wait_for_requests(100, SOON);
    let master = stand(&first);
    let mut sent = flood(&forger, &kit, &[(&n1, &first), (&n2, &second)], asked / 2);
    let storms = storms(&forger, auth, &[&n1, &n2]);
    second.kill();
    second = Vipd::start(&n2, &signing(auth, 50));
    wait_for_master(&second, n1.address());
    wait_for_storms(&storms, 500);
    drop(storms);
    let group = second.group();
    assert_eq!(
        (
            &group["role"],
            &group["reason"],
            &group["counters"]["transitions"]
        ),
        (&"backup".into(), &"start".into(), &1.into())
    );
    let left = asked.saturating_sub(sent).max(1);
    sent += flood(&forger, &kit, &[(&n1, &first), (&n2, &second)], left);
    assert!(sent >= asked, "{sent}");

    let count = census.finish();
    println!(
        "{auth}: {sent} forgeries, {} requests answered",
        count.asked
    );
    assert_served(&count);
    assert_eq!(stand(&first), master);
}

#[test]
fn where_signatures_are_required_nothing_forged_moves_a_role() {
    a_pair_is_not_moved("require");
}

#[test]
fn between_hosts_that_sign_nothing_forged_moves_a_role() {
    a_pair_is_not_moved("send");
}

#[test]
fn what_a_ucarp_has_sent_can_be_forged_and_moves_those_who_believe_in_ucarps() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    let mut legacy = Ucarp::spawn(&n2, &ucarp(100));
    legacy.wait_for_log("Switching to state: MASTER", SOON);
    let mut first = Vipd::start(&n1, &signing("send", 50));
    first.wait_for_lease(SOON);
    assert_eq!(first.group()["reason"], "preempt", "it is believed");
    wait_until("ucarp is backup again", SOON, || {
        (count(&legacy, "Switching to state: BACKUP") == 2).then_some(())
    });
    let captured = forger.captured();
    let of_ucarp = captured.iter().rfind(|frame| source(frame) == n2.address());
    let mut better = of_ucarp.expect("it was master").clone();
    assert!(is_unsigned(&better));
    forge(&mut better, Forgery::Interval(Interval::new(1, 0)));

    forger.send(&better, EVERYBODY);
    first.wait_for_role("backup", SOON);
    assert_eq!(first.group()["reason"], "better_master");

    legacy.terminate(SOON);
    assert!(first.terminate(SOON).success());
    let first = Vipd::start(&n1, &signing("require", 50));
    first.wait_for_lease(SOON);
    let before = stand(&first);
    let refused = first.counter("unsigned_refused");
    let frames = Kit::new("require", &[&n1, &n2]).forge(&[better]);
    send(&forger, &frames, EVERYBODY);
    let from_ucarp = |frame: &&Vec<u8>| is_unsigned(frame) && source(frame) != n1.address();
    let due = frames.iter().filter(from_ucarp).count() as u64;
    wait_until("the forgeries are judged", SOON, || {
        (first.counter("unsigned_refused") >= refused + due).then_some(())
    });
    assert_eq!(stand(&first), before);
}

/// Requests per second.
const RATE: u32 = 1000;

/// Counters that show that a forgery was looked at.
const JUDGED: [&str; 4] = ["replayed", "bad_signature", "unsigned_refused", "looped"];

/// Frames until it is looked whether they have arrived: a receive buffer holds many
/// times as many.
const AT_ONCE: usize = 500;

/// Frames without a pause: they reach each host of the LAN, and the kernel queues
/// no more than a thousand at one moment (`netdev_max_backlog`).
const IN_A_ROW: usize = 50;

/// Where the CARP header begins in a frame, and how long one is at least with a
/// signed trailer.
const CARP_AT: usize = 34;
const SIGNED_LEN: usize = CARP_AT + 36 + 28 + 32;
