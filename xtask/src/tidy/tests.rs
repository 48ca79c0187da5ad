//! Each rule catches a planted violation, and lets pass what only looks like one.

use super::*;

const README: &str = "`cargo xtask demo`, `cargo xtask test`\n";

/// What is found in these files, beside a README that is in order.
fn found(files: &[(&str, &str)]) -> Vec<(String, usize, &'static str)> {
    let file = |&(path, text): &(&str, &str)| File {
        path: path.into(),
        text: text.into(),
    };
    let mut files: Vec<_> = files.iter().map(file).collect();
    if !files.iter().any(|file| file.path == "README.md") {
        files.push(file(&("README.md", README)));
    }
    let findings = check(&files, &["demo".to_owned(), "test".to_owned()]);
    findings
        .into_iter()
        .map(|finding| (finding.path, finding.line, finding.rule))
        .collect()
}

/// The lines on which one file breaks the rule.
fn lines(path: &str, text: &str, rule: &str) -> Vec<usize> {
    let found = found(&[(path, text)]);
    found
        .into_iter()
        .filter(|(_, _, broken)| *broken == rule)
        .map(|(_, line, _)| line)
        .collect()
}

#[test]
fn a_pure_floor_uses_nothing_of_the_host() {
    for planted in [
        "use std::fs;",
        "use std::{fmt, fs::File};",
        "use std::net::UdpSocket;",
        "use std::net::{IpAddr, TcpStream as Stream};",
        "use std::net;",
        "use std::net::{self, IpAddr};",
        "use std::time::*;",
        "use std::time::Instant;",
        "pub(crate) use tokio::sync;",
        "pub use tokio::sync;",
        "fn f() { std::env::var(\"A\"); }",
        "fn f() { let x = std::process::id(); }",
        "fn f() -> u8 { rand::random() }",
        "use crate::io::xdp;",
        "use crate::{daemon::Clock, time::Duration};",
        "use super::cli;",
        "fn f() { super::io::hook::run(); }",
        "use crate::*;",
    ] {
        for path in [
            "vipd/src/carp.rs",
            "vipd/src/engine.rs",
            "vipd/src/status.rs",
            "vipd/src/time.rs",
        ] {
            assert_eq!(
                lines(path, &format!("//! a\n\n{planted}\n"), "floor"),
                [3],
                "{path}: {planted}"
            );
        }
    }
}

#[test]
fn a_pure_floor_may_use_values_and_its_own_modules() {
    let text = "//! Not tokio::sync.\n\
        use std::{net::{IpAddr, Ipv4Addr}, time::Duration};\n\
        use super::packet; // and not std::fs\n\
        use crate::time::Instant;\n\
        fn f(rand: u8) -> &'static str { \"std::fs\" }\n\
        fn g() { std::io::Error::other(r#\"tokio::\"#); let c = '\"'; }\n\
        #[cfg(test)]\n\
        mod tests {\n    use std::fs;\n}\n";
    assert_eq!(found(&[("vipd/src/carp/auth.rs", text)]), []);
    assert_eq!(
        found(&[("vipd/src/carp/tests.rs", "//! a\nuse std::fs;\n")]),
        []
    );
    assert_eq!(
        found(&[("vipd/src/daemon.rs", "//! a\nuse std::time::Instant;\n")]),
        []
    );
}

#[test]
fn code_behind_a_test_module_is_still_checked() {
    let text = "//! a\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse std::fs;\n";
    assert_eq!(lines("vipd/src/engine.rs", text, "floor"), [6]);
}

#[test]
fn the_deciders_know_neither_engine_nor_status() {
    for planted in [
        "use crate::engine::Input;",
        "use crate::status;",
        "use super::super::engine;",
    ] {
        let text = format!("//! a\n{planted}\n");
        assert_eq!(
            lines("vipd/src/carp/election.rs", &text, "floor"),
            [2],
            "{planted}"
        );
    }
    assert_eq!(
        lines(
            "vipd/src/engine.rs",
            "//! a\nuse crate::{carp, status};\n",
            "floor"
        ),
        []
    );
}

#[test]
fn io_modules_know_neither_the_floors_nor_each_other() {
    for planted in [
        "use crate::engine::Output;",
        "use crate::carp;",
        "use crate::{daemon, status, cli};",
        "use super::netlink::Link;",
        "use crate::io::netlink;",
        "fn f() { super::netlink::list(); }",
        "use super::*;",
    ] {
        let text = format!("//! a\n{planted}\n");
        let files = [
            ("vipd/src/io/xdp.rs", text.as_str()),
            ("vipd/src/io/netlink.rs", "//! a\n"),
        ];
        let found = found(&files);
        assert!(
            found.contains(&("vipd/src/io/xdp.rs".into(), 2, "floor")),
            "{planted}: {found:?}"
        );
    }
    let own = "//! a\nuse super::pins;\nuse crate::io::xdp::attach;\nuse std::fs;\n";
    let files = [
        ("vipd/src/io/xdp/load.rs", own),
        ("vipd/src/io/netlink.rs", "//! a\n"),
    ];
    assert_eq!(found(&files), []);
}

