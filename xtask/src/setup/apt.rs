//! Debian's packages: what is there, what is offered, and installing it.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::cmd::{self, Privilege};

/// The package manager, whose lists are refreshed at most once and only if need be.
pub(super) struct Apt {
    lists: Lists,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    AsFound,
    Fresh,
}

impl Apt {
    pub(super) fn new() -> Self {
        Self {
            lists: Lists::AsFound,
        }
    }

    /// The version that would be installed, if any.
    pub(super) fn offers(&mut self, package: &str) -> Result<Option<String>> {
        let version = candidate(package)?;
        if version.is_some() {
            return Ok(version);
        }
        self.offers_freshly(package)
    }

    /// The same from lists that are as new as can be had.
    pub(super) fn offers_freshly(&mut self, package: &str) -> Result<Option<String>> {
        if Privilege::find() != Privilege::None {
            self.refresh()?;
        }
        candidate(package)
    }

    /// Installs packages. One that is not offered is an error, when the others are there.
    pub(super) fn install(&mut self, packages: &[&str]) -> Result<()> {
        let packages = missing(packages)?;
        if packages.is_empty() {
            return Ok(());
        }
        if Privilege::find() == Privilege::None {
            bail!(
                "neither root nor sudo; please run as root: apt-get install {}",
                packages.join(" ")
            );
        }
        let (mut offered, mut unknown) = (Vec::new(), Vec::new());
        for package in packages {
            match self.offers(package)? {
                Some(_) => offered.push(package),
                None => unknown.push(package),
            }
        }
        if let Err(fault) = install(&offered) {
            // Old lists name versions that the mirrors have dropped.
            if self.lists == Lists::Fresh {
                return Err(fault);
            }
            self.refresh()?;
            install(&offered)?;
        }
        if !unknown.is_empty() {
            bail!("this distribution does not offer {}", unknown.join(", "));
        }
        Ok(())
    }

    /// The packages whose names fit a regular expression.
    pub(super) fn search(&mut self, pattern: &str) -> Result<Vec<String>> {
        let mut names = search(pattern)?;
        if names.is_empty() && Privilege::find() != Privilege::None {
            self.refresh()?;
            names = search(pattern)?;
        }
        Ok(names)
    }

    /// Puts a package's archive into a directory. It needs no privileges.
    pub(super) fn download(&self, package: &str, directory: &Path) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.args(["download", package]).current_dir(directory);
        cmd::run_quietly(&mut command)
    }

    /// Fetches the package lists, unless they are as new as can be had.
    pub(super) fn refresh(&mut self) -> Result<()> {
        if self.lists == Lists::Fresh {
            return Ok(());
        }
        cmd::note("refreshing the package lists");
        self.lists = Lists::Fresh;
        apt_get(&["update"])
    }
}

/// Those of the packages that are not installed.
pub(super) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query fails when it knows nothing of one, and still tells of the others.
    let known = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Status}\\n"])
        .args(packages)
        .output()
        .context("cannot run dpkg-query")?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    Ok(not_installed(packages, &known))
}

fn not_installed<'a>(packages: &[&'a str], known: &str) -> Vec<&'a str> {
    let installed = |package: &str| {
        known.lines().any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.first() == Some(&package) && words.last() == Some(&"installed")
        })
    };
    packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

fn search(pattern: &str) -> Result<Vec<String>> {
    let mut search = Command::new("apt-cache");
    let found = cmd::output(search.args(["search", "--names-only", pattern]))?;
    // `NAME - DESCRIPTION`
    let names = found.lines().filter_map(|line| line.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

fn candidate(package: &str) -> Result<Option<String>> {
    let policy = cmd::output(
        Command::new("apt-cache")
            .args(["policy", package])
            .env("LC_ALL", "C"),
    )?;
    Ok(candidate_in(&policy))
}

fn candidate_in(policy: &str) -> Option<String> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut words = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    words.extend(packages);
    apt_get(&words)
}

fn apt_get(words: &[&str]) -> Result<()> {
    let privilege = Privilege::find();
    match privilege {
        Privilege::Root | Privilege::Sudo => {}
        // Asks before the child's output is hidden.
        Privilege::SudoAsks => cmd::run(Command::new("sudo").arg("-v"))?,
        Privilege::None => bail!(
            "neither root nor sudo; run as root: apt-get {}",
            words.join(" ")
        ),
    }
    let environment = [("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8")];
    let mut command = privilege.command(&environment, "apt-get");
    // Another apt-get may be running, as after a fresh boot.
    command.args(["-o", "DPkg::Lock::Timeout=120"]).args(words);
    cmd::run_quietly(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_was_removed_or_is_unknown_is_missing() {
        let known = "gcc install ok installed\nucarp deinstall ok config-files\n";
        assert_eq!(
            not_installed(&["gcc", "ucarp", "tshark"], known),
            ["ucarp", "tshark"]
        );
    }

    #[test]
    fn a_package_without_candidate_is_not_offered() {
        let policy = "bpftool:\n  Installed: (none)\n  Candidate: 7.1.0\n";
        assert_eq!(candidate_in(policy), Some("7.1.0".into()));
        assert_eq!(candidate_in("rustc:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }
}
