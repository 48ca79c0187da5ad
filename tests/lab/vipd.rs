//! vipd itself, the binary.

use std::env;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, Host, run, wait_until};

/// What one group is told on the command line.
#[derive(Clone, Debug)]
pub struct VipdOptions {
    pub vips: Vec<Ipv4Addr>,
    pub vhid: u8,
    pub password: String,
    /// Seconds.
    pub advbase: u8,
    /// 1/256 seconds.
    pub advskew: u8,
    pub deadratio: u8,
    /// `-P`
    pub preempt: bool,
    /// `--addresses`
    pub addresses: &'static str,
    /// `--keep-on-exit`
    pub keep_on_exit: bool,
    /// `--realtime`
    pub realtime: bool,
    /// `--auth`; the default if `None`.
    pub auth: Option<&'static str>,
    /// `--key`: number and password.
    pub keys: Vec<(u8, String)>,
    /// `--sign-with`
    pub sign_with: Option<u8>,
}

impl VipdOptions {
    /// An advertisement each second, and three of silence.
    pub fn new(vip: Ipv4Addr) -> Self {
        Self {
            vips: vec![vip],
            vhid: 42,
            password: "secret".to_owned(),
            advbase: 1,
            advskew: 0,
            deadratio: 3,
            preempt: false,
            addresses: "interface",
            keep_on_exit: false,
            realtime: false,
            auth: None,
            keys: Vec::new(),
            sign_with: None,
        }
    }

    /// The arguments of `vipd`. Writes the passwords to files of the host.
    pub fn arguments(&self, host: &Host) -> Vec<String> {
        let write = |name: String, password: &str| {
            let path = host.directory().join(name);
            fs::write(&path, format!("{password}\n")).expect("cannot write a password");
            path
        };
        let passfile = write("password".to_owned(), &self.password);
        let vips: Vec<String> = self.vips.iter().map(ToString::to_string).collect();
        let mut arguments = vec![
            "run".to_owned(),
            "--interface=eth0".to_owned(),
            format!("--vhid={}", self.vhid),
            format!("--addr={}", vips.join(",")),
            format!("--passfile={}", passfile.display()),
            format!("--advbase={}", self.advbase),
            format!("--advskew={}", self.advskew),
            format!("--deadratio={}", self.deadratio),
            format!("--addresses={}", self.addresses),
        ];
        if self.preempt {
            arguments.push("--preempt".to_owned());
        }
        if self.keep_on_exit {
            arguments.push("--keep-on-exit".to_owned());
        }
        if self.realtime {
            arguments.push("--realtime".to_owned());
        }
        arguments.extend(self.auth.map(|auth| format!("--auth={auth}")));
        for (id, password) in &self.keys {
            let path = write(format!("password-{id}"), password);
            arguments.push(format!("--key={id}={}", path.display()));
        }
        arguments.extend(self.sign_with.map(|id| format!("--sign-with={id}")));
        arguments
    }
}

/// A daemon with a socket, pins and state of its host's own: they are the same
/// for the next daemon on that host.
pub struct Vipd {
    daemon: Daemon,
    host: Host,
}

impl Vipd {
    /// `arguments` begin with the subcommand, which is `run`.
    pub fn spawn(host: &Host, arguments: &[&str]) -> Self {
        let mut command = Self::command_on(host, arguments);
        let daemon = Daemon::spawn(&format!("vipd on {}", host.name()), &mut command);
        Self {
            daemon,
            host: host.clone(),
        }
    }

    /// Starts one with a group on `eth0`, and waits until it takes part.
    pub fn start(host: &Host, options: &VipdOptions) -> Self {
        let arguments = options.arguments(host);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let vipd = Self::spawn(host, &arguments);
        vipd.wait_for_log("ready", START);
        vipd
    }

    /// A daemon that a command starts, which has the paths of the host.
    pub fn from_command(host: &Host, command: &mut Command) -> Self {
        Self {
            daemon: Daemon::spawn(&format!("vipd on {}", host.name()), command),
            host: host.clone(),
        }
    }

    /// A vipd command on a host, with the paths of that host.
    pub fn command_on(host: &Host, arguments: &[&str]) -> Command {
        let mut command = host.command(vipd_program());
        command.args(arguments);
        command
            .arg("--socket")
            .arg(host.directory().join("vipd.sock"));
        command.arg("--bpffs").arg(host.bpffs());
        command
            .arg("--state-dir")
            .arg(host.directory().join("state"));
        command
    }

