//! Scripts that are run when a role changes, beside the election.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use vipd_tests::lab::{Daemon, Host, Lab, Vipd, wait_until};

use crate::scene::{SOON, VIP, pair, wait_for_master, wait_for_service};
use crate::services::{Group, lines, script, wait_for_adverts, wait_for_group, wait_for_line};

/// A hook of all events.
fn hook(program: &Path, more: &str) -> String {
    format!(
        "[[group.hook]]\ncommand = [\"{}\"]\n{more}\n",
        program.display()
    )
}

/// A script that writes its role down, and the path of what it writes.
fn scribe(host: &Host) -> (PathBuf, PathBuf) {
    let path = host.directory().join("roles");
    let text = format!("echo $VIPD_ROLE >> {}", path.display());
    (script(host, "scribe", &text), path)
}

#[test]
fn a_hook_is_told_all_there_is_to_know_and_has_no_rights() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let told = n1.directory().join("told");
    let text = format!(
        "(echo \"args=$*\"; env | sort; grep -E '^(Cap|NoNewPrivs|Uid)' /proc/self/status; echo \"fds=$(echo $(ls /proc/self/fd))\"; pwd; ip addr add 192.0.2.9/32 dev eth0 2>&1) > {0}.new; mv {0}.new {0}.$VIPD_ROLE",
        told.display()
    );
    let path = script(&n1, "hook", &text);
    let group = Group::new(0).with(&format!(
        "[[group.hook]]\ncommand = [\"{}\", \"own word\"]\nxparam = \"x y\"",
        path.display()
    ));
    let first = group.start(&n1);
    first.wait_for_role("master", SOON);
    let told = |role: &str| {
        let path = told.with_extension(role);
        wait_until(&format!("a hook for {role}"), SOON, || {
            fs::read_to_string(&path).ok()
        })
    };
    let said = told("backup");
    assert!(said.contains("VIPD_OLD_ROLE=init\n"), "{said}");
    assert!(said.contains("VIPD_REASON=start\n"), "{said}");
    let said = told("master");
    let expected = [
        "args=own word master",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
        "VIPD_GROUP=web",
        "VIPD_INTERFACE=eth0",
        "VIPD_OLD_ROLE=backup",
        "VIPD_PEER=",
        "VIPD_REASON=master_timeout",
        "VIPD_ROLE=master",
        "VIPD_VHID=42",
        "VIPD_VIPS=10.99.0.100",
        "VIPD_XPARAM=x y",
    ];
    let found: Vec<&str> = said.lines().take(expected.len()).collect();
    assert_eq!(found, expected);
    // Root's, and yet without rights (capabilities(7)).
    assert!(said.contains("Uid:\t0\t0"), "{said}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            said.contains(&format!("{set}:\t0000000000000000\n")),
            "{said}"
        );
    }
    assert!(said.contains("NoNewPrivs:\t1\n"), "{said}");
    assert!(said.contains("fds=0 1 2 3\n"), "{said}");
    assert!(said.contains("not permitted"), "{said}");
    assert!(
        !n1.ip(&["addr", "show", "dev", "eth0"])
            .contains("192.0.2.9")
    );

    // A role that came from a peer names it.
    drop(first);
    let second = Group::new(50).start(&n2);
    second.wait_for_role("master", SOON);
    let _ = fs::remove_file(n1.directory().join("told.master"));
    let better = Group {
        preempt: true,
        ..group
    };
    let _first = better.start(&n1);
    let said = told("master");
    assert!(said.contains("VIPD_REASON=preempt\n"), "{said}");
    assert!(said.contains("VIPD_PEER=10.99.0.2\n"), "{said}");
}

/// The same life with both: a start, a takeover, a stop.
#[test]
fn with_ucarps_arguments_a_script_is_told_what_ucarp_tells_it() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let record = n1.directory().join("record");
    let text = format!("echo \"$(basename $0) $#:\" \"$@\" >> {}", record.display());
    let up = script(&n1, "up", &text);
    let down = script(&n1, "down", &text);

    let mut command = n1.command("/usr/sbin/ucarp");
    command.args(["-i", "eth0", "-s", "10.99.0.1", "-v", "42", "-p", "secret"]);
    command.args(["-a", "10.99.0.100", "-b", "1", "-k", "0", "-r", "1"]);
    command.args(["-z", "-f", "none", "-x", "one more"]);
    command.arg("-u").arg(&up).arg("-d").arg(&down);
    let mut ucarp = Daemon::spawn("ucarp", &mut command);
    let last = "up 3: eth0 10.99.0.100 one more";
    wait_for_line(&record, last);
    ucarp.terminate(SOON);
    let of_ucarp = lines(&record);
    drop(ucarp);
    fs::remove_file(&record).expect("it is there");

    let fashion = "arguments = \"ucarp\"\nxparam = \"one more\"\n";
    let group = Group::new(0)
        .with(&hook(&up, &format!("{fashion}on = [\"master\"]")))
        .with(&hook(
            &down,
            &format!("{fashion}on = [\"backup\", \"init\"]"),
        ));
    let mut vipd = group.start(&n1);
    wait_for_line(&record, last);
    assert_eq!(vipd.terminate(SOON).code(), Some(0));
    assert_eq!(lines(&record), of_ucarp);
    assert_eq!(of_ucarp.len(), 3, "{of_ucarp:?}");
}

