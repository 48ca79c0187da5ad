//! Never two answers: whatever befalls the master, it is silent before its
//! successor answers, and when it is over the clients find who is left.
//!
//! What no protocol without a third party can avoid, and is therefore allowed:
//!
//! - While a network is cut, both sides may answer, each the clients it has.
//!   The client here is on the successor's side.
//! - From the moment the network is whole until the master that must yield has
//!   heard the other's next advert, both may answer one client: neither can know.
//!   Each advertises once an interval. After the yielding one's farewell not a
//!   single answer of it is allowed.
//! - A master that is deaf advertises and so stays master, and does not hear the
//!   requests either: nobody answers.

use std::process::Command;
use std::thread;
use std::time::Duration;

use vipd::carp::Advertisement;
use vipd_common::arp::ArpFrame;
use vipd_tests::lab::{
    Answer, Census, Daemon, Frame, Host, Lab, Prober, Sniffer, Vipd, VipdOptions, wait_until,
};

use crate::scene::{SOON, VIP, pair, rounds, vipd, wait_for_master};

/// Two hosts, and two that have nothing to do with the election: a client that
/// asks all the time, and a bystander that asks nobody.
struct Scene {
    client: Host,
    bystander: Host,
    pair: [(Host, VipdOptions); 2],
    /// In the order of the pair.
    daemons: [Vipd; 2],
    /// Which of the pair is master.
    master: usize,
    _lab: Lab,
}

impl Scene {
    fn new(options: [VipdOptions; 2]) -> Self {
        let lab = Lab::new();
        let [first, second] = options;
        let pair = [
            (lab.host("n1", "10.99.0.1/24"), first),
            (lab.host("n2", "10.99.0.2/24"), second),
        ];
        let client = lab.host("client", "10.99.0.200/24");
        let bystander = lab.host("bystander", "10.99.0.201/24");
        let first = Vipd::start(&pair[0].0, &pair[0].1);
        first.wait_for_lease(SOON);
        let second = Vipd::start(&pair[1].0, &pair[1].1);
        wait_for_master(&second, pair[0].0.address());
        Self {
            client,
            bystander,
            pair,
            daemons: [first, second],
            master: 0,
            _lab: lab,
        }
    }

    fn master(&self) -> (&Host, &Vipd) {
        (&self.pair[self.master].0, &self.daemons[self.master])
    }

    fn backup(&self) -> (&Host, &Vipd) {
        let backup = 1 - self.master;
        (&self.pair[backup].0, &self.daemons[backup])
    }

    /// Waits until one is master and the other follows it.
    fn settle(&mut self) {
        self.master = wait_until("one master, and one backup that follows it", SOON, || {
            let status = |at: usize| Some(self.daemons[at].status()?["groups"][0].clone());
            let groups = [status(0)?, status(1)?];
            (0..2).find(|&at| {
                let address = self.pair[at].0.address().to_string();
                groups[at]["owner_mac"].is_string()
                    && groups[1 - at]["role"] == "backup"
                    && groups[1 - at]["master"]["address"] == address.as_str()
            })
        });
    }

    /// Fails the master; after that the other answers, and nobody else once it
    /// has. Then repairs what is broken, which changes nothing any more.
    fn fails_over(&mut self, fail: impl FnOnce(&mut Self), repair: impl FnOnce(&mut Self)) {
        let (old, new) = (self.master().0.mac(), self.backup().0.mac());
        let prober = Prober::start(&self.client, VIP, RATE);
        assert_eq!(prober.who_answers_within(SOON), Some(old));
        fail(self);
        assert!(prober.answered_by_within(new, SOON), "nobody took over");
        repair(self);
        self.settle();
        assert_eq!(self.master().0.mac(), new);
        let record = prober.finish();
        assert_eq!(record.answers_after_successor(old, new), []);
    }

    /// The bystander believes in the host that is not master any more, and hears
    /// of the master by its announcements alone.
    fn bystander_learns(&self, announced: &Sniffer, since: Duration) {
        let master = self.master().0;
        wait_until("announcements of the master", SOON, || {
            let mut announcements = announced.announcements(VIP).into_iter();
            announcements.find(|(at, arp)| *at >= since && arp.sha == master.mac())
        });
        wait_until("the bystander knows the master", SOON, || {
            (self.bystander.neighbour(VIP) == Some(master.mac())).then_some(())
        });
    }
}

/// The shorter the lease, the shorter the test.
fn brisk(advskew: u8) -> VipdOptions {
    VipdOptions {
        deadratio: 2,
        ..vipd(advskew)
    }
}

fn brisk_pair() -> Scene {
    Scene::new([brisk(0), brisk(50)])
}

