//! The command line: what is refused, with which words and exit status, and
//! that the host is untouched then.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use rustix::process::Signal;
use vipd::io::{netlink, xdp};
use vipd_tests::lab::{Host, Lab, Vipd};

use crate::scene::{SOON, assert_untouched, vipd};

/// Flags of a good group; a test changes one of them.
const GOOD: [(&str, &str); 4] = [
    ("-i", "eth0"),
    ("-v", "42"),
    ("-a", "10.99.0.100"),
    ("-o", "PASSFILE"),
];

/// `vipd run` with these flags in place of the good ones, or beside them.
fn run(host: &Host, changes: &[(&str, &str)]) -> Command {
    let passfile = host.directory().join("good");
    fs::write(&passfile, "secret\n").expect("cannot write a password");
    let passfile = passfile.to_str().expect("a plain path").to_owned();
    let mut flags: Vec<(String, String)> = Vec::new();
    for (flag, value) in GOOD.iter().chain(changes) {
        flags.retain(|(known, _)| known != flag);
        flags.push((flag.to_string(), value.replace("PASSFILE", &passfile)));
    }
    let flags = flags
        .iter()
        .flat_map(|(flag, value)| [flag.as_str(), value]);
    let arguments: Vec<&str> = ["run"].into_iter().chain(flags).collect();
    Vipd::command_on(host, &arguments)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// It ends with this status, says all of this, and has not touched the host.
fn is_refused(host: &Host, command: &mut Command, code: i32, says: &[&str]) {
    let output = command.output().expect("vipd can be started");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    for words in says {
        assert!(said.contains(words), "{said:?} does not say {words:?}");
    }
    assert!(output.stdout.is_empty());
    assert!(!said.contains("panicked"), "{said}");
    assert_untouched(host);
    assert!(!host.directory().join("state").exists());
}

#[test]
fn a_value_out_of_range_is_named_with_its_range() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let cases: [(&str, &str, &[&str]); 15] = [
        ("-i", "eth7", &["eth7", "ip link"]),
        ("-i", "a-name-that-is-far-too-long", &["a-name-that"]),
        ("-i", "lo", &["lo ", "Ethernet"]),
        ("-a", "10.99.0.256", &["10.99.0.256"]),
        ("-a", "10.99.0.100,vip", &["vip"]),
        ("-a", "224.0.0.18", &["224.0.0.18", "multicast"]),
        ("-v", "0", &["'0'", "1 to 255"]),
        ("-v", "256", &["256", "1 to 255"]),
        ("-b", "256", &["256", "0 to 255"]),
        ("-k", "255", &["255", "0 to 254"]),
        ("-r", "0", &["'0'", "1 to 255"]),
        ("-s", "10.99.0.100", &["10.99.0.100", "virtual"]),
        ("--addresses", "somewhere", &["somewhere", "loopback"]),
        ("--xdp-mode", "fast", &["fast", "generic"]),
        ("--log", "loud", &["loud"]),
    ];
    for (flag, value, says) in cases {
        is_refused(&n1, &mut run(&n1, &[(flag, value)]), 2, says);
    }
    let mut lone = Vipd::command_on(&n1, &["run", "-i", "eth0"]);
    is_refused(&n1, &mut lone, 2, &["--vhid", "--addr", "--passfile"]);
    is_refused(&n1, &mut Vipd::command_on(&n1, &["fly"]), 2, &["fly"]);
}

#[test]
fn a_password_file_of_no_use_is_named_with_the_reason() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let write = |name: &str, content: &str| {
        let path = n1.directory().join(name);
        fs::write(&path, content).expect("cannot write a password");
        path
    };
    let refused = |path: &Path, says: &[&str]| {
        let path = path.to_str().expect("a plain path");
        let says = [&[path], says].concat();
        is_refused(&n1, &mut run(&n1, &[("-o", path)]), 2, &says);
    };
    refused(&n1.directory().join("missing"), &["No such file"]);
    refused(n1.directory(), &["directory"]);
    refused(&write("empty", ""), &["empty"]);
    refused(&write("blank", "\nsecret\n"), &["empty"]);
    refused(
        &write("long", "twenty-bytes-exactly\n"),
        &["20 bytes", "19"],
    );
}

