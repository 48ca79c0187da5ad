//! The document names every verb and flag that there is, and none that is not.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory as _};

use super::Cli;

const DOCUMENT: &str = include_str!("../../../docs/verbs.md");

/// The text under a heading, up to the next.
fn section(heading: &str) -> Option<&'static str> {
    let start = DOCUMENT.find(&format!("\n## {heading}\n"))?;
    let text = &DOCUMENT[start + 4..];
    let end = text.find("\n##").unwrap_or(text.len());
    Some(&text[..end])
}

/// All that look like long flags.
fn flags_in(text: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for (at, _) in text.match_indices("`--").chain(text.match_indices(" --")) {
        let name = &text[at + 3..];
        let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '-');
        flags.insert(name[..end.unwrap_or(name.len())].to_owned());
    }
    flags.remove("");
    flags
}

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn flags_of(command: &Command, is_global: bool) -> BTreeSet<String> {
    let arguments = command.get_arguments();
    let wanted = arguments.filter(|argument| argument.is_global_set() == is_global);
    let names = wanted.filter_map(|argument| argument.get_long());
    names
        .filter(|name| !matches!(*name, "help" | "version"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_verb_and_flag_is_in_the_document_and_none_is_made_up() {
    let command = command();
    let everywhere = flags_of(&command, true);
    let all = section("All verbs").expect("the flags of all verbs are told");
    assert_eq!(flags_in(all), everywhere);

    let mut headings = BTreeSet::new();
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let heading = format!("`vipd {}`", verb.get_name());
        let text = section(&heading).unwrap_or_else(|| panic!("{heading} is not told of"));
        let told: BTreeSet<String> = flags_in(text).difference(&everywhere).cloned().collect();
        assert_eq!(told, flags_of(verb, false), "{heading}");
        for positional in verb.get_positionals() {
            let names = positional.get_value_names().unwrap_or_default();
            let values = positional.get_possible_values();
            let is_told = names.iter().any(|name| text.contains(name.as_str()))
                || (!values.is_empty()
                    && values.iter().all(|value| text.contains(value.get_name())));
            assert!(
                is_told,
                "{heading} does not tell of {}",
                positional.get_id()
            );
        }
        headings.insert(heading);
    }
    for line in DOCUMENT.lines() {
        if let Some(heading) = line.strip_prefix("## `vipd ") {
            let heading = format!("`vipd {heading}");
            assert!(headings.contains(&heading), "{heading} is no verb");
        }
    }
}

#[test]
fn every_short_flag_is_in_the_document() {
    for verb in command().get_subcommands() {
        let text = section(&format!("`vipd {}`", verb.get_name())).unwrap_or_default();
        for argument in verb.get_arguments() {
            if let (Some(short), Some(long)) = (argument.get_short(), argument.get_long())
                && !matches!(long, "help" | "version")
            {
                let words = format!("`-{short}`, `--{long}");
                assert!(
                    text.contains(&words),
                    "vipd {} lacks {words}",
                    verb.get_name()
                );
            }
        }
    }
}
