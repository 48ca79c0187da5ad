//! How the responder is attached, what it leaves behind and what it refuses.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::thread;

use aya::programs::{Xdp, XdpMode};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities};
use serde_json::Value;
use vipd::io::xdp::{self, Adopted, Attach, Error, Mode, Responder};
use vipd_common::{MAX_GROUPS, map};

use crate::netns::{Hosts, OUR_MAC, OURS, entries, run};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// What attaches to our interface of `hosts`.
pub(crate) fn attach(hosts: &Hosts) -> Attach<'_> {
    Attach {
        interface: OURS,
        ifindex: hosts.ours.ifindex(OURS),
        mac: OUR_MAC,
        kind: Some("veth"),
        program: hosts.program(),
        bpffs: hosts.bpffs.path(),
        mode: Mode::Auto,
    }
}

/// Attaches on the host that `attach` is about.
fn attached(hosts: &Hosts, attach: &Attach<'_>) -> Result<Responder, Error> {
    let (responder, adopted) = hosts.ours.enter(|| Responder::open(attach))?;
    assert_eq!(adopted, Adopted::default());
    Ok(responder)
}

/// Nothing is pinned, and nothing is on the interface.
#[track_caller]
fn assert_untouched(hosts: &Hosts, what: &str) {
    assert_eq!(
        hosts.bpffs.entries().len(),
        0,
        "{what}: {:?}",
        hosts.bpffs.entries()
    );
    assert_eq!(hosts.program(), None, "{what}");
}

#[test]
fn auto_takes_generic_on_a_veth_and_says_why() {
    let hosts = Hosts::new();
    let responder = attached(&hosts, &attach(&hosts)).unwrap();
    assert_eq!(responder.attached().mode, "generic");
    assert!(
        responder.attached().reason.contains("its peer"),
        "{:?}",
        responder.attached()
    );
    let link = hosts.ours.link(OURS);
    assert_eq!(link["xdp"]["mode"], XDP_MODE_GENERIC, "{link}");
    assert_eq!(hosts.program(), Some(responder.program_id()));
    responder.detach().unwrap();
}

#[test]
fn auto_falls_back_to_generic_where_the_driver_has_no_native_xdp() {
    let hosts = Hosts::new();
    hosts
        .ours
        .ip("link add bridge0 address 02:00:00:00:00:02 type bridge");
    let attach = Attach {
        interface: "bridge0",
        ifindex: hosts.ours.ifindex("bridge0"),
        kind: None,
        ..attach(&hosts)
    };
    let responder = attached(&hosts, &attach).unwrap();
    assert_eq!(responder.attached().mode, "generic");
    assert!(
        responder.attached().reason.contains("refuses"),
        "{:?}",
        responder.attached()
    );
    responder.detach().unwrap();

    let error = attached(
        &hosts,
        &Attach {
            mode: Mode::Native,
            ..attach
        },
    )
    .err()
    .unwrap();
    assert!(matches!(error, Error::NoNative { .. }), "{error}");
    assert_untouched(&hosts, "native refused");
}

#[test]
fn native_is_taken_where_it_is_asked_for_also_with_jumbo_frames() {
    let hosts = Hosts::new();
    for mtu in [1500, 9000] {
        hosts.ours.ip(&format!("link set {OURS} mtu {mtu}"));
        let responder = attached(
            &hosts,
            &Attach {
                mode: Mode::Native,
                ..attach(&hosts)
            },
        )
        .unwrap();
        assert_eq!(responder.attached().mode, "native");
        assert_eq!(
            hosts.ours.link(OURS)["xdp"]["mode"],
            XDP_MODE_NATIVE,
            "MTU {mtu}"
        );
        responder.detach().unwrap();
    }
}

#[test]
fn a_clean_detach_leaves_nothing() {
    let hosts = Hosts::new();
    let base = hosts.bpffs.path().join("deeper/base");
    let attach = Attach {
        bpffs: &base,
        ..attach(&hosts)
    };
    let responder = attached(&hosts, &attach).unwrap();
    let names = [
        map::CONFLICTS,
        map::COUNTERS,
        map::GROUPS,
        map::INTERFACE,
        "link",
        map::VIPS,
    ];
    assert_eq!(
        entries(&base.join(OURS)),
        names.map(|name| base.join(OURS).join(name))
    );
    responder.detach().unwrap();
    assert_untouched(&hosts, "detached");
}

