//! The responder as clients and tools see it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;
use vipd_common::arp::ArpFrame;
use vipd_tests::lab::{Host, Lab, Mac, Prober, Sniffer, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, pair, vipd, wait_for_master, wait_for_service};

const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// A master on the first host, and a backup that follows it on the second.
fn master_and_backup(n1: &Host, n2: &Host) -> (Vipd, Vipd) {
    // On a machine that is so slow that adverts are late, it counts as unwell for a
    // while, and another may be preferred until it is well again.
    let preferred = VipdOptions {
        preempt: true,
        ..vipd(0)
    };
    let first = Vipd::start(n1, &preferred);
    wait_until("the first is a master that is well", SOON, || {
        let group = first.group();
        let is_steady = first.counter("adverts_sent") >= 4;
        (group["role"] == "master" && group["demoted"] == false && is_steady).then_some(())
    });
    let second = Vipd::start(n2, &vipd(50));
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    (first, second)
}

fn send(from: &Host, frame: &[u8]) {
    from.run_in(|| {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        let socket = FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens");
        socket.send(frame).expect("the link is up");
    });
}

#[test]
fn every_form_of_request_is_answered_by_the_master_alone() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (first, second) = master_and_backup(&n1, &n2);
    let request = |spa: Ipv4Addr, to: Mac, length: usize| {
        let mut arp = ArpFrame::request(client.mac(), spa.octets(), VIP.octets());
        arp.eth_dst = to;
        let mut frame = arp.to_bytes().to_vec();
        frame.resize(length, 0);
        frame
    };
    let everybody = [0xff; 6];
    let cases = [
        ("unpadded", request(client.address(), everybody, 42)),
        ("padded", request(client.address(), everybody, 60)),
        ("a probe", request(NOBODY, everybody, 60)),
        ("to the master", request(client.address(), n1.mac(), 60)),
    ];
    for (what, frame) in cases {
        let sniffer = Sniffer::start(&client);
        send(&client, &frame);
        let reply = wait_until(&format!("a reply: {what}"), SOON, || {
            let from_vip = |(_, arp): &(_, ArpFrame)| {
                arp.oper == [0, 2] && arp.spa == VIP.octets() && arp.eth_dst == client.mac()
            };
            sniffer.arp().into_iter().find(from_vip)
        });
        let asked = ArpFrame::parse(&frame).expect("it is ARP");
        assert_eq!(reply.1, asked.answer(n1.mac(), n1.mac()), "{what}");
    }

    // Nothing but a reply comes of a request, and none from a backup.
    let sniffer = Sniffer::start(&client);
    let silenced = second.counter("arp_silenced");
    let prober = Prober::start(&client, VIP, 100);
    wait_until("requests", SOON, || {
        (prober.so_far().answers.len() >= 100).then_some(())
    });
    assert_eq!(prober.finish().changes().len(), 1);
    let claims = sniffer.arp().into_iter().map(|(_, arp)| arp);
    let by_backup = claims.filter(|arp| arp.spa == VIP.octets() && arp.eth_src == n2.mac());
    assert_eq!(by_backup.count(), 0);
    assert!(second.counter("arp_silenced") >= silenced + 100);
    assert!(first.counter("arp_answered") >= 104);
    assert_eq!(second.counter("arp_answered"), 0);
    assert_eq!(first.counter("arp_malformed"), 0);
}

