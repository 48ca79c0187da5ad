//! Debian's kernels for the guests of the tier `kernels`: unpacked into
//! `target/kernels`, never installed.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{Did, apt::Apt};
use crate::cmd;

/// Fetches what is not there yet, or is older than what Debian has.
pub(super) fn fetch(apt: &mut Apt) -> Result<Did> {
    let mut did = Did::Nothing;
    for series in SERIES {
        let package = newest(apt, series)?;
        let directory = cmd::workspace().join("target/kernels").join(series);
        let fetched = fs::read_to_string(directory.join(PACKAGE)).unwrap_or_default();
        if fetched == package {
            continue;
        }
        cmd::step(&format!(
            "setup (test): {package}, for a guest in qemu, into target/kernels (some 30 MB)"
        ));
        unpack(apt, series, &directory)
            .with_context(|| format!("the kernel package {package} could not be fetched"))?;
        did = Did::Something;
    }
    Ok(did)
}

/// The newest package of a series that is offered. Its name has the number of the
/// kernel's interface, which changes from week to week.
fn newest(apt: &mut Apt, series: &str) -> Result<String> {
    let pattern = format!(
        "^linux-image-{}[.].*-cloud-amd64$",
        series.replace('.', "[.]")
    );
    let names = apt.search(&pattern)?;
    let newest = names.into_iter().max_by_key(|name| numbers(name));
    newest.with_context(|| format!("this distribution offers no kernel package of Linux {series}"))
}

fn unpack(apt: &mut Apt, series: &str, directory: &Path) -> Result<()> {
    let unpacked = directory.with_file_name(format!("{series}.new"));
    remove(&unpacked)?;
    fs::create_dir_all(&unpacked)?;
    let mut package = newest(apt, series)?;
    if let Err(fault) = apt.download(&package, &unpacked) {
        // Old lists name versions that the mirrors have dropped.
        if apt.refresh().is_err() {
            return Err(fault);
        }
        package = newest(apt, series)?;
        apt.download(&package, &unpacked)?;
    }
    let archive = fs::read_dir(&unpacked)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let Some(archive) = archive else {
        bail!("apt-get left no package in {}", unpacked.display());
    };
    cmd::run_quietly(
        Command::new("dpkg-deb")
            .arg("-x")
            .args([&archive, &unpacked]),
    )?;
    fs::remove_file(archive)?;
    fs::write(unpacked.join(PACKAGE), package)?;
    // What has this name is complete.
    remove(directory)?;
    fs::rename(&unpacked, directory)?;
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// The numbers in a name, by which 6.1.0-9 comes before 6.1.0-10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The oldest kernel that vipd is for, and the long-term one after it.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// A file that holds the name of the package that was unpacked.
const PACKAGE: &str = "package";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kernels_are_ordered_by_their_numbers() {
        let ordered = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-10-cloud-amd64",
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
        ];
        assert!(ordered.is_sorted_by_key(|name| numbers(name)));
    }
}
