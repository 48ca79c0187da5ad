//! The configuration's file: what is wrong with it is all said, and the host is
//! untouched then. (Daemons run from files in `groups`.)

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use vipd_tests::lab::{Host, Lab, Vipd};

use crate::scene::{SOON, assert_untouched};

const GROUP: &str = r#"
[[group]]
name = "web"
interface = "eth0"
vhid = 42
vips = ["10.99.0.100"]
passfile = "PASSWORD"
"#;

/// Writes a configuration, in which `PASSWORD` is the name of a good file.
fn write(host: &Host, name: &str, text: &str) -> PathBuf {
    let password = host.directory().join("password");
    fs::write(&password, "secret\n").expect("cannot write a password");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&password, mode).expect("it is ours");
    let path = host.directory().join(name);
    let directory = path.parent().expect("it is in one");
    fs::create_dir_all(directory).expect("it is ours");
    let password = password.to_str().expect("a plain path");
    fs::write(&path, text.replace("PASSWORD", password)).expect("cannot write it");
    path
}

fn vipd(host: &Host, verb: &str, more: &[&str]) -> Command {
    let config = host.directory().join("vipd.toml");
    let config = config.to_str().expect("a plain path");
    Vipd::command_on(host, &[&[verb, "--config", config], more].concat())
}

/// What it says and how it ends.
fn ask(mut command: Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("vipd can be started");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn check_and_a_start_name_every_fault_and_touch_nothing() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let bad = GROUP
        .replace("vhid = 42", "vhid = 256")
        .replace("10.99.0.100", "10.99.0.1");
    write(&n1, "vipd.toml", &format!("{bad}advskwe = 3\n"));
    let more = GROUP.replace("PASSWORD", "/nonexistent/password");
    write(
        &n1,
        "conf.d/10-more.toml",
        &format!("{more}[[group.hook]]\n"),
    );
    write(&n1, "conf.d/20-bad.toml", "[[group]\n");
    let directory = n1.directory().display().to_string();
    let says = [
        "vipd.toml:5:8\n",
        "vhid = 256\n",
        "       ^^^ expected a number from 1 to 255\n",
        "vipd.toml:6:9\n",
        "10.99.0.1 is this host's own address: 10.99.0.1/24 on eth0",
        "vipd.toml:8:1\n",
        "did you mean advskew?",
        "conf.d/10-more.toml:3:8\n",
        "two groups have the name web",
        "conf.d/10-more.toml:7:12\n",
        "cannot read the password file /nonexistent/password",
        "conf.d/10-more.toml:8:1\n",
        "[[group.hook]] has no command",
        "conf.d/20-bad.toml:1:9\n",
    ];
    let mut before = None;
    for verb in ["check", "run"] {
        let (code, stdout, stderr) = ask(vipd(&n1, verb, &[]));
        assert_eq!(code, Some(2), "{stderr}");
        assert_eq!(stdout, "");
        for words in says {
            assert!(stderr.contains(words), "{stderr}\ndoes not say {words:?}");
        }
        assert!(
            stderr.contains(&directory) && !stderr.contains("panicked"),
            "{stderr}"
        );
        // A start that fails says the same.
        let text = before.get_or_insert_with(|| stderr.clone());
        assert_eq!(*text, stderr);
        assert_untouched(&n1);
        assert!(!n1.directory().join("state").exists());
    }

    let (code, stdout, _) = ask(vipd(&n1, "check", &["--json"]));
    assert_eq!(code, Some(2));
    let answer: Value = serde_json::from_str(&stdout).expect("it is JSON");
    assert_eq!(answer["fine"], false);
    let faults = answer["faults"].as_array().expect("a list");
    assert_eq!(
        (faults[0]["line"].as_u64(), faults[0]["column"].as_u64()),
        (Some(5), Some(8))
    );
    assert_eq!(faults[0]["severity"], "error");
    assert_eq!(faults[0]["found"], "vhid cannot be 256");
    assert_eq!(
        faults[0]["file"],
        n1.directory()
            .join("vipd.toml")
            .to_str()
            .expect("a plain path")
    );
    assert_eq!(faults.len(), 7, "{answer}");
}

#[test]
fn check_counts_the_groups_and_warns_of_what_is_not_there() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let config = write(&n1, "vipd.toml", GROUP);
    let (code, stdout, stderr) = ask(vipd(&n1, "check", &[]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("{}: 1 group, fine\n", config.display()));

    // What is of another machine can be checked here, but does not run.
    let other = GROUP
        .replace("web", "db")
        .replace("eth0", "eth7")
        .replace(".100", ".101");
    write(&n1, "conf.d/10-other.toml", &other);
    let (code, stdout, stderr) = ask(vipd(&n1, "check", &[]));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, format!("{}: 2 groups, fine\n", config.display()));
    assert!(
        stderr.starts_with("warning: there is no interface eth7 on this host"),
        "{stderr}"
    );
    let (code, _, stderr) = ask(vipd(&n1, "run", &[]));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("eth7"), "{stderr}");
    assert_untouched(&n1);
}

#[test]
fn without_a_file_there_are_flags_and_never_both() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    for verb in ["check", "run"] {
        let (code, stdout, stderr) = ask(vipd(&n1, verb, &[]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        for words in ["No such file", "vipd.toml", "--config"] {
            assert!(stderr.contains(words), "{stderr}\ndoes not say {words:?}");
        }
    }
    write(&n1, "vipd.toml", GROUP);
    let flags: &[&[&str]] = &[
        &[
            "-i",
            "eth0",
            "-v",
            "1",
            "-a",
            "10.99.0.100",
            "-o",
            "password",
        ],
        &["-P"],
        &["--realtime"],
    ];
    for flags in flags {
        let (code, _, stderr) = ask(vipd(&n1, "run", flags));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("--config"), "{stderr}");
    }
    assert_untouched(&n1);
}

#[test]
fn a_daemon_runs_from_a_file_with_all_that_it_says() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    write(
        &n1,
        "vipd.toml",
        &format!(
            "{GROUP}advskew = 7\nsource = \"10.99.0.9\"\naddresses = \"loopback\"\n[interface.eth0]\nxdp_mode = \"generic\"\n"
        ),
    );
    let mut daemon = Vipd::from_command(&n1, &mut vipd(&n1, "run", &[]));
    daemon.wait_for_log("ready", SOON);
    daemon.wait_for_lease(SOON);
    let group = daemon.group();
    assert_eq!(group["name"], "web");
    assert_eq!(group["master"]["address"], "10.99.0.9");
    assert_eq!(group["master"]["advskew"], 7);
    assert_eq!(daemon.interface()["xdp_mode"], "generic");
    assert!(
        n1.ip(&["addr", "show", "dev", "lo"])
            .contains("10.99.0.100/32")
    );

    // A running daemon's own address is nothing that a check stumbles over.
    let (code, _, stderr) = ask(vipd(&n1, "check", &[]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(daemon.terminate(SOON).success());
    assert_untouched(&n1);
}
