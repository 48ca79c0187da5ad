//! What the responder costs: nanoseconds for a frame that is answered, silenced
//! or passed, net of an empty XDP program, by `BPF_PROG_TEST_RUN`.
//!
//! The kernel repeats a test run on the same buffer, and after the first answer
//! that holds a reply. So what is run is a small program that writes the request
//! anew, for another VIP each time, and ends in a tail call: to the responder,
//! or to a program that only says `XDP_PASS`. The difference between the two is
//! what is told. Repetitions of both take turns, for the machine's speed changes.

mod bpf;

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, HashMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use serde_json::{Value, json};
use vipd::io::xdp;
use vipd_common::arp::ArpFrame;
use vipd_common::{ABI, Group, Interface, Vip, VipKey, map, mode};

use bpf::{Program, ProgramArray};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let mut rows = Vec::new();
    println!(
        "nanoseconds per frame, net of an empty XDP program: min / median / max of {} runs of {} frames\n",
        options.runs, options.frames
    );
    println!("{}", heading());
    for vips in VIPS {
        let mut responder = Responder::load(vips)?;
        for case in CASES {
            let row = responder.measure(case, vips, &options)?;
            println!("{}", row.line());
            rows.push(row);
        }
    }
    if let Some(path) = &options.json {
        let json = json!({
            "benchmark": "responder",
            "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
            "runs": options.runs,
            "frames": options.frames,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        });
        fs::write(path, format!("{json:#}\n")).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

struct Options {
    json: Option<String>,
    runs: usize,
    frames: u32,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            json: None,
            runs: 9,
            frames: 1_000_000,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--json" => options.json = Some(value.clone()),
                "--runs" => options.runs = value.parse().context("--runs takes a number")?,
                "--frames" => options.frames = value.parse().context("--frames takes a number")?,
                _ => bail!("no option {name}: there are --json FILE, --runs N and --frames N"),
            }
        }
        ensure!(options.runs > 0 && options.frames > 0, "nothing to measure");
        Ok(options)
    }
}

/// What comes in, and what is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Answered,
    /// Under a lease that has ended.
    Silenced,
    /// Without a lease, for which no clock is read.
    SilencedUnleased,
    /// ARP for addresses that are no VIPs.
    PassedArp,
    /// Neither ARP nor CARP.
    PassedIpv4,
}

const CASES: [Case; 5] = [
    Case::Answered,
    Case::Silenced,
    Case::SilencedUnleased,
    Case::PassedArp,
    Case::PassedIpv4,
];

impl Case {
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Silenced => "silenced",
            Self::SilencedUnleased => "silenced_unleased",
            Self::PassedArp => "passed_arp",
            Self::PassedIpv4 => "passed_ipv4",
        }
    }

    const fn verdict(self) -> u32 {
        match self {
            Self::Answered => bpf::XDP_TX,
            Self::Silenced | Self::SilencedUnleased => bpf::XDP_DROP,
            Self::PassedArp | Self::PassedIpv4 => bpf::XDP_PASS,
        }
    }

    /// CLOCK_BOOTTIME nanosecond: long ago, or far ahead; 0 is no lease.
    const fn lease_until_ns(self) -> u64 {
        match self {
            Self::Silenced => 1,
            Self::SilencedUnleased => 0,
            Self::Answered | Self::PassedArp | Self::PassedIpv4 => u64::MAX,
        }
    }

    const fn first_address(self) -> u32 {
        match self {
            Self::PassedArp => FIRST_OTHER,
            Self::Answered | Self::Silenced | Self::SilencedUnleased | Self::PassedIpv4 => {
                FIRST_VIP
            }
        }
    }

    fn frame(self) -> Vec<u8> {
        let asked = Ipv4Addr::from(self.first_address()).octets();
        let mut frame = ArpFrame::request(CLIENT, CLIENT_IP, asked)
            .to_bytes()
            .to_vec();
        if self == Self::PassedIpv4 {
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            // UDP.
            frame[23] = 17;
        }
        frame.resize(SHORTEST_FRAME, 0);
        frame
    }
}

/// The program as the daemon has it, with as many VIPs.
struct Responder {
    ebpf: Ebpf,
    callee: ProgramArray,
    empty: Program,
}

