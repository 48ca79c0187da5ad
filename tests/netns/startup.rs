//! A start that fails half-way leaves nothing behind.

use std::fs;
use std::process::Command;

use vipd_tests::lab::{Host, Lab, Vipd, VipdOptions, wait_until};

use crate::groups;
use crate::scene::{SOON, assert_untouched, pair, vipd};

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
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    n1.connect("10.98.0.1/24", &n2, "10.98.0.2/24");
    // Not to be removed as a leftover pin is.
    let blocked = n1.bpffs().join("eth1/vips");
    fs::create_dir_all(&blocked).expect("cannot make a directory");
    fails(
        groups::command(&n1, &[(&groups::SEVERAL, 0), (&groups::ELSEWHERE, 0)]),
        &["eth1"],
    );
    fs::remove_dir(&blocked).expect("it is empty");
    fs::remove_dir(blocked.parent().expect("it has one")).expect("it is empty");
    assert_untouched(&n1);
    assert_eq!(n1.xdp_program("eth1"), None);
}

#[test]
fn a_start_that_fails_beside_leftovers_removes_those_too() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let mut killed = Vipd::start(&n1, &vipd(0));
    killed.wait_for_role("master", SOON);
    killed.kill();
    assert!(n1.xdp_program("eth0").is_some());
    let mut second = Vipd::start(&n1, &vipd(0));
    assert!(second.terminate(SOON).success());
    wait_until("nothing is left", SOON, || {
        n1.xdp_program("eth0").is_none().then_some(())
    });
    assert_untouched(&n1);
}
