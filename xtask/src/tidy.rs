//! `cargo xtask tidy`: the rules of this workspace that no lint knows. Which
//! module may use what, so that the floors stay floors; what a module must say;
//! what must not be left lying about.

mod floors;
mod manifests;
mod source;
mod text;

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::cmd;

/// Checks all files that git tracks or would track. `tasks` are the names of
/// this program's tasks.
pub(crate) fn run(tasks: &[String]) -> Result<()> {
    let files = files(&cmd::workspace())?;
    let findings = check(&files, tasks);
    let mut faults = 0;
    for finding in &findings {
        if finding.weight == Weight::Fault {
            faults += 1;
        }
        println!("{finding}");
    }
    if faults > 0 {
        bail!("tidy: {faults} findings in {} files", files.len());
    }
    cmd::note(&format!("tidy: {} files are in order", files.len()));
    Ok(())
}

/// A text file of the workspace.
struct File {
    /// Relative to the workspace's root.
    path: String,
    text: String,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    advice: String,
    weight: Weight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Warning,
    Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            advice,
            weight,
        } = self;
        let weight = match weight {
            Weight::Warning => "warning: ",
            Weight::Fault => "",
        };
        write!(f, "{path}:{line}: {weight}{rule}: {advice}")
    }
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn fault(&self, line: usize, rule: &'static str, advice: impl Into<String>) -> Finding {
        let (path, advice) = (self.path.clone(), advice.into());
        Finding {
            path,
            line,
            rule,
            advice,
            weight: Weight::Fault,
        }
    }
}

fn check(files: &[File], tasks: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        text::check(file, &mut findings);
        if file.is_rust() {
            floors::check(file, files, &mut findings);
        }
    }
    manifests::check(files, tasks, &mut findings);
    findings
}

fn files(root: &Path) -> Result<Vec<File>> {
    let words = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let listed = cmd::output(Command::new("git").current_dir(root).args(words))
        .context("tidy reads the files that git knows")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // A deleted file is still listed; a binary one has no lines.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
