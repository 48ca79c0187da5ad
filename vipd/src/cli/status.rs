//! `vipd status`: what the daemon says of itself.

use serde_json::Value;

use super::{Common, Exit, complain, say, steer, table};
use crate::io::control;
use crate::status::Status;

pub(super) fn show(common: &Common, group: Option<&str>, json: bool) -> Exit {
    let answer = match ask(common, group) {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    if json {
        return say(&format!("{answer}\n"));
    }
    match serde_json::from_value::<Status>(answer) {
        Ok(status) => say(&table::render(&status, table::Screen::of_stdout())),
        Err(error) => complain(&error, Exit::Failed),
    }
}

/// The status of all groups, or of one; or how the program ends after it has said
/// why there is none.
pub(super) fn ask(common: &Common, group: Option<&str>) -> Result<Value, Exit> {
    let parameters = match group {
        Some(group) => serde_json::json!({ "group": group }),
        None => serde_json::json!({}),
    };
    control::call(&common.socket, "org.vipd.Status", parameters)
        .map_err(|error| steer::refused(&error))
}
