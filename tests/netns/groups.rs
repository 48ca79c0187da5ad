//! Several groups and interfaces in one daemon: one in the configuration's file,
//! the others in files of their own beside it.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::json;
use vipd_tests::lab::{Host, Lab, Prober, Vipd, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, pair, wait_for_address};

/// One group of a daemon that preempts.
pub(crate) struct Member {
    interface: u16,
    vhid: u8,
    vips: &'static [&'static str],
}

pub(crate) const SEVERAL: Member = Member {
    interface: 0,
    vhid: 1,
    vips: &["10.99.0.100", "10.99.0.101", "10.99.0.102"],
};
const SINGLE: Member = Member {
    interface: 0,
    vhid: 2,
    vips: &["10.99.0.110"],
};
/// The first one's vhid, on another interface.
pub(crate) const ELSEWHERE: Member = Member {
    interface: 1,
    vhid: 1,
    vips: &["10.98.0.100"],
};

/// The command of a daemon on a host, each group with its advskew.
pub(crate) fn command(host: &Host, groups: &[(&Member, u8)]) -> Command {
    let write = |name: &str, text: &str| {
        let path = host.directory().join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    };
    let password = write("password", "secret\n");
    fs::create_dir_all(host.directory().join("conf.d")).expect("it is ours");
    let mut names = ["vipd.toml", "conf.d/10-second.toml", "conf.d/20-third.toml"].into_iter();
    for (group, advskew) in groups {
        let text = format!(
            "[[group]]\ninterface = \"eth{}\"\nvhid = {}\nvips = {:?}\npassfile = {password:?}\n\
             advskew = {advskew}\npreempt = true\n",
            group.interface, group.vhid, group.vips
        );
        write(names.next().expect("a name for each"), &text);
    }
    let config = host.directory().join("vipd.toml");
    let config = config.to_str().expect("a plain path");
    Vipd::command_on(host, &["run", "--config", config])
}

fn start(host: &Host, groups: &[(&Member, u8)]) -> Vipd {
    let vipd = Vipd::from_command(host, &mut command(host, groups));
    wait_until("the daemon answers", SOON, || vipd.status().map(drop));
    vipd
}

fn wait_for_roles(vipd: &Vipd, expected: [&str; 3]) {
    let what = format!("the roles {expected:?}");
    wait_until(&what, SOON, || {
        let status = vipd.status()?;
        let groups = status["groups"].as_array()?;
        let roles = groups.iter().map(|group| group["role"].as_str());
        roles.eq(expected.map(Some)).then_some(())
    });
}

#[test]
fn each_group_of_a_daemon_has_an_election_of_its_own() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    n1.connect("eth1", "10.98.0.1/24", &n2, "10.98.0.2/24");
    let mut first = start(&n1, &[(&SEVERAL, 0), (&SINGLE, 100), (&ELSEWHERE, 0)]);
    wait_for_roles(&first, ["master", "master", "master"]);
    let mut second = start(&n2, &[(&SEVERAL, 100), (&SINGLE, 0), (&ELSEWHERE, 100)]);
    wait_for_roles(&second, ["backup", "master", "backup"]);
    wait_for_roles(&first, ["master", "backup", "master"]);

    let single: Ipv4Addr = "10.99.0.110".parse().expect("an address");
    for (vip, owner) in [(VIP, &n1), (single, &n2)] {
        let prober = Prober::start(&client, vip, 50);
        assert_eq!(prober.who_answers_within(SOON), Some(owner.mac()));
    }
    let arping = n2
        .command("arping")
        .args(["-I", "eth1", "-c", "1", "-w", "10", "10.98.0.100"])
        .output()
        .expect("arping is installed");
    assert!(arping.status.success(), "{arping:?}");

    // A link that fails takes the groups along that are on it, and no others.
    let transitions = |vipd: &Vipd, group: usize| {
        let status = vipd.status().expect("the daemon answers");
        status["groups"][group]["counters"]["transitions"].clone()
    };
    let before = [transitions(&first, 0), transitions(&first, 1)];
    n1.ip(&["link", "set", "eth1", "down"]);
    wait_for_roles(&first, ["master", "backup", "init"]);
    n1.ip(&["link", "set", "eth1", "up"]);
    wait_for_roles(&first, ["master", "backup", "master"]);
    assert_eq!(before, [transitions(&first, 0), transitions(&first, 1)]);

    assert_eq!(first.terminate(SOON).code(), Some(0));
    assert_untouched(&n1);
    assert_eq!(n1.xdp_program("eth1"), None);
    wait_for_roles(&second, ["master", "master", "master"]);
    assert_eq!(second.terminate(SOON).code(), Some(0));
    assert_untouched(&n2);
}

#[test]
fn the_addresses_of_a_group_fail_over_together() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    n1.connect("eth1", "10.98.0.1/24", &n2, "10.98.0.2/24");
    let mut first = start(&n1, &[(&SEVERAL, 0), (&SINGLE, 0), (&ELSEWHERE, 0)]);
    wait_for_roles(&first, ["master", "master", "master"]);
    let second = start(&n2, &[(&SEVERAL, 100), (&SINGLE, 100), (&ELSEWHERE, 100)]);
    wait_until("the first is followed", SOON, || {
        (second.group()["master"]["address"] == "10.99.0.1").then_some(())
    });
    let vips: Vec<Ipv4Addr> = SEVERAL
        .vips
        .iter()
        .map(|vip| vip.parse().expect("an address"))
        .collect();
    let start = |vip: &Ipv4Addr| Prober::start(&client, *vip, 50);
    let probers: Vec<Prober> = vips.iter().map(start).collect();
    for prober in &probers {
        assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
    }
    first.kill();
    for prober in probers {
        assert!(prober.answered_by_within(n2.mac(), SOON));
        let changes = prober.finish().changes();
        let macs: Vec<_> = changes.iter().map(|(_, mac)| *mac).collect();
        assert_eq!(macs, [n1.mac(), n2.mac()]);
    }
    for vip in vips {
        wait_for_address(&n2, vip, true);
    }
    assert_eq!(second.group()["vips"], json!(SEVERAL.vips));
}
