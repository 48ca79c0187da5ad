//! libFuzzer around one target, which `VIPD_FUZZ_TARGET` names. `cargo xtask fuzz`
//! builds this with what libFuzzer needs to see where it gets to, and runs it.
#![no_main]

use std::sync::OnceLock;

use vipd_tests::fuzz::{TARGETS, Target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("VIPD_FUZZ_TARGET").unwrap_or_default();
        let target = TARGETS.iter().find(|target| target.name == name);
        TARGET.get_or_init(|| {
            target.unwrap_or_else(|| panic!("VIPD_FUZZ_TARGET is {name:?}, which is no target"))
        });
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.check)(data);
        }
    }
);
