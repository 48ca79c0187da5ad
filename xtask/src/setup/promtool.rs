//! Prometheus' own judge of metrics, for the tier `netns`: taken out of Debian's
//! package into `target/tools`. The package itself would start a server.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{Did, apt::Apt};
use crate::cmd;

/// Fetches it where it is neither installed nor fetched.
pub(super) fn fetch(apt: &mut Apt) -> Result<Did> {
    let tool = cmd::tools_dir().join("bin/promtool");
    if cmd::which("promtool").is_some() || tool.exists() {
        return Ok(Did::Nothing);
    }
    if apt.offers("prometheus")?.is_none() {
        bail!("this distribution offers no package prometheus, which has promtool");
    }
    cmd::step("setup (test): promtool, which judges metrics, into target/tools (some 20 MB)");
    let unpacked = cmd::tools_dir().join("prometheus.new");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    if let Err(fault) = apt.download("prometheus", &unpacked) {
        // Old lists name versions that the mirrors have dropped.
        if apt.refresh().is_err() {
            return Err(fault);
        }
        apt.download("prometheus", &unpacked)?;
    }
    let archive = fs::read_dir(&unpacked)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.context("apt-get left no package")?;
    cmd::run_quietly(
        Command::new("dpkg-deb")
            .arg("-x")
            .args([&archive, &unpacked]),
    )?;
    fs::create_dir_all(cmd::tools_dir().join("bin"))?;
    fs::rename(unpacked.join("usr/bin/promtool"), tool)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(Did::Something)
}
