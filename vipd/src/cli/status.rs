//! `vipd status`: what the daemon says of itself.

use serde_json::Value;

use super::{Common, Exit, complain, say, table};
use crate::io::control::{self, ClientError};
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
    control::call(&common.socket, "org.vipd.Status", parameters).map_err(|error| match error {
        ClientError::NoDaemon { .. } => complain(&error, Exit::NoDaemon),
        ClientError::Failed { error, .. } if error == "org.vipd.NotFound" => {
            let group = group.unwrap_or_default();
            eprintln!("vipd: there is no group {group}; 'vipd status' lists those there are");
            Exit::Failed
        }
        error => complain(&error, Exit::Failed),
    })
}
