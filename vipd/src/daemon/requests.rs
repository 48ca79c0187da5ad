//! What comes by the control socket: who asks is answered, who orders is obeyed.
//! Whether he may is decided by `io::control` before.
//!
//! Orders that hold until they are undone are carried out at once, and answered when
//! they are on disk too.

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{Daemon, clock, report};
use crate::carp::{Role, Transition};
use crate::config::FailEffect;
use crate::engine::{GroupId, Input};
use crate::io::control::{Answer, Peer, Reply, Request};
use crate::status::event::{Event, RoleNow, What};

/// By how much the operator demotes a group: worse than any healthy host.
const DEMOTED: u8 = 240;

/// By how much maintenance does: nobody is worse.
const IN_MAINTENANCE: u8 = u8::MAX;

/// The names of these causes.
const OPERATOR: &str = "operator";
const MAINTENANCE: &str = "maintenance";

type Refusal = (String, Value);

impl Daemon {
    pub(super) fn answer(&mut self, request: Request) {
        let Request {
            method,
            parameters,
            peer,
            reply,
        } = request;
        let answer = match method.as_str() {
            "org.vipd.Status" => report::status(self, &parameters),
            "org.vipd.Events" => self.begin_to_tell(&parameters),
            "org.vipd.Demote" => match group_name(&parameters) {
                Ok(group) => return self.demote(group, &peer, reply),
                Err(refusal) => Err(refusal),
            },
            "org.vipd.Promote" => match group_name(&parameters) {
                Ok(group) => return self.promote(group, &peer, reply),
                Err(refusal) => Err(refusal),
            },
            "org.vipd.Maintenance" => match parameters["on"].as_bool() {
                Some(on) => return self.set_maintenance(on, &peer, reply),
                None => Err(invalid("on")),
            },
            "org.vipd.Announce" => self.announce(&parameters, &peer),
            "org.vipd.StepDown" => self.step_down(&parameters, &peer),
            "org.vipd.Reload" => {
                self.note_order("reload", None, &peer);
                return self.reload(Some(reply));
            }
            _ => {
                let error = "org.varlink.service.MethodNotFound".to_owned();
                Err((error, json!({ "method": method })))
            }
        };
        // A client that has left wants no answer.
        let _ = reply.send(answer);
    }

    /// What the operator ordered before this daemon was started, or before groups
    /// came that it is about.
    pub(super) fn apply_orders(&mut self) {
        let groups: Vec<String> = self
            .engine
            .groups()
            .map(|group| group.config.name.clone())
            .collect();
        for group in groups {
            if let Some(since) = self.orders.demoted.get(&group).cloned() {
                self.cause_demotion(&group, since);
            }
            if let Some(since) = self.orders.maintenance.clone() {
                self.cause_maintenance(&group, since);
            }
        }
    }

    fn cause_demotion(&mut self, group: &str, since: String) {
        let text = format!("the operator demoted it, until 'vipd promote {group}'");
        self.set_cause_since(group, OPERATOR, FailEffect::Demote(DEMOTED), since, text);
    }

    fn cause_maintenance(&mut self, group: &str, since: String) {
        let mut text = "this host is in maintenance, until 'vipd maintenance off'".to_owned();
        if let Some(what) = &self.orders_lost {
            text = format!("{text} ({what})");
        }
        let effect = FailEffect::Demote(IN_MAINTENANCE);
        self.set_cause_since(group, MAINTENANCE, effect, since, text);
    }

    fn demote(&mut self, group: &str, peer: &Peer, reply: oneshot::Sender<Reply>) {
        if let Err(refusal) = self.find(group) {
            let _ = reply.send(Err(refusal));
            return;
        }
        self.note_order("demote", Some(group), peer);
        let now = clock::wall_clock(clock::now());
        let demoted = &mut self.orders.demoted;
        let since = demoted.entry(group.to_owned()).or_insert(now).clone();
        self.cause_demotion(group, since);
        let text = format!("{group}: demoted until 'vipd promote {group}'");
        self.keep_orders(text, reply);
    }

    fn promote(&mut self, group: &str, peer: &Peer, reply: oneshot::Sender<Reply>) {
        let found = self.find(group);
        let was_demoted = self.orders.demoted.remove(group).is_some();
        // What is not configured any more can still be forgotten.
        if let (Err(refusal), false) = (&found, was_demoted) {
            let _ = reply.send(Err(refusal.clone()));
            return;
        }
        self.note_order("promote", Some(group), peer);
        self.clear_cause(group, OPERATOR);
        let Ok(id) = found else {
            return self.keep_orders(format!("{group}: not demoted any more"), reply);
        };
        self.handle(Input::Promote { group: id });
        let left: Vec<String> = self
            .causes
            .status(group)
            .into_iter()
            .map(|cause| cause.text)
            .collect();
        let text = if left.is_empty() {
            format!(
                "{group}: as preferred as it is configured; it takes over if it is preferred to the master"
            )
        } else {
            format!(
                "{group}: not demoted by the operator any more, but {}",
                left.join("; ")
            )
        };
        self.keep_orders(text, reply);
    }