impl Responder {
    fn load(vips: u32) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        if vips > vipd_common::MAX_VIPS {
            loader.map_max_entries(map::VIPS, vips);
        }
        let mut ebpf = loader.load(xdp::OBJECT)?;
        let mut table = HashMap::try_from(ebpf.map_mut(map::VIPS).context("no VIPs")?)?;
        for address in (FIRST_VIP..).take(vips as usize) {
            let key = VipKey {
                address: address.to_be_bytes(),
                vlan: 0,
                pad: 0,
            };
            table.insert(key, Vip { group: GROUP }, 0)?;
        }
        let interface = Interface {
            mac: OWNER,
            mode: mode::NATIVE,
            abi: ABI,
            ifindex: 1,
        };
        Array::try_from(ebpf.map_mut(map::INTERFACE).context("no interface")?)?
            .set(0, interface, 0)?;
        let program: &mut Xdp = ebpf
            .program_mut(xdp::PROGRAM)
            .context("no program")?
            .try_into()?;
        program.load()?;
        Ok(Self {
            ebpf,
            callee: ProgramArray::new()?,
            empty: Program::empty()?,
        })
    }

    fn measure(&mut self, case: Case, vips: u32, options: &Options) -> Result<Row> {
        let group = Group {
            lease_until_ns: case.lease_until_ns(),
            owner_mac: OWNER,
            vhid: 42,
            pad: 0,
        };
        Array::try_from(self.ebpf.map_mut(map::GROUPS).context("no groups")?)?
            .set(GROUP, group, 0)?;

        let frame = case.frame();
        let addresses = case.first_address()..case.first_address() + vips;
        let caller = Program::that_asks(&frame, addresses, &self.callee)?;
        let (mut empty_ns, mut net_ns) = (Vec::new(), Vec::new());
        // The first turn warms up the caches.
        for turn in 0..=options.runs {
            let empty = self.time(&caller, self.empty.as_fd(), &frame, bpf::XDP_PASS, options)?;
            let fd = self.program()?.fd()?.as_fd().try_clone_to_owned()?;
            let full = self.time(&caller, fd.as_fd(), &frame, case.verdict(), options)?;
            if turn > 0 {
                empty_ns.push(f64::from(empty));
                net_ns.push(f64::from(full) - f64::from(empty));
            }
        }
        Ok(Row {
            case,
            vips,
            empty_ns: Spread::of(empty_ns),
            net_ns: Spread::of(net_ns),
        })
    }

    /// Nanoseconds for a frame.
    fn time(
        &self,
        caller: &Program,
        callee: BorrowedFd<'_>,
        frame: &[u8],
        verdict: u32,
        options: &Options,
    ) -> Result<u32> {
        self.callee.set(callee)?;
        let (found, ns) = caller.test_run(frame, options.frames)?;
        ensure!(found == verdict, "the verdict is {found}, not {verdict}");
        Ok(ns)
    }

    fn program(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(xdp::PROGRAM).context("no program")?;
        Ok(program.try_into()?)
    }
}

struct Row {
    case: Case,
    vips: u32,
    /// The empty program, with what writes the frame.
    empty_ns: Spread,
    net_ns: Spread,
}

fn heading() -> String {
    format!(
        "{:>9}  {:17}  {:>18}  {:>18}",
        "VIPs", "frame", "net", "(empty, with restore)"
    )
}

impl Row {
    fn line(&self) -> String {
        format!(
            "{:>9}  {:17}  {:>18}  {:>18}",
            self.vips,
            self.case.name(),
            self.net_ns.text(),
            self.empty_ns.text()
        )
    }

    fn json(&self) -> Value {
        json!({
            "vips": self.vips,
            "frame": self.case.name(),
            "net_ns": self.net_ns.json(),
            "empty_ns": self.empty_ns.json(),
        })
    }
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            min: values[0],
            median: values[values.len() / 2],
            max: values[values.len() - 1],
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let Self { min, median, max } = self;
        // Writing to a string does not fail.
        let _ = write!(text, "{min:.0} / {median:.0} / {max:.0}");
        text
    }

    fn json(&self) -> Value {
        json!({ "min": self.min, "median": self.median, "max": self.max })
    }
}

const VIPS: [u32; 4] = [1, 1_000, 64_000, 1_000_000];
const GROUP: u32 = 42;
/// 10.0.0.0 and on; none of the others is among a million VIPs.
const FIRST_VIP: u32 = 0x0a00_0000;
const FIRST_OTHER: u32 = 0x0b00_0000;
const CLIENT: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const CLIENT_IP: [u8; 4] = [10, 255, 0, 10];
const OWNER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// Without its checksum (IEEE 802.3, 4.4.2).
const SHORTEST_FRAME: usize = 60;
