//! Checks, tracked links and hooks of a group, as a file describes them.

use std::path::Path;

use super::super::fault::{At, Faults, Place};
use super::super::table::{Reader, Table};
use super::super::value::{self, Choice, Switch};
use super::super::{
    CheckConfig, FailEffect, HookArguments, HookConfig, HookEvent, Probe, TrackConfig,
};
use crate::io::command::{self, Untrusted};

pub(super) fn read_checks(group: &Table<'_>, reader: &Reader) -> Vec<At<CheckConfig>> {
    let checks = group.tables("check");
    checks
        .iter()
        .filter_map(|table| read_check(table, reader))
        .collect()
}

fn read_check(table: &Table<'_>, reader: &Reader) -> Option<At<CheckConfig>> {
    let name = table.required("name", &value::NAME);
    let probe = read_probe(table, reader);
    let period = |key, default| {
        let period = table.value(key, &value::PERIOD);
        period.map_or(default, |period| period.value)
    };
    let interval = period("interval", CheckConfig::DEFAULT_INTERVAL);
    let timeout = period("timeout", CheckConfig::DEFAULT_TIMEOUT);
    let count = |key, default| {
        let count = table.value(key, &value::IN_A_ROW);
        count.map_or(default, |count| count.value)
    };
    let rise = count("rise", CheckConfig::DEFAULT_RISE);
    let fall = count("fall", CheckConfig::DEFAULT_FALL);
    let effect = read_effect(table, CheckConfig::DEFAULT_DEMOTION, reader);
    let (name, probe) = (name?, probe?);
    Some(At {
        place: name.place,
        value: CheckConfig {
            name: name.value,
            probe,
            interval,
            timeout,
            rise,
            fall,
            effect,
        },
    })
}

/// Exactly one way to ask.
fn read_probe(table: &Table<'_>, reader: &Reader) -> Option<Probe> {
    let mut given = Vec::new();
    let command = read_command(table, reader);
    let tcp = table.value("tcp", &value::SOCKET);
    let http = table.value("http", &value::HTTP);
    let status = table.value("status", &value::HTTP_STATUS);
    if let Some(status) = &status
        && http.is_none()
        && !table.has("http")
    {
        reader.faults.borrow_mut().error(
            &status.place,
            "only an answer over HTTP has a status",
            "expected http = \"http://...\" beside it",
        );
    }
    given.extend(command.map(|(argv, place)| At {
        value: Probe::Command { argv },
        place,
    }));
    given.extend(tcp.map(|tcp| tcp.map(|addr| Probe::Tcp { addr })));
    given.extend(http.map(|http| {
        http.map(|url| Probe::Http {
            addr: url.addr,
            host: url.host,
            path: url.path,
            status: status.map_or(200, |status| status.value),
        })
    }));
    let named = ["command", "tcp", "http"];
    if let [first, second, ..] = given.as_slice() {
        reader.faults.borrow_mut().clash(
            (&second.place, "one of them must go"),
            "a check asks in one way",
            (&first.place, "it asks in this way"),
        );
    } else if !named.iter().any(|key| table.has(key)) {
        reader.faults.borrow_mut().error(
            &table.place(),
            "this check does not say what it asks",
            "expected command = [\"/path\"], tcp = \"address:port\" or http = \"http://...\"",
        );
    }
    let mut given = given.into_iter();
    given.next().map(|probe| probe.value)
}

pub(super) fn read_tracks(group: &Table<'_>, reader: &Reader) -> Vec<At<TrackConfig>> {
    let tracks = group.tables("track");
    let tracks = tracks.iter().filter_map(|table| {
        let interface = table.required("interface", &value::INTERFACE);
        let effect = read_effect(table, TrackConfig::DEFAULT_DEMOTION, reader);
        Some(interface?.map(|interface| TrackConfig { interface, effect }))
    });
    tracks.collect()
}

/// `demote` or `give_up`.
fn read_effect(table: &Table<'_>, default: u8, reader: &Reader) -> FailEffect {
    let demote = table.value("demote", &value::DEMOTION);
    let give_up = table.value("give_up", &Switch).filter(|is| is.value);
    match (demote, give_up) {
        (Some(demote), Some(give_up)) => {
            reader.faults.borrow_mut().clash(
                (&give_up.place, "one of them must go"),
                "who gives up is not demoted as well",
                (&demote.place, "it is to be demoted"),
            );
            FailEffect::GiveUp
        }
        (None, Some(_)) => FailEffect::GiveUp,
        (Some(demote), None) => demote.value,
        (None, None) => FailEffect::Demote(default),
    }
}

pub(super) fn read_hooks(group: &Table<'_>, reader: &Reader) -> Vec<HookConfig> {
    let hooks = group.tables("hook");
    hooks
        .iter()
        .filter_map(|table| read_hook(table, reader))
        .collect()
}

fn read_hook(table: &Table<'_>, reader: &Reader) -> Option<HookConfig> {
    table.require("command", COMMAND);
    let command = read_command(table, reader);
    let on = table.list("on", &Choice::<HookEvent>::new());
    let mut on: Vec<_> = match on {
        Some(on) => on.value.into_iter().map(|event| event.value).collect(),
        None => vec![HookEvent::Master, HookEvent::Backup, HookEvent::Init],
    };
    on.sort_unstable();
    on.dedup();
    let arguments = table.value("arguments", &Choice::<HookArguments>::new());
    let xparam = table.value("xparam", &value::WORD);
    let timeout = table.value("timeout", &value::PERIOD);
    let gate = table.value("gate", &Switch);
    let privileged = table.value("privileged", &Switch);
    let (argv, _) = command?;
    let mut argv = argv.into_iter();
    Some(HookConfig {
        command: argv.next()?.into(),
        args: argv.collect(),
        on,
        arguments: arguments.map(|name| name.value).unwrap_or_default(),
        xparam: xparam.map(|xparam| xparam.value),
        timeout: timeout.map_or(HookConfig::DEFAULT_TIMEOUT, |timeout| timeout.value),
        gate: gate.is_some_and(|gate| gate.value),
        privileged: privileged.is_some_and(|privileged| privileged.value),
    })
}

/// The words of a command, whose first is a program that may be run.
fn read_command(table: &Table<'_>, reader: &Reader) -> Option<(Vec<String>, Place)> {
    let words = table.list("command", &value::WORD)?;
    let mut faults = reader.faults.borrow_mut();
    let first = words.value.first()?;
    let is_usable = check_program(&first.value, &first.place, &mut faults);
    let place = words.place.clone();
    let words = words.value.into_iter().map(|word| word.value).collect();
    is_usable.then_some((words, place))
}

/// What will not run is doubted: it may be there later, and until then its
/// failure is seen. What others could change is refused, here as later.
fn check_program(path: &str, place: &Place, faults: &mut Faults) -> bool {
    let Err(why) = command::check(Path::new(path)) else {
        return true;
    };
    match why {
        Untrusted::Relative { .. } => {
            faults.error(
                place,
                format!("the program {path:?} is not looked for"),
                "expected its path, which begins with a slash",
            );
            false
        }
        Untrusted::Owner { .. } | Untrusted::Writable { .. } => {
            faults.error(place, why.to_string(), "whoever can change it is vipd");
            false
        }
        Untrusted::Unusable { .. } | Untrusted::NoFile { .. } | Untrusted::NotExecutable { .. } => {
            faults.warning(place, why.to_string(), "it fails until that is mended");
            true
        }
    }
}

const COMMAND: &str = "a list: the program's path, which begins with a slash, and its arguments";