#[test]
fn while_a_hook_runs_roles_may_change_and_only_the_latest_is_told() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let (record, go) = (n1.directory().join("record"), n1.directory().join("go"));
    let text = format!(
        "echo begin $VIPD_ROLE >> {0}; while [ ! -e {1} ]; do sleep 0.05; done; echo end $VIPD_ROLE >> {0}",
        record.display(),
        go.display()
    );
    let path = script(&n1, "hook", &text);
    let first = Group::new(0).with(&hook(&path, "")).start(&n1);
    wait_for_line(&record, "begin backup");
    // A link that comes and goes.
    for _ in 0..5 {
        n1.link_down();
        first.wait_for_role("init", SOON);
        n1.link_up();
        first.wait_for_role("backup", SOON);
    }
    first.wait_for_role("master", SOON);
    wait_for_adverts(&first, 3);
    assert_eq!(lines(&record), ["begin backup"]);
    fs::write(&go, "").expect("it is ours");
    wait_for_line(&record, "end master");
    assert_eq!(
        lines(&record),
        ["begin backup", "end backup", "begin master", "end master"]
    );
    wait_for_group(&first, "two hooks are counted", |group| {
        group["counters"]["hook_runs"] == 2
    });
    assert_eq!(first.counter("hook_outdated"), 10);
    assert_eq!(first.counter("hook_failures"), 0);
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started_and_adverts_stay_on_beat() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let pids = n1.directory().join("pids");
    let text = format!(
        "trap '' TERM; echo $$ >> {0}; (trap '' TERM; sleep 1000; echo never) & echo $! >> {0}; while :; do sleep 100; done",
        pids.display()
    );
    let path = script(&n1, "hook", &text);
    let group = Group::new(0).with(&hook(&path, "on = [\"master\"]\ntimeout = \"3s\""));
    let first = group.start(&n1);
    let second = Group::new(50).start(&n2);
    first.wait_for_role("master", SOON);
    wait_for_master(&second, n1.address());
    wait_for_service(&client, &n1);
    let there = wait_until("the hook runs", SOON, || {
        let pids = lines(&pids);
        (pids.len() == 2).then_some(pids)
    });
    wait_for_group(&first, "it takes too long", |group| {
        group["counters"]["hook_timeouts"] == 1
    });
    first.wait_for_log("hook failed: not done within 3s", SOON);
    for pid in there {
        let stat = Path::new("/proc").join(pid).join("stat");
        wait_until("it is gone", SOON, || (!stat.exists()).then_some(()));
    }
    wait_for_adverts(&first, 3);
    assert_eq!(
        (first.role(), second.counter("transitions")),
        ("master".into(), 1)
    );
    // It is no gate.
    assert_eq!(first.group()["demotion"], 0);
}

#[test]
fn a_script_that_others_can_write_is_not_run() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let (path, record) = scribe(&n1);
    let mut first = Group::new(0).with(&hook(&path, "")).start(&n1);
    wait_for_line(&record, "master");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&path, open).expect("it is ours");
    first.signal(Signal::USR2);
    first.wait_for_log("others than its owner may write", SOON);
    first.wait_for_role("master", SOON);
    wait_for_group(&first, "both are counted", |group| {
        group["counters"]["hook_failures"] == 2
    });
    assert_eq!(lines(&record), ["backup", "master"]);
}

#[test]
fn a_stop_waits_for_the_last_hooks_but_nobody_else_waits_for_them() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let (done, go) = (n1.directory().join("done"), n1.directory().join("go"));
    let text = format!(
        "while [ ! -e {} ]; do sleep 0.05; done; echo $VIPD_REASON > {}",
        go.display(),
        done.display()
    );
    let path = script(&n1, "down", &text);
    let mut first = Group::new(0)
        .with(&hook(&path, "on = [\"init\"]"))
        .start(&n1);
    first.wait_for_role("master", SOON);
    let second = Group::new(50).start(&n2);
    wait_for_master(&second, n1.address());
    first.signal(Signal::TERM);
    second.wait_for_role("master", SOON);
    assert_eq!(second.group()["reason"], "master_resigned");
    wait_for_service(&client, &n2);
    first.wait_for_log("waiting for hooks", SOON);
    assert_eq!(n1.xdp_program("eth0"), None, "the host is as it was");
    assert_eq!(first.exited(), None);
    fs::write(&go, "").expect("it is ours");
    assert_eq!(first.wait_for_exit(SOON).code(), Some(0));
    assert_eq!(lines(&done), ["shutdown"]);
}

