//! Files and what is said of them.

use std::fs::Permissions;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::super::host::Host;
use super::super::{
    CheckConfig, Config, FailEffect, Faults, HookArguments, HookConfig, HookEvent, Probe, Severity,
    TrackConfig,
};
use super::*;
use crate::carp::{KeyId, Policy};
use crate::engine::Placement;
use crate::io::xdp::Mode;

/// A directory with files, and with two passwords.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("conf.d")).unwrap();
        let new = Self(directory);
        for (name, text) in [
            ("password", "secret\n"),
            ("next", "other\n"),
            ("run", "#!/bin/sh\n"),
        ] {
            new.write(name, text);
        }
        for (name, text) in files {
            new.write(name, text);
        }
        new
    }

    /// `DIR` in a text is the directory.
    fn write(&self, name: &str, text: &str) {
        let directory = self.0.path().to_str().unwrap();
        fs::write(self.path(name), text.replace("DIR", directory)).unwrap();
        let mode = if name == "run" { 0o700 } else { 0o600 };
        self.set_mode(name, mode);
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, host: &Host) -> Result<Config, Faults> {
        let reader = Reader::new();
        let described = read(&self.path("vipd.toml"), &reader);
        Config::from_described(described, host, reader.faults.into_inner())
    }

    /// All that is said, with `DIR` for the directory.
    fn said(&self, host: &Host) -> String {
        let faults = match self.load(host) {
            Ok(config) => config.warnings,
            Err(faults) => faults,
        };
        let directory = self.0.path().to_str().unwrap();
        faults.to_string().replace(directory, "DIR")
    }
}

fn load(text: &str) -> Config {
    let files = Files::new(&[("vipd.toml", text)]);
    let loaded = files.load(&Host::default());
    loaded.unwrap_or_else(|faults| panic!("{faults}"))
}

fn said(text: &str) -> String {
    Files::new(&[("vipd.toml", text)]).said(&Host::default())
}

/// A group that is fine, to which a test adds.
const GROUP: &str = r#"
[[group]]
interface = "eth0"
vhid = 42
vips = ["10.99.0.100"]
passfile = "DIR/password"
"#;