#[test]
fn arping_finds_the_master_and_that_the_address_is_taken() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let _daemons = master_and_backup(&n1, &n2);
    let arping = |arguments: &[&str]| {
        let mut command = client.command("arping");
        command.args(["-I", "eth0", "-w", "10"]).args(arguments);
        let output = command.output().expect("arping is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let (code, said) = arping(&["-c", "3", "10.99.0.100"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("[02:00:00:00:00:01]"), "{said}");
    assert!(!said.contains("[02:00:00:00:00:02]"), "{said}");
    assert!(said.contains("Received 3 response"), "{said}");
    // Duplicate address detection: 1 is "somebody has it".
    let (code, said) = arping(&["-D", "-c", "1", "10.99.0.100"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = arping(&["-D", "-c", "1", "10.99.0.77"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn wireshark_finds_nothing_wrong_with_what_vipd_sends() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let sniffer = Sniffer::start(&client);
    let _daemons = master_and_backup(&n1, &n2);
    let prober = Prober::start(&client, VIP, 10);
    wait_until("answers", SOON, || {
        (prober.so_far().answers.len() >= 10).then_some(())
    });
    drop(prober);

    let pcap = sniffer.write_pcap(&client.directory().join("frames.pcap"));
    let read = |filter: &str| {
        let output = Command::new("tshark")
            .arg("-r")
            .arg(&pcap)
            // By itself it takes protocol 112 for VRRP.
            .args(["-d", "ip.proto==112,carp", "-V", "-Y", filter])
            .output()
            .expect("tshark is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let from_hosts = "(eth.src == 02:00:00:00:00:01 || eth.src == 02:00:00:00:00:02)";
    let arp = read(&format!("arp && {from_hosts}"));
    assert!(arp.contains("Address Resolution Protocol (reply)"), "{arp}");
    assert!(
        arp.contains("Address Resolution Protocol (ARP Announcement)"),
        "{arp}"
    );
    let carp = read(&format!("carp && {from_hosts}"));
    assert!(
        carp.contains("Common Address Redundancy Protocol"),
        "{carp}"
    );
    assert!(carp.contains("[correct]"), "{carp}");
    assert!(carp.contains("Time to Live: 255"), "{carp}");
    for text in [arp, carp] {
        for wrong in ["Malformed", "Expert Info", "Duplicate IP", "incorrect"] {
            let found = text.lines().find(|line| line.contains(wrong));
            assert_eq!(found, None);
        }
    }
}

#[test]
fn a_responder_that_somebody_takes_off_is_put_back() {
    type TakeOff = fn(&Path);
    let cases: [(&str, TakeOff); 2] = [
        ("detached", |link| {
            let bpftool = |arguments: &[&str]| {
                let output = Command::new("bpftool").args(arguments).output();
                let output = output.expect("bpftool is installed");
                assert!(output.status.success(), "{output:?}");
                output.stdout
            };
            let link = link.to_str().expect("a path is text");
            let about = bpftool(&["-j", "link", "show", "pinned", link]);
            let about: Value = serde_json::from_slice(&about).expect("bpftool prints JSON");
            bpftool(&["link", "detach", "id", &about["id"].to_string()]);
        }),
        ("unpinned", |link| fs::remove_file(link).expect("root may")),
    ];
    for (what, take_off) in cases {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        // The kernel answers for nothing on `lo`.
        let options = |advskew| VipdOptions {
            addresses: "loopback",
            ..vipd(advskew)
        };
        let first = Vipd::start(&n1, &options(0));
        first.wait_for_lease(SOON);
        let second = Vipd::start(&n2, &options(50));
        wait_for_master(&second, n1.address());
        let program = n1.xdp_program("eth0");

        take_off(&n1.bpffs().join("eth0/link"));

        first.wait_for_log("somebody took the responder off; putting it back", SOON);
        wait_until("another program is there", SOON, || {
            n1.xdp_program("eth0")
                .filter(|_| n1.xdp_program("eth0") != program)
        });
        let prober = Prober::start(&client, VIP, 100);
        assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()), "{what}");
        assert_eq!(
            (first.role(), first.counter("transitions")),
            ("master".into(), 2)
        );
        assert_eq!(second.role(), "backup");
        assert!(!first.log().contains("ERROR"), "{}", first.log());
        let mut first = first;
        assert!(first.terminate(SOON).success());
        assert_untouched(&n1);
    }
}

#[test]
fn bpftool_names_the_fields_of_every_map() {
    let lab = Lab::new();
    let (n1, _n2, client) = pair(&lab);
    let first = Vipd::start(&n1, &vipd(0));
    first.wait_for_lease(SOON);
    // One who claims the VIP, so that there is a conflict to show.
    let claim = ArpFrame::announce_request(client.mac(), VIP.octets());
    send(&client, &claim.to_bytes());
    wait_until("the conflict", SOON, || {
        (first.counter("arp_conflict") == 1).then_some(())
    });

    let maps: [(&str, &[&str]); 5] = [
        ("vips", &["group"]),
        ("groups", &["lease_until_ns", "owner_mac", "vhid"]),
        ("interface", &["mac", "abi", "ifindex"]),
        (
            "counters",
            &[
                "arp_answered",
                "arp_silenced",
                "arp_passed",
                "arp_malformed",
                "arp_conflict",
                "carp_passed",
            ],
        ),
        ("conflicts", &["last_ns", "count", "mac", "address"]),
    ];
    for (map, fields) in maps {
        let output = Command::new("bpftool")
            .args(["--json", "map", "dump", "pinned"])
            .arg(n1.bpffs().join("eth0").join(map))
            .output()
            .expect("bpftool is installed");
        assert!(output.status.success(), "{map}: {output:?}");
        let dump: Value = serde_json::from_slice(&output.stdout).expect("bpftool prints JSON");
        // A group's row is its vhid.
        let row = if map == "groups" { 42 } else { 0 };
        let entry = &dump[row]["formatted"];
        let value = match map {
            "counters" => &entry["values"][0]["value"],
            _ => &entry["value"],
        };
        for field in fields {
            assert!(!value[*field].is_null(), "{map} has no {field}: {dump}");
        }
        if map == "vips" {
            assert!(!entry["key"]["address"].is_null(), "{dump}");
            assert!(!entry["key"]["vlan"].is_null(), "{dump}");
        }
        if map == "groups" {
            assert_eq!(value["vhid"], 42, "{dump}");
        }
        if map == "conflicts" {
            assert_eq!(value["count"], 1, "{dump}");
        }
    }
}

#[test]
fn the_hosts_own_addresses_are_the_kernels_business() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let _daemons = master_and_backup(&n1, &n2);
    for host in [&n1, &n2] {
        for (from, to) in [(&client, host), (host, &client)] {
            // So that it takes an ARP request.
            from.ip(&["neigh", "flush", "dev", "eth0"]);
            wait_until("a ping", SOON, || from.ping(to.address()).then_some(()));
            assert_eq!(from.neighbour(to.address()), Some(to.mac()));
        }
    }
    // A backup's connections to the VIP go to the master.
    wait_for_service(&n2, &n1);
}
