//! Running other programs and saying so: what is about to run, how it goes,
//! and on failure the exact command.

use std::{
    collections::VecDeque,
    env, fs,
    io::{BufRead, BufReader, IsTerminal, Read, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Announces a step of a task.
pub(crate) fn step(text: &str) {
    println!("==> {text}");
    // A pipe buffers whole blocks, and what the child prints must come after.
    let _ = std::io::stdout().flush();
}

/// A line below a step.
pub(crate) fn note(text: &str) {
    println!("    {text}");
    let _ = std::io::stdout().flush();
}

/// Runs a command with its output shown as it comes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    note(&format!("$ {}", shown(command)));
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    ended(command, status)
}

/// What a command that says little prints on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}`: {}: {}",
            shown(command),
            output.status,
            said.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command runs and succeeds; what it prints is of no interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command that prints more than anyone reads. Shown are the command, a
/// sign of life every [`SIGN_OF_LIFE`], and after a failure its last lines.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    note(&format!("$ {}", shown(command)));
    let watch = Stopwatch::start();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    let mut last = VecDeque::new();
    let mut told = watch.elapsed();
    let lines = lines_of(&mut child);
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if watch.elapsed() - told >= SIGN_OF_LIFE {
            told = watch.elapsed();
            let line = last.back().map_or("", String::as_str);
            note(&format!("  {} s: {line}", told.as_secs()));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        for line in &last {
            note(&format!("| {line}"));
        }
    }
    ended(command, status)
}

/// Runs a command, shows its standard output and hands each line of it on.
pub(crate) fn run_reading(command: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    note(&format!("$ {}", shown(command)));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            each(&line);
        }
    }
    Ok(child.wait()?)
}

/// A command as one would type it, with the environment set for it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        // The search path and cargo's encoded flags are long and say nothing.
        let name = name.to_string_lossy();
        if let Some(value) = value
            && name != "PATH"
            && name != "LD_LIBRARY_PATH"
            && name != "CARGO_ENCODED_RUSTFLAGS"
        {
            words.push(format!("{name}={}", quoted(&value.to_string_lossy())));
        }
    }
    let program = command.get_program().to_string_lossy();
    let program = if Some(command.get_program()) == env::var_os("CARGO").as_deref() {
        "cargo".into()
    } else {
        program
    };
    words.push(quoted(&program));
    words.extend(
        command
            .get_args()
            .map(|word| quoted(&word.to_string_lossy())),
    );
    words.join(" ")
}

/// The root of the workspace. Cargo says where the package is that it runs.
pub(crate) fn workspace() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

/// Where cargo puts what it builds here: the directory that holds this very program.
pub(crate) fn debug_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot find this program's own path")?;
    Ok(program.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// The directory for everything that is built.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let debug = debug_dir()?;
    Ok(debug.parent().map(Path::to_path_buf).unwrap_or(debug))
}

/// What rustc calls the machine it runs on: `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// The cargo that runs this task, in the workspace's root.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(words);
    for (name, _) in env::vars_os() {
        // What cargo told *this* package would make others rebuild for nothing.
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Programs that are installed for this workspace alone.
pub(crate) fn tools_dir() -> PathBuf {
    workspace().join("target/tools")
}

/// Looks for a program in the search path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        // Users' paths often lack these, where `tcpdump` and `ucarp` are.
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// How this process may get root's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    Root,
    /// `sudo` works without a password.
    Sudo,
    /// `sudo` is there and somebody to ask for the password.
    SudoAsks,
    None,
}

impl Privilege {
    pub(crate) fn find() -> Self {
        if is_root() {
            Self::Root
        } else if which("sudo").is_none() {
            Self::None
        } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
            Self::Sudo
        } else if std::io::stdin().is_terminal() {
            Self::SudoAsks
        } else {
            Self::None
        }
    }

    /// A command that runs with root's rights, with this environment.
    pub(crate) fn command(self, environment: &[(&str, &str)], program: &str) -> Command {
        match self {
            Self::Root | Self::None => {
                let mut command = Command::new(program);
                command.envs(environment.iter().copied());
                command
            }
            Self::Sudo | Self::SudoAsks => {
                // sudo drops the environment, and `-E` may be forbidden.
                let mut command = Command::new("sudo");
                command.arg("env");
                command.args(
                    environment
                        .iter()
                        .map(|(name, value)| format!("{name}={value}")),
                );
                command.arg(program);
                command
            }
        }
    }
}

fn is_root() -> bool {
    // The files of a process belong to its effective user.
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The seconds that a step took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "tells people how long a step took"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

fn ended(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}`: {status}", shown(command));
    }
    Ok(())
}

fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        send_lines(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        send_lines(stderr, sender);
    }
    receiver
}

fn send_lines(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if to
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Between two signs of life of a command whose output is not shown.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Lines of a failed command's output that are shown.
const LAST_LINES: usize = 30;
