//! Commands of the operator: what a check runs, and a hook.
//!
//! Each runs as the daemon's user, but without capabilities and with no way to
//! get any; in a process group and an environment of its own; with none of the
//! daemon's descriptors; and for no longer than it may. How it ended is all that
//! comes of it, and the last line that it printed.
//!
//! Rights belong to threads. So a thread that runs commands gives its own up, once
//! and for all (`give_up_rights`), and what it starts has none to inherit: no
//! code has to run between fork and exec.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

mod output;
mod trusted;

use output::Tail;
pub use trusted::{Untrusted, check};

/// Where commands are looked for by those who run them, as systemd has it
/// (systemd.exec(5), `$PATH`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a process that was killed is waited for before it is given up.
const UNKILLABLE: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// An absolute path.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// All variables beside `PATH`.
    pub environment: Vec<(String, String)>,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it may take after that, when it was asked to end (SIGTERM), until
    /// it is killed.
    pub grace: Duration,
    /// Whether what it leaves running in its process group is killed, too, when
    /// it has ended by itself.
    pub ends_group: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub how: How,
    /// The last line that it printed; empty if it printed none.
    pub said: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Not in time.
    TimedOut(Duration),
    /// It was not started, for this reason.
    NotStarted(String),
}

impl Ended {
    pub fn is_success(&self) -> bool {
        self.how == How::Exited(0)
    }
}

/// As a log line or a status says it: "exit status 1: connection refused".
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Exited(status) => write!(f, "exit status {status}")?,
            How::Killed(signal) => write!(f, "killed by signal {signal}")?,
            How::TimedOut(after) => write!(f, "not done within {after:?}")?,
            How::NotStarted(reason) => return f.write_str(reason),
        }
        if self.said.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.said)
        }
    }
}

/// Takes all capabilities from the calling thread and from what it will start, and
/// every way to get some: also from what is run as root, to which the kernel would
/// else give them back at exec (capabilities(7), "Capabilities and execution of
/// programs by root": with no_new_privs it gets none that its parent did not have).
///
/// It needs no right itself.
pub fn give_up_rights() -> io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        // Only who has CAP_SETPCAP may do it. To the others it makes no difference,
        // and a capability that the kernel does not know (EINVAL) nobody has.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// Whether commands keep the daemon's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    None,
    Kept,
}

/// A thread that runs commands beside each other. Dropping it kills those that
/// still run.
#[derive(Debug)]
pub struct Runner {
    jobs: mpsc::UnboundedSender<(u64, Command)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Runner {
    /// Each command's end is told to `ended`, under the token it was given with.
    pub fn spawn(rights: Rights, ended: mpsc::Sender<(u64, Ended)>) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::unbounded_channel::<(u64, Command)>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("hooks".to_owned())
            .spawn(move || {
                let refused = match rights {
                    Rights::None => give_up_rights().err(),
                    Rights::Kept => None,
                };
                runtime.block_on(async {
                    while let Some((token, command)) = waiting.recv().await {
                        let ended = ended.clone();
                        if let Some(error) = &refused {
                            let how = How::NotStarted(format!(
                                "not run, as its rights cannot be taken from it: {error}"
                            ));
                            let said = String::new();
                            // A daemon that has ended wants to know nothing.
                            let _ = ended.send((token, Ended { how, said })).await;
                            continue;
                        }
                        tokio::spawn(async move {
                            let (end, mut remains) = run(&command).await;
                            // One that the kernel cannot kill is not waited for.
                            let patience = command.grace + UNKILLABLE;
                            let _ = tokio::time::timeout(patience, remains.vanish()).await;
                            let _ = ended.send((token, end)).await;
                            remains.vanish().await;
                        });
                    }
                });
            })?;
        Ok(Self {
            jobs,
            thread: Some(thread),
        })
    }

