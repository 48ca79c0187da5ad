//! Rules about the workspace as a whole: its manifests and what its documents
//! promise.

use super::{File, Finding};

pub(super) fn check(files: &[File], tasks: &[String], findings: &mut Vec<Finding>) {
    unused_dependencies(files, findings);
    tasks_in_documents(files, tasks, findings);
}

/// A version in the workspace's table that no member uses is one nobody reads.
fn unused_dependencies(files: &[File], findings: &mut Vec<Finding>) {
    let Some(root) = files.iter().find(|file| file.path == "Cargo.toml") else {
        return;
    };
    let members: Vec<_> = files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .collect();
    let mut table = "";
    for (index, line) in root.text.lines().enumerate() {
        if line.starts_with('[') {
            table = line.trim();
        }
        if table != "[workspace.dependencies]" {
            continue;
        }
        let Some(name) = key(line) else { continue };
        if !members.iter().any(|member| uses(&member.text, name)) {
            let advice = format!("{name} is used by no member: delete it");
            findings.push(root.fault(index + 1, "unused dependency", advice));
        }
    }
}

fn uses(manifest: &str, dependency: &str) -> bool {
    let mut table = "";
    manifest.lines().any(|line| {
        if line.starts_with('[') {
            table = line.trim().trim_matches(['[', ']']);
        }
        let own_table = table
            .rsplit_once('.')
            .is_some_and(|(kind, name)| kind.ends_with("dependencies") && name == dependency);
        own_table || (table.ends_with("dependencies") && key(line) == Some(dependency))
    })
}

/// `name` in `name = ...` and in `name.workspace = ...`.
fn key(line: &str) -> Option<&str> {
    let name = line.split(['=', '.']).next()?.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (line.contains('=') && !name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// What the documents tell people to run is there.
fn tasks_in_documents(files: &[File], tasks: &[String], findings: &mut Vec<Finding>) {
    let readme = files.iter().find(|file| file.path == "README.md");
    for wanted in ["cargo xtask demo", "cargo xtask test"] {
        let Some(readme) = readme else {
            let file = File {
                path: "README.md".into(),
                text: String::new(),
            };
            findings.push(file.fault(1, "README", "write it: it is what people read first"));
            break;
        };
        if !readme.text.contains(wanted) {
            findings.push(readme.fault(1, "README", format!("tell of `{wanted}`")));
        }
    }
    let documents = files
        .iter()
        .filter(|file| file.path.ends_with(".md") || file.path.starts_with(".ci/"));
    for file in documents {
        for (index, line) in file.text.lines().enumerate() {
            for (at, command) in line.match_indices("cargo xtask ") {
                let tail = &line[at + command.len()..];
                let end = tail.find(|c: char| !c.is_ascii_lowercase() && c != '-');
                let task = &tail[..end.unwrap_or(tail.len())];
                let is_task = task.is_empty()
                    || task.starts_with('-')
                    || tasks.iter().any(|known| known == task);
                if !is_task {
                    let advice = format!("there is no `cargo xtask {task}`");
                    findings.push(file.fault(index + 1, "unknown task", advice));
                }
            }
        }
    }
}
