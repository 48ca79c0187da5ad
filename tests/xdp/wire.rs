//! The responder between two hosts: what arping and tshark make of its answers.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use vipd::io::xdp::{Attach, Mode, Responder};
use vipd_common::arp::{ArpFrame, REPLY};

use crate::kernel::boot_ns;
use crate::netns::{Hosts, OUR_MAC, OURS, THEIR_MAC, THEIRS, run};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

fn responder(hosts: &Hosts) -> Responder {
    let attach = Attach {
        interface: OURS,
        ifindex: hosts.ours.ifindex(OURS),
        mac: OUR_MAC,
        kind: Some("veth"),
        program: None,
        bpffs: hosts.bpffs.path(),
        mode: Mode::Auto,
    };
    let (mut responder, _) = hosts.ours.enter(|| Responder::open(&attach)).unwrap();
    responder.set_vips(1, &[VIP]).unwrap();
    responder
}

/// Whether the client gets an answer for the VIP within a second.
fn is_answered(hosts: &Hosts) -> bool {
    let mut arping = hosts.theirs.command("arping");
    let output = arping
        .args(["-f", "-w", "1", "-I", THEIRS, "10.0.0.100"])
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("ARPING"),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.status.success()
}

#[test]
fn arping_is_answered_as_long_as_the_lease_lasts_and_the_kernel_keeps_silent_after_it() {
    let hosts = Hosts::new();
    // The kernel would answer for the address, were it not for the responder.
    hosts
        .ours
        .ip(&format!("address add 10.0.0.100/32 dev {OURS}"));
    assert!(is_answered(&hosts), "by the kernel");
    let mut responder = responder(&hosts);
    assert!(!is_answered(&hosts), "no owner yet");
    responder
        .set_group(1, OUR_MAC, boot_ns() + MINUTE_NS, 1)
        .unwrap();
    assert!(is_answered(&hosts), "leased");
    responder.silence(1).unwrap();
    assert!(!is_answered(&hosts), "silenced");
    responder.set_group(1, OUR_MAC, boot_ns(), 1).unwrap();
    assert!(!is_answered(&hosts), "expired");
    responder.remove_group(1).unwrap();
    assert!(is_answered(&hosts), "by the kernel again");

    let counters = responder.counters().unwrap();
    assert_eq!(counters.arp_answered, 1, "{counters:?}");
    assert!(counters.arp_silenced >= 3, "{counters:?}");
    responder.detach().unwrap();
}

#[test]
fn a_crashed_daemons_program_answers_on_until_the_lease_ends() {
    let hosts = Hosts::new();
    let mut crashed = responder(&hosts);
    crashed
        .set_group(1, OUR_MAC, boot_ns() + 2 * SECOND_NS, 1)
        .unwrap();
    drop(crashed);
    assert!(is_answered(&hosts));
    let deadline_ns = boot_ns() + MINUTE_NS;
    while is_answered(&hosts) {
        assert!(boot_ns() < deadline_ns, "it answers without end");
    }
}

#[test]
fn another_host_that_claims_the_vip_is_noted() {
    let hosts = Hosts::new();
    let mut responder = responder(&hosts);
    responder
        .set_group(1, OUR_MAC, boot_ns() + MINUTE_NS, 1)
        .unwrap();
    assert_eq!(responder.conflict(1).unwrap(), None);
    let mut claim = hosts.theirs.command("arping");
    hosts
        .theirs
        .ip(&format!("address add 10.0.0.100/32 dev {THEIRS}"));
    claim
        .args([
            "-U",
            "-c",
            "1",
            "-I",
            THEIRS,
            "-s",
            "10.0.0.100",
            "10.0.0.100",
        ])
        .output()
        .unwrap();
    let deadline_ns = boot_ns() + MINUTE_NS;
    let conflict = loop {
        if let Some(conflict) = responder.conflict(1).unwrap() {
            break conflict;
        }
        assert!(boot_ns() < deadline_ns, "the claim is not noted");
    };
    assert_eq!((conflict.mac, conflict.address), (THEIR_MAC, VIP.octets()));
    assert_eq!(conflict.count, 1);
    responder.remove_group(1).unwrap();
    assert_eq!(responder.conflict(1).unwrap(), None);
    responder.detach().unwrap();
}

#[test]
fn tshark_finds_nothing_wrong_with_an_answer() {
    let hosts = Hosts::new();
    let mut responder = responder(&hosts);
    responder
        .set_group(1, OUR_MAC, boot_ns() + MINUTE_NS, 1)
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pcap = directory.path().join("answer.pcap");
    capture(&hosts, &pcap);

    let reply = frames(&fs::read(&pcap).unwrap())
        .into_iter()
        .find(|frame| ArpFrame::parse(frame).is_ok_and(|frame| frame.oper == REPLY))
        .unwrap();
    let request = ArpFrame::request(THEIR_MAC, CLIENT.octets(), VIP.octets());
    assert_eq!(
        reply,
        request.answer(OUR_MAC, OUR_MAC).to_bytes(),
        "not as the model has it"
    );

    let pcap = pcap.to_str().unwrap();
    let fields = [
        "-e",
        "_ws.expert.message",
        "-e",
        "_ws.malformed",
        "-e",
        "arp.src.hw_mac",
    ];
    let only = ["-Y", "arp.opcode == 2", "-T", "fields"];
    let told = run(&[&["tshark", "-r", pcap][..], &only, &fields].concat());
    let told = String::from_utf8(told.stdout).unwrap();
    // Neither a remark nor a fault; and the answer.
    assert_eq!(told.lines().next(), Some("\t\t02:00:00:00:00:02"), "{told}");
    responder.detach().unwrap();
}

/// Captures at the client until a request and its answer are in the file.
fn capture(hosts: &Hosts, pcap: &Path) {
    let mut tshark = hosts.theirs.command("tshark");
    tshark
        .args([
            "-q", "-n", "-i", THEIRS, "-f", "arp", "-F", "pcap", "-c", "2", "-w",
        ])
        .arg(pcap);
    let mut tshark = Running(
        tshark
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let deadline_ns = boot_ns() + MINUTE_NS;
    // It says that it captures a moment before it does: ask until it has seen it.
    while tshark.0.try_wait().unwrap().is_none() {
        assert!(boot_ns() < deadline_ns, "tshark has seen nothing");
        is_answered(hosts);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is over as a rule.
        let _: std::io::Result<()> = self.0.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.0.wait();
    }
}

/// The frames of a pcap file: a header of 24 bytes, then each frame after 16
/// bytes, of which the third four are its length.
fn frames(pcap: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &pcap[24..];
    let mut frames = Vec::new();
    while let Some((header, body)) = rest.split_first_chunk::<16>() {
        let len = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
        frames.push(body[..len].to_vec());
        rest = &body[len..];
    }
    frames
}

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