#[test]
fn a_module_begins_with_its_documentation() {
    for text in ["", "use std::fmt;\n", "// a\n", "#![no_std]\nfn f() {}\n"] {
        assert_eq!(
            lines("a/src/lib.rs", text, "module docs").len(),
            1,
            "{text:?}"
        );
    }
    for text in [
        "//! a\n",
        "#![no_std]\n#![no_main]\n\n//! a\n",
        "#![cfg_attr(\n    all(),\n    no_std\n)]\n//! a\n",
        "#!/usr/bin/env run\n//! a\n",
    ] {
        assert_eq!(lines("a/build.rs", text, "module docs"), [], "{text:?}");
    }
}

#[test]
fn a_long_file_warns_and_a_longer_one_fails() {
    let weights = |lines: usize| -> Vec<Weight> {
        let text = "//! a\n".repeat(lines);
        let file = File {
            path: "a.rs".into(),
            text,
        };
        let mut findings = Vec::new();
        text::check(&file, &mut findings);
        findings.iter().map(|finding| finding.weight).collect()
    };
    assert_eq!(weights(500), []);
    assert_eq!(weights(501), [Weight::Warning]);
    assert_eq!(weights(700), [Weight::Warning]);
    assert_eq!(weights(701), [Weight::Fault]);
}

#[test]
fn nothing_unfinished_is_left() {
    for planted in [
        "todo!()",
        "unimplemented!()",
        "dbg!(x)",
        "#[ignore]",
        "#[ignore = \"a\"]",
        "#[should_panic]",
    ] {
        let text = format!("//! a\n{planted}\n");
        assert_eq!(lines("a.rs", &text, "leftover"), [2], "{planted}");
    }
    let looks_like_it =
        "//! todo!()\nlet a = \"dbg!\"; // unimplemented!\n/* dbg! /* */ todo! */ my_todo!();\n";
    assert_eq!(lines("a.rs", looks_like_it, "leftover"), []);
}

#[test]
fn no_file_names_a_directory_of_one_machine() {
    for planted in [
        concat!("/wo", "rk/a"),
        concat!("/ho", "me/b"),
        concat!("/ro", "ot/c"),
    ] {
        assert_eq!(
            lines("docs/a.txt", &format!("a\n{planted}\n"), "machine path"),
            [2]
        );
    }
    assert_eq!(
        lines("docs/a.txt", "work/ home/ network/root\n", "machine path"),
        []
    );
}

#[test]
fn no_blanks_at_the_end_of_a_line_and_no_tabs() {
    for path in ["a.rs", "a.md", "a.toml"] {
        assert_eq!(
            lines(path, "//! a\na \n\ta\na\t\n", "blanks"),
            [2, 3, 4],
            "{path}"
        );
    }
    assert_eq!(lines("Makefile", "a:\n\tb\n", "blanks"), []);
}

#[test]
fn every_dependency_of_the_workspace_is_used() {
    let root = "[workspace.dependencies]\nanyhow = \"1\"\n# a = b\nclap = { version = \"4\" }\naya-log = \"1\"\n\
        libc = \"1\"\nhmac = \"1\"\n[profile.release]\nlto = true\n";
    let member = "[package]\nhmac = 1\n[dependencies]\nanyhow = { workspace = true }\nclap.workspace = true\n\
        [target.'cfg(unix)'.dependencies.libc]\nworkspace = true\n";
    let unused = |line| ("Cargo.toml".to_owned(), line, "unused dependency");
    assert_eq!(
        found(&[("Cargo.toml", root), ("a/Cargo.toml", member)]),
        [unused(5), unused(7)]
    );
}

#[test]
fn what_the_readme_tells_people_to_run_is_there() {
    let readme = |text: &str| found(&[("README.md", text)]);
    assert_eq!(readme(README), []);
    assert_eq!(
        readme("`cargo xtask demo`"),
        [("README.md".into(), 1, "README")]
    );
    let unknown = format!("{README}\ncargo xtask deploy now\n");
    assert_eq!(readme(&unknown), [("README.md".into(), 3, "unknown task")]);
    assert_eq!(check(&[], &[]).len(), 1);
}