#[test]
fn a_missing_capability_is_named() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let good = run(&n1, &[]);
    let cases: [(&[&str], &[&str]); 4] = [
        (&[], &["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "root"]),
        (&["net_admin", "net_raw"], &["lacks CAP_BPF:"]),
        (&["net_admin", "bpf"], &["lacks CAP_NET_RAW:"]),
        (&["net_raw", "bpf"], &["lacks CAP_NET_ADMIN:"]),
    ];
    for (capabilities, says) in cases {
        let mut command = Vipd::as_nobody(&n1, capabilities, &good);
        is_refused(&n1, &mut command, 2, says);
    }
}

#[test]
fn an_unreadable_password_file_is_named() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let good = run(&n1, &[]);
    let passfile = n1.directory().join("good");
    fs::set_permissions(&passfile, Permissions::from_mode(0o600)).expect("it is ours");
    let capabilities = &["net_admin", "net_raw", "bpf"];
    let mut command = Vipd::as_nobody(&n1, capabilities, &good);
    let path = passfile.to_str().expect("a plain path");
    is_refused(&n1, &mut command, 2, &[path, "Permission denied"]);
}

#[test]
fn an_interface_without_an_address_needs_a_source() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.remove_address("10.99.0.1/24");
    let output = run(&n1, &[]).output().expect("vipd can be started");
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("eth0") && said.contains("-s"), "{said}");
    assert_eq!(n1.xdp_program("eth0"), None);

    // A VIP that is on the interface already is no address of the host's own.
    n1.add_address("10.99.0.100/32");
    let output = run(&n1, &[]).output().expect("vipd can be started");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    n1.remove_address("10.99.0.100/32");

    let arguments = vipd(0).arguments(&n1);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--srcip=10.99.0.1");
    let mut vipd = Vipd::spawn(&n1, &arguments);
    vipd.wait_for_role("master", SOON);
    assert_eq!(vipd.group()["master"]["address"], "10.99.0.1");
    assert!(vipd.terminate(SOON).success());
}

#[test]
fn an_interface_that_another_xdp_program_holds_is_refused() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in(|| {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        let mut other = xdp::load().expect("it loads");
        let program = other.program_mut(xdp::PROGRAM).expect("it is in there");
        let program: &mut Xdp = program.try_into().expect("it is for XDP");
        program.load().expect("the kernel takes it");
        program
            .attach_to_if_index(eth0.ifindex, XdpMode::Skb)
            .expect("nothing else is there");
        let id = n1.xdp_program("eth0").expect("it is attached");

        let output = run(&n1, &[]).output().expect("vipd can be started");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for words in [
            format!("(id {id})"),
            "eth0".to_owned(),
            format!("bpftool prog show id {id}"),
            "ip link set dev eth0 xdp off".to_owned(),
        ] {
            assert!(said.contains(&words), "{said:?} does not say {words:?}");
        }
        assert_eq!(n1.xdp_program("eth0"), Some(id), "it is still there");
        drop(other);
    });
    assert_untouched(&n1);
}

#[test]
fn a_second_vipd_on_an_interface_is_told_the_pid_of_the_first() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let mut first = Vipd::start(&n1, &vipd(0));
    first.wait_for_role("master", SOON);
    let program = n1.xdp_program("eth0");
    // With a socket of its own, lest that be what is in the way.
    let socket = n1.directory().join("other.sock");
    let socket = socket.to_str().expect("a plain path");
    let mut command = run(&n1, &[]);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new(command.get_program());
    command.args(words.iter().map(|word| {
        if word == n1.directory().join("vipd.sock").as_os_str() {
            socket.as_ref()
        } else {
            word.as_os_str()
        }
    }));
    for mut command in [command, run(&n1, &[])] {
        let output = command.output().expect("vipd can be started");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("pid {}", first.pid())), "{said}");
        assert!(said.contains("eth0"), "{said}");
    }
    assert!(!Path::new(socket).exists());
    // The first has not noticed.
    assert_eq!(n1.xdp_program("eth0"), program);
    assert_eq!(first.role(), "master");
    assert_eq!(first.counter("transitions"), 2, "start and takeover");
    assert!(first.terminate(SOON).success());
    assert_untouched(&n1);
}

