//! `vipd status`: what the daemon says of itself.

use super::{Common, Exit, complain, say, steer, table};
use crate::io::control;
use crate::status::Status;

pub(super) fn show(common: &Common, group: Option<&str>, json: bool) -> Exit {
    let parameters = match group {
        Some(group) => serde_json::json!({ "group": group }),
        None => serde_json::json!({}),
    };
    let answer = match control::call(&common.socket, "org.vipd.Status", parameters) {
        Ok(answer) => answer,
        Err(error) => return steer::refused(&error),
    };
    let text = if json {
        format!("{answer}\n")
    } else {
        match serde_json::from_value::<Status>(answer) {
            Ok(status) => table::render(&status),
            Err(error) => return complain(&error, Exit::Failed),
        }
    };
    say(&text)
}