    /// A vipd command of a host for the user "nobody", with some capabilities
    /// (`bpf`, `net_raw`) and no others. The host's directory is opened to him.
    pub fn as_nobody(host: &Host, capabilities: &[&str], command: &Command) -> Command {
        let everybody = Permissions::from_mode(0o755);
        for directory in host.directory().ancestors().take(2) {
            fs::set_permissions(directory, everybody.clone()).expect("it is ours");
        }
        // What was built may lie where he cannot go.
        let program = host.directory().join("vipd");
        if !program.exists() {
            // Not by this process: a child that another thread forks meanwhile
            // would hold the file open for writing, and nobody could execute it.
            run(Command::new("cp").arg(vipd_program()).arg(&program));
        }
        let capabilities = capabilities.iter().map(|name| format!(",+{name}"));
        let capabilities = format!("-all{}", capabilities.collect::<String>());
        let mut unprivileged = host.command("setpriv");
        unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        for set in ["inh-caps", "ambient-caps", "bounding-set"] {
            unprivileged.arg(format!("--{set}={capabilities}"));
        }
        // The command's own words are: the lab's, "--", the program, the rest.
        let arguments = command.get_args().skip_while(|word| *word != "--").skip(2);
        unprivileged.arg("--").arg(program).args(arguments);
        unprivileged
    }

    /// A vipd command beside this daemon, such as `["demote", "eth0-42"]`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        Self::command_on(&self.host, arguments)
    }

    /// `vipd status --json`; `None` if it fails, as it does until the daemon is
    /// there.
    pub fn status(&self) -> Option<Value> {
        let output = self
            .command(&["status", "--json"])
            .output()
            .expect("vipd can be started");
        if !output.status.success() {
            return None;
        }
        Some(serde_json::from_slice(&output.stdout).expect("status is JSON"))
    }

    /// What the status says of the only group, or of the first.
    pub fn group(&self) -> Value {
        self.status().expect("the daemon answers")["groups"][0].clone()
    }

    /// What the status says of the only interface, or of the first.
    pub fn interface(&self) -> Value {
        self.status().expect("the daemon answers")["interfaces"][0].clone()
    }

    pub fn role(&self) -> String {
        let group = self.group();
        group["role"].as_str().expect("a role is text").to_owned()
    }

    /// A counter of the group; of the interface if the group has none such.
    pub fn counter(&self, name: &str) -> u64 {
        let status = self.status().expect("the daemon answers");
        let counter = |part: &str| status[part][0]["counters"][name].as_u64();
        counter("groups")
            .or_else(|| counter("interfaces"))
            .unwrap_or_else(|| panic!("there is no counter {name} in {status}"))
    }

    /// Waits until the first group is master with all that follows: addresses,
    /// lease and announcement come after the role.
    pub fn wait_for_lease(&self, timeout: Duration) {
        let what = format!("{} answers", self.host.name());
        wait_until(&what, timeout, || {
            self.status()?["groups"][0]["owner_mac"].as_str().map(drop)
        });
    }

    /// Waits until the first group has this role.
    pub fn wait_for_role(&self, role: &str, timeout: Duration) {
        let what = format!("{} is {role}", self.host.name());
        wait_until(&what, timeout, || {
            let status = self.status()?;
            (status["groups"][0]["role"] == role).then_some(())
        });
    }
}

impl Deref for Vipd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Vipd {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// The program `vipd`: what `VIPD_BIN` says, or what was built with this test,
/// which lies one directory above `deps`.
pub fn vipd_program() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = env::var_os("VIPD_BIN") {
        return path.into();
    }
    BINARY.get_or_init(find_binary).clone()
}

fn find_binary() -> PathBuf {
    let test = env::current_exe().expect("a test knows its path");
    let built = test
        .ancestors()
        .skip(1)
        .map(|directory| directory.join("vipd"))
        .find(|path| path.is_file());
    let built = built.unwrap_or_else(|| {
        panic!(
            "no vipd above {}: build it, or set VIPD_BIN",
            test.display()
        )
    });
    if let Some(source) = newer_source(&built, &built) {
        panic!("{source} is newer than {}: build it", built.display());
    }
    built
}

/// A source file of some program that changed since `built` was. `cargo test`
/// builds the tests anew but not the programs of other packages.
pub fn newer_source(built: &Path, program: &Path) -> Option<String> {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    // `program: source source ...`, as cargo writes it for make, and rustc with
    // paths within the workspace.
    let sources = fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = sources.split_once(": ")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = changed(built)?;
    let is_newer = |source: &&str| changed(&workspace.join(source)).is_some_and(|at| at > built);
    let newer = sources.split_ascii_whitespace().find(is_newer);
    newer.map(str::to_owned)
}

/// How long a start may take.
const START: Duration = Duration::from_secs(30);
