//! Rules about a single file: what it must begin with, how long it may be, what
//! must not be left in it.

use super::{File, Finding, Weight, source};

pub(super) fn check(file: &File, findings: &mut Vec<Finding>) {
    machine_paths(file, findings);
    let extension = file.path.rsplit('.').next().unwrap_or_default();
    if matches!(extension, "rs" | "md" | "toml") {
        blanks(file, findings);
    }
    if file.is_rust() {
        module_docs(file, findings);
        length(file, findings);
        leftovers(file, findings);
    }
}

fn machine_paths(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(&file.text) {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
            let advice =
                format!("{path} is a directory of one machine; name it relative or by a variable");
            findings.push(file.fault(number, "machine path", advice));
        }
    }
}

fn blanks(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(&file.text) {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(file.fault(number, "blanks", "delete the blanks at the end of the line"));
        } else if line.contains('\t') {
            findings.push(file.fault(number, "blanks", "indent with spaces, not with tabs"));
        }
    }
}

/// The first line that is no inner attribute is a `//!`.
fn module_docs(file: &File, findings: &mut Vec<Finding>) {
    let mut in_attribute = false;
    let first = numbered(&file.text).find(|(_, line)| {
        let line = line.trim();
        let skipped = in_attribute || line.is_empty() || line.starts_with("#!");
        in_attribute = (in_attribute || line.starts_with("#![")) && !line.ends_with(']');
        !skipped
    });
    if !first.is_some_and(|(_, line)| line.starts_with("//!")) {
        let number = first.map_or(1, |(number, _)| number);
        let advice = "begin with //!: what this is, and what it deliberately does not do";
        findings.push(file.fault(number, "module docs", advice));
    }
}

fn length(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > LINES_TO_WARN {
        let advice = format!(
            "{lines} lines; above {LINES_TO_WARN} a file is asked why, {LINES_AT_MOST} is the limit"
        );
        let mut finding = file.fault(lines, "length", advice);
        if lines <= LINES_AT_MOST {
            finding.weight = Weight::Warning;
        }
        findings.push(finding);
    }
}

fn leftovers(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(&source::code(&file.text)) {
        for (leftover, advice) in LEFTOVERS {
            if names(line, leftover) {
                findings.push(file.fault(number, "leftover", format!("{leftover}: {advice}")));
            }
        }
    }
}

/// Whether the line holds the word, and not as the end of a longer one.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// Put together, so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
];

const LEFTOVERS: [(&str, &str); 5] = [
    ("todo!", "do it, or return an error"),
    ("unimplemented!", "do it, or return an error"),
    ("dbg!", "delete it"),
    (
        "#[ignore",
        "a test that does not run proves nothing: make it a tier, or delete it",
    ),
    ("#[should_panic", "assert what the code does instead"),
];

/// Lines of a file that one still reads in one go.
const LINES_TO_WARN: usize = 500;

/// Lines above which a file holds two things.
const LINES_AT_MOST: usize = 700;
