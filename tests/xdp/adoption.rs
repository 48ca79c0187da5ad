//! What one daemon leaves and the next one finds: adopted where it is of use,
//! replaced where it is not.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{Xdp, XdpMode};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use vipd::io::xdp::{self, Adopted, Attach, Error, Mode, Responder};
use vipd_common::{ABI, Group, Interface, map};

use crate::attach::{attach, dump, is_alone};
use crate::flood::Flood;
use crate::kernel::boot_ns;
use crate::netns::{Hosts, OUR_MAC, OURS, THEIRS, entries, run};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const GROUP: u32 = 42;

fn open(hosts: &Hosts, attach: &Attach<'_>) -> Result<(Responder, Adopted), Error> {
    hosts.ours.enter(|| Responder::open(attach))
}

/// A daemon that answered for the VIP, and crashed. Returns the end of its lease.
fn leave_answering(hosts: &Hosts, attach: &Attach<'_>) -> u64 {
    let (mut responder, adopted) = open(hosts, attach).unwrap();
    assert_eq!(adopted, Adopted::default());
    let lease_until_ns = boot_ns() + HOUR_NS;
    answer(&mut responder, lease_until_ns);
    responder.leave();
    lease_until_ns
}

fn answer(responder: &mut Responder, lease_until_ns: u64) {
    responder.set_vips(GROUP, &[VIP]).unwrap();
    responder
        .set_group(GROUP, OUR_MAC, lease_until_ns, 42)
        .unwrap();
}

fn pins(hosts: &Hosts) -> PathBuf {
    hosts.bpffs.path().join(OURS)
}

fn link_id(hosts: &Hosts) -> u32 {
    let link = PinnedLink::from_pin(pins(hosts).join("link")).unwrap();
    FdLink::from(link).info().unwrap().id()
}

fn rewrite_interface(hosts: &Hosts, change: impl FnOnce(&mut Interface)) {
    let map = MapData::from_pin(pins(hosts).join(map::INTERFACE)).unwrap();
    let mut map = Array::<_, Interface>::try_from(Map::from_map_data(map).unwrap()).unwrap();
    let mut interface = map.get(&0, 0).unwrap();
    change(&mut interface);
    map.set(0, interface, 0).unwrap();
}

fn is_answered(hosts: &Hosts) -> bool {
    Flood::new(hosts, VIP).is_answered_within(Duration::from_secs(1))
}

/// What a daemon finds that is started after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maps {
    /// As it would have made them.
    OfThisAbi,
    /// What a daemon of another ABI pins, whose leases are the same.
    OfAnother,
}

/// Replaces the responder ten times, as ten restarts of the daemon would, while
/// the client asks.
fn assert_that_restarts_go_unnoticed(hosts: &Hosts, mode: Mode, maps: Maps) {
    let with_mode = || Attach {
        mode,
        ..attach(hosts)
    };
    let lease_until_ns = leave_answering(hosts, &with_mode());
    let link = link_id(hosts);
    let flood = Flood::new(hosts, VIP);
    assert!(flood.is_answered_within(Duration::from_secs(1)));

    let (sent, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let start_ns = boot_ns();
    let flooded = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood.run(&sent, &stop));
        let stop = StopOnDrop(&stop);
        let mut answered = 1;
        for cycle in 0..10 {
            let before = sent.load(Ordering::Relaxed);
            let program = hosts.program();
            let refilled_because = (maps == Maps::OfAnother).then(|| {
                rewrite_interface(hosts, |it| it.abi = OTHER_ABI);
                format!("its maps are of ABI {OTHER_ABI}, and this vipd's of {ABI}")
            });
            let (responder, adopted) = open(hosts, &with_mode()).unwrap();

            let group = Group {
                lease_until_ns,
                owner_mac: OUR_MAC,
                vhid: 42,
                pad: 0,
            };
            let expected = Adopted {
                groups: [(GROUP, group)].into(),
                vips: [(GROUP, [VIP].into())].into(),
                fresh_because: None,
                refilled_because,
            };
            assert_eq!(adopted, expected, "cycle {cycle}");
            assert_eq!(link_id(hosts), link, "cycle {cycle}");
            assert_eq!(entries(&pins(hosts)).len(), 6, "cycle {cycle}");
            assert_ne!(Some(responder.program_id()), program, "cycle {cycle}");
            assert_eq!(hosts.program(), Some(responder.program_id()));
            // Maps that are made anew count from zero.
            let answered_before = match maps {
                Maps::OfThisAbi => answered,
                Maps::OfAnother => 0,
            };
            let deadline_ns = boot_ns() + 10 * SECOND_NS;
            loop {
                answered = responder.counters().unwrap().arp_answered;
                let asked = sent.load(Ordering::Relaxed) - before;
                if answered > answered_before && asked > 10 {
                    break;
                }
                assert!(
                    boot_ns() < deadline_ns,
                    "cycle {cycle}: {answered} after {answered_before}, asked {asked} times"
                );
                thread::sleep(Duration::from_millis(1));
            }
            drop(responder);
        }
        drop(stop);
        flooding.join().unwrap()
    });
    let rate = u64::from(flooded.sent) * SECOND_NS / (boot_ns() - start_ns);
    println!(
        "{mode:?}, {maps:?}: {} requests, {rate} a second",
        flooded.sent
    );
    let first = flooded.unanswered.first();
    let unanswered = flooded.unanswered.len();
    assert_eq!(
        first, None,
        "{unanswered} of {} requests unanswered",
        flooded.sent
    );
}

