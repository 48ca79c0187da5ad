//! Files and what is said of them.

use std::fs::Permissions;
use std::time::Duration;

use super::super::host::Host;
use super::super::{
    CheckConfig, Config, FailEffect, Faults, HookArguments, HookConfig, HookEvent, Probe,
    TrackConfig,
};
use super::*;
use crate::carp::{KeyId, Policy};
use crate::engine::Placement;
use crate::io::xdp::Mode;

mod faults;

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