#[test]
fn help_and_version_name_every_flag_and_end_well() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let ask = |arguments: &[&str]| {
        let output = Vipd::command_on(&n1, arguments)
            .output()
            .expect("vipd can be started");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = ask(&["--help"]);
    for words in [
        "run",
        "status",
        "--socket",
        "--bpffs",
        "--state-dir",
        "--log",
        "--version",
    ] {
        assert!(said.contains(words), "{said} does not say {words}");
    }
    let said = ask(&["run", "--help"]);
    for words in [
        "-i",
        "--interface",
        "-v",
        "--vhid",
        "-a",
        "--addr",
        "-o",
        "--passfile",
        "-s",
        "--srcip",
        "-b",
        "--advbase",
        "-k",
        "--advskew",
        "-r",
        "--deadratio",
        "-P",
        "--preempt",
        "--addresses",
        "interface",
        "loopback",
        "none",
        "--xdp-mode",
        "auto",
        "native",
        "generic",
        "--socket",
        "--bpffs",
        "--state-dir",
        "--log",
    ] {
        assert!(said.contains(words), "{said} does not say {words}");
    }
    let said = ask(&["status", "--help"]);
    assert!(said.contains("--json") && said.contains("GROUP"), "{said}");
    assert!(ask(&["--version"]).starts_with("vipd 0.1.0"));
    assert_untouched(&n1);
}

#[test]
fn without_a_daemon_status_says_so() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["status", "eth0-42"],
    ] {
        let mut command = Vipd::command_on(&n1, arguments);
        is_refused(&n1, &mut command, 3, &["no daemon", "vipd.sock"]);
    }
    // A socket that a killed daemon left.
    let mut killed = Vipd::start(&n1, &vipd(0));
    killed.signal(Signal::KILL);
    killed.wait_for_exit(SOON);
    assert!(n1.directory().join("vipd.sock").exists());
    let output = Vipd::command_on(&n1, &["status"])
        .output()
        .expect("vipd can be started");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn the_password_is_nowhere_to_be_seen() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let mut options = vipd(0);
    options.password = "sesame-open-thyself".to_owned();
    let arguments = options.arguments(&n1);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--log", "trace"]);
    let mut vipd = Vipd::spawn(&n1, &arguments);
    vipd.wait_for_role("master", SOON);
    vipd.signal(Signal::USR1);
    vipd.wait_for_log("MASTER on eth0", SOON);
    let read = |name: &str| {
        let path = format!("/proc/{}/{name}", vipd.pid());
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(read("cmdline").contains("password"), "{}", read("cmdline"));
    let table = vipd.command(&["status"]).output().expect("status runs");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("eth0-42"), "{table}");
    let status = vipd.status().expect("the daemon answers").to_string();
    for text in [read("cmdline"), read("environ"), vipd.log(), table, status] {
        assert!(!text.contains("sesame"), "{text}");
    }
}

#[test]
fn a_bare_name_of_a_password_file_is_a_credential_of_the_service() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let credentials = n1.directory().join("credentials");
    std::fs::create_dir(&credentials).expect("it is ours");
    std::fs::write(credentials.join("carp"), "secret\n").expect("it is ours");
    let arguments = [
        "run",
        "-i",
        "eth0",
        "-v",
        "42",
        "-a",
        "10.99.0.100",
        "-o",
        "carp",
    ];
    // The lab's words come first: the variable goes before the program.
    let command = Vipd::command_on(&n1, &arguments);
    let mut with_credentials = n1.command("env");
    with_credentials.arg(format!("CREDENTIALS_DIRECTORY={}", credentials.display()));
    let words = command.get_args().skip_while(|word| *word != "--").skip(1);
    with_credentials.args(words);
    let daemon = Vipd::from_command(&n1, &mut with_credentials);
    daemon.wait_for_lease(SOON);

    // Without the service manager it is a file like any other.
    let output = Vipd::command_on(&n1, &arguments)
        .output()
        .expect("it can be started");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read the password file carp"));
}
