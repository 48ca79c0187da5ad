//! Floods, at all the speed that one thread can send: no role moves, an honest
//! client is answered like by the kernel itself, memory and log stay as they are.
//!
//! `VIPD_FLOOD_SECONDS` is how long each flood lasts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use vipd_tests::lab::{
    Asker, Captured, Flood, Flooder, Host, Lab, Sniffer, Vipd, VipdOptions, now, wait_until,
};

use crate::scene::{SOON, VIP, pair, vipd, wait_for_master};

/// One flood at a time: a machine of two cores has none for a second.
static MACHINE: Mutex<()> = Mutex::new(());

/// Two daemons, both of which have been master and told each other who they are,
/// a client and somebody who has listened.
struct Scene {
    flooder: Host,
    client: Host,
    /// The master, and its backup.
    hosts: [Host; 2],
    daemons: [Vipd; 2],
    captured: Captured,
    _lab: Lab,
    _machine: MutexGuard<'static, ()>,
}

impl Scene {
    fn start(auth: &str) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let flooder = lab.host("flooder", "10.99.0.201/24");
        let sniffer = Sniffer::start(&flooder);
        let start = |host: &Host, options: &VipdOptions| {
            let mut arguments = options.arguments(host);
            arguments.push(format!("--auth={auth}"));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Vipd::spawn(host, &arguments)
        };
        let second = start(&n2, &vipd(50));
        second.wait_for_lease(SOON);
        let preempting = VipdOptions {
            preempt: true,
            ..vipd(0)
        };
        let first = start(&n1, &preempting);
        first.wait_for_lease(SOON);
        wait_for_master(&second, n1.address());
        let captured = wait_until("both have said everything", SOON, || {
            let captured = Captured::of(&sniffer);
            let from = |frames: &[Vec<u8>], host: &Host| {
                let own = frames.iter().filter(|frame| frame[6..12] == host.mac());
                own.count()
            };
            let is_all = [&n1, &n2].into_iter().all(|host| {
                from(&captured.adverts, host) >= 2 && from(&captured.introductions, host) >= 1
            });
            is_all.then_some(captured)
        });
        Self {
            flooder,
            client,
            hosts: [n1, n2],
            daemons: [first, second],
            captured,
            _lab: lab,
            _machine: machine,
        }
    }

    fn frames(&self, flood: Flood) -> Vec<Vec<u8>> {
        flood.frames(&self.flooder, VIP, &self.captured)
    }

    /// One flood, with all that must hold while it lasts and afterwards.
    fn withstands(&self, flood: Flood) {
        let name = flood.name();
        let before = self.states();
        let own = self.hosts[0].address();
        let asker = Asker::start(&self.client, &[VIP, own], 100);
        let flooder = Flooder::start(&self.flooder, self.frames(flood));
        let (started, lasts) = (now(), duration());
        let mut slowest = Duration::ZERO;
        while now() - started < lasts {
            for daemon in &self.daemons {
                let asked = now();
                // The client gives up after five seconds.
                let status = daemon.status();
                slowest = slowest.max(now() - asked);
                assert!(status.is_some(), "{name}: a daemon does not answer");
            }
            thread::sleep(Duration::from_millis(100));
        }
        let lasted = now() - started;
        let sent = flooder.stop();
        let asked = asker.finish();
        let [vip, kernel] = &asked[..] else {
            panic!("two addresses were asked for");
        };
        let after = self.states();
        println!(
            "{name:21}  {:4.0} k/s  VIP {:5.1} % {:>9.1?} {:>9.1?}  kernel {:5.1} % {:>9.1?} {:>9.1?}  status {slowest:.0?}  grown {:?} KiB, lines {:?}, lost {:?}",
            sent as f64 / lasted.as_secs_f64() / 1e3,
            vip.fraction() * 100.0,
            vip.quantile(0.5),
            vip.quantile(0.99),
            kernel.fraction() * 100.0,
            kernel.quantile(0.5),
            kernel.quantile(0.99),
            [0, 1]
                .map(|host: usize| after[host].memory_kib as i64 - before[host].memory_kib as i64),
            [0, 1].map(|host: usize| after[host].lines - before[host].lines),
            [0, 1].map(|host: usize| self.lost(host)),
        );

        for host in 0..2 {
            let (before, after) = (&before[host], &after[host]);
            let who = self.hosts[host].name();
            assert_eq!(before.role, after.role, "{name}: {who}");
            assert_eq!(before.transitions, after.transitions, "{name}: {who}");
            assert!(
                after.memory_kib < before.memory_kib + 1024,
                "{name}: {who} grows from {} KiB to {}",
                before.memory_kib,
                after.memory_kib
            );
            let lines = after.lines - before.lines;
            assert!(lines <= 5, "{name}: {who} says {lines} lines");
        }
        assert!(
            after[0].adverts_sent >= before[0].adverts_sent + lasts.as_secs() / 2,
            "{name}: the master advertises too seldom"
        );
        let answered_by: Vec<_> = vip.answered_by.keys().copied().collect();
        assert_eq!(answered_by, [self.hosts[0].mac()], "{name}");
        // What the LAN itself loses it loses of both.
        assert!(
            vip.fraction() > kernel.fraction() - 0.2,
            "{name}: of the requests for the VIP {:.3} are answered, the kernel answers {:.3}",
            vip.fraction(),
            kernel.fraction()
        );
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|host: usize| State::of(&self.daemons[host]))
    }

    /// What found no room in the daemon's raw socket, as the kernel counts it.
    fn lost(&self, host: usize) -> u64 {
        let path = format!("/proc/{}/net/raw", self.daemons[host].pid());
        let raw = std::fs::read_to_string(path).unwrap_or_default();
        let drops = raw
            .lines()
            .skip(1)
            .filter_map(|line| line.split_ascii_whitespace().last()?.parse::<u64>().ok());
        drops.sum()
    }
}