/// Has the flood end also where an assertion failed.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn not_one_request_goes_unanswered_over_ten_restarts() {
    assert_that_restarts_go_unnoticed(&Hosts::new(), Mode::Generic, Maps::OfThisAbi);
}

#[test]
fn not_one_request_goes_unanswered_over_ten_upgrades_of_the_abi() {
    assert_that_restarts_go_unnoticed(&Hosts::new(), Mode::Generic, Maps::OfAnother);
}

#[test]
fn not_one_request_goes_unanswered_over_ten_restarts_in_native_mode() {
    let hosts = Hosts::new();
    // Without a native program at the peer no reply would leave; this one has no VIPs.
    let mut passing = xdp::load().unwrap();
    let program: &mut Xdp = passing
        .program_mut(xdp::PROGRAM)
        .unwrap()
        .try_into()
        .unwrap();
    program.load().unwrap();
    let ifindex = hosts.theirs.ifindex(THEIRS);
    hosts
        .theirs
        .enter(|| program.attach_to_if_index(ifindex, XdpMode::Driver))
        .unwrap();
    assert_that_restarts_go_unnoticed(&hosts, Mode::Native, Maps::OfThisAbi);
}

#[test]
fn a_new_mac_of_the_interface_is_told_by_the_adopted_responder() {
    let hosts = Hosts::new();
    leave_answering(&hosts, &attach(&hosts));
    let mac = [2, 0, 0, 0, 0, 0x77];
    let attach = Attach {
        mac,
        ..attach(&hosts)
    };
    let (responder, adopted) = open(&hosts, &attach).unwrap();
    assert_eq!(adopted.fresh_because, None);
    let interface = dump(&pins(&hosts).join(map::INTERFACE)).remove(0)["formatted"]["value"].take();
    assert_eq!(interface["mac"], serde_json::json!(mac), "{interface}");
    responder.detach().unwrap();
}

