//! The verbs that tell a running daemon what to do, and the one that asks for a
//! group's role in a script.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Common, Exit, complain, say};
use crate::io::control::{self, ClientError};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

pub(super) fn demote(common: &Common, group: &str) -> Exit {
    order(common, "org.vipd.Demote", json!({ "group": group }))
}

pub(super) fn promote(common: &Common, group: &str) -> Exit {
    order(common, "org.vipd.Promote", json!({ "group": group }))
}

pub(super) fn maintenance(common: &Common, switch: Switch) -> Exit {
    let on = matches!(switch, Switch::On);
    order(common, "org.vipd.Maintenance", json!({ "on": on }))
}

pub(super) fn announce(common: &Common, group: &str) -> Exit {
    order(common, "org.vipd.Announce", json!({ "group": group }))
}

pub(super) fn reload(common: &Common) -> Exit {
    order(common, "org.vipd.Reload", json!({}))
}

/// Says nothing but by the exit status, unless the question makes no sense.
pub(super) fn is_master(common: &Common, group: &str) -> Exit {
    let parameters = json!({ "group": group });
    match control::call(&common.socket, "org.vipd.Status", parameters) {
        Ok(status) if status["groups"][0]["role"] == "master" => Exit::Fine,
        Ok(_) => Exit::Failed,
        Err(ClientError::NoDaemon { .. }) => Exit::NoDaemon,
        Err(error) => refused(&error),
    }
}

/// Has the daemon do it, and says what came of it.
fn order(common: &Common, method: &str, parameters: Value) -> Exit {
    match control::call(&common.socket, method, parameters) {
        Ok(answer) => match answer["text"].as_str() {
            Some(text) => say(&format!("{text}\n")),
            None => Exit::Fine,
        },
        Err(error) => refused(&error),
    }
}

/// Says why it was not done, in words for people.
pub(super) fn refused(error: &ClientError) -> Exit {
    let ClientError::Failed {
        error: name,
        parameters,
    } = error
    else {
        let exit = match error {
            ClientError::NoDaemon { .. } => Exit::NoDaemon,
            ClientError::Denied { .. }
            | ClientError::Timeout { .. }
            | ClientError::Broken { .. }
            | ClientError::Protocol { .. }
            | ClientError::Failed { .. } => Exit::Failed,
        };
        return complain(error, exit);
    };
    let word = |key: &str| parameters[key].as_str().unwrap_or("?").to_owned();
    let (text, exit) = match name.as_str() {
        "org.vipd.NotFound" => {
            let group = word("group");
            let text = format!("there is no group {group}; 'vipd status' lists those there are");
            (text, Exit::Failed)
        }
        // As it was printed by `vipd check`.
        "org.vipd.BadConfig" => (word("text"), Exit::Usage),
        "org.vipd.PermissionDenied" | "org.vipd.Failed" | "org.vipd.Busy" => {
            (word("reason"), Exit::Failed)
        }
        _ => return complain(error, Exit::Failed),
    };
    eprintln!("vipd: {text}");
    exit
}
