//! A program that runs on a host, with all that it says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{now, wait_until};

/// Killed and reaped when dropped. If a test panics, its log is printed.
pub struct Daemon {
    name: String,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

impl Daemon {
    /// Starts a command, which is best made by `Host::command`. `name` tells
    /// its log from others.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let log = Arc::new(Log::default());
        collect(Arc::clone(&log), child.stdout.take().expect("it is piped"));
        collect(Arc::clone(&log), child.stderr.take().expect("it is piped"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Waits until the log, from its beginning, contains `pattern`.
    pub fn wait_for_log(&self, pattern: &str, timeout: Duration) {
        let deadline = now() + timeout;
        let mut text = self.log.text.lock().unwrap_or_else(PoisonError::into_inner);
        while !text.contains(pattern) {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                // Released first, as the panic prints the log.
                drop(text);
                panic!(
                    "{}: not within {timeout:?} in its log: {pattern:?}",
                    self.name
                );
            }
            (text, _) = self
                .log
                .grown
                .wait_timeout(text, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All that it printed so far.
    pub fn log(&self) -> String {
        self.log
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, to nobody if the program has been seen to end.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), signal)
                .expect("a child that was not reaped takes signals");
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_exit(timeout)
    }

    /// SIGSTOP.
    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont(&mut self) {
        self.signal(Signal::CONT);
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_until(&what, timeout, || self.exited())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Neither fails but for a child that has been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "---- {} (pid {}) said:\n{}",
                self.name,
                self.child.id(),
                self.log()
            );
        }
    }
}

/// Reads to the end, which is when the last heir of the pipe is gone.
fn collect(log: Arc<Log>, from: impl Read + Send + 'static) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let mut text = log.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            drop(text);
            log.grown.notify_all();
            line.clear();
        }
    });
}