#[test]
fn adopted_groups_are_changed_by_what_differs_and_others_forgotten() {
    let hosts = Hosts::new();
    let (mut responder, _) = open(&hosts, &attach(&hosts)).unwrap();
    let vip = |last| Ipv4Addr::new(10, 0, 0, last);
    responder.set_vips(1, &[vip(1), vip(2)]).unwrap();
    responder.set_vips(2, &[vip(3), vip(4)]).unwrap();
    responder.set_vips(3, &[vip(5)]).unwrap();
    responder.set_group(4, OUR_MAC, 99, 4).unwrap();
    drop(responder);

    let (mut responder, adopted) = open(&hosts, &attach(&hosts)).unwrap();
    assert_eq!(adopted.vips.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(adopted.groups.keys().copied().collect::<Vec<_>>(), [4]);
    responder.forget_others(&[1, 2]).unwrap();
    // An address changes over from a group that is set later.
    responder.set_vips(1, &[vip(2), vip(3), vip(6)]).unwrap();
    responder.set_vips(2, &[vip(4)]).unwrap();
    let error = responder.set_vips(2, &[vip(4), vip(3)]).unwrap_err();
    assert!(matches!(error, Error::Taken { group: 1, .. }), "{error}");
    drop(responder);

    let (responder, adopted) = open(&hosts, &attach(&hosts)).unwrap();
    let expected = Adopted {
        vips: [(1, [vip(2), vip(3), vip(6)].into()), (2, [vip(4)].into())].into(),
        ..Adopted::default()
    };
    assert_eq!(adopted, expected);
    responder.detach().unwrap();
}

/// A daemon leaves a responder that answers, something happens to it, and the
/// next daemon says what and answers again.
#[track_caller]
fn assert_replaced(spoil: impl FnOnce(&Hosts, &Path), because: &str, link: Link) {
    let hosts = Hosts::new();
    leave_answering(&hosts, &attach(&hosts));
    let link_before = link_id(&hosts);
    spoil(&hosts, &pins(&hosts));
    let link_after = assert_replaced_on(&hosts, &attach(&hosts), because);
    match link {
        Link::Stays => assert_eq!(link_after, link_before),
        Link::IsNew => assert_ne!(link_after, link_before),
    }
}

#[derive(Clone, Copy)]
enum Link {
    Stays,
    IsNew,
}

/// Returns the id of the link that the next daemon had.
#[track_caller]
fn assert_replaced_on(hosts: &Hosts, attach: &Attach<'_>, because: &str) -> u32 {
    let (mut responder, adopted) = open(hosts, attach).unwrap();
    let told = adopted.fresh_because.clone().unwrap_or_default();
    assert_eq!(adopted.refilled_because, None);
    assert!(told.contains(because), "{told:?} is not {because:?}");
    let nothing = Adopted {
        fresh_because: adopted.fresh_because.clone(),
        ..Adopted::default()
    };
    assert_eq!(adopted, nothing);
    assert_eq!(hosts.program(), Some(responder.program_id()));
    let flood = Flood::new(hosts, VIP);
    let is_answered_early = flood.is_answered_within(Duration::from_millis(100));
    assert!(!is_answered_early, "there is no VIP yet");
    answer(&mut responder, boot_ns() + HOUR_NS);
    assert!(is_answered(hosts));
    let link = link_id(hosts);
    drop(responder);

    // What it made is what it adopts.
    let again = Attach {
        program: hosts.program(),
        ..*attach
    };
    let (responder, adopted) = open(hosts, &again).unwrap();
    assert_eq!(adopted.fresh_because, None);
    assert_eq!(adopted.groups.len(), 1);
    let directory = hosts.bpffs.path().join(OURS);
    assert_eq!(
        fs::read_dir(&directory).unwrap().count(),
        6,
        "something is left over"
    );
    responder.detach().unwrap();
    assert_eq!(hosts.bpffs.entries().len(), 0);
    link
}

/// The same where the next daemon can go on with the leases: nobody notices, and
/// what belongs to groups is set as on maps that it adopted.
#[track_caller]
fn assert_refilled(spoil: impl FnOnce(&Hosts, &Path), because: &str) {
    let hosts = Hosts::new();
    let lease_until_ns = leave_answering(&hosts, &attach(&hosts));
    let link = link_id(&hosts);
    spoil(&hosts, &pins(&hosts));
    let (mut responder, adopted) = open(&hosts, &attach(&hosts)).unwrap();
    let told = adopted.refilled_because.clone().unwrap_or_default();
    assert!(told.contains(because), "{told:?} is not {because:?}");
    assert_eq!(adopted.fresh_because, None);
    assert_eq!(adopted.groups[&GROUP].lease_until_ns, lease_until_ns);
    assert_eq!(adopted.groups[&GROUP].owner_mac, OUR_MAC);
    assert_eq!(adopted.vips, [(GROUP, [VIP].into())].into());
    assert_eq!(link_id(&hosts), link);
    assert_eq!(hosts.program(), Some(responder.program_id()));
    assert!(is_answered(&hosts));

    // The new maps are those that the program reads.
    responder.silence(GROUP).unwrap();
    assert!(!Flood::new(&hosts, VIP).is_answered_within(Duration::from_millis(100)));
    // An address changes over to a group that the earlier daemon did not have.
    responder.set_vips(7, &[VIP]).unwrap();
    responder.forget_others(&[7]).unwrap();
    responder.leave();
    let (responder, adopted) = open(&hosts, &attach(&hosts)).unwrap();
    assert_eq!(
        adopted,
        Adopted {
            vips: [(7, [VIP].into())].into(),
            ..Adopted::default()
        }
    );
    assert_eq!(entries(&pins(&hosts)).len(), 6, "something is left over");
    responder.detach().unwrap();
    assert_eq!(hosts.bpffs.entries().len(), 0);
}

/// A map of any shape, pinned.
fn make_map(path: &Path, kind: &str, key: &str, value: &str, entries: &str) {
    let path = path.to_str().unwrap();
    run(&[
        "bpftool", "map", "create", path, "type", kind, "key", key, "value", value, "entries",
        entries, "name", "odd",
    ]);
}

#[test]
fn the_link_of_an_interface_that_was_made_anew_is_replaced() {
    let hosts = Hosts::new();
    leave_answering(&hosts, &attach(&hosts));
    hosts.ours.ip(&format!("link del {OURS}"));
    hosts.join();
    assert_replaced_on(
        &hosts,
        &attach(&hosts),
        "its interface does not exist any more",
    );
}

#[test]
fn a_missing_link_is_replaced() {
    let spoil = |hosts: &Hosts, pins: &Path| {
        fs::remove_file(pins.join("link")).unwrap();
        // The kernel takes the program off a moment later.
        let deadline_ns = boot_ns() + HOUR_NS / 60;
        while hosts.program().is_some() {
            assert!(boot_ns() < deadline_ns, "the program stays");
        }
    };
    assert_replaced(spoil, "its link is missing", Link::IsNew);
}

#[test]
fn a_map_in_the_links_place_is_replaced() {
    let spoil = |hosts: &Hosts, pins: &Path| {
        let link = PinnedLink::from_pin(pins.join("link")).unwrap();
        drop(link.unpin().unwrap());
        make_map(&pins.join("link"), "array", "4", "16", "1");
        while hosts.program().is_some() {}
    };
    assert_replaced(spoil, "what is pinned as its link is none", Link::IsNew);
}

#[test]
fn a_responder_in_another_mode_is_replaced() {
    let hosts = Hosts::new();
    leave_answering(&hosts, &attach(&hosts));
    let attach = Attach {
        mode: Mode::Native,
        ..attach(&hosts)
    };
    let (responder, adopted) = open(&hosts, &attach).unwrap();
    assert_eq!(
        adopted.fresh_because.as_deref(),
        Some("it is attached in generic mode, and another is wanted")
    );
    assert_eq!(hosts.ours.link(OURS)["xdp"]["mode"], 1);
    assert_eq!(responder.attached().mode, "native");
    responder.detach().unwrap();
}

#[test]
fn generic_where_the_driver_refused_native_is_what_auto_wants() {
    let hosts = Hosts::new();
    hosts
        .ours
        .ip("link add bridge0 address 02:00:00:00:00:02 type bridge");
    let attach_auto = |program| Attach {
        interface: "bridge0",
        ifindex: hosts.ours.ifindex("bridge0"),
        kind: None,
        program,
        ..attach(&hosts)
    };
    let (responder, _) = open(&hosts, &attach_auto(None)).unwrap();
    let program = responder.program_id();
    drop(responder);
    let (responder, adopted) = open(&hosts, &attach_auto(Some(program))).unwrap();
    assert_eq!(adopted.fresh_because, None);
    assert_eq!(responder.attached().mode, "generic");
    assert!(responder.attached().reason.contains("refused"));
    assert_ne!(responder.program_id(), program);
    responder.detach().unwrap();
}

#[test]
fn maps_for_another_interface_are_replaced() {
    let spoil = |hosts: &Hosts, _: &Path| rewrite_interface(hosts, |it| it.ifindex += 1);
    assert_replaced(
        spoil,
        "its maps are for the interface with index",
        Link::IsNew,
    );
}

#[test]
fn maps_of_another_abi_are_replaced_behind_the_same_link() {
    let spoil = |hosts: &Hosts, _: &Path| rewrite_interface(hosts, |it| it.abi = ABI + 1);
    assert_replaced(
        spoil,
        "its maps are of ABI 2, and this vipd's of 1",
        Link::Stays,
    );
}

#[test]
fn maps_of_another_abi_with_the_same_leases_are_replaced_by_filled_ones() {
    let spoil = |hosts: &Hosts, _: &Path| rewrite_interface(hosts, |it| it.abi = OTHER_ABI);
    assert_refilled(spoil, "its maps are of ABI 65537, and this vipd's of 1");
}

#[test]
fn leases_in_maps_of_other_sizes_are_taken_over() {
    let spoil = |hosts: &Hosts, pins: &Path| {
        rewrite_interface(hosts, |it| it.abi = OTHER_ABI);
        let (vips, groups) = (pins.join(map::VIPS), pins.join(map::GROUPS));
        let [old_vips, old_groups] = [&vips, &groups].map(|map| dump(map));
        fs::remove_file(&vips).unwrap();
        fs::remove_file(&groups).unwrap();
        make_map(&vips, "hash", "8", "4", "16");
        make_map(&groups, "array", "4", "16", "64");
        for (path, rows) in [(&vips, old_vips), (&groups, old_groups)] {
            let path = path.to_str().unwrap();
            for row in &rows[..rows.len().min(64)] {
                let mut words = vec!["bpftool", "map", "update", "pinned", path];
                for (word, bytes) in [("key", &row["key"]), ("value", &row["value"])] {
                    words.push(word);
                    words.extend(
                        bytes
                            .as_array()
                            .unwrap()
                            .iter()
                            .filter_map(|it| it.as_str()),
                    );
                }
                run(&words);
            }
        }
    };
    assert_refilled(spoil, "its maps are of ABI 65537, and this vipd's of 1");
}

#[test]
fn larger_maps_of_another_abi_are_replaced_as_if_unknown() {
    // What is in them might not find room.
    let spoil = |hosts: &Hosts, pins: &Path| {
        rewrite_interface(hosts, |it| it.abi = OTHER_ABI);
        fs::remove_file(pins.join(map::GROUPS)).unwrap();
        make_map(&pins.join(map::GROUPS), "array", "4", "16", "257");
    };
    assert_replaced(spoil, "its maps are of ABI 65537", Link::Stays);
}

#[test]
fn a_missing_map_is_replaced_with_all_others() {
    let spoil = |_: &Hosts, pins: &Path| fs::remove_file(pins.join(map::VIPS)).unwrap();
    assert_replaced(spoil, "its map vips is missing", Link::Stays);
}

#[test]
fn a_missing_map_that_holds_no_leases_costs_none() {
    let spoil = |_: &Hosts, pins: &Path| fs::remove_file(pins.join(map::COUNTERS)).unwrap();
    assert_refilled(spoil, "its map counters is missing");
}

#[test]
fn without_the_map_that_tells_the_interface_all_is_replaced() {
    let spoil = |_: &Hosts, pins: &Path| fs::remove_file(pins.join(map::INTERFACE)).unwrap();
    assert_replaced(spoil, "its map interface is missing", Link::IsNew);
}

#[test]
fn a_map_of_another_type_is_replaced() {
    let spoil = |_: &Hosts, pins: &Path| {
        fs::remove_file(pins.join(map::VIPS)).unwrap();
        make_map(&pins.join(map::VIPS), "lru_hash", "8", "4", "65536");
    };
    let because = "its map vips is another: map_type 9, not 1";
    assert_replaced(spoil, because, Link::Stays);
}

#[test]
fn a_map_of_other_sizes_is_replaced() {
    let spoil = |_: &Hosts, pins: &Path| {
        fs::remove_file(pins.join(map::GROUPS)).unwrap();
        make_map(&pins.join(map::GROUPS), "array", "4", "48", "4096");
    };
    let because = "its map groups is another: value_size 48, not 16, max_entries 4096, not 256, map_flags 0, not 1024";
    assert_replaced(spoil, because, Link::Stays);
}

#[test]
fn a_program_in_a_maps_place_is_replaced() {
    let spoil = |hosts: &Hosts, pins: &Path| {
        fs::remove_file(pins.join(map::CONFLICTS)).unwrap();
        let id = hosts.program().unwrap().to_string();
        let path = pins.join(map::CONFLICTS);
        run(&["bpftool", "prog", "pin", "id", &id, path.to_str().unwrap()]);
    };
    assert_refilled(spoil, "its map conflicts is another: map_type none, not 1");
}

#[test]
fn a_directory_in_a_maps_place_is_replaced() {
    let spoil = |_: &Hosts, pins: &Path| {
        fs::remove_file(pins.join(map::VIPS)).unwrap();
        fs::create_dir(pins.join(map::VIPS)).unwrap();
        make_map(&pins.join("vips/odd"), "array", "4", "4", "1");
    };
    assert_replaced(spoil, "its map vips can't be opened", Link::Stays);
}

#[test]
fn a_replacement_that_was_cut_short_is_done_again() {
    let spoil = |_: &Hosts, pins: &Path| {
        make_map(&pins.join("vips-new"), "hash", "8", "4", "65536");
    };
    assert_refilled(spoil, "the replacement of its maps was cut short");
}

#[test]
fn what_cannot_be_adopted_for_want_of_capabilities_answers_on() {
    if !is_alone("adoption::what_cannot_be_adopted_for_want_of_capabilities_answers_on") {
        return;
    }
    for spoil in [
        // All is well.
        (|_| {}) as fn(&Hosts),
        // Maps would be replaced, behind the link.
        |hosts| rewrite_interface(hosts, |it| it.abi += 1),
        // The same, and filled.
        |hosts| rewrite_interface(hosts, |it| it.abi = OTHER_ABI),
        // Everything would be.
        |hosts| rewrite_interface(hosts, |it| it.mode = 77),
    ] {
        let hosts = Hosts::new();
        leave_answering(&hosts, &attach(&hosts));
        spoil(&hosts);
        let (program, link) = (hosts.program(), link_id(&hosts));
        let attach = attach(&hosts);
        let error = hosts.ours.enter(|| {
            let sets = CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, sets).unwrap();
            Responder::open(&attach).err().unwrap()
        });
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
        assert_eq!((hosts.program(), link_id(&hosts)), (program, link));
        assert_eq!(fs::read_dir(pins(&hosts)).unwrap().count(), 6);
        assert!(is_answered(&hosts));
    }
}

