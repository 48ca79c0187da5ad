//! The text of a configuration file: either there is a configuration that the
//! engine believes, or something is said that shows where the text is wrong.
//!
//! Files that the text names are read, if there are any.

use vipd::config::{Severity, fuzzing};
use vipd::engine::Engine;

use super::Said;
use super::command_line::assert_sound;

pub(super) fn check(data: &[u8]) -> Said {
    // A file that is no text is refused before.
    let Ok(text) = std::str::from_utf8(data) else {
        return Said::No;
    };
    // Files are of this machine; only the committed password file is meant.
    let text = text.replace("PASSFILE", PASSFILE);
    let config = match fuzzing::from_text(&text) {
        Ok(config) => config,
        Err(faults) => {
            assert!(faults.has_errors());
            assert!(!faults.to_string().is_empty() && !faults.styled().is_empty());
            for fault in faults.iter() {
                let (file, position) = faults.position(fault).expect("it is of a file");
                assert_eq!(file, "vipd.toml");
                if let Some((line, column)) = position {
                    // After the last newline there is a line, too.
                    assert!((1..=text.matches('\n').count() + 1).contains(&line));
                    assert!(column >= 1);
                }
                assert!(!fault.found.is_empty() && !fault.allowed.is_empty());
            }
            return Said::No;
        }
    };
    let warnings = &config.warnings;
    assert!(
        warnings
            .iter()
            .all(|fault| fault.severity == Severity::Warning)
    );
    assert!(!config.engine.groups.is_empty());
    assert_eq!(config.engine.groups.len(), config.extras.len());
    assert_eq!(config.engine.interfaces.len(), config.xdp_modes.len());
    assert_sound(&config);
    Engine::new(config.engine, 0);
    Said::Yes
}

const PASSFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/passfile/a-line");
