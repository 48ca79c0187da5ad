//! The configuration's files, read into what they describe: `vipd.toml` and, in
//! the order of their names, `conf.d/*.toml` beside it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::described::{Described, Group};
use super::fault::{At, Place, SourceId};
use super::table::{Reader, Table};
use super::value::{self, AddressesName, AuthName, Choice, Switch, XdpModeName};

mod service;

/// Reads all there is. What is wrong is noted in the reader.
pub(super) fn read(path: &Path, reader: &Reader) -> Described {
    let mut described = Described::default();
    read_one(path, reader, &mut described);
    let directory = path.with_file_name(DIRECTORY);
    match parts(&directory) {
        Ok(parts) => {
            for part in parts {
                read_one(&part, reader, &mut described);
            }
        }
        Err(error) => note_unreadable(&directory, &error, reader),
    }
    described
}

/// All keys, by the titles of the tables that they are in.
pub(super) fn keys() -> std::collections::BTreeMap<String, Vec<&'static str>> {
    let reader = Reader::new();
    let mut described = Described::default();
    read_document(&reader.nothing(), &reader, &mut described);
    let mut keys = reader.into_asked();
    keys.retain(|_, keys| !keys.is_empty());
    keys
}

/// Files in `conf.d`, by name; hidden ones are none.
fn parts(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
        let is_toml = path.extension().is_some_and(|end| end == "toml");
        if is_toml && !path.file_name().is_some_and(is_hidden) {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}

fn read_one(path: &Path, reader: &Reader, described: &mut Described) {
    let (mode, text) = match content(path) {
        Ok(content) => content,
        Err(error) => return note_unreadable(path, &error, reader),
    };
    let source = reader.faults.borrow_mut().add_source(path, text.clone());
    if mode & 0o002 != 0 {
        reader.faults.borrow_mut().error(
            &Place::File(source),
            "everybody may write this file",
            "use 'chmod 644': it names programs that are run",
        );
    }
    read_text(&text, source, reader, described);
}

/// Reads the text of one file.
pub(super) fn read_text(text: &str, source: SourceId, reader: &Reader, described: &mut Described) {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let table = reader.document(source, document.get_ref());
        read_document(&table, reader, described);
        return;
    }
    // What follows from a fault on the same line says nothing new.
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    errors.dedup_by_key(|(span, _)| text[..span.start].matches('\n').count());
    for (span, message) in errors {
        let (found, allowed) = match message.split_once(", expected ") {
            Some((found, expected)) => (found, format!("expected {expected}")),
            None => (message, "this is not TOML".to_owned()),
        };
        let place = Place::Text(source, span);
        reader.faults.borrow_mut().error(&place, found, allowed);
    }
}

/// A text that is read whole, with the permissions of its file.
fn content(path: &Path) -> io::Result<(u32, String)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut content = Vec::new();
    file.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(io::Error::other("it is larger than a megabyte"));
    }
    let text = String::from_utf8(content);
    let text = text.map_err(|_| io::Error::other("it is not text in UTF-8"))?;
    Ok((metadata.permissions().mode(), text))
}

fn note_unreadable(path: &Path, error: &io::Error, reader: &Reader) {
    let mut faults = reader.faults.borrow_mut();
    let place = Place::File(faults.add_source(path, String::new()));
    let advice = if error.kind() == io::ErrorKind::NotFound {
        "write one, name another with --config, or give the flags of one group"
    } else {
        "vipd must be able to read it"
    };
    faults.error(&place, format!("cannot read this: {error}"), advice);
}

fn read_document(document: &Table<'_>, reader: &Reader, described: &mut Described) {
    if let Some(table) = document.table("daemon") {
        let only = |key, slot: &mut Option<At<_>>, found| once(key, slot, found, reader);
        only(
            "realtime",
            &mut described.realtime,
            table.value("realtime", &Switch),
        );
        only(
            "keep_on_exit",
            &mut described.keep_on_exit,
            table.value("keep_on_exit", &Switch),
        );
        once(
            "metrics",
            &mut described.metrics,
            table.value("metrics", &value::SOCKET),
            reader,
        );
        let found = table.value("admin_group", &value::ADMIN_GROUP);
        once("admin_group", &mut described.admin_group, found, reader);
    }
    for table in document.tables("group") {
        described.groups.push(read_group(&table, reader));
    }
    for (name, table) in document.named_tables("interface", &value::INTERFACE) {
        let mode = table.value("xdp_mode", &Choice::<XdpModeName>::new());
        if let Some(name) = name {
            let mode = mode.map(|mode| mode.value).unwrap_or_default();
            described.xdp_modes.push((name, mode.into()));
        }
    }
}

/// A setting that all files together have once.
fn once<T>(key: &str, slot: &mut Option<At<T>>, found: Option<At<T>>, reader: &Reader) {
    match (&slot, found) {
        (_, None) => {}
        (None, found) => *slot = found,
        (Some(first), Some(second)) => reader.faults.borrow_mut().clash(
            (&second.place, "one of them must go"),
            format!("{key} is set twice"),
            (&first.place, "it was set here"),
        ),
    }
}

fn read_group(table: &Table<'_>, reader: &Reader) -> Group {
    let mut group = Group::new(table.place());
    group.name = table.value("name", &value::NAME);
    group.interface = table.required("interface", &value::INTERFACE);
    group.vhid = table.required("vhid", &value::VHID);
    let vips = table.required_list("vips", &value::ADDRESS);
    group.vips = vips.map(|vips| vips.value).unwrap_or_default();
    group.passfile = table.required("passfile", &value::FILE);
    group.keys = table
        .tables("keys")
        .iter()
        .filter_map(|key| {
            let id = key.required("id", &value::KEY_ID);
            let path = key.required("passfile", &value::FILE);
            let (id, path) = (id?, path?);
            Some(id.map(|id| (id, path.value)))
        })
        .collect();
    group.sign_with = table.value("sign_with", &value::SIGN_WITH);
    let auth = table.value("auth", &Choice::<AuthName>::new());
    group.auth = auth.map(|auth| auth.value).unwrap_or_default().into();
    group.source = table.value("source", &value::ADDRESS);
    for (slot, found) in [
        (&mut group.advbase, table.value("advbase", &value::ADVBASE)),
        (&mut group.advskew, table.value("advskew", &value::ADVSKEW)),
        (
            &mut group.dead_ratio,
            table.value("deadratio", &value::DEADRATIO),
        ),
    ] {
        if let Some(found) = found {
            *slot = found;
        }
    }
    group.preempt = table
        .value("preempt", &Switch)
        .is_some_and(|preempt| preempt.value);
    let delay = |key| table.value(key, &value::DELAY).map(|delay| delay.value);
    group.preempt_delay = delay("preempt_delay").unwrap_or_default();
    group.startup_delay = delay("startup_delay").unwrap_or_default();
    let addresses = table.value("addresses", &Choice::<AddressesName>::new());
    group.placement = addresses.map(|name| name.value).unwrap_or_default().into();
    group.tie = table.value("tie", &value::NAME);
    group.checks = service::read_checks(table, reader);
    group.tracks = service::read_tracks(table, reader);
    group.hooks = service::read_hooks(table, reader);
    group
}

/// Beside the file.
const DIRECTORY: &str = "conf.d";

/// Bytes of one file: a thousand groups take a quarter.
const MOST: u64 = 1 << 20;

#[cfg(test)]
mod tests;
