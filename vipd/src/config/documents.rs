//! The example and the reference say what the code does: every key, no other, and
//! its default.

use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::table::Reader;
use super::*;

const EXAMPLE: &str = include_str!("../../dist/vipd.example.toml");
const REFERENCE: &str = include_str!("../../../docs/reference.md");

/// The configuration of a text, with a password that is there.
fn load(text: &str) -> Config {
    let password = tempfile::NamedTempFile::new().expect("there is a place for it");
    std::fs::write(password.path(), "secret\n").expect("it is ours");
    let path = password.path().to_str().expect("a plain path");
    let mut text = text.to_owned();
    for named in ["/etc/vipd/password", "/etc/vipd/next-password"] {
        text = text.replace(named, path);
    }
    let reader = Reader::new();
    let source = reader
        .faults
        .borrow_mut()
        .add_source("vipd.example.toml".as_ref(), text.clone());
    let mut described = Described::default();
    file::read_text(&text, source, &reader, &mut described);
    let faults = reader.faults.into_inner();
    let loaded = Config::from_described(described, &Host::default(), faults);
    loaded.unwrap_or_else(|faults| panic!("{faults}"))
}

/// A commented setting or header, without its `#`.
fn setting(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#')?;
    let is_one = line.starts_with('[') || line.starts_with(|c: char| c.is_ascii_lowercase());
    is_one.then_some(line)
}

fn is_example(line: &str) -> bool {
    line.starts_with('[') || line.ends_with("# example")
}

/// The example with some of what is commented out.
fn uncommented(is_wanted: impl Fn(&str) -> bool) -> String {
    let lines = EXAMPLE.lines().map(|line| match setting(line) {
        Some(setting) if is_wanted(setting) => setting,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// All that is compared of a configuration.
fn shown(config: &Config) -> String {
    let mut text = String::new();
    for group in &config.engine.groups {
        let keys = group.auth.keys.signs_with();
        text += &format!(
            "{} {:?} {} {:?} {:?} {keys:?} {:?} {:?} {} {:?} {:?} {:?} {:?}\n",
            group.name,
            group.interface,
            group.vhid,
            group.vips,
            group.source,
            group.auth.policy,
            group.timing,
            group.preempt,
            group.preempt_delay,
            group.startup_delay,
            group.tie,
            group.placement,
        );
    }
    let Config {
        engine: _,
        extras,
        xdp_modes,
        process,
        metrics,
        admin_group,
        warnings: _,
    } = config;
    text + &format!("{extras:?} {xdp_modes:?} {process:?} {metrics:?} {admin_group:?}")
}

#[test]
fn the_example_is_a_configuration_of_one_group() {
    let config = load(EXAMPLE);
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    assert_eq!(config.engine.groups.len(), 1);
    assert_eq!(config.engine.groups[0].name, "eth0-42");
}

#[test]
fn what_the_example_calls_a_default_is_one() {
    let examples = load(&uncommented(is_example));
    let all = load(&uncommented(|_| true));
    assert_eq!(shown(&examples), shown(&all));
    // And its examples are none.
    assert_ne!(shown(&load(EXAMPLE)), shown(&examples));
}

#[test]
fn every_key_is_in_the_example() {
    let text = uncommented(|_| true);
    let (document, errors) = toml::de::DeTable::parse_recoverable(&text);
    assert!(errors.is_empty());
    let mut found = BTreeSet::new();
    note_keys(document.get_ref(), &mut found);
    for (table, keys) in keys() {
        for key in keys {
            assert!(
                found.contains(key),
                "{key} of {table} is not in the example"
            );
        }
    }
}

/// Every key of a table and of the tables in it.
fn note_keys(table: &toml::de::DeTable<'_>, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        found.insert(key.get_ref().to_string());
        let items = value.get_ref().as_array();
        let items = items.into_iter().flatten().map(toml::Spanned::get_ref);
        for inner in items.chain([value.get_ref()]) {
            if let Some(table) = inner.as_table() {
                note_keys(table, found);
            }
        }
    }
}

/// Of each table of the reference: the keys, with the cells behind each.
fn rows() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let mut rows: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
    let mut table = String::new();
    for line in REFERENCE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            table = title.trim_matches('`').replace("The file", "the file");
        } else if let Some(row) = line.strip_prefix("| `") {
            let (key, cells) = row.split_once("` | ").expect("a key and what it is");
            let cells = cells.trim_end_matches(" |").split(" | ");
            let cells = cells.map(|cell| cell.trim().to_owned()).collect();
            let known = rows.entry(table.clone()).or_default();
            assert!(known.insert(key.to_owned(), cells).is_none(), "{key} twice");
        }
    }
    rows
}

#[test]
fn every_key_is_in_the_reference_and_no_other() {
    let rows = rows();
    let described: BTreeMap<_, BTreeSet<_>> = rows
        .iter()
        .map(|(table, rows)| (table.as_str(), rows.keys().map(String::as_str).collect()))
        .collect();
    let keys = keys();
    let known: BTreeMap<_, BTreeSet<_>> = keys
        .iter()
        .map(|(table, keys)| (table.as_str(), keys.iter().copied().collect()))
        .collect();
    assert_eq!(described, known);
}

/// The example's were compared with what the code does.
#[test]
fn the_defaults_of_the_reference_are_those_of_the_example() {
    let rows = rows();
    let mut table = String::new();
    let mut compared = BTreeSet::new();
    for line in EXAMPLE.lines() {
        let setting = setting(line).unwrap_or(line);
        if setting.starts_with('[') {
            table = setting.replace("eth0", "NAME");
        } else if let Some((key, value)) = setting.split_once(" = ")
            && line.starts_with('#')
            && !is_example(setting)
        {
            let cells = &rows[&table][key];
            assert_eq!(cells[1], format!("`{value}`"), "{key} of {table}");
            compared.insert((table.clone(), key.to_owned()));
        }
    }
    let is_default = |cells: &[String]| cells[1].starts_with('`');
    for (table, rows) in &rows {
        for key in rows.keys().filter(|key| is_default(&rows[*key])) {
            assert!(
                compared.contains(&(table.clone(), key.clone())),
                "{key} of {table}"
            );
        }
    }
}