#[test]
fn an_interface_with_a_dot_in_its_name_is_pinned_with_the_dot_escaped() {
    let hosts = Hosts::new();
    hosts.ours.ip(&format!("link set {OURS} down"));
    hosts.ours.ip(&format!("link set {OURS} name eth0.10"));
    let ifindex = hosts.ours.ifindex("eth0.10");
    let attach = Attach {
        interface: "eth0.10",
        ifindex,
        mac: OUR_MAC,
        kind: Some("veth"),
        program: None,
        bpffs: hosts.bpffs.path(),
        mode: Mode::Auto,
    };
    let responder = attached(&hosts, &attach).unwrap();
    assert_eq!(
        hosts.bpffs.entries(),
        [hosts.bpffs.path().join("eth0%2e10")]
    );
    responder.detach().unwrap();
}

#[test]
fn a_failing_attach_leaves_nothing_and_the_check_alone_finds_it() {
    let hosts = Hosts::new();
    let good = attach(&hosts);
    let elsewhere = tempfile::tempdir().unwrap();
    let cases = [
        (
            "unknown index",
            Attach {
                ifindex: 4242,
                ..good
            },
            "there is no interface vipd0 with index 4242",
        ),
        (
            "another's index",
            Attach { ifindex: 1, ..good },
            "there is no interface vipd0 with index 1",
        ),
        (
            "a foreign program",
            Attach {
                program: Some(1),
                ..good
            },
            "ip link set dev vipd0 xdp off",
        ),
        (
            "no bpffs",
            Attach {
                bpffs: elsewhere.path(),
                ..good
            },
            "mount -t bpf bpf /",
        ),
    ];
    for (what, attach, told) in cases {
        let checked = hosts
            .ours
            .enter(|| xdp::check(&attach))
            .unwrap_err()
            .to_string();
        assert!(checked.contains(told), "{what}: {checked}");
        let error = attached(&hosts, &attach).err().unwrap().to_string();
        assert_eq!(error, checked, "{what}");
        assert_untouched(&hosts, what);
        assert_eq!(entries(elsewhere.path()).len(), 0, "{what}");
    }
    hosts.ours.enter(|| xdp::check(&good)).unwrap();
    assert_untouched(&hosts, "checked");
}

#[test]
fn a_program_that_is_there_already_is_named_and_left_alone() {
    let mut foreign = xdp::load().unwrap();
    let program: &mut Xdp = foreign
        .program_mut(xdp::PROGRAM)
        .unwrap()
        .try_into()
        .unwrap();
    program.load().unwrap();
    // In the same mode the kernel says EBUSY, in the other one EEXIST.
    for mode in [XdpMode::Skb, XdpMode::Driver] {
        let hosts = Hosts::new();
        let ifindex = hosts.ours.ifindex(OURS);
        let link = hosts
            .ours
            .enter(|| program.attach_to_if_index(ifindex, mode))
            .unwrap();
        let id = hosts.program().unwrap();

        let error = attached(&hosts, &attach(&hosts)).err().unwrap().to_string();
        assert!(
            error.contains(OURS) && error.contains(&format!("bpftool prog show id {id}`")),
            "{error}"
        );
        // Netlink's answer may be older than the program.
        let late = Attach {
            program: None,
            ..attach(&hosts)
        };
        let error = attached(&hosts, &late).err().unwrap();
        assert!(matches!(error, Error::Occupied { .. }), "{error}");

        assert_eq!(hosts.bpffs.entries().len(), 0, "{mode:?}");
        assert_eq!(hosts.program(), Some(id), "{mode:?}");
        program.detach(link).unwrap();
    }
}