    pub fn run(&self, token: u64, command: Command) {
        // The thread ends only with this.
        let _ = self.jobs.send((token, command));
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let (nobody, _) = mpsc::unbounded_channel();
        self.jobs = nobody;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs it, and says how it ended as soon as that is certain. What then is left of
/// it is still to be waited for.
///
/// Dropping the future kills the process group.
pub async fn run(command: &Command) -> (Ended, Remains) {
    let not_started = |reason| {
        let how = How::NotStarted(reason);
        let said = String::new();
        (Ended { how, said }, Remains::default())
    };
    let path = match check(&command.program) {
        Ok(path) => path,
        Err(error) => return not_started(error.to_string()),
    };
    let mut running = match start(command, path) {
        Ok(running) => running,
        Err(reason) => return not_started(reason),
    };
    if running.ends_within(command.timeout).await {
        if command.ends_group {
            running.signal(Signal::KILL);
        }
        let how = running.reap();
        let said = running.said();
        return (Ended { how, said }, Remains::default());
    }
    let how = How::TimedOut(command.timeout);
    let said = running.said();
    running.signal(Signal::TERM);
    let remains = Remains {
        running: Some(running),
        grace: command.grace,
    };
    (Ended { how, said }, remains)
}

/// What has taken too long, until it is gone. Dropping it kills it.
#[derive(Default)]
pub struct Remains {
    running: Option<Running>,
    grace: Duration,
}

impl Remains {
    /// Waits until the process is gone, which takes longer than the grace only with
    /// one that the kernel cannot kill: it waits for a disk, or a file server. May be
    /// dropped and called again.
    pub async fn vanish(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let grace = std::mem::take(&mut self.grace);
        let is_gone = !grace.is_zero() && running.ends_within(grace).await;
        // Also what is left of the group when its first process obeyed.
        running.signal(Signal::KILL);
        if !is_gone {
            running.gone().await;
        }
        running.reap();
        self.running = None;
    }
}

fn start(command: &Command, path: PathBuf) -> Result<Running, String> {
    let name = command.program.display();
    let (output, input) = io::pipe().map_err(|e| format!("cannot make a pipe: {e}"))?;
    let for_errors = input
        .try_clone()
        .map_err(|e| format!("cannot copy a pipe: {e}"))?;
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output))
        .map_err(|e| format!("cannot read a pipe: {e}"))?;
    keep_descriptors();
    // What was checked is run: a link that points elsewhere meanwhile changes
    // nothing.
    let child = std::process::Command::new(path)
        .arg0(&command.program)
        .args(&command.arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(
            command
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(input)
        .stderr(for_errors)
        .spawn()
        .map_err(|e| format!("cannot run {name}: {e}"))?;
    let mut running = Running {
        child,
        exit: None,
        is_reaped: false,
        output: Some(output),
        tail: Tail::default(),
    };
    let watched = pidfd_open(running.pid(), PidfdFlags::NONBLOCK)
        .map_err(io::Error::from)
        .and_then(register);
    match watched {
        Ok(exit) => running.exit = Some(exit),
        // Then it cannot be waited for, and is killed.
        Err(error) => return Err(format!("cannot watch {name}: {error}")),
    }
    Ok(running)
}

/// Sees to it that no descriptor of the daemon is open in what is started: what
/// the daemon opened closes itself at exec, but it may have inherited others.
fn keep_descriptors() {
    #[expect(unsafe_code, reason = "no safe wrapper marks a range of descriptors")]
    // SAFETY: no descriptor is closed, nor any memory touched.
    let result = unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
        libc::close_range(3, libc::c_uint::MAX, flags)
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!("cannot keep descriptors from commands: {error}");
    }
}

#[expect(
    unsafe_code,
    reason = "tokio offers no safe way to wait for a descriptor"
)]
fn register(exit: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and
    // nobody else closes it.
    Ok(unsafe { AsyncFd::register_with_interest(exit, Interest::READABLE) }?)
}

/// A process that was not waited for: its number, and that of its group, are
/// nobody else's.
struct Running {
    child: Child,
    /// Readable when it has ended.
    exit: Option<AsyncFd<OwnedFd>>,
    is_reaped: bool,
    /// `None` when all is read.
    output: Option<pipe::Receiver>,
    tail: Tail,
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads what it prints until it ends; whether it did so in time.
    async fn ends_within(&mut self, patience: Duration) -> bool {
        let Self {
            exit, output, tail, ..
        } = self;
        let ended = async {
            match exit {
                Some(exit) => exit.readable().await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            biased;
            is_gone = ended => is_gone,
            () = tail.read(output) => false,
            () = tokio::time::sleep(patience) => false,
        }
    }

    async fn gone(&mut self) {
        if let Some(exit) = &self.exit {
            // It fails only with a runtime that ends.
            let _ = exit.readable().await;
        }
    }

    /// To every process of its group.
    fn signal(&self, signal: Signal) {
        if !self.is_reaped {
            // None may be left, or one that has other rights.
            let _ = kill_process_group(self.pid(), signal);
        }
    }

    /// Asks how it ended; it has.
    fn reap(&mut self) -> How {
        self.is_reaped = true;
        match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => How::Exited(code),
                (None, Some(signal)) => How::Killed(signal),
                (None, None) => How::NotStarted(format!("it ended in an unknown way: {status}")),
            },
            Err(error) => How::NotStarted(format!("its end is not known: {error}")),
        }
    }

    fn said(&mut self) -> String {
        self.tail.read_rest(&mut self.output);
        self.tail.last_line()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.signal(Signal::KILL);
            // Not waited for: it may be one that cannot be killed. Whoever drops
            // it ends soon.
            let _ = self.child.try_wait();
        }
    }
}

#[cfg(test)]
mod tests;
