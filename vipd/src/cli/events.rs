//! `vipd events`: a line for each thing that happens.

use serde_json::{Value, json};

use super::{Common, Exit, complain, steer};
use crate::io::control;
use crate::status::event::{Event, What};

pub(super) fn follow(common: &Common, group: Option<&str>, json: bool) -> Exit {
    let parameters = match group {
        Some(group) => json!({ "group": group }),
        None => json!({}),
    };
    let events = match control::follow(&common.socket, "org.vipd.Events", parameters) {
        Ok(events) => events,
        Err(error) => return steer::refused(&error),
    };
    for event in events {
        let event = match event {
            Ok(event) => event,
            Err(error) => return steer::refused(&error),
        };
        let text = if json {
            format!("{event}\n")
        } else {
            render(&event)
        };
        // Whoever reads has left: `vipd events | head -1`.
        if let Err(error) = print(&text) {
            return if error.kind() == std::io::ErrorKind::BrokenPipe {
                Exit::Fine
            } else {
                complain(&error, Exit::Failed)
            };
        }
    }
    eprintln!("vipd: the daemon has ended");
    Exit::NoDaemon
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// An event for people. One that a newer daemon has is shown as it is.
fn render(event: &Value) -> String {
    let Ok(Event { time, what }) = serde_json::from_value(event.clone()) else {
        return format!("{event}\n");
    };
    let line = match what {
        What::Roles { roles } => {
            let lines = roles.iter().map(|now| {
                let (group, role, since) = (&now.group, &now.role, &now.since);
                if since.is_empty() {
                    format!("{time} {group}: {role}\n")
                } else {
                    format!("{time} {group}: {role} since {since} ({})\n", now.reason)
                }
            });
            return lines.collect();
        }
        What::Role {
            group,
            from,
            to,
            reason,
            peer,
        } => {
            let peer = peer
                .map(|peer| format!(", peer {peer}"))
                .unwrap_or_default();
            format!("{group}: {from} -> {to} ({reason}{peer})")
        }
        What::Cause {
            group,
            text,
            set: true,
            ..
        } => format!("{group}: less fit to be master: {text}"),
        What::Cause { group, cause, .. } => {
            format!("{group}: {cause} holds nothing back any more")
        }
        What::Operator {
            action,
            group,
            uid,
            pid,
        } => {
            let group = group.unwrap_or_else(|| "all groups".to_owned());
            format!("{group}: {action}, ordered by uid {uid}, pid {pid}")
        }
        What::Reload { ok: true, text } => format!("reload: {text}"),
        What::Reload { ok: false, text } => format!("reload failed: {text}"),
    };
    format!("{time} {line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object_and_one_line() {
        let event = json!({
            "time": "2026-11-21T08:00:00.000Z", "event": "role", "group": "web", "from": "backup",
            "to": "master", "reason": "master_resigned", "peer": "10.99.0.1",
        });
        let read: Event = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), event);
        assert_eq!(
            render(&event),
            "2026-11-21T08:00:00.000Z web: backup -> master (master_resigned, peer 10.99.0.1)\n"
        );
    }

    #[test]
    fn what_is_not_known_is_shown_as_it_is() {
        let event = json!({ "time": "now", "event": "eclipse" });
        assert_eq!(render(&event), format!("{event}\n"));
    }
}
