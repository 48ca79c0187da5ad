//! The machine that is measured on, and the way to end a measurement early.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vipd_tests::lab;

/// What figures depend on.
pub(crate) fn describe() -> Value {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let processor = read("/proc/cpuinfo").lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim().to_owned())
    });
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "processor": processor,
        "cores": cores,
        "load": read("/proc/loadavg"),
        "vipd": version("vipd", env!("CARGO_PKG_VERSION")),
        "ucarp": version("ucarp", "unknown"),
        "keepalived": version("keepalived", "unknown"),
    })
}

/// One line of it, for people.
pub(crate) fn line(machine: &Value) -> String {
    let text = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    format!(
        "Linux {}, {} x {}; vipd {}, ucarp {}, keepalived {}; load at the start {}",
        text("kernel"),
        machine["cores"],
        text("processor"),
        text("vipd"),
        text("ucarp"),
        text("keepalived"),
        text("load"),
    )
}

/// Debian's version of a package.
fn version(package: &str, otherwise: &str) -> String {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", package])
        .output();
    output
        .ok()
        .filter(|output| output.status.success() && package != "vipd")
        .map_or_else(
            || otherwise.to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
}

/// Set when the user, or the system, wants this to end.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn on_signals() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot wait for signals")?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot wait for signals")?;
        drop(guard);
        let this = Self(Arc::new(AtomicBool::new(false)));
        let set = this.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                std::future::poll_fn(|context| {
                    let signals = [&mut interrupt, &mut terminate, &mut hangup];
                    let came = signals
                        .into_iter()
                        .any(|signal| signal.poll_recv(context).is_ready());
                    if came {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
            });
            set.0.store(true, Ordering::Relaxed);
        });
        Ok(this)
    }

    /// Whether it held within this time; an error when it is time to end.
    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<bool> {
        let deadline = lab::now() + timeout;
        loop {
            if self.0.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if holds() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(lab::now());
            if left.is_zero() {
                return Ok(false);
            }
            thread::sleep(left.min(PAUSE));
        }
    }

    /// Nothing but time passes.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        self.wait_until(time, || false).map(drop)
    }
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
