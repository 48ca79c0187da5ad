//! One group from flags.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::carp::KeyId;

fn flags(passfile: &tempfile::NamedTempFile) -> GroupFlags {
    GroupFlags {
        interface: "eth0".to_owned(),
        vhid: Vhid::new(42).unwrap(),
        vips: vec![Ipv4Addr::new(10, 99, 0, 100)],
        passfile: passfile.path().to_owned(),
        keys: Vec::new(),
        signs_with: 0,
        auth: Policy::Send,
        source: None,
        advbase: 1,
        advskew: 0,
        dead_ratio: 3,
        preempt: false,
        placement: Placement::Interface,
        xdp_mode: xdp::Mode::Auto,
        process: Process::default(),
    }
}

fn passfile(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn complaint(flags: &GroupFlags) -> String {
    let faults = Config::from_flags(flags).err().expect("refused");
    let lines: Vec<_> = faults.iter().map(|fault| faults.line(fault)).collect();
    lines.join("\n")
}

#[test]
fn a_group_from_flags_is_named_after_interface_and_vhid() {
    let file = passfile("secret\n");
    let config = Config::from_flags(&flags(&file)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.engine.groups[0].name, "eth0-42");
}

#[test]
fn a_password_that_others_can_read_is_told_and_one_that_they_can_write_refused() {
    let file = passfile("secret\n");
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
    };
    for (bits, is_exposed) in [(0o600, false), (0o400, false), (0o644, true), (0o660, true)] {
        mode(bits);
        let config = Config::from_flags(&flags(&file)).unwrap_or_else(|e| panic!("{e}"));
        let warned = config.warnings.iter().any(|fault| {
            let said = config.warnings.line(fault);
            said.contains("may read") && said.contains("chmod 600")
        });
        assert_eq!(warned, is_exposed, "{bits:o}");
    }
    mode(0o606);
    let said = complaint(&flags(&file));
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn several_passwords_go_by_their_numbers() {
    let (first, second) = (passfile("one\n"), passfile("two\n"));
    let with = |keys: &[u8], signs_with| GroupFlags {
        keys: keys
            .iter()
            .map(|id| (*id, second.path().to_owned()))
            .collect(),
        signs_with,
        ..flags(&first)
    };
    let config = Config::from_flags(&with(&[7], 7)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.engine.groups[0].auth.keys.signs_with(), KeyId(7));
    assert!(complaint(&with(&[7, 7], 7)).contains("key 7 is given twice"));
    assert!(complaint(&with(&[7], 8)).contains("no key 8"));
    assert!(complaint(&with(&[0], 0)).contains("key 0 is given twice"));
}

#[test]
fn every_refusal_names_the_value_and_what_is_wrong_with_it() {
    let file = passfile("secret\n");
    let good = flags(&file);
    let vips = |vips: &[[u8; 4]]| GroupFlags {
        vips: vips.iter().map(|octets| Ipv4Addr::from(*octets)).collect(),
        ..good.clone()
    };
    let (empty, long) = (passfile(""), passfile("twenty-bytes-exactly"));
    let with_file = |file: &tempfile::NamedTempFile| flags(file);
    let cases = [
        (vips(&[]), "no virtual address"),
        (
            vips(&[[10, 0, 0, 1], [10, 0, 0, 1]]),
            "10.0.0.1 is given twice",
        ),
        (
            GroupFlags {
                source: Some(Ipv4Addr::new(10, 99, 0, 100)),
                ..good.clone()
            },
            "is one of the virtual addresses",
        ),
        (
            GroupFlags {
                passfile: "/nonexistent/pass".into(),
                ..good.clone()
            },
            "/nonexistent",
        ),
        (with_file(&empty), "empty"),
        (with_file(&long), "20 bytes"),
    ];
    for (flags, expected) in cases {
        let said = complaint(&flags);
        assert!(
            said.contains(expected),
            "{said:?} does not say {expected:?}"
        );
    }
}
