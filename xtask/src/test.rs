//! `cargo xtask test` runs every tier of tests that can run here and says which
//! could not and why; `cargo xtask sim` runs the simulator alone, for longer.

use std::process::Command;

use anyhow::Result;

use crate::{
    cmd::{self, Privilege},
    ebpf::{self, Warnings},
    fuzz,
    report::{Outcome, Report},
    setup::{self, Group},
};

/// How much of each tier is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Full,
    /// The same tiers, with fewer seeds in the simulator and less time for fuzzing.
    Quick,
}

pub(crate) fn run(depth: Depth) -> Result<()> {
    let privilege = Privilege::find();
    let mut report = Report::default();
    match privilege {
        Privilege::Root | Privilege::Sudo => report.step("setup", "what the tests need", || {
            setup::run(&[Group::Build, Group::Test])
        }),
        Privilege::SudoAsks | Privilege::None => {
            report.skip("setup", "neither root nor sudo without a password");
        }
    }
    report.step("eBPF object", "the eBPF object", || {
        ebpf::build(Warnings::Show).map(drop)
    });

    report.step("unit", "unit tests", || {
        let words =
            "test --workspace --exclude vipd-ebpf --exclude vipd-tests --lib --bins --tests";
        tier(&mut cargo(words), Empty::Fails)
    });
    report.step(
        "unit, pure",
        "unit tests of the library without the daemon",
        || {
            tier(
                &mut cargo("test -p vipd --no-default-features --lib"),
                Empty::Passes,
            )
        },
    );
    report.step("doc", "examples in the documentation", || {
        let words =
            "test --workspace --exclude vipd-ebpf --exclude vipd-tests --exclude xtask --doc";
        tier(&mut cargo(words), Empty::Passes)
    });
    report.step("sim", "the simulator", || {
        let mut command = cargo("test -p vipd-tests --test sim");
        if depth == Depth::Quick {
            command.env("VIPD_SIM_SEEDS", QUICK_SEEDS);
        }
        tier(&mut command, Empty::Fails)
    });
    report.step(
        "corpora",
        "the fuzz targets, on their committed corpora",
        || {
            let words = "test -p vipd-tests --features fuzzing --test fuzz";
            tier(&mut cargo(words), Empty::Fails)
        },
    );
    report.step("fuzz", "the fuzz targets, for some seconds each", || {
        fuzz::tier(if depth == Depth::Quick {
            QUICK_SECONDS
        } else {
            fuzz::SECONDS
        })
    });
    privileged(privilege, &mut report);
    report.step(
        "kernels",
        "the program and the daemon on other kernels, in qemu",
        || kernels(privilege),
    );
    report.finish()
}

/// `cargo xtask sim`: how many seeds, or the one to repeat.
pub(crate) fn simulate(seeds: Option<u64>, seed: Option<u64>) -> Result<()> {
    cmd::step("the simulator, in a release build");
    let mut command = cargo("test --release -p vipd-tests --test sim");
    if let Some(seeds) = seeds {
        command.env("VIPD_SIM_SEEDS", seeds.to_string());
    }
    if let Some(seed) = seed {
        command.env("VIPD_SIM_SEED", seed.to_string());
    }
    cmd::run(command.args(["--", "--nocapture"]))
}

/// The tiers that load programs and make network namespaces.
fn privileged(privilege: Privilege, report: &mut Report) {
    let runner = match privilege {
        Privilege::Root => None,
        Privilege::Sudo => Some("sudo -E"),
        Privilege::SudoAsks | Privilege::None => {
            for name in ["xdp", "netns"] {
                report.skip(name, "needs root, or sudo without a password");
            }
            return;
        }
    };
    report.step("vipd", "the vipd binary", || {
        cmd::run(&mut cargo("build -p vipd"))
    });
    for (name, what) in [
        ("xdp", "the XDP program, frame by frame"),
        ("netns", "real daemons in network namespaces"),
    ] {
        report.step(name, what, || -> Result<Outcome> {
            let mut command = cargo("test -p vipd-tests --features privileged --test");
            command
                .arg(name)
                .env("VIPD_BIN", cmd::debug_dir()?.join("vipd"));
            if let Some(runner) = runner {
                command.env(runner_variable()?, runner);
            }
            Ok(tier(&mut command, Empty::Fails))
        });
    }
}