#[test]
fn what_is_not_said_is_as_with_flags() {
    let config = load(GROUP);
    let group = &config.engine.groups[0];
    assert_eq!(group.name, "eth0-42");
    assert_eq!(config.engine.interfaces, ["eth0"]);
    assert_eq!(config.xdp_modes, [Mode::Auto]);
    assert_eq!(group.vhid.value(), 42);
    assert_eq!(group.vips, [std::net::Ipv4Addr::new(10, 99, 0, 100)]);
    assert_eq!(group.source, None);
    assert_eq!(group.auth.policy, Policy::Send);
    assert_eq!(group.auth.keys.signs_with(), KeyId(0));
    assert_eq!(
        (group.timing.interval.advbase, group.timing.interval.advskew),
        (1, 0)
    );
    assert_eq!(group.timing.dead_ratio, 3);
    assert!(!group.preempt && group.tie.is_none());
    assert_eq!(
        (group.preempt_delay, group.startup_delay),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(group.placement, Placement::Interface);
    assert_eq!(config.extras, [Default::default()]);
    assert_eq!(config.process, Default::default());
    assert_eq!((config.metrics, config.admin_group), (None, None));
    assert!(config.warnings.is_empty(), "{}", config.warnings);
}

#[test]
fn what_is_said_is_what_is_believed() {
    let config = load(
        r#"
        [daemon]
        realtime = true
        keep_on_exit = true
        metrics = "127.0.0.1:9843"
        admin_group = "vipd-admin"
        [interface.eth1]
        xdp_mode = "generic"
        [[group]]
        name = "web"
        interface = "eth1"
        vhid = 7
        vips = ["10.0.0.1", "10.0.0.2"]
        passfile = "DIR/password"
        keys = [{ id = 3, passfile = "DIR/next" }]
        sign_with = 3
        auth = "require"
        source = "10.0.0.9"
        advbase = 2
        advskew = 100
        deadratio = 4
        preempt = true
        preempt_delay = "1m"
        startup_delay = "250ms"
        addresses = "loopback"
        tie = "router"
        [[group.check]]
        name = "nginx"
        http = "http://127.0.0.1/health"
        status = 204
        interval = "5s"
        timeout = "3s"
        rise = 4
        fall = 5
        demote = 30
        [[group.check]]
        name = "port"
        tcp = "127.0.0.1:80"
        give_up = true
        [[group.check]]
        name = "script"
        command = ["DIR/run", "a b"]
        [[group.track]]
        interface = "eth2"
        [[group.track]]
        interface = "eth3"
        demote = 1
        [[group.hook]]
        command = ["DIR/run"]
        [[group.hook]]
        command = ["DIR/run", "x"]
        on = ["init", "master", "init"]
        arguments = "keepalived"
        xparam = "p"
        timeout = "2s"
        gate = true
        privileged = true
        [[group]]
        interface = "eth0"
        vhid = 7
        vips = ["10.1.0.1"]
        passfile = "DIR/password"
        advbase = 2
        advskew = 100
        deadratio = 4
        preempt = true
        tie = "router"
        "#,
    );
    assert_eq!(config.engine.interfaces, ["eth1", "eth0"]);
    assert_eq!(config.xdp_modes, [Mode::Generic, Mode::Auto]);
    assert!(config.process.realtime && config.process.keep_on_exit);
    assert_eq!(config.metrics, "127.0.0.1:9843".parse().ok());
    assert_eq!(config.admin_group.as_deref(), Some("vipd-admin"));
    let [group, other] = config.engine.groups.as_slice() else {
        panic!("two groups");
    };
    assert_eq!(
        (group.name.as_str(), other.name.as_str()),
        ("web", "eth0-7")
    );
    assert_eq!(other.interface.0, 1);
    assert_eq!(group.vips.len(), 2);
    assert_eq!(group.source, "10.0.0.9".parse().ok());
    assert_eq!(group.auth.policy, Policy::Require);
    assert_eq!(group.auth.keys.signs_with(), KeyId(3));
    assert_eq!(
        (group.timing.interval.advbase, group.timing.interval.advskew),
        (2, 100)
    );
    assert_eq!(group.timing.dead_ratio, 4);
    assert!(group.preempt);
    assert_eq!(group.preempt_delay, Duration::from_secs(60));
    assert_eq!(group.startup_delay, Duration::from_millis(250));
    assert_eq!(group.placement, Placement::Loopback);
    assert_eq!(group.tie.as_deref(), Some("router"));
    let extras = &config.extras[0];
    let [http, tcp, command] = extras.checks.as_slice() else {
        panic!("three checks");
    };
    assert_eq!(
        *http,
        CheckConfig {
            name: "nginx".to_owned(),
            probe: Probe::Http {
                addr: "127.0.0.1:80".parse().unwrap(),
                host: "127.0.0.1".to_owned(),
                path: "/health".to_owned(),
                status: 204,
            },
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            rise: 4,
            fall: 5,
            effect: FailEffect::Demote(30),
        }
    );
    assert_eq!(
        tcp.probe,
        Probe::Tcp {
            addr: "127.0.0.1:80".parse().unwrap()
        }
    );
    assert_eq!(tcp.effect, FailEffect::GiveUp);
    assert_eq!(
        (tcp.interval, tcp.timeout),
        (Duration::from_secs(2), Duration::from_secs(1))
    );
    assert_eq!((tcp.rise, tcp.fall), (2, 3));
    assert!(
        matches!(&command.probe, Probe::Command { argv } if argv.len() == 2 && argv[1] == "a b")
    );
    assert_eq!(command.effect, FailEffect::Demote(100));
    let track = |interface: &str, demotion| TrackConfig {
        interface: interface.to_owned(),
        effect: FailEffect::Demote(demotion),
    };
    assert_eq!(extras.tracks, [track("eth2", 240), track("eth3", 1)]);
    let [plain, full] = extras.hooks.as_slice() else {
        panic!("two hooks");
    };
    assert_eq!(
        plain.on,
        [HookEvent::Master, HookEvent::Backup, HookEvent::Init]
    );
    assert_eq!(plain.timeout, HookConfig::DEFAULT_TIMEOUT);
    assert!(full.privileged && !plain.privileged);
    assert!(!plain.gate && plain.args.is_empty() && plain.arguments == HookArguments::Vipd);
    assert_eq!(full.on, [HookEvent::Master, HookEvent::Init]);
    assert_eq!(
        (full.args.as_slice(), full.xparam.as_deref()),
        (&["x".to_owned()][..], Some("p"))
    );
    assert_eq!(
        (full.arguments, full.timeout, full.gate),
        (HookArguments::Keepalived, Duration::from_secs(2), true)
    );
}

#[test]
fn a_fault_is_shown_with_its_place_what_was_found_and_what_is_allowed() {
    let text = r#"[[group]]
interface = "eth0"
vhid = 256
vips = ["10.99.0.100"]
passfile = "DIR/password"
advskwe = 3
auth = "requird"
"#;
    let expected = r#"error: vhid cannot be 256
 --> DIR/vipd.toml:3:8
  |
3 | vhid = 256
  |        ^^^ expected a number from 1 to 255

error: [[group]] has no key "advskwe"
 --> DIR/vipd.toml:6:1
  |
6 | advskwe = 3
  | ^^^^^^^ did you mean advskew?

error: auth cannot be "requird"
 --> DIR/vipd.toml:7:8
  |
7 | auth = "requird"
  |        ^^^^^^^^^ expected "off", "send" or "require"; did you mean "require"?
"#;
    assert_eq!(said(text), expected);
}

#[test]
fn two_files_that_do_not_agree_are_both_shown() {
    let more = GROUP.replace("10.99.0.100", "10.99.0.101");
    let files = Files::new(&[("vipd.toml", GROUP), ("conf.d/10-more.toml", &more)]);
    let expected = r#"error: two groups on eth0 have the vhid 42
 --> DIR/conf.d/10-more.toml:4:8
  |
4 | vhid = 42
  |        ^^ expected a number that nobody else has on that LAN
  |
 ::: DIR/vipd.toml:4:8
  |
4 | vhid = 42
  |        -- it is here first
"#;
    assert_eq!(files.said(&Host::default()), expected);
}

#[test]
fn what_is_no_toml_is_shown_in_the_same_way_and_other_files_are_read_all_the_same() {
    let files = Files::new(&[
        ("vipd.toml", "interface = eth0 # no\n[[group]\n"),
        ("conf.d/a.toml", "[daemon]\nrealtime = 1\n"),
    ]);
    let expected = r#"error: string values must be quoted
 --> DIR/vipd.toml:1:13
  |
1 | interface = eth0 # no
  |             ^^^^ expected literal string

error: unclosed array table
 --> DIR/vipd.toml:2:9
  |
2 | [[group]
  |         ^ expected `]`

error: realtime cannot be 1
 --> DIR/conf.d/a.toml:2:12
  |
2 | realtime = 1
  |            ^ expected true or false, without quotes
"#;
    assert_eq!(files.said(&Host::default()), expected);
}

/// Of each: what is added to a good group, and what is said of it.
#[test]
fn every_mistake_is_named() {
    let other = GROUP.replace("vhid = 42", "vhid = 43");
    let cases: &[(&str, &[&str])] = &[
        ("vips = []", &["duplicate key"]),
        ("name = \"a/b\"", &["name cannot be \"a/b\"", "letters"]),
        (
            "source = \"10.99.0.100\"",
            &["is one of the virtual", "10.99.0.100"],
        ),
        (
            "keys = [{ id = 0, passfile = \"DIR/next\" }]",
            &["id cannot be 0", "1 to 255"],
        ),
        ("keys = [{ id = 1 }]", &["[[group.keys]] has no passfile"]),
        (
            "keys = [\"DIR/next\"]",
            &["keys cannot be", "[[group.keys]]"],
        ),
        ("sign_with = 1", &["no key 1"]),
        (
            "keys = [{ id = 1, passfile = \"DIR/next\" }, { id = 1, passfile = \"DIR/next\" }]",
            &["key 1 is given twice"],
        ),
        ("addresses = \"lo\"", &["\"loopback\"", "\"none\""]),
        (
            "preempt = \"yes\"",
            &["preempt cannot be \"yes\"", "true or false"],
        ),
        (
            "preempt_delay = 3",
            &["preempt_delay cannot be 3", "in quotes"],
        ),
        ("startup_delay = \"2days\"", &["one day"]),
        ("tie = \"t\"", &["no other group has the tie t"]),
        (
            "[group.check]\nname = \"a\"",
            &["check cannot be a table", "[[group.check]]"],
        ),
        (
            "[[group.check]]\ntcp = \"127.0.0.1:80\"",
            &["[[group.check]] has no name"],
        ),
        (
            "[[group.check]]\nname = \"a\"",
            &["does not say what it asks"],
        ),
        (
            "[[group.check]]\nname = \"a\"\ntcp = \"127.0.0.1:1\"\nhttp = \"http://127.0.0.1/\"",
            &["asks in one way"],
        ),
        (
            "[[group.check]]\nname = \"a\"\ntcp = \"127.0.0.1:1\"\nstatus = 200",
            &["only an answer over HTTP has a status"],
        ),
        (
            "[[group.check]]\nname = \"a\"\ntcp = \"127.0.0.1:1\"\ndemote = 3\ngive_up = true",
            &["one of them must go"],
        ),
        (
            "[[group.check]]\nname = \"a\"\ntcp = \"127.0.0.1:1\"\n[[group.check]]\nname = \"a\"\ntcp = \"127.0.0.1:2\"",
            &["two checks of a group have the name a"],
        ),
        (
            "[[group.check]]\nname = \"a\"\ntcp = \"localhost:80\"",
            &["not looked up"],
        ),
        (
            "[[group.check]]\nname = \"a\"\ncommand = [\"run\"]",
            &["begins with a slash"],
        ),
        (
            "[[group.track]]\ndemote = 3",
            &["[[group.track]] has no interface"],
        ),
        (
            "[[group.track]]\ninterface = \"eth0\"",
            &["the group's own interface"],
        ),
        (
            "[[group.track]]\ninterface = \"e\"\n[[group.track]]\ninterface = \"e\"",
            &["depends on e twice"],
        ),
        (
            "[[group.hook]]\ngate = true",
            &["[[group.hook]] has no command"],
        ),
        (
            "[[group.hook]]\ncommand = \"DIR/run\"",
            &["command cannot be", "list"],
        ),
        (
            "[[group.hook]]\ncommand = []",
            &["command is an empty list"],
        ),
        (
            "[[group.hook]]\ncommand = [\"DIR/run\"]\non = []",
            &["on is an empty list"],
        ),
        (
            "[[group.hook]]\ncommand = [\"DIR/none\"]",
            &["warning", "DIR/none", "No such file"],
        ),
        (
            "[[group.hook]]\ncommand = [\"DIR/password\"]",
            &["warning", "not executable"],
        ),
        (
            "[interface.eth9]",
            &["warning", "no group is on the interface eth9"],
        ),
        (
            "[interface]\neth0 = 3",
            &["eth0 cannot be 3", "[interface.eth0]"],
        ),
        ("[interface.\"a b\"]", &["a name cannot be \"a b\""]),
        (
            "[daemon]\nmetrics = \":9843\"",
            &["metrics cannot be", "127.0.0.1"],
        ),
        ("[daemon]\nadmin_group = \"\"", &["admin_group cannot be"]),
        ("[deamon]", &["did you mean daemon?"]),
        (&other, &["10.99.0.100 is given twice"]),
    ];
    for (more, says) in cases {
        let text = format!("{GROUP}{more}\n");
        let said = said(&text);
        for words in *says {
            assert!(
                said.contains(words),
                "{more}:\n{said}\ndoes not say {words:?}"
            );
        }
        assert!(!said.contains("secret"));
    }
}

#[test]
fn groups_of_one_tie_agree() {
    let other = GROUP.replace("42", "43").replace(".100", ".101");
    for (own, more, says) in [
        ("", "", ""),
        (
            "",
            "advskew = 3\n",
            "groups of the tie t have advskew 0 and 3",
        ),
        (
            "advbase = 2\n",
            "",
            "groups of the tie t have advbase 2 and 1",
        ),
        ("preempt = true\n", "", "do not agree on preempt"),
    ] {
        let said = said(&format!(
            "{GROUP}tie = \"t\"\n{own}{other}tie = \"t\"\n{more}"
        ));
        assert!(
            said.contains(says) && said.is_empty() == says.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn names_are_not_used_twice() {
    let other = GROUP.replace("42", "43").replace(".100", ".101");
    for (own, others, is_refused) in [
        ("", "", false),
        ("name = \"a\"\n", "name = \"b\"\n", false),
        ("name = \"a\"\n", "name = \"a\"\n", true),
        // The name that a group without a name gets.
        ("name = \"eth0-43\"\n", "", true),
    ] {
        let said = said(&format!("{GROUP}{own}{other}{others}"));
        assert_eq!(
            said.contains("two groups have the name"),
            is_refused,
            "{said}"
        );
    }
}

#[test]
fn a_password_file_is_shown_where_it_is_named() {
    let files = Files::new(&[("vipd.toml", GROUP)]);
    for (mode, says) in [
        (0o600, ""),
        (
            0o644,
            "warning: others than its owner may read the password file DIR/password",
        ),
        (
            0o606,
            "error: everybody may write the password file DIR/password",
        ),
    ] {
        files.set_mode("password", mode);
        let said = files.said(&Host::default());
        assert!(
            said.starts_with(says) && said.is_empty() == says.is_empty(),
            "{said}"
        );
        assert!(
            says.is_empty() || said.contains("--> DIR/vipd.toml:6:12"),
            "{said}"
        );
    }
    fs::remove_file(files.path("password")).unwrap();
    assert!(
        files
            .said(&Host::default())
            .starts_with("error: cannot read the password file DIR/password: No such file")
    );
}

#[test]
fn a_program_that_others_can_write_is_refused() {
    let files = Files::new(&[(
        "vipd.toml",
        &format!("{GROUP}[[group.hook]]\ncommand = [\"DIR/run\"]"),
    )]);
    assert_eq!(files.said(&Host::default()), "");
    files.set_mode("run", 0o702);
    let said = files.said(&Host::default());
    assert!(
        said.starts_with("error: DIR/run is not run:") && said.contains("vipd.toml:8:12"),
        "{said}"
    );
}

#[test]
fn a_configuration_that_everybody_can_write_is_refused() {
    let files = Files::new(&[("vipd.toml", GROUP)]);
    files.set_mode("vipd.toml", 0o666);
    let said = files.said(&Host::default());
    assert!(
        said.contains("everybody may write this file") && said.contains("DIR/vipd.toml"),
        "{said}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let files = Files::new(&[]);
    let said = files.said(&Host::default());
    assert!(
        said.contains("No such file")
            && said.contains("DIR/vipd.toml")
            && said.contains("--config"),
        "{said}"
    );
    fs::write(files.path("vipd.toml"), b"# \xff").unwrap();
    assert!(files.said(&Host::default()).contains("UTF-8"));
    fs::write(files.path("vipd.toml"), "#".repeat(1 << 21)).unwrap();
    assert!(files.said(&Host::default()).contains("megabyte"));
    fs::write(files.path("vipd.toml"), "").unwrap();
    assert!(files.said(&Host::default()).contains("there is no group"));
    symlink("/nonexistent", files.path("conf.d/a.toml")).unwrap();
    assert!(files.said(&Host::default()).contains("DIR/conf.d/a.toml"));
}

#[test]
fn parts_are_read_in_the_order_of_their_names_and_hidden_ones_are_not() {
    let part = |vhid: &str| GROUP.replace("42", vhid).replace("100", vhid);
    let files = Files::new(&[
        ("vipd.toml", "[daemon]\nrealtime = true\n"),
        ("conf.d/20-b.toml", &part("2")),
        ("conf.d/10-a.toml", &part("1")),
        ("conf.d/.hidden.toml", "nonsense"),
        ("conf.d/30-c.toml.dpkg-new", "nonsense"),
    ]);
    let config = files
        .load(&Host::default())
        .unwrap_or_else(|faults| panic!("{faults}"));
    let names: Vec<_> = config
        .engine
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(names, ["eth0-1", "eth0-2"]);
    files.write("conf.d/30-c.toml", "[daemon]\nrealtime = false\n");
    assert!(
        files
            .said(&Host::default())
            .contains("realtime is set twice")
    );
}

#[test]
fn what_the_host_has_is_compared() {
    let vip = std::net::Ipv4Addr::new(10, 99, 0, 100);
    let own: &[_] = &[(vip, 24)];
    let placed: &[_] = &[(vip, 32)];
    let none: &[_] = &[];
    let (own, placed, none) = (
        Host::with(&[("eth0", own)]),
        Host::with(&[("eth0", placed)]),
        Host::with(&[("lo", none)]),
    );
    let text = |addresses: &str| format!("{GROUP}addresses = \"{addresses}\"\n");
    for (addresses, host, says) in [
        (
            "interface",
            &own,
            "error: 10.99.0.100 is this host's own address: 10.99.0.100/24 on eth0",
        ),
        (
            "loopback",
            &own,
            "error: 10.99.0.100 is this host's own address: 10.99.0.100/24 on eth0",
        ),
        ("none", &own, ""),
        // As vipd itself puts it there.
        ("interface", &placed, ""),
        (
            "interface",
            &none,
            "warning: there is no interface eth0 on this host",
        ),
    ] {
        let said = Files::new(&[("vipd.toml", &text(addresses))]).said(host);
        assert!(
            said.starts_with(says) && said.is_empty() == says.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn a_lease_with_gaps_is_doubted_where_it_comes_from() {
    let config = load(&format!("{GROUP}deadratio = 1\n"));
    let warnings = &config.warnings;
    let [warning] = warnings.iter().collect::<Vec<_>>()[..] else {
        panic!("{warnings}");
    };
    assert_eq!(warning.severity, Severity::Warning);
    assert!(
        warnings
            .line(warning)
            .contains("vipd.toml:7: with this advbase"),
        "{warnings}"
    );
}
