//! Another configuration for daemons that run: applied as a difference, whole or not
//! at all.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use vipd_tests::lab::{Host, Lab, Prober, Sniffer, Vipd, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, pair, wait_for_address};

/// Of the group that does not change.
const STEADY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 110);
/// One that is added, and removed again.
const ADDED: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 101);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 100);

/// A group of the file.
struct Group {
    interface: &'static str,
    vhid: u8,
    vips: &'static [Ipv4Addr],
    advskew: u8,
}

fn steady(advskew: u8) -> Group {
    Group {
        interface: "eth0",
        vhid: 2,
        vips: &[STEADY],
        advskew,
    }
}

fn changing(vips: &'static [Ipv4Addr], advskew: u8) -> Group {
    Group {
        interface: "eth0",
        vhid: 1,
        vips,
        advskew,
    }
}

fn elsewhere(advskew: u8) -> Group {
    Group {
        interface: "eth1",
        vhid: 1,
        vips: &[ELSEWHERE],
        advskew,
    }
}

fn file(host: &Host) -> PathBuf {
    host.directory().join("vipd.toml")
}

fn write(host: &Host, groups: &[Group]) {
    let password = host.directory().join("password");
    fs::write(&password, "secret\n").expect("cannot write a password");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&password, mode).expect("it is ours");
    let group = |group: &Group| {
        let vips: Vec<_> = group.vips.iter().map(|vip| format!("\"{vip}\"")).collect();
        format!(
            "[[group]]\ninterface = \"{}\"\nvhid = {}\nvips = [{}]\npassfile = {:?}\n\
             advskew = {}\npreempt = true\n",
            group.interface,
            group.vhid,
            vips.join(", "),
            password,
            group.advskew
        )
    };
    let text: String = groups.iter().map(group).collect();
    fs::write(file(host), text).expect("cannot write it");
}

fn start(host: &Host, groups: &[Group]) -> Vipd {
    write(host, groups);
    let config = file(host);
    let config = config.to_str().expect("a plain path");
    let vipd = Vipd::spawn(host, &["run", "--config", config]);
    wait_until("the daemon answers", SOON, || vipd.status().map(drop));
    vipd
}

