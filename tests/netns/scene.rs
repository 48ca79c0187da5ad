//! What the scenarios share: their addresses, their patience, their questions.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_tests::lab::{Daemon, Host, Lab, UcarpOptions, Vipd, VipdOptions, wait_until};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);

/// For what takes a few seconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// Two hosts that share the VIP, and one that uses it.
pub(crate) fn pair(lab: &Lab) -> (Host, Host, Host) {
    (
        lab.host("n1", "10.99.0.1/24"),
        lab.host("n2", "10.99.0.2/24"),
        lab.host("client", "10.99.0.200/24"),
    )
}

pub(crate) fn vipd(advskew: u8) -> VipdOptions {
    VipdOptions {
        advskew,
        ..VipdOptions::new(VIP)
    }
}

/// A ucarp that is in one election with `vipd`.
pub(crate) fn ucarp(advskew: u8) -> UcarpOptions {
    UcarpOptions {
        vhid: 42,
        advskew,
        deadratio: 3,
        ..UcarpOptions::new(VIP)
    }
}

pub(crate) fn count(daemon: &Daemon, pattern: &str) -> usize {
    daemon.log().matches(pattern).count()
}

/// Waits until a host has an address on `eth0`, or no more.
pub(crate) fn wait_for_address(host: &Host, address: Ipv4Addr, is_there: bool) {
    let what = format!("{address} on {} is {is_there}", host.name());
    wait_until(&what, SOON, || {
        (host.addresses().contains(&address.into()) == is_there).then_some(())
    });
}

/// Waits until the client's kernel knows `host` under the VIP, and is answered
/// from there.
pub(crate) fn wait_for_service(client: &Host, host: &Host) {
    let what = format!("{} reaches the VIP on {}", client.name(), host.name());
    wait_until(&what, SOON, || {
        (client.ping(VIP) && client.neighbour(VIP) == Some(host.mac())).then_some(())
    });
}

/// Whether nothing of vipd is on the host: no program, pin, socket or VIP.
pub(crate) fn assert_untouched(host: &Host) {
    assert_eq!(host.xdp_program("eth0"), None, "an XDP program is left");
    let pins = host.bpffs();
    let left: Vec<_> = std::fs::read_dir(&pins)
        .expect("the BPF file system is mounted")
        .flatten()
        .map(|entry| entry.path())
        // Every BPF file system has maps.debug and progs.debug.
        .filter(|path| path.is_dir())
        .collect();
    assert!(left.is_empty(), "{left:?} is left");
    let socket = host.directory().join("vipd.sock");
    assert!(!socket.exists(), "{} is left", socket.display());
    let own: Vec<std::net::IpAddr> = host
        .addresses()
        .into_iter()
        .filter(std::net::IpAddr::is_ipv4)
        .collect();
    assert_eq!(own, [std::net::IpAddr::from(host.address())]);
    assert!(!host.ip(&["addr", "show", "dev", "lo"]).contains("10.99."));
}

/// How often a case is repeated: what `VIPD_ROUNDS` says, or twice.
pub(crate) fn rounds() -> u32 {
    match std::env::var("VIPD_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("VIPD_ROUNDS is a number"),
        Err(_) => 2,
    }
}

/// Waits until `backup` follows the master at `address`.
pub(crate) fn wait_for_master(backup: &Vipd, address: Ipv4Addr) {
    let address = address.to_string();
    wait_until(&format!("{address} is followed"), SOON, || {
        let status = backup.status()?;
        let group = &status["groups"][0];
        (group["role"] == "backup" && group["master"]["address"] == address.as_str()).then_some(())
    });
}