#[derive(Debug)]
struct State {
    role: String,
    transitions: u64,
    adverts_sent: u64,
    memory_kib: u64,
    lines: usize,
}

impl State {
    fn of(daemon: &Vipd) -> Self {
        let group = daemon.group();
        let counter = |name: &str| group["counters"][name].as_u64().expect("a counter");
        let path = format!("/proc/{}/status", daemon.pid());
        let status = std::fs::read_to_string(path).expect("the daemon lives");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.trim().strip_suffix(" kB"));
        Self {
            role: group["role"].as_str().expect("a role is text").to_owned(),
            transitions: counter("transitions"),
            adverts_sent: counter("adverts_sent"),
            memory_kib: resident.and_then(|kib| kib.parse().ok()).expect("VmRSS"),
            lines: daemon.log().lines().count(),
        }
    }
}

/// How long each flood lasts: what `VIPD_FLOOD_SECONDS` says, or longer than a
/// backup waits for its master.
fn duration() -> Duration {
    match std::env::var("VIPD_FLOOD_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().expect("a number of seconds")),
        Err(_) => Duration::from_secs(5),
    }
}

#[test]
fn no_flood_moves_a_role_or_keeps_a_client_from_its_answer() {
    let scene = Scene::start("send");
    for flood in Flood::ALL {
        scene.withstands(flood);
    }
}

#[test]
fn where_signatures_are_required_no_flood_of_adverts_moves_a_role() {
    let scene = Scene::start("require");
    for flood in [
        Flood::WrongDigest,
        Flood::Replayed,
        Flood::WrongSignature,
        Flood::ReplayedIntroduction,
    ] {
        scene.withstands(flood);
    }
}

#[test]
fn a_flooded_backup_still_hears_of_its_host_and_obeys() {
    let mut scene = Scene::start("send");
    let flooder = Flooder::start(&scene.flooder, scene.frames(Flood::WrongSignature));
    let (backup, host) = (&scene.daemons[1], &scene.hosts[1]);
    let rejected = backup.counter("bad_signature");
    wait_until("the flood arrives", SOON, || {
        (backup.counter("bad_signature") > rejected + 1000).then_some(())
    });

    host.ip(&["link", "set", "eth0", "address", "02:00:00:00:01:02"]);
    wait_until("the new MAC is known", SOON, || {
        (backup.interface()["mac"] == "02:00:00:00:01:02").then_some(())
    });
    assert!(scene.daemons[1].terminate(SOON).success());
    drop(flooder);
}

#[test]
fn after_a_flood_the_backup_takes_over_from_a_master_that_died_in_it() {
    let mut scene = Scene::start("send");
    let flooder = Flooder::start(&scene.flooder, scene.frames(Flood::WrongDigest));
    let rejected = scene.daemons[1].counter("bad_digest");
    wait_until("the flood arrives", SOON, || {
        (scene.daemons[1].counter("bad_digest") > rejected + 1000).then_some(())
    });
    scene.daemons[0].kill();
    thread::sleep(Duration::from_secs(1));
    flooder.stop();
    scene.daemons[1].wait_for_lease(SOON);

    let asker = Asker::start(&scene.client, &[VIP], 100);
    thread::sleep(Duration::from_secs(1));
    let asked = asker.finish();
    let answered_by: Vec<_> = asked[0].answered_by.keys().copied().collect();
    assert_eq!(answered_by, [scene.hosts[1].mac()]);
    assert!(asked[0].fraction() > 0.5, "{}", asked[0].fraction());
}

#[test]
fn a_backup_whose_socket_a_flood_filled_takes_over_from_nobody_who_lives() {
    let mut scene = Scene::start("send");
    let before = State::of(&scene.daemons[1]);
    scene.daemons[1].stop();
    let flooder = Flooder::start(&scene.flooder, scene.frames(Flood::WrongDigest));
    // As long as it waits for its master, and less than an interval longer: the
    // master's adverts found no room, and it does not look as if it had slept.
    thread::sleep(Duration::from_millis(3250));
    flooder.stop();
    assert!(scene.lost(1) > 0, "the flood does not fill the socket");
    scene.daemons[1].cont();

    let received = scene.daemons[1].counter("adverts_received");
    wait_until("the master is heard again", SOON, || {
        (scene.daemons[1].counter("adverts_received") >= received + 2).then_some(())
    });
    let after = State::of(&scene.daemons[1]);
    assert_eq!(
        (before.role, before.transitions),
        (after.role, after.transitions)
    );
}