/// By the verb, which waits for what becomes of it.
fn reload(vipd: &Vipd) -> (Option<i32>, String) {
    let output = vipd.command(&["reload"]).output();
    let output = output.expect("vipd can be started");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn group(vipd: &Vipd, vhid: u8, interface: &str) -> Option<Value> {
    let status = vipd.status()?;
    let mut groups = status["groups"].as_array()?.iter();
    let is_meant = |group: &&Value| group["vhid"] == vhid && group["interface"] == interface;
    groups.find(is_meant).cloned()
}

fn wait_for_role(vipd: &Vipd, vhid: u8, interface: &str, role: &str) {
    let what = format!("{interface}-{vhid} is {role}");
    wait_until(&what, SOON, || {
        let group = group(vipd, vhid, interface)?;
        (group["role"] == role).then_some(())
    });
}

/// Role, since when and why, and how often it has changed.
fn history(vipd: &Vipd, vhid: u8) -> [Value; 4] {
    let group = group(vipd, vhid, "eth0").expect("the group is there");
    let transitions = group["counters"]["transitions"].clone();
    ["role", "since", "reason"]
        .map(|name| group[name].clone())
        .into_iter()
        .chain([transitions])
        .collect::<Vec<_>>()
        .try_into()
        .expect("there are four")
}

/// Waits until its master has advertised so often more.
fn wait_for_adverts(vipd: &Vipd, vhid: u8, more: u64) {
    let sent = || {
        let group = group(vipd, vhid, "eth0")?;
        group["counters"]["adverts_sent"].as_u64()
    };
    let before = sent().expect("the daemon answers");
    wait_until("adverts go on", SOON, || {
        (sent()? >= before + more).then_some(())
    });
}

fn assert_clean_finds_nothing(host: &Host) {
    let output = Vipd::command_on(host, &["clean"]).output();
    let output = output.expect("vipd can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("nothing"), "{said}");
    let state = host.directory().join("state");
    let left: Vec<_> = fs::read_dir(state)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().contains("changes"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_address_is_added_and_removed_on_one_host_after_the_other() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let mut first = start(&n1, &[changing(&[VIP], 0), steady(0)]);
    for vhid in [1, 2] {
        wait_for_role(&first, vhid, "eth0", "master");
    }
    let mut second = start(&n2, &[changing(&[VIP], 100), steady(100)]);
    wait_until("the first is followed", SOON, || {
        let follows = |vhid| {
            let group = group(&second, vhid, "eth0")?;
            (group["master"]["address"] == "10.99.0.1").then_some(())
        };
        follows(1).and_then(|()| follows(2))
    });
    let sniffer = Sniffer::start(&client);
    let probers = [VIP, STEADY].map(|vip| Prober::start(&client, vip, 100));
    for prober in &probers {
        assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    }
    let histories = |first: &Vipd, second: &Vipd| {
        [1, 2].map(|vhid| [history(first, vhid), history(second, vhid)])
    };
    let before = histories(&first, &second);

    // The master first, the backup some adverts later.
    write(&n1, &[changing(&[VIP, ADDED], 0), steady(0)]);
    assert_eq!(reload(&first).0, Some(0));
    wait_for_address(&n1, ADDED, true);
    let added = Prober::start(&client, ADDED, 100);
    assert_eq!(added.who_answers_within(SOON), Some(n1.mac()));
    wait_for_adverts(&first, 1, 8);
    assert_eq!(histories(&first, &second), before);
    write(&n2, &[changing(&[VIP, ADDED], 100), steady(100)]);
    second.signal(Signal::HUP);
    second.wait_for_log("the configuration is reloaded", SOON);
    wait_for_adverts(&first, 1, 8);
    assert_eq!(histories(&first, &second), before);

    // Removed likewise, the backup first.
    write(&n2, &[changing(&[VIP], 100), steady(100)]);
    assert_eq!(reload(&second).0, Some(0));
    wait_for_adverts(&first, 1, 8);
    let seen = added.finish().changes();
    let seen: Vec<_> = seen.into_iter().map(|(_, mac)| mac).collect();
    assert_eq!(seen, [n1.mac()], "one host has answered for what was added");
    write(&n1, &[changing(&[VIP], 0), steady(0)]);
    assert_eq!(reload(&first).0, Some(0));
    wait_for_address(&n1, ADDED, false);
    let removed = Prober::start(&client, ADDED, 100);
    assert_eq!(removed.who_answers_within(Duration::from_millis(500)), None);
    wait_for_adverts(&first, 1, 4);
    assert_eq!(histories(&first, &second), before);

    for prober in probers {
        let changes = prober.finish().changes();
        let macs: Vec<_> = changes.into_iter().map(|(_, mac)| mac).collect();
        assert_eq!(macs, [n1.mac()]);
    }
    // The other group was not touched: each of its adverts counts one more.
    let adverts = sniffer.adverts().into_iter();
    let steady: Vec<_> = adverts
        .filter(|(_, _, advert)| advert.vhid.value() == 2)
        .map(|(_, _, advert)| advert.counter)
        .collect();
    assert!(steady.len() > 10, "{steady:?}");
    let gaps = steady.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    assert!(gaps.into_iter().all(|gap| gap == 1), "{steady:?}");
    for (vipd, host) in [(&mut first, &n1), (&mut second, &n2)] {
        assert_eq!(vipd.terminate(SOON).code(), Some(0));
        assert_untouched(host);
        assert_clean_finds_nothing(host);
    }
}

#[test]
fn a_bad_file_changes_nothing_and_all_of_it_is_told() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let mut first = start(&n1, &[changing(&[VIP], 0)]);
    wait_for_role(&first, 1, "eth0", "master");
    let before = history(&first, 1);
    let pins = || n1.xdp_program("eth0");
    let program = pins();

    let good = fs::read_to_string(file(&n1)).expect("it is there");
    let bad = good.replace("advskew = 0", "advskew = 255\nadvbsae = 1");
    fs::write(file(&n1), bad).expect("it is ours");
    let (status, said) = reload(&first);
    assert_eq!(status, Some(2), "{said}");
    for part in [
        "nothing has changed",
        "advskew = 255",
        "advbsae",
        "did you mean advbase?",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
        first.wait_for_log(part, SOON);
    }
    // An interface that cannot be taken is as bad as a word that is not known.
    write(&n1, &[changing(&[VIP, ADDED], 0), elsewhere(0)]);
    let (status, said) = reload(&first);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("eth1"), "{said}");

    assert_eq!(history(&first, 1), before);
    assert_eq!(pins(), program);
    assert!(!n1.addresses().contains(&ADDED.into()));
    // And a good one is taken afterwards.
    write(&n1, &[changing(&[VIP, ADDED], 0)]);
    assert_eq!(reload(&first).0, Some(0));
    wait_for_address(&n1, ADDED, true);
    assert_eq!(history(&first, 1), before);
    assert_eq!(first.terminate(SOON).code(), Some(0));
    assert_untouched(&n1);
    assert_clean_finds_nothing(&n1);
}

#[test]
fn interfaces_and_groups_come_and_go() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    n1.connect("eth1", "10.98.0.1/24", &n2, "10.98.0.2/24");
    let mut first = start(&n1, &[changing(&[VIP], 0), steady(0)]);
    let mut second = start(&n2, &[steady(100)]);
    for vhid in [1, 2] {
        wait_for_role(&first, vhid, "eth0", "master");
    }
    let prober = Prober::start(&client, VIP, 100);
    assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    let before = history(&first, 1);

    write(&n1, &[elsewhere(0), changing(&[VIP], 0), steady(0)]);
    assert_eq!(reload(&first).0, Some(0));
    assert!(n1.xdp_program("eth1").is_some());
    wait_for_role(&first, 1, "eth1", "master");
    let arping = n2
        .command("arping")
        .args(["-I", "eth1", "-c", "1", "-w", "10", "10.98.0.100"])
        .output()
        .expect("arping is installed");
    assert!(arping.status.success(), "{arping:?}");

    // A group that is removed is given up, and another host takes it over.
    write(&n1, &[elsewhere(0), changing(&[VIP], 0)]);
    assert_eq!(reload(&first).0, Some(0));
    wait_for_role(&second, 2, "eth0", "master");
    wait_for_address(&n1, STEADY, false);
    wait_for_address(&n2, STEADY, true);
    assert!(group(&first, 2, "eth0").is_none());

    // So is an interface.
    write(&n1, &[changing(&[VIP], 0)]);
    assert_eq!(reload(&first).0, Some(0));
    wait_until("the interface is left", SOON, || {
        n1.xdp_program("eth1").is_none().then_some(())
    });
    assert!(
        !n1.ip(&["addr", "show", "dev", "eth1"])
            .contains("10.98.0.100")
    );

    // Both are back.
    write(&n1, &[changing(&[VIP], 0), steady(0), elsewhere(0)]);
    assert_eq!(reload(&first).0, Some(0));
    wait_for_role(&first, 2, "eth0", "master");
    wait_for_role(&second, 2, "eth0", "backup");
    wait_for_role(&first, 1, "eth1", "master");

    assert_eq!(history(&first, 1), before);
    let macs = prober.finish().changes().into_iter().map(|(_, mac)| mac);
    assert_eq!(macs.collect::<Vec<_>>(), [n1.mac()]);
    for (vipd, host) in [(&mut first, &n1), (&mut second, &n2)] {
        assert_eq!(vipd.terminate(SOON).code(), Some(0));
        assert_untouched(host);
        assert_clean_finds_nothing(host);
    }
    assert_eq!(n1.xdp_program("eth1"), None);
}
