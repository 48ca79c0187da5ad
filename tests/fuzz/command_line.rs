//! Words of a command line, with NULs between them, to a configuration: what is
//! not refused is what everything past `config` believes.

use std::path::PathBuf;

use clap::Parser as _;
use vipd::cli::Cli;
use vipd::config::{Config, fuzzing};
use vipd::engine::Engine;

use super::Said;

pub(super) fn check(data: &[u8]) -> Said {
    let Ok(text) = std::str::from_utf8(data) else {
        return Said::No;
    };
    let words = std::iter::once("vipd").chain(text.split('\0'));
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // What the user reads.
            assert!(!error.to_string().is_empty());
            return Said::No;
        }
    };
    let Some(mut flags) = cli.flags() else {
        return Said::Yes;
    };
    // Any file could be named, one without an end too.
    flags.passfile = PathBuf::from(PASSFILE);
    let config = match fuzzing::from_flags(&flags) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Said::No;
        }
    };
    assert_sound(&config);
    Engine::new(config.engine, 0);
    Said::Yes
}

/// What everything past `config` believes.
pub(super) fn assert_sound(config: &Config) {
    for group in &config.engine.groups {
        assert!(!group.vips.is_empty());
        for (index, vip) in group.vips.iter().enumerate() {
            assert!(!group.vips[..index].contains(vip), "{vip} twice");
            assert!((1..224).contains(&vip.octets()[0]) && !vip.is_loopback());
            assert_ne!(group.source, Some(*vip));
        }
        assert!(group.timing.dead_ratio >= 1);
        assert!(group.timing.interval.advskew < 255, "a bow-out's");
    }
}

const PASSFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/passfile/a-line");
