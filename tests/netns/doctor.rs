//! `vipd doctor`, on hosts that are well and on those that somebody has spoilt.

use std::fs;
use std::os::fd::OwnedFd;

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::Value;
use socket2::{InterfaceIndexOrAddress, SockRef};
use vipd::io::{netlink, xdp};
use vipd_tests::lab::{Host, Lab, Vipd};

use crate::scene::{SOON, pair, vipd, wait_for_master};

/// How it ended, and what it found.
fn examine(host: &Host, arguments: &[&str]) -> (i32, Vec<Value>) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let output = Vipd::command_on(host, &arguments)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|e| {
        panic!("{e}: {said}{}", String::from_utf8_lossy(&output.stderr));
    });
    let findings = report["findings"].as_array().expect("a list").clone();
    (output.status.code().expect("it ended by itself"), findings)
}

/// The findings of one level, each as `check: text`.
fn of_level(findings: &[Value], level: &str) -> Vec<String> {
    let told = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", text("check"), text("text"))
    };
    let wanted = findings.iter().filter(|finding| finding["level"] == level);
    wanted.map(told).collect()
}

#[test]
fn a_healthy_pair_is_well_on_both_hosts() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_for_master(&second, n1.address());
    for (host, adverts) in [(&n1, "nobody else advertises"), (&n2, "of 10.99.0.1 in")] {
        let (code, findings) = examine(host, &[]);
        let well = of_level(&findings, "ok").join("\n");
        assert_eq!(of_level(&findings, "fail"), Vec::<String>::new());
        assert_eq!(code, 0);
        for words in [
            "daemon: vipd 0.1.0 answers",
            "kernel: Linux ",
            "xdp: the responder is attached",
            "multicast: the kernel is a member",
            "duplicate: ",
            adverts,
        ] {
            assert!(well.contains(words), "{well} does not say {words}");
        }
    }
    // And for people, with commands that work.
    let output = first.command(&["doctor"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("ok    eth0 xdp: the responder"), "{said}");
    let commands: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("bpftool "))
        .collect();
    assert!(commands.len() >= 6, "{said}");
    for command in commands {
        let words = command
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let shown = n1
            .command("bpftool")
            .args(words)
            .output()
            .expect("bpftool runs");
        assert!(shown.status.success(), "{command}: {shown:?}");
    }
}

#[test]
fn a_host_that_has_the_address_too_is_found_by_its_mac() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_for_master(&second, n1.address());
    client.add_address("10.99.0.100/32");
    for (host, words) in [
        (
            &n1,
            "02:00:00:00:00:03 answers for 10.99.0.100 beside this host",
        ),
        (
            &n2,
            "02:00:00:00:00:01 and 02:00:00:00:00:03 both answer for 10.99.0.100",
        ),
    ] {
        let (code, findings) = examine(host, &[]);
        assert_eq!(code, 1);
        assert_eq!(of_level(&findings, "fail"), [format!("duplicate: {words}")]);
    }
}

#[test]
fn another_xdp_program_is_named_and_what_to_do() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let (code, findings) = examine(&n1, &["eth0"]);
    assert_eq!(
        (code, of_level(&findings, "fail").len()),
        (0, 0),
        "{findings:?}"
    );
    assert!(
        of_level(&findings, "warn")
            .join("\n")
            .contains("daemon: no daemon answers")
    );
    assert!(of_level(&findings, "ok").contains(&"xdp: no XDP program is in the way".to_owned()));

    n1.run_in_async(async || {
        let mut other = aya::Ebpf::load(xdp::OBJECT).expect("the object loads");
        let program = other.program_mut(xdp::PROGRAM).expect("it is in there");
        let program: &mut Xdp = program.try_into().expect("it is for XDP");
        program.load().expect("the kernel takes it");
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        program
            .attach_to_if_index(eth0.ifindex, XdpMode::Skb)
            .expect("nobody else is there");
        let id = n1.xdp_program("eth0").expect("it is attached");
        let (code, findings) = examine(&n1, &["eth0"]);
        assert_eq!(code, 1);
        let failed = findings.iter().find(|finding| finding["check"] == "xdp");
        let failed = failed.expect("it was looked at");
        assert_eq!(failed["level"], "fail");
        let advice = failed["advice"].as_str().expect("there is one");
        assert!(
            advice.contains(&format!("bpftool prog show id {id}")),
            "{advice}"
        );
        assert!(advice.contains("ip link set dev eth0 xdp off"), "{advice}");
        drop(other);
    });
}

/// Has a daemon's socket leave the group of adverts, as the kernel does when an
/// interface's IPv4 is taken down.
fn drop_membership(host: &Host, daemon: &Vipd) {
    let eth0 = host.run_in(|| netlink::lookup("eth0").expect("a host has eth0").ifindex);
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("it has a pid");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    let mut left = 0;
    for entry in fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs") {
        let name = entry.expect("a descriptor").file_name();
        let fd = name.to_str().and_then(|name| name.parse().ok());
        let fd = pidfd_getfd(&process, fd.expect("a number"), PidfdGetfdFlags::empty());
        // One that was closed meanwhile.
        let Ok(fd): Result<OwnedFd, _> = fd else {
            continue;
        };
        let interface = InterfaceIndexOrAddress::Index(eth0);
        let group = "224.0.0.18".parse().expect("an address");
        if SockRef::from(&fd)
            .leave_multicast_v4_n(&group, &interface)
            .is_ok()
        {
            left += 1;
        }
    }
    assert_eq!(left, 1, "the socket that receives adverts");
}

#[test]
fn a_membership_that_is_lost_and_adverts_that_are_not_heard_are_told() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    let second = Vipd::start(&n2, &vipd(50));
    wait_for_master(&second, n1.address());
    drop_membership(&n2, &second);
    let (code, findings) = examine(&n2, &[]);
    assert_eq!(code, 1);
    let failed = of_level(&findings, "fail").join("\n");
    assert!(
        failed.contains("multicast: the kernel is no member of 224.0.0.18"),
        "{failed}"
    );
    assert!(failed.contains("and the daemon heard none"), "{failed}");
    let (_, findings) = examine(&n1, &[]);
    let there = of_level(&findings, "ok").join("\n");
    assert!(
        there.contains("multicast: the kernel is a member"),
        "{there}"
    );
}
