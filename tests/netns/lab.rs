//! The lab keeps its own promises, and ucarp is the peer it is said to be.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vipd_tests::lab::{Lab, Prober, Ucarp, UcarpOptions, wait_until};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_lab_leaves_nothing_behind_even_by_a_panic() {
    let panic = catch_unwind(|| {
        let lab = Lab::new();
        let n1 = lab.host("n1", "10.99.0.1/24");
        n1.bpffs();
        assert_eq!(lab.namespaces().len(), 2);
        // A program that nobody holds any more.
        drop(n1.command("sleep").arg("1000").spawn().unwrap());
        std::panic::panic_any((lab.namespaces(), lab.directory().to_owned()));
    })
    .unwrap_err();
    let (namespaces, directory) = *panic
        .downcast::<(Vec<String>, std::path::PathBuf)>()
        .unwrap();
    for namespace in namespaces {
        assert!(
            !Path::new("/run/netns").join(&namespace).exists(),
            "{namespace} is left"
        );
    }
    assert!(!directory.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(directory.to_str().unwrap()), "{mounts}");
}

#[test]
fn a_lab_removes_what_a_killed_test_left_behind() {
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let namespace = format!("vipd-{}-0-n1", dead.id());
    let directory = std::env::temp_dir().join(format!("vipd-{}-0-x", dead.id()));
    fs::create_dir(&directory).unwrap();
    assert!(
        Command::new("ip")
            .args(["netns", "add", &namespace])
            .status()
            .unwrap()
            .success()
    );

    let _lab = Lab::new();
    assert!(!Path::new("/run/netns").join(&namespace).exists());
    assert!(!directory.exists());
}

#[test]
fn a_cut_is_silent_and_a_pulled_cable_is_not() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    assert_eq!(
        (n1.mac(), n2.mac()),
        ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
    );
    let reached = || wait_until("a ping", SOON, || n1.ping(n2.address()).then_some(()));
    let state = || n2.ip(&["-o", "link", "show", "eth0"]);

    reached();
    n2.cut();
    assert!(!n1.ping(n2.address()));
    assert!(state().contains("state UP"), "{}", state());
    n2.heal();
    reached();

    n2.carrier(false);
    wait_until("no carrier", SOON, || {
        state().contains("NO-CARRIER").then_some(())
    });
    n2.carrier(true);
    n2.wait_for_carrier();
    reached();

    n2.link_down();
    assert!(!n1.ping(n2.address()));
    n2.link_up();
    reached();

    n2.add_address("10.99.0.100/32");
    assert_eq!(
        n2.addresses()[..2],
        [IpAddr::from(n2.address()), IpAddr::from(VIP)]
    );
    n2.remove_address("10.99.0.100/32");
    assert!(!n2.addresses().contains(&VIP.into()));
}

#[test]
fn a_prober_tells_who_answers_and_for_how_long_nobody_did() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let client = lab.host("client", "10.99.0.200/24");
    let prober = Prober::start(&client, VIP, 100);
    assert_eq!(prober.who_answers_within(Duration::from_millis(300)), None);
    n1.add_address("10.99.0.100/32");
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    let announce = [
        "-A",
        "-c",
        "1",
        "-I",
        "eth0",
        "-s",
        "10.99.0.100",
        "10.99.0.100",
    ];
    n1.command("arping").args(announce).output().unwrap();
    wait_until("an announcement", SOON, || {
        (!prober.so_far().announcements.is_empty()).then_some(())
    });

    let record = prober.finish();
    assert_eq!(record.changes().len(), 1);
    assert!(
        record
            .answers
            .iter()
            .all(|answer| answer.ethernet_source == n1.mac())
    );
    assert_eq!(record.announcements[0].mac, n1.mac());
    assert!(
        record.longest_gap() >= Duration::from_millis(300),
        "{:?}",
        record.longest_gap()
    );
    assert!(record.longest_gap() < record.lasted);
    assert!(record.requests.len() > record.answers.len());
}

#[test]
fn of_two_ucarps_one_is_master_until_it_is_killed() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    let client = lab.host("client", "10.99.0.200/24");
    let prober = Prober::start(&client, VIP, 50);

    let mut first = Ucarp::spawn(&n1, &UcarpOptions::new(VIP));
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    let second = Ucarp::spawn(
        &n2,
        &UcarpOptions {
            advskew: 50,
            ..UcarpOptions::new(VIP)
        },
    );
    second.wait_for_log("Switching to state: BACKUP", SOON);
    first.kill();
    second.wait_for_log("Switching to state: MASTER", SOON);
    assert!(prober.answered_by_within(n2.mac(), SOON));

    // What a killed ucarp leaves is the reason for leases.
    assert!(n1.addresses().contains(&VIP.into()));
    n1.remove_address("10.99.0.100/32");
    let record = prober.finish();
    assert_eq!(
        record.changes()[..2]
            .iter()
            .map(|(_, mac)| *mac)
            .collect::<Vec<_>>(),
        [n1.mac(), n2.mac()]
    );
    assert!(
        record
            .announcements
            .iter()
            .any(|announcement| announcement.mac == n2.mac())
    );
}