/// The tier that needs qemu and Debian's kernels, but no privileges.
fn kernels(privilege: Privilege) -> Result<Outcome> {
    if cmd::which("qemu-system-x86_64").is_none() {
        return Ok(unavailable(privilege, "qemu-system-x86_64 is missing"));
    }
    if let Err(fault) = setup::fetch_kernels() {
        return Ok(unavailable(privilege, &format!("{fault:#}")));
    }
    cmd::run(&mut cargo("build -p vipd"))?;
    // The guests run tests of these two, and find them where they are built.
    let tests = "test -p vipd-tests --features privileged --no-run --test xdp --test netns";
    cmd::run(&mut cargo(tests))?;
    let mut command = cargo("test -p vipd-tests --features privileged --test kernels");
    command.env("VIPD_BIN", cmd::debug_dir()?.join("vipd"));
    // It prints the versions.
    Ok(tier(command.args(["--", "--nocapture"]), Empty::Fails))
}

/// A tier that lacks something: those who could have installed it are told of a
/// failure, so that it is not overlooked.
fn unavailable(privilege: Privilege, why: &str) -> Outcome {
    match privilege {
        Privilege::Root | Privilege::Sudo => Outcome::Failed(why.into()),
        Privilege::SudoAsks | Privilege::None => {
            cmd::note(&format!("skipped: {why}"));
            Outcome::Skipped(why.into())
        }
    }
}

/// Whether a tier without a single test is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    Passes,
    Fails,
}

/// Runs one tier and counts its tests by what libtest prints.
fn tier(command: &mut Command, empty: Empty) -> Outcome {
    let mut counts = Counts::default();
    let ended = cmd::run_reading(command, |line| counts.read(line));
    match ended {
        Err(error) => Outcome::Failed(format!("{error:#}")),
        Ok(status) if !status.success() && counts.failed == 0 => {
            Outcome::Failed(format!("did not build, or crashed: {status}, see above"))
        }
        Ok(status) if !status.success() => Outcome::Failed(counts.to_string()),
        Ok(_) if counts.passed == 0 && empty == Empty::Fails => {
            Outcome::Failed("no test ran".into())
        }
        Ok(_) => Outcome::Passed(counts.to_string()),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Counts {
    fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else {
            return;
        };
        for part in counts.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<u32>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed", self.passed)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

impl From<Result<Self>> for Outcome {
    fn from(result: Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::Failed(format!("{error:#}")))
    }
}

fn cargo(words: &str) -> Command {
    cmd::cargo(&words.split_whitespace().collect::<Vec<_>>())
}

/// The variable by which cargo runs test programs of this host through another.
fn runner_variable() -> Result<String> {
    let host = cmd::host()?.replace('-', "_");
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase()))
}

/// Enough to see that nothing is plainly broken.
const QUICK_SEEDS: &str = "25";
const QUICK_SECONDS: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_programs_add_up() {
        let mut counts = Counts::default();
        counts.read("running 3 tests");
        counts
            .read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; finished in 0.11s");
        counts.read("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured");
        assert_eq!(
            counts,
            Counts {
                passed: 5,
                failed: 4,
                ignored: 1
            }
        );
        assert_eq!(counts.to_string(), "5 passed, 4 failed, 1 ignored");
    }

    #[test]
    fn a_tier_without_tests_fails_where_there_must_be_some() {
        let mut nothing = Command::new("true");
        assert_eq!(
            tier(&mut nothing, Empty::Passes),
            Outcome::Passed("0 passed".into())
        );
        assert_eq!(
            tier(&mut nothing, Empty::Fails),
            Outcome::Failed("no test ran".into())
        );
    }

    #[test]
    fn what_is_missing_fails_for_root_and_is_skipped_for_others() {
        let outcome = |privilege| unavailable(privilege, "no qemu");
        assert_eq!(outcome(Privilege::Root), Outcome::Failed("no qemu".into()));
        assert_eq!(outcome(Privilege::None), Outcome::Skipped("no qemu".into()));
    }

    #[test]
    fn a_tier_that_does_not_build_fails() {
        assert!(matches!(
            tier(&mut Command::new("false"), Empty::Passes),
            Outcome::Failed(_)
        ));
    }
}