#[test]
fn a_second_daemon_learns_the_pid_of_the_first() {
    let hosts = Hosts::new();
    let responder = attached(&hosts, &attach(&hosts)).unwrap();
    let again = attach(&hosts);
    for error in [
        attached(&hosts, &again).err(),
        hosts.ours.enter(|| xdp::check(&again)).err(),
    ] {
        let error = error.unwrap();
        assert!(
            matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
    }
    assert_eq!(hosts.program(), Some(responder.program_id()));
    responder.detach().unwrap();
}

#[test]
fn every_map_is_dumped_by_bpftool_with_the_names_of_its_fields() {
    let hosts = Hosts::new();
    let mut responder = attached(&hosts, &attach(&hosts)).unwrap();
    responder.set_vips(1, &[VIP]).unwrap();
    responder.set_group(1, OUR_MAC, 1234, 42).unwrap();
    let pins = hosts.bpffs.path().join(OURS);
    let formatted = |name| dump(&pins.join(name)).remove(0)["formatted"].take();
    let groups = || groups(&pins.join(map::GROUPS));

    let vip = formatted(map::VIPS);
    assert_eq!(
        vip["key"]["address"],
        serde_json::json!([10, 0, 0, 100]),
        "{vip}"
    );
    assert_eq!(vip["value"]["group"], 1, "{vip}");
    let group = &groups().remove(0)["value"];
    assert_eq!(group["lease_until_ns"], 1234, "{group}");
    assert_eq!(
        group["owner_mac"],
        serde_json::json!([2, 0, 0, 0, 0, 2]),
        "{group}"
    );
    assert_eq!(group["vhid"], 42, "{group}");
    let interface = &formatted(map::INTERFACE)["value"];
    assert_eq!(
        interface["ifindex"],
        hosts.ours.ifindex(OURS),
        "{interface}"
    );
    let counters = &formatted(map::COUNTERS)["values"][0]["value"];
    for name in [
        "arp_answered",
        "arp_silenced",
        "arp_passed",
        "arp_malformed",
        "arp_conflict",
        "carp_passed",
    ] {
        assert!(counters[name].is_u64(), "{name}: {counters}");
    }
    // There is no conflict to see, but its fields are known.
    assert_eq!(dump(&pins.join(map::CONFLICTS)).len(), 0);
    let shown = run(&[
        "bpftool",
        "-j",
        "map",
        "show",
        "pinned",
        pins.join(map::CONFLICTS).to_str().unwrap(),
    ]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(shown["btf_id"].is_u64(), "{shown}");
    responder.detach().unwrap();
}

#[test]
fn vips_and_groups_are_written_changed_and_forgotten() {
    let hosts = Hosts::new();
    let mut responder = attached(&hosts, &attach(&hosts)).unwrap();
    let pins = hosts.bpffs.path().join(OURS);
    let addresses = || {
        let mut addresses: Vec<_> = dump(&pins.join(map::VIPS))
            .iter()
            .map(|entry| {
                (
                    entry["formatted"]["key"]["address"][3].clone(),
                    entry["formatted"]["value"]["group"].clone(),
                )
            })
            .map(|(address, group)| (address.as_u64().unwrap(), group.as_u64().unwrap()))
            .collect();
        addresses.sort_unstable();
        addresses
    };
    let vip = |last| Ipv4Addr::new(10, 0, 0, last);
    let groups = || groups(&pins.join(map::GROUPS));
    let lease = || groups()[0]["value"]["lease_until_ns"].clone();

    responder.set_vips(1, &[vip(1), vip(2)]).unwrap();
    responder.set_vips(2, &[vip(3)]).unwrap();
    responder.set_vips(1, &[vip(2), vip(4), vip(4)]).unwrap();
    assert_eq!(addresses(), [(2, 1), (3, 2), (4, 1)]);
    let error = responder.set_vips(2, &[vip(5), vip(2)]).unwrap_err();
    assert!(
        matches!(error, Error::Taken { address, group: 1 } if address == vip(2)),
        "{error}"
    );
    assert_eq!(addresses(), [(2, 1), (3, 2), (4, 1)]);

    responder.silence(1).unwrap();
    assert_eq!(groups().len(), 0);
    responder.set_group(1, OUR_MAC, 99, 7).unwrap();
    assert_eq!(lease(), 99);
    responder.silence(1).unwrap();
    assert_eq!(lease(), 0);

    responder.remove_group(1).unwrap();
    assert_eq!(addresses(), [(3, 2)]);
    assert_eq!(groups().len(), 0);
    responder.remove_group(1).unwrap();

    let error = responder.set_group(MAX_GROUPS, OUR_MAC, 1, 1).unwrap_err();
    assert!(matches!(error, Error::BadGroup { .. }), "{error}");

    responder.set_mac([2, 0, 0, 0, 0, 0x77]).unwrap();
    let interface = dump(&pins.join(map::INTERFACE)).remove(0)["formatted"]["value"].take();
    assert_eq!(interface["mac"][5], 0x77);
    assert_eq!(interface["ifindex"], hosts.ours.ifindex(OURS));
    responder.detach().unwrap();
}

#[test]
fn two_capabilities_are_enough() {
    if !is_alone("attach::two_capabilities_are_enough") {
        return;
    }
    let hosts = Hosts::new();
    let attach = attach(&hosts);
    hosts.ours.enter(|| {
        let few = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
        let sets = CapabilitySets {
            effective: few,
            permitted: few,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).unwrap();
        let (mut responder, _) = Responder::open(&attach).unwrap();
        responder.set_vips(1, &[VIP]).unwrap();
        responder.set_group(1, OUR_MAC, 1, 1).unwrap();
        responder.counters().unwrap();
        responder.detach().unwrap();
    });
    assert_untouched(&hosts, "detached");
}

#[test]
fn without_capabilities_it_says_which_ones_it_needs() {
    if is_alone("attach::without_capabilities_it_says_which_ones_it_needs") {
        assert_says_what_it_needs_beyond(CapabilitySet::empty());
    }
}

#[test]
fn without_cap_net_admin_it_says_so() {
    if is_alone("attach::without_cap_net_admin_it_says_so") {
        assert_says_what_it_needs_beyond(CapabilitySet::BPF);
    }
}

#[test]
fn without_cap_bpf_it_says_so() {
    if is_alone("attach::without_cap_bpf_it_says_so") {
        assert_says_what_it_needs_beyond(CapabilitySet::NET_ADMIN);
    }
}

fn assert_says_what_it_needs_beyond(few: CapabilitySet) {
    let hosts = Hosts::new();
    let attach = attach(&hosts);
    let error = hosts.ours.enter(|| {
        let sets = CapabilitySets {
            effective: few,
            permitted: few,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).unwrap();
        Responder::open(&attach).err().unwrap()
    });
    let told = error.to_string();
    assert!(
        told.contains("CAP_BPF") && told.contains("CAP_NET_ADMIN"),
        "{told}: {error:?}"
    );
    assert_untouched(&hosts, "refused");
}

#[test]
fn the_usual_bpf_file_system_is_mounted_where_nobody_has() {
    let hosts = Hosts::new();
    let attach = Attach {
        bpffs: Path::new("/sys/fs/bpf/vipd-test"),
        ..attach(&hosts)
    };
    in_mount_namespace(|| {
        while is_bpffs_mounted() {
            run(&["umount", "/sys/fs/bpf"]);
        }
        hosts.ours.enter_here();
        xdp::check(&attach).unwrap();
        assert!(!is_bpffs_mounted(), "the check has mounted it");
        let (responder, _) = Responder::open(&attach).unwrap();
        assert!(is_bpffs_mounted());
        responder.detach().unwrap();
        assert_eq!(entries(Path::new("/sys/fs/bpf")).len(), 0);
    });
    assert_untouched(&hosts, "detached");
}

/// Whether this test has its process for itself; where not, runs it in one that
/// it has. aya asks once in a process what the kernel can, and so would carry
/// what it learnt with few capabilities into tests with all of them, or back.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "VIPD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut process = Command::new(std::env::current_exe().unwrap());
    let output = process
        .args(["--exact", test])
        .env(ALONE, "")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("1 passed"),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Calls `body` in a thread with mounts of its own.
#[expect(
    unsafe_code,
    reason = "unsharing can take file descriptors from other threads; not with this flag"
)]
fn in_mount_namespace(body: impl FnOnce() + Send) {
    let body = || {
        // SAFETY: the descriptors stay shared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        run(&["mount", "--make-rprivate", "/"]);
        body();
    };
    thread::scope(|scope| scope.spawn(body).join().unwrap());
}

fn is_bpffs_mounted() -> bool {
    // The mounts of this thread, which may not be those of the process.
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some("/sys/fs/bpf"))
}

/// The entries of a pinned map, as bpftool prints them.
pub(crate) fn dump(path: &Path) -> Vec<Value> {
    let output = run(&[
        "bpftool",
        "-j",
        "map",
        "dump",
        "pinned",
        path.to_str().unwrap(),
    ]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The groups in their map, which is an array: the rows that are not empty.
fn groups(path: &Path) -> Vec<Value> {
    let rows = dump(path)
        .into_iter()
        .map(|mut row| row["formatted"].take());
    let is_group = |row: &Value| {
        let group = &row["value"];
        group["lease_until_ns"] != 0 || group["vhid"] != 0
    };
    rows.filter(is_group).collect()
}

/// `XDP_ATTACHED_DRV` and `XDP_ATTACHED_SKB` of linux/if_link.h.
const XDP_MODE_NATIVE: u32 = 1;
const XDP_MODE_GENERIC: u32 = 2;
