//! What `vipd events --json` says: one object for each thing that happens. Fields may
//! be added, and kinds of events.

use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// Nothing yet: where everything stands. The first that a follower is told.
    Roles { roles: Vec<RoleNow> },
    /// A group's role changed.
    Role {
        group: String,
        from: String,
        to: String,
        reason: String,
        /// The master that it was about, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// A reason why this host should not be master came up, or is gone.
    Cause {
        group: String,
        cause: String,
        set: bool,
        text: String,
    },
    /// Somebody gave an order: `demote`, `promote`, `maintenance_on`,
    /// `maintenance_off`, `announce`, `step_down` or `reload`.
    Operator {
        action: String,
        /// None if it was for all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        uid: u32,
        pid: i32,
    },
    /// The configuration was read anew.
    Reload { ok: bool, text: String },
}

/// A group's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleNow {
    pub group: String,
    pub role: String,
    /// RFC 3339; empty before the first role.
    pub since: String,
    pub reason: String,
}

impl What {
    /// The group that it is about; none if it concerns them all.
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Role { group, .. } | Self::Cause { group, .. } => Some(group),
            Self::Operator { group, .. } => group.as_deref(),
            Self::Roles { .. } | Self::Reload { .. } => None,
        }
    }
}
