//! The table at the end of a task of many steps: what passed, what failed, what
//! did not run and why, and how long each took.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::cmd::{self, Stopwatch};

/// How a step ended, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed(String::new()),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

/// The steps done so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, Outcome, Duration)>,
}

impl Report {
    /// Announces a step, does it and notes how it ended.
    pub(crate) fn step<T: Into<Outcome>>(
        &mut self,
        name: &'static str,
        what: &str,
        perform: impl FnOnce() -> T,
    ) {
        cmd::step(what);
        let watch = Stopwatch::start();
        let outcome = perform().into();
        if let Outcome::Failed(why) = &outcome {
            cmd::note(&format!("FAILED: {why}"));
        }
        self.rows.push((name, outcome, watch.elapsed()));
    }

    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        cmd::step(&format!("{name}: skipped, {why}"));
        self.rows
            .push((name, Outcome::Skipped(why.into()), Duration::ZERO));
    }

    /// Prints the table; an error if any step failed.
    pub(crate) fn finish(&self) -> Result<()> {
        println!();
        print!("{}", self.table());
        match self.failures() {
            0 => Ok(()),
            1 => bail!("1 step failed"),
            more => bail!("{more} steps failed"),
        }
    }

    fn failures(&self) -> usize {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        self.rows
            .iter()
            .filter(|(_, outcome, _)| failed(outcome))
            .count()
    }

    fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0);
        let mut table = String::new();
        for (name, outcome, took) in &self.rows {
            let (word, why) = match outcome {
                Outcome::Passed(why) => ("passed", why),
                Outcome::Failed(why) => ("FAILED", why),
                Outcome::Skipped(why) => ("skipped", why),
            };
            let why = why.lines().next().unwrap_or_default();
            let line = format!(
                "{name:width$}  {word:7}  {:6.1} s  {why}",
                took.as_secs_f32()
            );
            table += line.trim_end();
            table.push('\n');
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_task_and_a_skipped_one_does_not() {
        let mut report = Report::default();
        report.step("unit", "unit tests", || Outcome::Passed("3 passed".into()));
        report.skip("xdp", "not root");
        assert!(report.finish().is_ok());
        report.step("sim", "the simulator", || {
            Outcome::Failed("seed 7\nmore".into())
        });
        assert!(report.finish().is_err());
        let table = report.table();
        assert!(
            table.contains("unit  passed      0.0 s  3 passed\n"),
            "{table}"
        );
        assert!(
            table.contains("xdp   skipped     0.0 s  not root\n"),
            "{table}"
        );
        assert!(
            table.contains("sim   FAILED      0.0 s  seed 7\n"),
            "{table}"
        );
    }
}
