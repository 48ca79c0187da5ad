//! What a hook is told: arguments as its author knows them from elsewhere, and all
//! there is to know in its environment.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::turns::Turn;
use crate::carp::{Reason, Role};
use crate::config::HookArguments;
use crate::io::command::Command;

/// How long a hook that has taken too long may take to end when it is asked to.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) group: String,
    pub(super) interface: String,
    pub(super) vhid: u8,
    pub(super) vips: Vec<Ipv4Addr>,
    pub(super) advskew: u8,
}

/// What is run for a turn.
pub(super) fn command(turn: &Turn, scene: &Scene) -> Command {
    let Turn { hook, change, .. } = turn;
    let mut arguments = hook.args.clone();
    arguments.extend(match hook.arguments {
        HookArguments::Vipd => vec![change.to.as_str().to_owned()],
        // UCARP has one address in a group (ucarp(8): "upscript <interface> <address>
        // [xparam]"); of several the first is told, and all in the environment.
        HookArguments::Ucarp => {
            let first = scene.vips.first().map(ToString::to_string);
            [Some(scene.interface.clone()), first, hook.xparam.clone()]
                .into_iter()
                .flatten()
                .collect()
        }
        // keepalived.conf(5), "notify": a priority is the better the greater it is.
        HookArguments::Keepalived => vec![
            "INSTANCE".to_owned(),
            scene.group.clone(),
            keepalived_state(change.to, change.reason).to_owned(),
            (u8::MAX - scene.advskew).to_string(),
        ],
    });
    let vips: Vec<String> = scene.vips.iter().map(ToString::to_string).collect();
    let peer = change.master.map(|peer| peer.address.to_string());
    let environment = [
        ("VIPD_GROUP", scene.group.clone()),
        ("VIPD_ROLE", change.to.as_str().to_owned()),
        ("VIPD_OLD_ROLE", change.from.as_str().to_owned()),
        ("VIPD_REASON", change.reason.as_str().to_owned()),
        ("VIPD_INTERFACE", scene.interface.clone()),
        ("VIPD_VHID", scene.vhid.to_string()),
        ("VIPD_VIPS", vips.join(" ")),
        ("VIPD_PEER", peer.unwrap_or_default()),
        ("VIPD_XPARAM", hook.xparam.clone().unwrap_or_default()),
    ];
    Command {
        program: hook.command.clone(),
        arguments,
        environment: environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        timeout: hook.timeout,
        grace: GRACE,
        // A hook may start a service that stays.
        ends_group: false,
    }
}

fn keepalived_state(role: Role, reason: Reason) -> &'static str {
    match (role, reason) {
        (Role::Master, _) => "MASTER",
        (Role::Backup, _) => "BACKUP",
        (Role::Init, Reason::Shutdown) => "STOP",
        (Role::Init, _) => "FAULT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carp::Transition;
    use crate::config::{HookConfig, HookEvent};

    fn words(arguments: HookArguments, xparam: Option<&str>, to: Role, reason: Reason) -> Command {
        let hook = HookConfig {
            command: "/etc/vipd/hooks/up".into(),
            args: vec!["own".to_owned()],
            on: vec![HookEvent::Master],
            arguments,
            xparam: xparam.map(str::to_owned),
            timeout: HookConfig::DEFAULT_TIMEOUT,
            gate: false,
            privileged: false,
        };
        let change = Transition {
            from: Role::Backup,
            to,
            reason,
            master: None,
        };
        let scene = Scene {
            group: "web".to_owned(),
            interface: "eth0".to_owned(),
            vhid: 42,
            vips: vec![Ipv4Addr::new(10, 99, 0, 100), Ipv4Addr::new(10, 99, 0, 101)],
            advskew: 50,
        };
        let token = 1;
        command(
            &Turn {
                token,
                hook,
                change,
            },
            &scene,
        )
    }

    #[test]
    fn arguments_follow_the_hooks_own_in_the_chosen_fashion() {
        use HookArguments::{Keepalived, Ucarp, Vipd};
        let cases: [(_, _, _, _, &[&str]); 8] = [
            (Vipd, None, Role::Master, Reason::Preempt, &["master"]),
            (Vipd, Some("x"), Role::Backup, Reason::Start, &["backup"]),
            (
                Ucarp,
                None,
                Role::Master,
                Reason::Preempt,
                &["eth0", "10.99.0.100"],
            ),
            (
                Ucarp,
                Some("x y"),
                Role::Backup,
                Reason::Start,
                &["eth0", "10.99.0.100", "x y"],
            ),
            (
                Keepalived,
                None,
                Role::Master,
                Reason::Preempt,
                &["INSTANCE", "web", "MASTER", "205"],
            ),
            (
                Keepalived,
                None,
                Role::Backup,
                Reason::BetterMaster,
                &["INSTANCE", "web", "BACKUP", "205"],
            ),
            (
                Keepalived,
                None,
                Role::Init,
                Reason::LinkDown,
                &["INSTANCE", "web", "FAULT", "205"],
            ),
            (
                Keepalived,
                None,
                Role::Init,
                Reason::Shutdown,
                &["INSTANCE", "web", "STOP", "205"],
            ),
        ];
        for (fashion, xparam, role, reason, expected) in cases {
            let command = words(fashion, xparam, role, reason);
            assert_eq!(command.arguments[0], "own");
            assert_eq!(command.arguments[1..], *expected, "{fashion:?} {role:?}");
        }
    }

    #[test]
    fn everything_there_is_to_know_is_in_the_environment() {
        let command = words(
            HookArguments::Ucarp,
            Some("x"),
            Role::Master,
            Reason::MasterTimeout,
        );
        let environment: Vec<String> = command
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            environment,
            [
                "VIPD_GROUP=web",
                "VIPD_ROLE=master",
                "VIPD_OLD_ROLE=backup",
                "VIPD_REASON=master_timeout",
                "VIPD_INTERFACE=eth0",
                "VIPD_VHID=42",
                "VIPD_VIPS=10.99.0.100 10.99.0.101",
                "VIPD_PEER=",
                "VIPD_XPARAM=x",
            ]
        );
    }
}
