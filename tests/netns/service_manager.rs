//! What a service manager hears (sd_notify(3)), and what it asks for: readiness,
//! signs of life that a hung daemon does not give, a stop that is a restart.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use vipd_tests::lab::{Host, Lab, Vipd, VipdOptions, now, wait_until};

use crate::scene::{SOON, assert_untouched, pair, vipd};

/// After which the manager takes the daemon for dead.
const WATCHDOG: Duration = Duration::from_millis(400);

/// The manager's end.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(host: &Host) -> Self {
        let path = host.directory().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket is made");
        let patience = Some(Duration::from_millis(20));
        socket.set_read_timeout(patience).expect("a timeout is set");
        Self {
            path,
            socket,
            heard: Vec::new(),
        }
    }

    fn start(&self, host: &Host, options: &VipdOptions) -> Vipd {
        let arguments = options.arguments(host);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = Vipd::command_on(host, &arguments);
        command
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Vipd::from_command(host, &mut command)
    }

    /// Reads what has come.
    fn read(&mut self) {
        let mut buffer = [0; 1024];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            self.heard.push(text.trim_end().to_owned());
        }
    }

    fn count(&mut self, word: &str) -> usize {
        self.read();
        self.heard.iter().filter(|heard| *heard == word).count()
    }

    fn wait_for(&mut self, word: &str) {
        wait_until(word, SOON, || (self.count(word) > 0).then_some(()));
    }

    /// Whether there was no sign of life for so long.
    fn is_quiet(&mut self, time: Duration) -> bool {
        let before = self.count("WATCHDOG=1");
        let end = now() + time;
        while now() < end {
            self.read();
        }
        self.count("WATCHDOG=1") == before
    }
}

#[test]
fn it_hears_of_the_start_of_the_roles_and_of_the_end() {
    let lab = Lab::new();
    let (n1, _, _) = pair(&lab);
    let mut manager = Manager::new(&n1);
    let mut daemon = manager.start(&n1, &vipd(0));

    manager.wait_for("READY=1");
    manager.wait_for("STATUS=1 group: 1 backup");
    manager.wait_for("STATUS=1 group: 1 master");
    let position = |manager: &Manager, word: &str| {
        let place = manager.heard.iter().position(|heard| heard == word);
        place.unwrap_or_else(|| panic!("{word} was heard"))
    };
    assert_eq!(position(&manager, "READY=1"), 0, "{:?}", manager.heard);
    assert!(daemon.terminate(SOON).success());
    manager.wait_for("STOPPING=1");
    let stopping = position(&manager, "STOPPING=1");
    assert!(stopping > position(&manager, "STATUS=1 group: 1 master"));
    assert_untouched(&n1);
}

#[test]
fn a_daemon_that_hangs_gives_no_sign_of_life_and_one_that_lives_does() {
    let lab = Lab::new();
    let (n1, _, _) = pair(&lab);
    let mut manager = Manager::new(&n1);
    // Its own timers are far apart: the signs of life come nevertheless.
    let mut daemon = manager.start(
        &n1,
        &VipdOptions {
            advbase: 60,
            ..vipd(0)
        },
    );
    manager.wait_for("READY=1");
    let living = |manager: &mut Manager| {
        let before = manager.count("WATCHDOG=1");
        wait_until("three signs of life", SOON, || {
            (manager.count("WATCHDOG=1") >= before + 3).then_some(())
        });
    };
    living(&mut manager);
    daemon.stop();
    // What was on its way when it stopped.
    manager.is_quiet(WATCHDOG);
    assert!(manager.is_quiet(3 * WATCHDOG), "{:?}", manager.heard);
    daemon.cont();
    living(&mut manager);
}

#[test]
fn a_stop_for_a_restart_leaves_everything_to_the_next_daemon() {
    let lab = Lab::new();
    let (n1, _, _) = pair(&lab);
    let mut manager = Manager::new(&n1);
    // A lease that is long enough for any machine.
    let patient = VipdOptions {
        deadratio: 10,
        ..vipd(0)
    };
    let mut first = manager.start(&n1, &patient);
    manager.wait_for("STATUS=1 group: 1 master");
    first.wait_for_lease(SOON);
    manager.read();
    let restart = (libc::SIGRTMIN() + 1).to_string();
    let sent = Command::new("kill")
        .args(["-s", &restart, &first.pid().to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    manager.wait_for("STOPPING=1");
    assert!(first.wait_for_exit(SOON).success());
    let said = first.log();
    assert!(said.contains("stay for the next daemon"), "{said}");
    assert!(n1.xdp_program("eth0").is_some());

    let second = manager.start(&n1, &patient);
    wait_until("the next goes on as master", SOON, || {
        (second.status()?["groups"][0]["reason"] == "resumed").then_some(())
    });
}

#[test]
fn a_manager_that_does_not_read_holds_up_neither_the_daemon_nor_its_end() {
    let lab = Lab::new();
    let (n1, _, _) = pair(&lab);
    let manager = Manager::new(&n1);
    let mut daemon = manager.start(&n1, &vipd(0));
    daemon.wait_for_lease(SOON);
    // By then more signs of life are due than the socket takes
    // (`net.unix.max_dgram_qlen` is 10 in a new network namespace), and the queue
    // before it.
    wait_until("it advertises", SOON, || {
        (daemon.counter("adverts_sent") >= 12).then_some(())
    });
    assert_eq!(daemon.counter("transitions"), 2);
    assert!(daemon.terminate(SOON).success());
    assert_untouched(&n1);
}
