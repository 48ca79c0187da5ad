//! `vipd doctor`: looks at this host and at the LAN, and says of each thing whether it
//! is well, and what to do if not. It changes nothing. What it sends are ARP probes,
//! which enter no cache.
//!
//! It looks first and judges then: the judges are functions of what was seen.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use serde::Serialize;
use vipd_common::arp::ArpFrame;

use super::table::{Colour, Screen, paint, wrapped};
use super::{Common, Exit, complain, say};
use crate::config::{Config, DEFAULT_PATH};
use crate::daemon::{chain, preflight};
use crate::io::control::{self, ClientError};
use crate::io::netlink::{self, LinkInfo};
use crate::io::packet_socket::{Kind, Tap};
use crate::io::{ethtool, sysctl, xdp};
use crate::status::{GroupStatus, Status};

mod files;
mod host;
mod interface;
mod lan;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Interfaces to look at, besides those of the running daemon
    #[arg(value_name = "IF")]
    interfaces: Vec<String>,
    /// Configuration whose interfaces and passwords to look at
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Password files to look at, besides those in /etc/vipd
    #[arg(short = 'o', long, value_name = "FILE")]
    passfile: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at: `kernel`, `xdp`, ...
    check: &'static str,
    /// An interface or a group; empty for the host.
    subject: String,
    text: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Finding {
    fn new(level: Level, check: &'static str, subject: &str, text: impl Into<String>) -> Self {
        Self {
            level,
            check,
            subject: subject.to_owned(),
            text: text.into(),
            advice: None,
        }
    }

    fn ok(check: &'static str, subject: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, subject, text)
    }

    fn warn(check: &'static str, subject: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Warn, check, subject, text)
    }

    fn fail(check: &'static str, subject: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Fail, check, subject, text)
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
    /// Commands that show the kernel's half.
    bpftool: Vec<String>,
}

pub(super) fn examine(args: &DoctorArgs, common: &Common) -> Exit {
    let report = look(args, common);
    let is_ill = report
        .findings
        .iter()
        .any(|finding| finding.level == Level::Fail);
    let text = if args.json {
        match serde_json::to_string(&report) {
            Ok(json) => json + "\n",
            Err(error) => return complain(&error, Exit::Failed),
        }
    } else {
        render(&report, Screen::of_stdout())
    };
    let said = say(&text);
    if said == Exit::Fine && is_ill {
        Exit::Failed
    } else {
        said
    }
}

fn look(args: &DoctorArgs, common: &Common) -> Report {
    let mut findings = Vec::new();
    let status = daemon(common, &mut findings);
    let pid = status.as_ref().and_then(|_| pid_of(&common.socket));
    host::examine(pid, &common.bpffs, &mut findings);

    let groups = status.as_ref().map_or(&[][..], |status| &status.groups);
    let mut names: Vec<String> = groups.iter().map(|group| group.interface.clone()).collect();
    names.extend(args.interfaces.iter().cloned());
    names.extend(configured(&args.config, &mut findings));
    names.sort();
    names.dedup();
    if names.is_empty() {
        findings.push(
            Finding::warn("interfaces", "", "no interface was looked at")
                .advice("name one: vipd doctor eth0"),
        );
    }
    let mut links = Vec::new();
    for name in &names {
        match netlink::lookup(name) {
            Ok(link) => links.push(link),
            Err(error) => findings.push(Finding::fail("link", name, chain(&error))),
        }
    }
    for link in &links {
        let members: Vec<&GroupStatus> = of_interface(groups, &link.name).collect();
        interface::examine(&facts(link, common), &members, &mut findings);
    }
    watch(common, status.as_ref(), &links, &mut findings);
    files::examine(&args.passfile, &mut findings);
    let bpftool = names
        .iter()
        .filter_map(|name| Some((name, xdp::pins(&common.bpffs, name)?)))
        .flat_map(|(name, pins)| files::bpftool(&pins, &mut of_interface(groups, name)))
        .collect();
    Report { findings, bpftool }
}

/// The interfaces of a configuration, if there is one. What is doubtful in it is told,
/// such as passwords that others can read.
fn configured(path: &Path, findings: &mut Vec<Finding>) -> Vec<String> {
    if !path.exists() {
        return Vec::new();
    }
    let shown = path.display();
    match Config::load(path) {
        Ok(config) => {
            let warnings = &config.warnings;
            for warning in warnings.iter() {
                findings.push(Finding::warn("configuration", "", warnings.line(warning)));
            }
            let groups = config.engine.groups.len();
            let text = format!("{shown} can be used, with {groups} groups");
            findings.push(Finding::ok("configuration", "", text));
            config.engine.interfaces
        }
        Err(faults) => {
            let text = format!("{shown} has {} mistakes", faults.iter().count());
            let advice = format!("vipd check --config {shown}");
            findings.push(Finding::fail("configuration", "", text).advice(advice));
            Vec::new()
        }
    }
}

fn of_interface<'a>(
    groups: &'a [GroupStatus],
    interface: &str,
) -> impl Iterator<Item = &'a GroupStatus> + use<'a> {
    let interface = interface.to_owned();
    groups
        .iter()
        .filter(move |group| group.interface == interface)
}

/// What the daemon says of itself, if one is there.
fn daemon(common: &Common, findings: &mut Vec<Finding>) -> Option<Status> {
    let asked = ask(common);
    findings.push(match &asked {
        Ok(status) => Finding::ok(
            "daemon",
            "",
            format!(
                "vipd {} answers, with {} groups",
                status.version,
                status.groups.len()
            ),
        ),
        Err(ClientError::NoDaemon { path }) => Finding::warn(
            "daemon",
            "",
            format!("no daemon answers at {}", path.display()),
        )
        .advice("start it, or give its --socket; the rest is about this host without it"),
        Err(error) => Finding::fail("daemon", "", chain(error)),
    });
    asked.ok()
}

