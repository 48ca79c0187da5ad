//! `cargo xtask fuzz`: libFuzzer on the targets of `tests/fuzz.rs`, one after
//! another. It takes the stable compiler and one for C++, nothing else.
//!
//! What libFuzzer finds worth keeping goes to `target/fuzzing/TARGET/corpus`, and
//! is where the next run goes on; the committed corpus is only read. What
//! breaks a target goes to `target/fuzzing/TARGET/found-*`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cmd,
    ebpf::{self, Warnings},
    report::Outcome,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this one; without it all, one after another
    target: Option<String>,
    /// How long each is fed: 3600 for an hour
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u32,
    /// Feed it this file once and nothing else
    #[arg(long, requires = "target")]
    file: Option<PathBuf>,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let all = targets()?;
    let chosen = match &options.target {
        Some(name) if !all.contains(name) => {
            bail!(
                "there is no target {name}; those there are: {}",
                all.join(", ")
            );
        }
        Some(name) => vec![name.clone()],
        None => all,
    };
    if let Some(why) = why_not() {
        bail!("{why}");
    }
    ebpf::build(Warnings::Show)?;
    let program = build()?;
    if let (Some(file), [target]) = (&options.file, chosen.as_slice()) {
        return cmd::run(fuzzer(&program, target).arg(file));
    }
    let runs = feed(&program, &chosen, options.seconds)?;
    cmd::note(&format!("{} targets, {runs} runs", chosen.len()));
    Ok(())
}

/// The tier: every target for some seconds.
pub(crate) fn tier(seconds: u32) -> Outcome {
    if let Some(why) = why_not() {
        cmd::note(why);
        return Outcome::Skipped(why.into());
    }
    let fed = targets().and_then(|targets| {
        let runs = feed(&build()?, &targets, seconds)?;
        Ok(format!("{} targets, {runs} runs", targets.len()))
    });
    match fed {
        Ok(what) => Outcome::Passed(what),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

/// What is missing here, if anything.
fn why_not() -> Option<&'static str> {
    let has_compiler = std::env::var_os("CXX").is_some() || cmd::which("c++").is_some();
    (!has_compiler).then_some("needs a C++ compiler (Debian: g++), for libFuzzer")
}

/// Every target has a corpus, and a test of the corpora that no other has one.
fn targets() -> Result<Vec<String>> {
    let corpus = cmd::workspace().join(CORPUS);
    let entries =
        fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Builds the fuzzer with what libFuzzer needs to see where it gets to.
fn build() -> Result<PathBuf> {
    let host = cmd::host()?;
    // With a target named, cargo spares build scripts and macros these flags.
    let mut command = cmd::cargo(&["build", "--profile", "fuzz", "--target", &host]);
    command
        .args(["-p", "vipd-tests", "--bin", "vipd-fuzz"])
        .args(["--features", "libfuzzer"])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    cmd::run(&mut command)?;
    Ok(cmd::target_dir()?.join(host).join("fuzz/vipd-fuzz"))
}

/// Feeds one target after another, and tells how many inputs they took. All are
/// fed, whatever the first finds.
fn feed(program: &Path, targets: &[String], seconds: u32) -> Result<u64> {
    let mut runs = 0;
    let mut broken = Vec::new();
    for target in targets {
        match feed_one(program, target, seconds) {
            Ok(some) => runs += some,
            Err(error) => {
                cmd::note(&format!("{error:#}"));
                broken.push(target.as_str());
            }
        }
    }
    if !broken.is_empty() {
        bail!("broken: {}, see above", broken.join(", "));
    }
    Ok(runs)
}

fn feed_one(program: &Path, target: &str, seconds: u32) -> Result<u64> {
    let directory = cmd::target_dir()?.join("fuzzing").join(target);
    let (grown, log) = (directory.join("corpus"), directory.join("log"));
    fs::create_dir_all(&grown).with_context(|| format!("cannot make {}", grown.display()))?;
    let output =
        fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;

    let mut command = fuzzer(program, target);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/found-", directory.display()))
        // A hang is a finding; a busy machine is none.
        .args(["-timeout=30", "-max_len=4096"])
        .arg(&grown)
        .arg(cmd::workspace().join(CORPUS).join(target))
        .stderr(output);
    cmd::note(&format!(
        "{target}: {seconds} s, followed in {}",
        log.display()
    ));
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = fs::read(&log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        for line in last_lines(&said) {
            cmd::note(&format!("| {line}"));
        }
        bail!("{target}: {status}. {}", advice(target, &said));
    }
    runs(&said).with_context(|| format!("{target}: nothing was run, see {}", log.display()))
}

fn fuzzer(program: &Path, target: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(cmd::workspace())
        .env("VIPD_FUZZ_TARGET", target)
        // What panicked is what to read, and it would scroll away.
        .env("RUST_BACKTRACE", "0");
    command
}

/// What to do about a finding.
fn advice(target: &str, said: &str) -> String {
    let file = said
        .lines()
        .find_map(|line| line.split_once("Test unit written to "));
    match file {
        Some((_, file)) => format!(
            "Repeat it: cargo xtask fuzz {target} --file {file}; \
             keep it: move that file to {CORPUS}/{target}/, named after what it is"
        ),
        None => "It left no file".to_owned(),
    }
}

fn last_lines(said: &str) -> Vec<&str> {
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

/// libFuzzer's last word: `Done 24013 runs in 5 second(s)`.
fn runs(said: &str) -> Option<u64> {
    said.lines().rev().find_map(|line| {
        let (runs, _) = line.strip_prefix("Done ")?.split_once(" runs")?;
        runs.parse().ok().filter(|runs| *runs > 0)
    })
}

/// LLVM's coverage, as libFuzzer reads it. The stable compiler knows it too.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cforce-frame-pointers=yes",
];

const CORPUS: &str = "tests/fuzz/corpus";

/// For each target, if nobody says.
pub(crate) const SECONDS: u32 = 5;

/// Of a fuzzer that found something.
const LAST_LINES: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_runs_is_libfuzzers_last_word() {
        let said = "#2\tINITED cov: 5\n#24013\tDONE   cov: 9\nDone 24013 runs in 5 second(s)\n";
        assert_eq!(runs(said), Some(24013));
        assert_eq!(runs("#2\tINITED cov: 5\n"), None);
        assert_eq!(runs("Done 0 runs in 5 second(s)\n"), None);
    }

    #[test]
    fn a_finding_is_named_with_how_to_repeat_it() {
        let said = "artifact_prefix='a/found-'; Test unit written to a/found-crash-1\nBase64: dg==";
        let advice = advice("advert", said);
        assert!(
            advice.contains("cargo xtask fuzz advert --file a/found-crash-1;"),
            "{advice}"
        );
    }
}
