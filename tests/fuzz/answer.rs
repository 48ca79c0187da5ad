//! What the command makes of what answers at the socket: a status that is
//! shown was understood whole, for it is written as it was read.

use vipd::cli::Cli;
use vipd::io::control::fuzzing::decode;
use vipd::status::Status;

use super::Said;

pub(super) fn check(data: &[u8]) -> Said {
    let answer = match decode(data) {
        Ok(answer) => answer,
        Err(error) => {
            // What the user reads.
            assert!(!error.to_string().is_empty());
            return Said::No;
        }
    };
    let Ok(status) = serde_json::from_value::<Status>(answer) else {
        return Said::No;
    };
    let table = Cli::render(&status);
    assert!(table.contains("GROUP") && table.contains("INTERFACE"));
    let written = serde_json::to_value(&status).unwrap_or_default();
    let read = serde_json::from_value::<Status>(written.clone());
    let again = read.and_then(serde_json::to_value).unwrap_or_default();
    assert_eq!(again, written);
    Said::Yes
}