fn ask(common: &Common) -> Result<Status, ClientError> {
    let path = &common.socket;
    let answer = control::call(path, "org.vipd.Status", serde_json::json!({}))?;
    serde_json::from_value(answer).map_err(|error| ClientError::Protocol {
        path: path.clone(),
        reason: error.to_string(),
    })
}

/// The process that listens at the control socket.
fn pid_of(socket: &Path) -> Option<i32> {
    let stream = UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    Some(peer.pid.as_raw_nonzero().get())
}

fn facts<'a>(link: &'a LinkInfo, common: &Common) -> interface::Facts<'a> {
    let settings = ["arp_ignore", "arp_announce", "rp_filter", "accept_local"];
    // The stricter of the interface's own and that for all holds (ip-sysctl.rst).
    let value = |name: &str| {
        let read = |of: &str| sysctl::get(of, name).ok()?.parse::<u8>().ok();
        Some(read(&link.name)?.max(read("all")?))
    };
    interface::Facts {
        link,
        pinned_program: xdp::pinned_program(&common.bpffs, &link.name),
        sysctls: settings
            .into_iter()
            .filter_map(|name| Some((name, value(name)?)))
            .collect(),
        igmp: fs::read_to_string("/proc/net/igmp").unwrap_or_default(),
        vlans: fs::read_to_string("/proc/net/vlan/config").unwrap_or_default(),
        strips_vlan_tags: ethtool::strips_vlan_tags(&link.name).ok(),
    }
}

/// Listens for as long as adverts should take to come, and asks who else has the
/// addresses.
fn watch(
    common: &Common,
    before: Option<&Status>,
    links: &[LinkInfo],
    findings: &mut Vec<Finding>,
) {
    let Some(before) = before else { return };
    let mut taps: Vec<(&LinkInfo, Tap, Tap)> = Vec::new();
    for link in links.iter().filter(|link| link.up) {
        let tap = |kind| Tap::open(&link.name, link.ifindex, kind);
        match (tap(Kind::Adverts), tap(Kind::Arp)) {
            (Ok(adverts), Ok(arp)) => taps.push((link, adverts, arp)),
            (Err(error), _) | (_, Err(error)) => findings.push(
                Finding::warn("adverts", &link.name, chain(&error))
                    .advice("run the doctor as root: adverts and answers were not looked at"),
            ),
        }
    }
    if taps.is_empty() {
        return;
    }
    let groups = |link: &LinkInfo| of_interface(&before.groups, &link.name);
    let wait = lan::patience(before.groups.iter());
    // Twice, as a frame may be lost.
    for part in [wait / 2, wait - wait / 2] {
        for (link, _, arp) in &taps {
            let mac = link.mac.unwrap_or_default();
            for vip in groups(link).flat_map(lan::probed) {
                let probe = ArpFrame::request(mac, [0; 4], vip.octets());
                // What cannot be sent shows as silence, which is no accusation.
                let _ = arp.send(&probe.to_bytes());
            }
        }
        thread::sleep(part);
    }
    let Ok(after) = ask(common) else { return };
    for (link, adverts, arp) in &taps {
        let adverts: Vec<lan::Advert> = adverts
            .take()
            .iter()
            .filter_map(|frame| lan::Advert::parse(frame))
            .collect();
        let claims = lan::claims(&arp.take());
        for group in groups(link) {
            let Some(later) = after.groups.iter().find(|later| later.name == group.name) else {
                continue;
            };
            let heard = lan::heard(later).saturating_sub(lan::heard(group));
            let own: Vec<Ipv4Addr> = link.addresses.iter().map(|(address, _)| *address).collect();
            findings.push(lan::adverts(later, &adverts, &own, heard, wait));
            findings.extend(lan::duplicates(later, &claims, link.mac));
        }
    }
}

fn render(report: &Report, screen: Screen) -> String {
    let mut text = String::new();
    let mut counts: BTreeMap<Level, usize> = BTreeMap::new();
    for finding in &report.findings {
        *counts.entry(finding.level).or_default() += 1;
        let (level, colour) = match finding.level {
            Level::Ok => ("ok  ", Colour::Green),
            Level::Warn => ("warn", Colour::Yellow),
            Level::Fail => ("FAIL", Colour::Red),
        };
        let subject = if finding.subject.is_empty() {
            finding.check.to_owned()
        } else {
            format!("{} {}", finding.subject, finding.check)
        };
        let width = screen.width.saturating_sub(INDENT.len()).max(20);
        let mut lines = wrapped(&format!("{subject}: {}", finding.text), width).into_iter();
        let first = lines.next().unwrap_or_default();
        text += &format!("{}  {first}\n", paint(level, colour, screen));
        let advice = finding.advice.iter();
        for line in lines.chain(advice.flat_map(|advice| wrapped(&format!("-> {advice}"), width))) {
            text += &format!("{INDENT}{line}\n");
        }
    }
    if !report.bpftool.is_empty() {
        text += "\nThe kernel's half, as root:\n";
        for command in &report.bpftool {
            text += &format!("{INDENT}{command}\n");
        }
    }
    let count = |level| counts.get(&level).copied().unwrap_or(0);
    text + &format!(
        "\n{} well, {} to look at, {} wrong\n",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    )
}

const INDENT: &str = "      ";

#[cfg(test)]
mod tests;