#[test]
fn a_second_signal_ends_the_wait_for_hooks() {
    let lab = Lab::new();
    let (n1, _n2, _client) = pair(&lab);
    let pid = n1.directory().join("pid");
    let text = format!("echo $$ > {}; sleep 1000", pid.display());
    let path = script(&n1, "down", &text);
    let mut first = Group::new(0)
        .with(&hook(&path, "on = [\"init\"]"))
        .start(&n1);
    first.wait_for_role("master", SOON);
    first.signal(Signal::TERM);
    first.wait_for_log("waiting for hooks", SOON);
    let pid = wait_until("the hook runs", SOON, || lines(&pid).pop());
    assert_eq!(first.terminate(SOON).code(), Some(0));
    let stat = Path::new("/proc").join(pid).join("stat");
    wait_until("it is gone", SOON, || (!stat.exists()).then_some(()));
}

fn gate(program: &Path) -> String {
    hook(program, "on = [\"master\"]\ngate = true")
}

#[test]
fn a_gate_that_fails_gives_the_role_to_a_host_whose_gate_does_not() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let refuse = script(&n1, "gate", "echo no disk; exit 1");
    let (accept, record) = scribe(&n2);
    let first = Group::new(0).with(&gate(&refuse)).start(&n1);
    first.wait_for_role("master", SOON);
    wait_for_group(
        &first,
        "it is demoted, and master with nobody else there",
        |group| group["demotion"] == 240 && group["role"] == "master",
    );
    assert_eq!(first.group()["causes"][0]["name"], "hook gate");
    let second = Group::new(50).with(&gate(&accept)).start(&n2);
    second.wait_for_role("master", SOON);
    assert_eq!(second.group()["reason"], "master_demoted");
    wait_for_line(&record, "master");
    wait_for_service(&client, &n2);
    let why = "hook gate failed: exit status 1: no disk";
    assert_eq!(first.group()["causes"][0]["text"], why);
    wait_for_adverts(&second, 4);
    assert_eq!(
        (first.role(), second.role()),
        ("backup".into(), "master".into())
    );
    assert_eq!(second.group()["demotion"], 0);
}

#[test]
fn two_hosts_whose_gates_fail_do_not_throw_the_role_to_and_fro() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let start = |host: &Host, advskew| -> Vipd {
        let refuse = script(host, "gate", "exit 1");
        let group = Group {
            preempt: true,
            ..Group::new(advskew)
        };
        group.with(&gate(&refuse)).start(host)
    };
    let first = start(&n1, 0);
    wait_for_group(&first, "it is demoted", |group| group["demotion"] == 240);
    let second = start(&n2, 50);
    // It takes over, fails as well, and loses to the more preferred of two that are
    // equally unwell.
    wait_for_group(&second, "it is demoted, too", |group| {
        group["demotion"] == 240
    });
    first.wait_for_role("master", SOON);
    second.wait_for_role("backup", SOON);
    let transitions = || [&first, &second].map(|vipd| vipd.counter("transitions"));
    let settled = transitions();
    wait_for_adverts(&first, 6);
    assert_eq!(transitions(), settled);
    assert!(client.ping(VIP));
}

#[test]
fn a_hook_that_is_privileged_keeps_the_rights_of_the_daemon() {
    let lab = Lab::new();
    let (n1, _, _) = pair(&lab);
    let told = n1.directory().join("told");
    let text = format!(
        "(grep -E '^Cap(Eff|Bnd)' /proc/self/status; ip addr add 192.0.2.9/32 dev eth0 2>&1 && echo added) > {0}.new; mv {0}.new {0}",
        told.display()
    );
    let path = script(&n1, "hook", &text);
    let group = Group::new(0).with(&hook(&path, "on = [\"master\"]\nprivileged = true"));
    let _first = group.start(&n1);
    let said = wait_until("the hook has run", SOON, || fs::read_to_string(&told).ok());
    assert!(said.contains("added\n"), "{said}");
    assert!(!said.contains("CapEff:\t0000000000000000\n"), "{said}");
    assert!(
        n1.ip(&["addr", "show", "dev", "eth0"])
            .contains("192.0.2.9")
    );
}
