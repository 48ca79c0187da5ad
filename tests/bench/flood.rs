//! `vipd-bench flood`: what an honest client notices of a flood on its LAN. It asks
//! for the VIP, which the XDP responder answers, and in the same breath for an
//! address of the master's host, which the kernel answers.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vipd_tests::lab::{
    Asked, Asker, Captured, Flood, Flooder, Host, Lab, Sniffer, Vipd, VipdOptions, now,
};

use crate::failover::VIP;
use crate::machine::{self, Interrupt};
use crate::options::Options;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let known = ["--seconds", "--rate", "--floods", "--json"];
    let Some(options) = Options::parse(words, &known)? else {
        print!("{HELP}");
        return Ok(());
    };
    let seconds: f64 = options.number("--seconds", 10.0)?;
    let rate: u32 = options.number("--rate", 200)?;
    let floods = options.choice("--floods", &Flood::ALL, Flood::name)?;
    let interrupt = Interrupt::on_signals()?;

    let machine = machine::describe();
    println!("{}", machine::line(&machine));
    println!(
        "{seconds} s each; a client asks {rate} times a second for the VIP and for an address of the kernel\n"
    );
    let lan = Lan::start(&interrupt)?;
    println!("{HEADING}");
    let mut rows = Vec::new();
    // Before and after, as the machine's speed changes.
    let floods = floods.into_iter().map(Some);
    for flood in [None].into_iter().chain(floods).chain([None]) {
        let row = lan.measure(flood, Duration::from_secs_f64(seconds), rate, &interrupt)?;
        println!("{}", row.line());
        rows.push(row);
    }
    if let Some(path) = options.text("--json") {
        let text = json!({
            "benchmark": "flood",
            "machine": machine,
            "seconds": seconds,
            "rate_hz": rate,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        });
        fs::write(path, format!("{text:#}\n")).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// A pair of daemons with default timers, both of which have been master.
struct Lan {
    daemons: [Vipd; 2],
    /// The master's own address.
    own: Ipv4Addr,
    client: Host,
    flooder: Host,
    captured: Captured,
    _lab: Lab,
}

impl Lan {
    fn start(interrupt: &Interrupt) -> Result<Self> {
        let lab = Lab::new();
        let n1 = lab.host("n1", "10.99.0.1/24");
        let n2 = lab.host("n2", "10.99.0.2/24");
        let client = lab.host("client", "10.99.0.200/24");
        let flooder = lab.host("flooder", "10.99.0.201/24");
        let sniffer = Sniffer::start(&flooder);
        let later = VipdOptions {
            advskew: 50,
            ..VipdOptions::new(VIP)
        };
        let preempting = VipdOptions {
            preempt: true,
            ..VipdOptions::new(VIP)
        };
        let second = Vipd::start(&n2, &later);
        second.wait_for_lease(SOON);
        let first = Vipd::start(&n1, &preempting);
        first.wait_for_lease(SOON);
        let mut captured = Captured::default();
        let is_captured = interrupt.wait_until(SOON, || {
            captured = Captured::of(&sniffer);
            let from = |mac| move |frame: &&Vec<u8>| frame[6..12] == mac;
            let adverts = captured.adverts.iter();
            let of_first = adverts.filter(from(n1.mac())).count();
            of_first >= 3 && second.role() == "backup" && !captured.introductions.is_empty()
        })?;
        ensure!(is_captured, "the pair does not settle");
        Ok(Self {
            daemons: [first, second],
            own: n1.address(),
            client,
            flooder,
            captured,
            _lab: lab,
        })
    }

    fn measure(
        &self,
        flood: Option<Flood>,
        lasts: Duration,
        rate: u32,
        interrupt: &Interrupt,
    ) -> Result<Row> {
        let transitions = self.transitions();
        let asker = Asker::start(&self.client, &[VIP, self.own], rate);
        let started = now();
        let flooder = flood.map(|flood| {
            let frames = flood.frames(&self.flooder, VIP, &self.captured);
            Flooder::start(&self.flooder, frames)
        });
        interrupt.sleep(lasts)?;
        let sent = flooder.map_or(0, Flooder::stop);
        let lasted = now() - started;
        let asked = asker.finish();
        let [vip, kernel] = <[Asked; 2]>::try_from(asked)
            .ok()
            .context("two addresses were asked for")?;
        Ok(Row {
            flood,
            frames_per_second: sent as f64 / lasted.as_secs_f64(),
            moved: self.transitions() - transitions,
            vip,
            kernel,
        })
    }

    fn transitions(&self) -> u64 {
        let daemons = self.daemons.iter();
        daemons.map(|daemon| daemon.counter("transitions")).sum()
    }
}

struct Row {
    flood: Option<Flood>,
    frames_per_second: f64,
    /// Changes of a role.
    moved: u64,
    vip: Asked,
    kernel: Asked,
}

const HEADING: &str = concat!(
    "                                  roles      VIP, by XDP: median / p99     kernel: median / p99\n",
    "flood                  frames/s   moved   answered        microseconds   answered  microseconds",
);

impl Row {
    fn line(&self) -> String {
        let latency = |asked: &Asked| {
            let (median, p99) = (micros(asked, 0.5), micros(asked, 0.99));
            format!("{median:.0} / {p99:.0}")
        };
        format!(
            "{:21}  {:>8.0}  {:>6}  {:>7.2} %  {:>18}  {:>7.2} %  {:>12}",
            self.name(),
            self.frames_per_second,
            self.moved,
            self.vip.fraction() * 100.0,
            latency(&self.vip),
            self.kernel.fraction() * 100.0,
            latency(&self.kernel),
        )
    }

    fn json(&self) -> Value {
        let asked = |asked: &Asked| {
            json!({
                "questions": asked.questions,
                "answered": asked.latencies.len(),
                "median_us": micros(asked, 0.5),
                "p99_us": micros(asked, 0.99),
                "answering_hosts": asked.answered_by.len(),
            })
        };
        json!({
            "flood": self.name(),
            "frames_per_second": self.frames_per_second,
            "role_changes": self.moved,
            "vip": asked(&self.vip),
            "kernel": asked(&self.kernel),
        })
    }

    fn name(&self) -> &'static str {
        self.flood.map_or("none", Flood::name)
    }
}

fn micros(asked: &Asked, fraction: f64) -> f64 {
    asked.quantile(fraction).as_secs_f64() * 1e6
}

/// How long the pair may take to settle.
const SOON: Duration = Duration::from_secs(30);

const HELP: &str = "\
usage: vipd-bench flood [OPTIONS]

A client on a flooded LAN: how many of its ARP requests are answered, and how
soon, for the VIP and for an address of the kernel on the same host.

  --seconds N         for each flood (10)
  --rate N            requests a second, for each address (200)
  --floods LIST       arp-for-vip,arp-for-others,arp-conflict,wrong-digest,
                      unknown-vhid,replayed,wrong-signature,wrong-introduction,
                      replayed-introduction,broken (all)
  --json FILE
";
