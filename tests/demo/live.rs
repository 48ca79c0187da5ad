//! The story for real: three hosts that run vipd and a client that keeps asking,
//! in network namespaces on a bridge.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use vipd_tests::lab::{self, Host, Lab, Mac, Prober, Record, Vipd};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const GROUP: &str = "eth0-42";

/// ARP requests of the client in a second.
const RATE_HZ: u32 = 200;

/// Between two lines.
const BEAT: Duration = Duration::from_millis(500);

/// Far more than any step takes; then something is wrong.
const PATIENCE: Duration = Duration::from_secs(15);

struct Member {
    name: &'static str,
    advskew: &'static str,
    host: Host,
    daemon: Option<Vipd>,
}

struct Story {
    // Before the lab: its processes end first.
    prober: Prober,
    members: Vec<Member>,
    passfile: std::path::PathBuf,
    stop: Arc<AtomicBool>,
}

/// Tells it, and removes everything, however it ends.
pub(crate) fn run() -> Result<()> {
    let stop = stop_on_signals()?;
    println!("Three hosts and a client, each in a network namespace, on one bridge:");
    println!("  n1 10.99.0.1 (preferred), n2 10.99.0.2, n3 10.99.0.3; they share {VIP}.");
    println!("The client asks {RATE_HZ} times a second who has {VIP}.\n");

    let lab = Lab::new();
    let passfile = lab.directory().join("password");
    std::fs::write(&passfile, "not a secret\n").context("cannot write the password file")?;
    let members: Vec<Member> = [
        ("n1", "10.99.0.1/24", "0"),
        ("n2", "10.99.0.2/24", "50"),
        ("n3", "10.99.0.3/24", "100"),
    ]
    .map(|(name, address, advskew)| Member {
        name,
        advskew,
        host: lab.host(name, address),
        daemon: None,
    })
    .into();
    let client = lab.host("client", "10.99.0.200/24");
    let mut story = Story {
        prober: Prober::start(&client, VIP, RATE_HZ),
        members,
        passfile,
        stop,
    };
    let told = story.tell();
    drop(story);
    drop(lab);
    println!("\nHosts, bridge and namespaces are removed.");
    told
}

impl Story {
    fn tell(&mut self) -> Result<()> {
        self.say("vipd starts on n1, n2 and n3; nobody is master yet");
        for index in 0..self.members.len() {
            self.start(index);
        }
        self.until_answered_by("n1")?;
        self.say("n1 is master: its XDP program answers for the address; n2 and n3 stay silent");
        self.watch(4)?;

        let killed_at = self.prober.elapsed();
        self.say(
            "n1 dies: its vipd is killed (kill -9) and its cable cut, so it cannot say goodbye",
        );
        self.members[0].host.cut();
        if let Some(daemon) = &mut self.members[0].daemon {
            daemon.kill();
        }
        self.until_answered_by("n2")?;
        self.watch(4)?;
        let record = self.prober.so_far();
        let outage = outage_around(&record, killed_at);
        let late = record
            .answers_after_successor(self.mac_of("n1")?, self.mac_of("n2")?)
            .len();
        println!(
            "\n  --> n2 took over. The client was without an answer for {} ms: n2 waits for 3 adverts,",
            outage.as_millis()
        );
        println!(
            "      one a second, and its skew of 50/256 s. Answers by n1 after n2's first: {late}.\n"
        );

        self.say("n1 comes back; it is preferred and takes the address over");
        self.members[0].host.heal();
        let back_at = self.prober.elapsed();
        self.members[0].daemon = None;
        self.start(0);
        self.until_answered_by("n1")?;
        self.watch(4)?;
        let gap = outage_around(&self.prober.so_far(), back_at);
        println!(
            "\n  --> n1 is master again. Longest time without an answer: {} ms.\n",
            gap.as_millis()
        );

        self.say("n1's vipd is stopped as planned (SIGTERM): it bows out first");
        let stopped_at = self.prober.elapsed();
        if let Some(mut daemon) = self.members[0].daemon.take() {
            daemon.terminate(PATIENCE);
        }
        self.until_answered_by("n2")?;
        self.watch(2)?;
        let gap = outage_around(&self.prober.so_far(), stopped_at);
        println!(
            "\n  --> n2 took over. Longest time without an answer: {} ms",
            gap.as_millis()
        );
        println!(
            "      (n2 waits out its skew of 50/256 s, so that two backups never take over at once)."
        );

        let record = self.prober.so_far();
        println!(
            "\nThe client asked {} times; {} requests after the first answer stayed without one, {} were answered twice.",
            record.requests.len(),
            unanswered(&record),
            answered_twice(&record),
        );
        Ok(())
    }

    fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        let vip = VIP.to_string();
        let passfile = self.passfile.to_string_lossy();
        member.daemon = Some(Vipd::spawn(
            &member.host,
            &[
                "run",
                "-i",
                "eth0",
                "-v",
                "42",
                "-a",
                &vip,
                "-o",
                &passfile,
                "-k",
                member.advskew,
                "-P",
            ],
        ));
    }

    fn say(&self, what: &str) {
        println!("{:6.1} s  ** {what}", self.prober.elapsed().as_secs_f32());
    }

    /// Some lines more.
    fn watch(&self, lines: u32) -> Result<()> {
        for _ in 0..lines {
            self.line()?;
        }
        Ok(())
    }

    /// Lines until this host answers.
    fn until_answered_by(&self, name: &str) -> Result<()> {
        let mac = self.mac_of(name)?;
        let begin = self.prober.elapsed();
        loop {
            self.line()?;
            if self.last_answer_by(BEAT) == Some(mac) {
                return Ok(());
            }
            if self.prober.elapsed() - begin > PATIENCE {
                self.show_logs();
                bail!("{name} does not answer for {VIP}; its log is above");
            }
        }
    }

    /// One line of what the client and the hosts see, then a pause.
    fn line(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let owners: Vec<&str> = self
            .members
            .iter()
            .filter(|member| is_master(member))
            .map(|m| m.name)
            .collect();
        let owner = if owners.is_empty() {
            "nobody".to_owned()
        } else {
            owners.join(" and ")
        };
        let answer = match self.last_answer_by(BEAT) {
            Some(mac) => format!("{} ({})", shown(mac), self.name_of(mac)),
            None => "no answer".to_owned(),
        };
        let record = self.prober.so_far();
        println!(
            "{:6.1} s  owner: {owner:<7} ARP: {answer:<22} asked {:5}  lost {:4}",
            self.prober.elapsed().as_secs_f32(),
            record.requests.len(),
            unanswered(&record),
        );
        // A signal ends the pause.
        let _ = wait_until_quietly(BEAT, || self.stop.load(Ordering::Relaxed));
        Ok(())
    }

    /// Who answered last, if that is less than `age` ago.
    fn last_answer_by(&self, age: Duration) -> Option<Mac> {
        let record = self.prober.so_far();
        let last = record.answers.last()?;
        (record.lasted.saturating_sub(last.at) < age).then_some(last.mac)
    }

    fn mac_of(&self, name: &str) -> Result<Mac> {
        let member = self.members.iter().find(|member| member.name == name);
        Ok(member.context("no such host")?.host.mac())
    }

    fn name_of(&self, mac: Mac) -> &'static str {
        let member = self.members.iter().find(|member| member.host.mac() == mac);
        member.map_or("a stranger", |member| member.name)
    }

    fn show_logs(&self) {
        for member in &self.members {
            if let Some(daemon) = &member.daemon {
                println!("--- {}:\n{}", member.name, daemon.log());
            }
        }
    }
}

fn is_master(member: &Member) -> bool {
    let status = member.daemon.as_ref().and_then(Vipd::status);
    status.is_some_and(|status| {
        let groups = status["groups"].as_array();
        groups.is_some_and(|groups| {
            groups
                .iter()
                .any(|group| group["name"] == GROUP && group["role"] == "master")
        })
    })
}

/// The longest time without an answer that began at `at` or later, or was under
/// way then.
fn outage_around(record: &Record, at: Duration) -> Duration {
    let times = record.answers.iter().map(|answer| answer.at);
    let ends = times.clone().skip(1).chain([record.lasted]);
    times
        .zip(ends)
        .filter(|(_, end)| *end >= at)
        .map(|(begin, end)| end - begin)
        .max()
        .unwrap_or_default()
}

/// How many answers each request got, from the first that was answered on: one belongs to the newest request before it.
fn answers_per_request(record: &Record) -> Vec<u32> {
    let mut counts = vec![0; record.requests.len()];
    for answer in &record.answers {
        let asked = record.requests.partition_point(|at| *at <= answer.at);
        if let Some(count) = asked.checked_sub(1).and_then(|index| counts.get_mut(index)) {
            *count += 1;
        }
    }
    // The last one may still be answered.
    counts.pop();
    // Before the first master there was nobody to answer.
    let first = counts
        .iter()
        .position(|count| *count > 0)
        .unwrap_or(counts.len());
    counts.split_off(first)
}

fn unanswered(record: &Record) -> usize {
    answers_per_request(record)
        .iter()
        .filter(|count| **count == 0)
        .count()
}

fn answered_twice(record: &Record) -> usize {
    answers_per_request(record)
        .iter()
        .filter(|count| **count > 1)
        .count()
}

fn shown(mac: Mac) -> String {
    vipd::mac::MacAddr(mac).to_string()
}

/// Waits until it holds, but no longer; says whether it does.
fn wait_until_quietly(timeout: Duration, holds: impl Fn() -> bool) -> bool {
    let deadline = lab::now() + timeout;
    while !holds() {
        let left = deadline.saturating_duration_since(lab::now());
        if left.is_zero() {
            return false;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
    true
}

/// Set when the user, or the system, wants it to end.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};

    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    let mut signals = Vec::new();
    {
        let _guard = runtime.enter();
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            signals.push(signal(kind).context("cannot wait for signals")?);
        }
    }
    let stopped = Arc::clone(&stop);
    thread::spawn(move || {
        let any = std::future::poll_fn(|context| {
            if signals
                .iter_mut()
                .any(|signal| signal.poll_recv(context).is_ready())
            {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        });
        runtime.block_on(any);
        stopped.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
