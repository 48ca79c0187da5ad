//! Starts: those that fail half-way leave nothing behind, and those after a
//! crash take over what the last daemon left.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;
use vipd_tests::lab::{Host, Lab, Vipd, VipdOptions, wait_until};

use crate::groups;
use crate::scene::{SOON, VIP, assert_untouched, pair, vipd, wait_for_service};

fn command(host: &Host, addresses: &'static str) -> Command {
    let options = VipdOptions {
        addresses,
        ..vipd(0)
    };
    let arguments = options.arguments(host);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Vipd::command_on(host, &arguments)
}

/// It ends with status 1, and says all of this.
fn fails(mut command: Command, says: &[&str]) {
    let output = command.output().expect("vipd can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in says {
        assert!(said.contains(words), "{said:?} does not say {words:?}");
    }
}

#[test]
fn a_file_in_place_of_the_socket_is_left_alone() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let socket = n1.directory().join("vipd.sock");
    fs::write(&socket, "precious").expect("cannot write a file");
    fails(
        command(&n1, "loopback"),
        &["vipd.sock", "no socket", "--socket"],
    );
    assert_eq!(
        fs::read_to_string(&socket).expect("it is there"),
        "precious"
    );
    fs::remove_file(&socket).expect("it is ours");
    assert_untouched(&n1);
}

#[test]
fn a_state_directory_that_cannot_be_made_undoes_the_start() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    // Found out when the responder is attached already.
    std::os::unix::fs::symlink("nowhere/at/all", n1.directory().join("state"))
        .expect("cannot make a link");
    let setting = "/proc/sys/net/ipv4/conf/eth0/arp_ignore";
    let before = n1.run_in(|| fs::read_to_string(setting).expect("it can be read"));
    fails(command(&n1, "loopback"), &["state", "settings"]);
    assert_untouched(&n1);
    let after = n1.run_in(|| fs::read_to_string(setting).expect("it can be read"));
    assert_eq!(before, after);
}

#[test]
fn a_second_interface_that_cannot_be_taken_frees_the_first() {
    for is_restart in [false, true] {
        let lab = Lab::new();
        let (n1, n2, _client) = pair(&lab);
        n1.connect("eth1", "10.98.0.1/24", &n2, "10.98.0.2/24");
        let both = || groups::command(&n1, &[(&groups::SEVERAL, 0), (&groups::ELSEWHERE, 0)]);
        let blocked = n1.bpffs().join("eth1");
        if is_restart {
            let mut killed = Vipd::from_command(&n1, &mut both());
            killed.wait_for_lease(SOON);
            killed.kill();
            fs::remove_dir_all(&blocked).expect("it is ours");
        }
        // A map where the directory of the pins should be.
        let made = Command::new("bpftool")
            .args(["map", "create"])
            .arg(&blocked)
            .args("type array key 4 value 4 entries 1 name blocker".split(' '))
            .status();
        assert!(made.expect("bpftool can be started").success());
        fails(both(), &["eth1"]);
        fs::remove_file(&blocked).expect("it is ours");
        if is_restart {
            // The address is there, and what keeps the kernel silent about it.
            assert!(n1.addresses().contains(&VIP.into()));
            assert!(n1.xdp_program("eth0").is_some());
            let clean = Vipd::command_on(&n1, &["clean"]).status();
            assert!(clean.expect("vipd can be started").success());
        }
        assert_untouched(&n1);
        assert_eq!(n1.xdp_program("eth1"), None);
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_leaves_nothing() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    for moment in [
        None,
        Some("responder attached"),
        Some("ready"),
        Some("became"),
    ] {
        let mut command = command(&n1, "loopback");
        let mut vipd = Vipd::from_command(&n1, &mut command);
        if let Some(moment) = moment {
            vipd.wait_for_log(moment, SOON);
        }
        let status = vipd.terminate(SOON);
        // Before it listens to signals it has not touched anything.
        let was_early = status.signal() == Some(Signal::TERM.as_raw());
        assert!(
            status.success() || moment.is_none() && was_early,
            "{status}"
        );
        assert_untouched(&n1);
    }
}

#[test]
fn what_is_pinned_for_an_interface_that_is_no_more_is_replaced() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let mut killed = Vipd::start(&n1, &vipd(0));
    killed.wait_for_role("master", SOON);
    killed.kill();
    n1.remove_interface();
    n1.make_interface();
    assert!(n1.bpffs().join("eth0/link").exists());
    assert_eq!(n1.xdp_program("eth0"), None);
    let mut second = Vipd::start(&n1, &vipd(0));
    second.wait_for_role("master", SOON);
    assert!(n1.xdp_program("eth0").is_some());
    wait_for_service(&client, &n1);
    assert!(second.terminate(SOON).success());
    assert_untouched(&n1);
}

#[test]
fn an_interface_with_a_dot_in_its_name_is_pinned_without_it() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    n1.connect("eth0.5", "10.98.0.1/24", &n2, "10.98.0.2/24");
    let mut options = vipd(0);
    options.vips = vec![Ipv4Addr::new(10, 98, 0, 100)];
    let start = |host: &Host| {
        let mut arguments = options.arguments(host);
        arguments[1] = "--interface=eth0.5".to_owned();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Vipd::spawn(host, &arguments)
    };
    let mut first = start(&n1);
    first.wait_for_role("master", SOON);
    let second = start(&n2);
    wait_until("the first is followed", SOON, || {
        let status = second.status()?;
        (status["groups"][0]["master"]["address"] == "10.98.0.1").then_some(())
    });
    assert_eq!(first.group()["name"], "eth0.5-42");
    assert!(n1.bpffs().join("eth0%2e5/vips").exists());
    let arping = n2
        .command("arping")
        .args(["-I", "eth0.5", "-c", "1", "-w", "10", "10.98.0.100"])
        .output()
        .expect("arping is installed");
    assert!(arping.status.success(), "{arping:?}");
    assert!(first.terminate(SOON).success());
    assert_untouched(&n1);
    assert_eq!(n1.xdp_program("eth0.5"), None);
}

#[test]
fn a_restart_after_a_crash_stops_as_cleanly_as_any() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let mut killed = Vipd::start(&n1, &vipd(0));
    killed.wait_for_role("master", SOON);
    killed.kill();
    assert!(n1.xdp_program("eth0").is_some());
    let mut second = Vipd::start(&n1, &vipd(0));
    // A signal that comes before it listens to signals ends it as it is.
    second.wait_for_log("ready", SOON);
    assert!(second.terminate(SOON).success());
    wait_until("nothing is left", SOON, || {
        n1.xdp_program("eth0").is_none().then_some(())
    });
    assert_untouched(&n1);
}