#[test]
fn clean_removes_what_a_crashed_daemon_left_and_nothing_else() {
    let hosts = Hosts::new();
    leave_answering(&hosts, &attach(&hosts));
    let foreign = hosts.bpffs.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    make_map(&foreign.join("odd"), "array", "4", "4", "1");

    assert_eq!(clean(hosts.bpffs.path(), Some("eth7")).unwrap(), [""; 0]);
    assert_eq!(clean(hosts.bpffs.path(), None).unwrap(), [OURS]);
    assert_eq!(hosts.bpffs.entries(), [foreign]);
    assert_eq!(hosts.program(), None);
    assert_eq!(clean(hosts.bpffs.path(), None).unwrap(), [""; 0]);
}

#[test]
fn clean_leaves_a_running_daemon_alone_and_names_it() {
    let hosts = Hosts::new();
    let (responder, _) = open(&hosts, &attach(&hosts)).unwrap();
    for interface in [Some(OURS), None] {
        let error = clean(hosts.bpffs.path(), interface).unwrap_err();
        assert!(
            matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
    }
    assert_eq!(hosts.program(), Some(responder.program_id()));
    responder.leave();
    assert_eq!(clean(hosts.bpffs.path(), Some(OURS)).unwrap(), [OURS]);
    assert_eq!(hosts.program(), None);
}

/// One whose leases are this one's, see [`ABI`].
const OTHER_ABI: u32 = ABI + 0x1_0000;

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3_600 * SECOND_NS;

fn clean(bpffs: &Path, interface: Option<&str>) -> Result<Vec<String>, xdp::Error> {
    let leftovers = xdp::Leftovers::lock(bpffs, interface)?;
    let interfaces = leftovers.interfaces().map(str::to_owned).collect();
    leftovers.remove()?;
    Ok(interfaces)
}