/// Stops the master's daemon for so long. Whether the other takes over depends
/// on when the last advert went out, and on the machine.
fn pauses(scene: &mut Scene, pause: Duration) -> usize {
    let (old, new) = (scene.master().0.mac(), scene.backup().0.mac());
    let prober = Prober::start(&scene.client, VIP, RATE);
    assert_eq!(prober.who_answers_within(SOON), Some(old));
    let master = scene.master;
    scene.daemons[master].stop();
    // What is stopped has no condition to wait for.
    thread::sleep(pause);
    scene.daemons[master].cont();
    scene.settle();
    assert!(prober.answered_by_within(scene.master().0.mac(), SOON));
    let record = prober.finish();
    let changes: Vec<_> = record.changes().iter().map(|(_, mac)| *mac).collect();
    assert!(
        changes == [old] || changes == [old, new],
        "{pause:?}: {changes:?}"
    );
    assert_eq!(record.answers_after_successor(old, new), []);
    changes.len() - 1
}

#[test]
fn a_master_that_is_stopped_for_a_moment_never_answers_beside_another() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        for pause in [100, 1000] {
            pauses(&mut scene, Duration::from_millis(pause));
        }
    }
}

#[test]
fn a_master_that_is_stopped_for_long_is_silent_before_another_answers() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        assert_eq!(pauses(&mut scene, Duration::from_secs(5)), 1);
    }
    // Each round takes half a minute.
    if std::env::var_os("VIPD_ROUNDS").is_some() {
        for _ in 0..rounds() {
            assert_eq!(pauses(&mut scene, Duration::from_secs(20)), 1);
        }
    }
}

#[test]
fn a_killed_master_is_silent_before_another_answers() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        scene.fails_over(
            |scene| scene.daemons[scene.master].kill(),
            |scene| {
                let (host, options) = &scene.pair[scene.master];
                scene.daemons[scene.master] = Vipd::start(host, options);
            },
        );
    }
}

#[test]
fn a_master_without_a_carrier_is_silent_before_another_answers() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        scene.fails_over(
            |scene| scene.master().0.carrier(false),
            |scene| scene.master().0.carrier(true),
        );
    }
}

#[test]
fn a_starved_master_is_silent_before_another_answers() {
    // The kernel leaves a twentieth of each second to ordinary programs, so the
    // lease must be shorter than a second: an advert each 256th of one.
    let quick = |advskew| VipdOptions {
        advbase: 0,
        deadratio: 100,
        ..vipd(advskew)
    };
    let mut scene = Scene::new([quick(0), quick(2)]);
    for _ in 0..rounds() {
        // Noise alone may change the roles here.
        scene.settle();
        run_on("0", scene.backup().1);
        run_on(STARVED_CPU, scene.master().1);
        let (old, new) = (scene.master().0.mac(), scene.backup().0.mac());
        let prober = Prober::start(&scene.client, VIP, 50);
        assert!(prober.answered_by_within(old, SOON));
        let census = Census::start(&scene.client, VIP, RATE);
        let mut spinner = Command::new("chrt");
        spinner.args(["-f", "50", "taskset", "-c", STARVED_CPU]);
        spinner.args(["sh", "-c", "while :; do :; done"]);
        let mut spinner = Daemon::spawn("spinner", &mut spinner);
        assert!(prober.answered_by_within(new, SOON), "nobody took over");
        spinner.kill();
        scene.settle();
        // It may come to be master again, and lose it again, but no request is
        // answered by two.
        assert_eq!(census.finish().twice, Vec::<u32>::new());
    }
}

/// The CPU on which the daemon is starved. Everything else may use the other.
const STARVED_CPU: &str = "1";

fn run_on(cpu: &str, daemon: &Daemon) {
    let pid = daemon.pid().to_string();
    let mut taskset = Command::new("taskset");
    let moved = taskset.args(["-a", "-p", "-c", cpu, &pid]).output();
    assert!(moved.is_ok_and(|output| output.status.success()));
}

/// A preferred host takes over from a living one, which is stopped before it can
/// say that it is silent. Its kernel still answers, so the successor waits.
#[test]
fn a_preferred_host_waits_for_the_lease_of_a_master_that_is_stopped() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    // It preempts after waiting out its skew, which is time to stop the other.
    let preferred = VipdOptions {
        preempt: true,
        ..vipd(200)
    };
    for _ in 0..rounds() {
        let mut second = Vipd::start(&n2, &vipd(250));
        second.wait_for_lease(SOON);
        let prober = Prober::start(&client, VIP, RATE);
        assert_eq!(prober.who_answers_within(SOON), Some(n2.mac()));
        let mut first = Vipd::start(&n1, &preferred);
        wait_until("an advert", SOON, || {
            (first.counter("adverts_received") >= 1).then_some(())
        });
        second.stop();
        assert!(prober.answered_by_within(n1.mac(), SOON));
        second.cont();
        wait_for_master(&second, n1.address());
        let record = prober.finish();
        assert_eq!(record.answers_after_successor(n2.mac(), n1.mac()), []);
        assert!(second.terminate(SOON).success());
        assert!(first.terminate(SOON).success());
    }
}

