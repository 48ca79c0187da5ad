//! `vipd status`: what the daemon says of itself.

use super::{Common, Exit, complain, say, table};
use crate::io::control::{self, ClientError};
use crate::status::Status;

pub(super) fn show(common: &Common, group: Option<&str>, json: bool) -> Exit {
    let parameters = match group {
        Some(group) => serde_json::json!({ "group": group }),
        None => serde_json::json!({}),
    };
    let answer = match control::call(&common.socket, "org.vipd.Status", parameters) {
        Ok(answer) => answer,
        Err(error @ ClientError::NoDaemon { .. }) => return complain(&error, Exit::NoDaemon),
        Err(ClientError::Failed { error, .. }) if error == "org.vipd.NotFound" => {
            let group = group.unwrap_or_default();
            eprintln!("vipd: there is no group {group}; 'vipd status' lists those there are");
            return Exit::Failed;
        }
        Err(error) => return complain(&error, Exit::Failed),
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