    fn set_maintenance(&mut self, on: bool, peer: &Peer, reply: oneshot::Sender<Reply>) {
        let action = if on {
            "maintenance_on"
        } else {
            "maintenance_off"
        };
        self.note_order(action, None, peer);
        let text = if on {
            let now = clock::wall_clock(clock::now());
            self.orders.maintenance.get_or_insert(now);
            self.apply_orders();
            "maintenance: every other host is preferred, until 'vipd maintenance off'"
        } else {
            self.orders.maintenance = None;
            self.orders_lost = None;
            let groups = self.engine.groups();
            let groups: Vec<String> = groups.map(|group| group.config.name.clone()).collect();
            for group in groups {
                self.clear_cause(&group, MAINTENANCE);
            }
            "maintenance is over"
        };
        self.keep_orders(text.to_owned(), reply);
    }

    fn announce(&mut self, parameters: &Value, peer: &Peer) -> Reply {
        let name = group_name(parameters)?;
        let group = self.find(name)?;
        self.note_order("announce", Some(name), peer);
        let view = self.engine.group(group);
        let role = view.map_or(Role::Init, |view| view.role);
        if role != Role::Master {
            let role = role.as_str();
            return failed(format!(
                "{name} is not announced by this host, which is {role}"
            ));
        }
        self.handle(Input::Announce { group });
        Ok(json!({ "text": format!("{name}: announced") }).into())
    }

    fn step_down(&mut self, parameters: &Value, peer: &Peer) -> Reply {
        let name = optional_group(parameters)?;
        let group = name.map(|name| self.find(name)).transpose()?;
        self.note_order("step_down", name, peer);
        self.handle(Input::StepDown { group });
        let name = name.unwrap_or("all groups");
        Ok(json!({ "text": format!("{name}: stepped down, where this host was master") }).into())
    }

    /// Answers when the orders are on disk.
    fn keep_orders(&self, text: String, reply: oneshot::Sender<Reply>) {
        let path = self.orders_writer.path().display().to_string();
        self.orders_writer.write(&self.orders, move |written| {
            let answer = match written {
                Ok(()) => Ok(json!({ "text": text }).into()),
                Err(error) => {
                    let text = format!(
                        "{text}; but a restart would forget it: cannot write {path}: {error}"
                    );
                    warn!("{text}");
                    failed(text)
                }
            };
            let _ = reply.send(answer);
        });
    }

    fn find(&self, name: &str) -> Result<GroupId, Refusal> {
        let mut groups = self.engine.groups();
        let found = groups.find(|group| group.config.name == name);
        found.map(|group| group.id).ok_or_else(|| not_found(name))
    }

    /// Somebody's order, for the log and for those who follow.
    fn note_order(&self, action: &str, group: Option<&str>, peer: &Peer) {
        let (uid, pid) = (peer.uid, peer.pid);
        info!(group, uid, pid, "the operator orders: {action}");
        self.tell(What::Operator {
            action: action.to_owned(),
            group: group.map(str::to_owned),
            uid,
            pid,
        });
    }

    /// A follower begins with where everything stands.
    fn begin_to_tell(&self, parameters: &Value) -> Reply {
        let wanted = optional_group(parameters)?;
        if let Some(name) = wanted {
            self.find(name)?;
        }
        let groups = self.engine.groups();
        let groups = groups.filter(|group| wanted.is_none_or(|name| name == group.config.name));
        let roles = groups.map(|group| RoleNow {
            group: group.config.name.clone(),
            role: group.role.as_str().to_owned(),
            since: group
                .since
                .map(|(at, _)| clock::wall_clock(at))
                .unwrap_or_default(),
            reason: group
                .since
                .map(|(_, reason)| reason.as_str().to_owned())
                .unwrap_or_default(),
        });
        let roles = roles.collect();
        Ok(Answer::Follow {
            first: event(What::Roles { roles }),
            then: self.control.subscribe(wanted.map(str::to_owned)),
        })
    }

    /// A group's role changed.
    pub(super) fn tell_role(&self, group: GroupId, transition: &Transition) {
        if let Some(view) = self.engine.group(group) {
            self.tell(What::Role {
                group: view.config.name.clone(),
                from: transition.from.as_str().to_owned(),
                to: transition.to.as_str().to_owned(),
                reason: transition.reason.as_str().to_owned(),
                peer: transition.master.map(|peer| peer.address.to_string()),
            });
        }
    }

    /// Tells those who follow.
    pub(super) fn tell(&self, what: What) {
        let group = what.group().map(str::to_owned);
        self.control.publish(group.as_deref(), || event(what));
    }
}

/// As it is on the wire.
fn event(what: What) -> Value {
    let time = clock::wall_clock(clock::now());
    // It is made of words and numbers, which JSON has.
    serde_json::to_value(Event { time, what }).unwrap_or_default()
}

fn group_name(parameters: &Value) -> Result<&str, Refusal> {
    parameters["group"].as_str().ok_or_else(|| invalid("group"))
}

/// The name of a group, if there is one.
pub(super) fn optional_group(parameters: &Value) -> Result<Option<&str>, Refusal> {
    match &parameters["group"] {
        Value::Null => Ok(None),
        Value::String(name) => Ok(Some(name)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(invalid("group"))
        }
    }
}

fn invalid(parameter: &str) -> Refusal {
    let error = "org.varlink.service.InvalidParameter".to_owned();
    (error, json!({ "parameter": parameter }))
}

pub(super) fn not_found(group: &str) -> Refusal {
    ("org.vipd.NotFound".to_owned(), json!({ "group": group }))
}

pub(super) fn failed(reason: String) -> Reply {
    Err(("org.vipd.Failed".to_owned(), json!({ "reason": reason })))
}