/// Cuts the master off in some way until the other answers the client, and lets
/// the two meet again: one yields, and says so.
fn is_cut(cut: impl Fn(&Host), scene: &mut Scene) {
    let (old, new) = (scene.master().0.mac(), scene.backup().0.mac());
    let prober = Prober::start(&scene.client, VIP, RATE);
    assert_eq!(prober.who_answers_within(SOON), Some(old));
    cut(scene.master().0);
    assert!(prober.answered_by_within(new, SOON), "nobody took over");
    let record = prober.so_far();
    assert_eq!(record.answers_after_successor(old, new), []);

    // Whoever yields, some clients still believe in it.
    let yields = scene.yields_when_both_are_masters();
    scene.bystander.believe(VIP, scene.pair[yields].0.mac());
    let sniffer = Sniffer::start(&scene.client);
    let healed = sniffer.elapsed();
    scene.master().0.heal();
    scene.settle();
    assert_eq!(scene.master, 1 - yields);
    scene.bystander_learns(&sniffer, healed);
    assert!(prober.answered_by_within(scene.master().0.mac(), SOON));
    let loser = &scene.backup().0;
    silent_after_its_farewell(&sniffer.frames(), loser);
}

impl Scene {
    /// The one with the greater skew.
    fn yields_when_both_are_masters(&self) -> usize {
        usize::from(self.pair[1].1.advskew > self.pair[0].1.advskew)
    }
}

/// No answer of `host` follows its farewell. By the order of the frames at one
/// socket, as a time would measure how busy the machine was.
fn silent_after_its_farewell(frames: &[Frame], host: &Host) {
    let is_farewell = |frame: &Frame| {
        let advert = frame.bytes.get(14..).map(Advertisement::parse);
        matches!(advert, Some(Ok((from, advert)))
            if from == host.address() && advert.interval.is_farewell())
    };
    let Some(farewell) = frames.iter().position(is_farewell) else {
        // It was no master any more when the network was healed.
        return;
    };
    let is_answer = |frame: &&Frame| {
        ArpFrame::parse(&frame.bytes)
            .is_ok_and(|arp| arp.sha == host.mac() && arp.spa == VIP.octets() && arp.tpa != arp.spa)
    };
    let late: Vec<&Frame> = frames[farewell..].iter().filter(is_answer).collect();
    assert!(late.is_empty(), "after its farewell: {late:?}");
}

#[test]
fn two_masters_of_a_cut_network_are_one_as_soon_as_it_is_healed() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        is_cut(Host::cut, &mut scene);
    }
}

#[test]
fn a_master_that_is_not_heard_is_followed_again_when_it_is() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        is_cut(Host::cut_outbound, &mut scene);
    }
}

#[test]
fn a_master_that_cannot_hear_is_no_reason_for_two() {
    let scene = brisk_pair();
    for _ in 0..rounds() {
        let (old, new) = (scene.master().0.mac(), scene.backup().0.mac());
        let prober = Prober::start(&scene.client, VIP, RATE);
        assert_eq!(prober.who_answers_within(SOON), Some(old));
        scene.master().0.cut_inbound();
        let received = scene.backup().1.counter("adverts_received");
        wait_until("adverts of the deaf master", SOON, || {
            (scene.backup().1.counter("adverts_received") >= received + 3).then_some(())
        });
        assert_eq!(scene.backup().1.role(), "backup");
        scene.master().0.heal();
        assert!(prober.answered_by_within(old, SOON));
        let record = prober.finish();
        assert!(record.answers.iter().all(|answer| answer.mac != new));
    }
}

#[test]
fn a_backup_that_cannot_hear_takes_no_client_for_longer_than_it_is_deaf() {
    let mut scene = brisk_pair();
    for _ in 0..rounds() {
        let (good, deaf) = (scene.master().0.clone(), scene.backup().0.clone());
        let prober = Prober::start(&scene.client, VIP, RATE);
        assert_eq!(prober.who_answers_within(SOON), Some(good.mac()));
        deaf.cut_inbound();
        // It takes the silence for a dead master. It gets no request, so nobody
        // is answered by it; but clients hear its announcements.
        scene.backup().1.wait_for_role("master", SOON);
        scene.bystander.believe(VIP, deaf.mac());
        let sniffer = Sniffer::start(&scene.client);
        let healed = sniffer.elapsed();
        deaf.heal();
        scene.settle();
        assert_eq!(scene.master().0.mac(), good.mac());
        scene.bystander_learns(&sniffer, healed);
        silent_after_its_farewell(&sniffer.frames(), &deaf);
        let record = prober.finish();
        let before = |answer: &&Answer| answer.mac == deaf.mac();
        // Between the healing and its farewell it may have answered.
        assert!(record.answers.iter().filter(before).count() < record.answers.len() / 2);
    }
}

/// Requests per second.
const RATE: u32 = 1000;
