//! What can be called, and by whom; and how that is told to those who ask.

use std::time::Duration;

use serde_json::{Value, json};

/// The interface `org.vipd`, in Varlink's language.
pub const DESCRIPTION: &str = include_str!("org.vipd.varlink");

/// The one that every Varlink service has (<https://varlink.org/Service>).
const SERVICE: &str = include_str!("org.varlink.service.varlink");

/// A method of `org.vipd`.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    /// Whether it changes anything, and so is not for everybody.
    pub(super) changes: bool,
    /// Whether it has many answers.
    pub(super) streams: bool,
}

const fn reads(name: &'static str) -> Method {
    Method {
        name,
        changes: false,
        streams: false,
    }
}

const fn changes(name: &'static str) -> Method {
    Method {
        name,
        changes: true,
        streams: false,
    }
}

/// All of them.
pub(super) const METHODS: [Method; 8] = [
    reads("org.vipd.Status"),
    Method {
        name: "org.vipd.Events",
        changes: false,
        streams: true,
    },
    changes("org.vipd.Demote"),
    changes("org.vipd.Promote"),
    changes("org.vipd.Maintenance"),
    changes("org.vipd.Announce"),
    changes("org.vipd.StepDown"),
    changes(RELOAD),
];

const RELOAD: &str = "org.vipd.Reload";

/// How long the daemon may take to answer: files have to be read for a reload, and
/// names looked up.
pub(super) fn answer_within(method: &str) -> Duration {
    if method == RELOAD {
        Duration::from_secs(30)
    } else {
        Duration::from_secs(4)
    }
}

/// Answers what the daemon's loop is not needed for; `None` if it is.
pub(super) fn introspect(method: &str, parameters: &Value) -> Option<super::Reply> {
    let refused = |error: &str, what: &str, value: &str| {
        let error = format!("org.varlink.service.{error}");
        Some(Err((error, json!({ what: value }))))
    };
    match method {
        "org.varlink.service.GetInfo" => Some(Ok(json!({
            "vendor": "vipd",
            "product": "vipd",
            "version": env!("CARGO_PKG_VERSION"),
            "url": "",
            "interfaces": ["org.varlink.service", "org.vipd"],
        })
        .into())),
        "org.varlink.service.GetInterfaceDescription" => {
            let description = match parameters["interface"].as_str() {
                Some("org.vipd") => DESCRIPTION,
                Some("org.varlink.service") => SERVICE,
                Some(other) => return refused("InterfaceNotFound", "interface", other),
                None => return refused("InvalidParameter", "parameter", "interface"),
            };
            Some(Ok(json!({ "description": description }).into()))
        }
        _ if METHODS.iter().any(|known| known.name == method) => None,
        _ => refused("MethodNotFound", "method", method),
    }
}
