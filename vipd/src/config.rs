//! What an operator asks for, checked: the only place that may say "invalid".
//! Everything past it believes.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::carp::timers::Timing;
use crate::carp::{Key, KeyError, KeyId, Keyring, KeyringError, Policy, Vhid};
use crate::engine::{self, Auth, GroupConfig, InterfaceId, Placement};
use crate::io::xdp;
use crate::time::Duration;

mod service;

pub use service::{
    CheckConfig, FailEffect, GroupExtras, HookArguments, HookConfig, HookEvent, Probe, TrackConfig,
};

/// A whole configuration.
pub struct Config {
    pub engine: engine::Config,
    /// What surrounds each of the engine's groups, in their order.
    pub extras: Vec<GroupExtras>,
    /// How to attach the responder, for each of the engine's interfaces.
    pub xdp_modes: Vec<xdp::Mode>,
    pub process: Process,
    /// Where metrics are served; nowhere if not given.
    pub metrics: Option<SocketAddr>,
    /// The group whose members may change things by the control socket, besides
    /// root and the daemon's user.
    pub admin_group: Option<String>,
    /// Password files that others than their owner can read.
    pub exposed: Vec<PathBuf>,
}

/// How the daemon runs and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Whether the election gets real-time priority and locked memory.
    pub realtime: bool,
    /// Whether a stop leaves everything in place for a daemon that is started
    /// next: responder, leases and addresses.
    pub keep_on_exit: bool,
}

/// Where the daemon keeps things on the host.
#[derive(Clone, Debug)]
pub struct Paths {
    pub socket: PathBuf,
    pub bpffs: PathBuf,
    pub state_dir: PathBuf,
}

/// One group, as flags describe it.
#[derive(Clone, Debug)]
pub struct GroupFlags {
    pub interface: String,
    pub vhid: u8,
    pub vips: Vec<Ipv4Addr>,
    pub passfile: PathBuf,
    /// More passwords; that of `passfile` has id 0.
    pub keys: Vec<(u8, PathBuf)>,
    pub signs_with: u8,
    pub auth: Policy,
    pub source: Option<Ipv4Addr>,
    pub advbase: u8,
    pub advskew: u8,
    pub dead_ratio: u8,
    pub preempt: bool,
    pub placement: Placement,
    pub xdp_mode: xdp::Mode,
    pub process: Process,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("vhid 0 does not exist: it is 1 to 255")]
    Vhid,
    #[error("no virtual address is given (-a)")]
    NoVip,
    #[error("{0} is given twice as a virtual address (-a)")]
    DuplicateVip(Ipv4Addr),
    #[error("{0} cannot be a virtual address: it is {1}")]
    UnusableVip(Ipv4Addr, &'static str),
    #[error("the source address (-s) {0} is one of the virtual addresses (-a)")]
    SourceIsVip(Ipv4Addr),
    #[error("{0} cannot be a source address (-s): it is {1}")]
    UnusableSource(Ipv4Addr, &'static str),
    #[error("cannot read the password file {}", path.display())]
    Passfile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the password file {} is of no use: {source}", path.display())]
    Password { path: PathBuf, source: KeyError },
    #[error(
        "everybody may write the password file {}: use 'chmod 600' and another password",
        path.display()
    )]
    Writable { path: PathBuf },
    #[error(
        "the passwords do not go together: {0} (-o is key 0, --key gives more, --sign-with chooses)"
    )]
    Keyring(#[from] KeyringError),
}

impl Config {
    /// Groups with nothing around them, and a daemon with its defaults.
    pub fn new(engine: engine::Config, xdp_modes: Vec<xdp::Mode>) -> Self {
        Self {
            extras: vec![GroupExtras::default(); engine.groups.len()],
            engine,
            xdp_modes,
            process: Process::default(),
            metrics: None,
            admin_group: None,
            exposed: Vec::new(),
        }
    }

    /// A configuration of one group, named after its interface and vhid.
    pub fn from_flags(flags: &GroupFlags) -> Result<Self, ConfigError> {
        let mut exposed = Vec::new();
        let auth = Auth {
            keys: read_keyring(flags, &mut exposed)?,
            policy: flags.auth,
            signers: Vec::new(),
        };
        let group = GroupConfig {
            name: format!("{}-{}", flags.interface, flags.vhid),
            interface: InterfaceId(0),
            vhid: Vhid::new(flags.vhid).ok_or(ConfigError::Vhid)?,
            vips: check_vips(&flags.vips)?,
            source: check_source(flags.source, &flags.vips)?,
            auth,
            timing: Timing {
                interval: crate::carp::Interval::new(flags.advbase, flags.advskew),
                dead_ratio: flags.dead_ratio,
            },
            preempt: flags.preempt,
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            tie: None,
            placement: flags.placement,
        };
        let engine = engine::Config {
            interfaces: vec![flags.interface.clone()],
            groups: vec![group],
        };
        Ok(Self {
            process: flags.process,
            exposed,
            ..Self::new(engine, vec![flags.xdp_mode])
        })
    }
}

fn check_vips(vips: &[Ipv4Addr]) -> Result<Vec<Ipv4Addr>, ConfigError> {
    if vips.is_empty() {
        return Err(ConfigError::NoVip);
    }
    for (index, vip) in vips.iter().enumerate() {
        if let Some(what) = why_unusable(*vip) {
            return Err(ConfigError::UnusableVip(*vip, what));
        }
        if vips[..index].contains(vip) {
            return Err(ConfigError::DuplicateVip(*vip));
        }
    }
    Ok(vips.to_vec())
}

fn check_source(
    source: Option<Ipv4Addr>,
    vips: &[Ipv4Addr],
) -> Result<Option<Ipv4Addr>, ConfigError> {
    match source {
        Some(source) if vips.contains(&source) => Err(ConfigError::SourceIsVip(source)),
        Some(source) => match why_unusable(source) {
            Some(what) => Err(ConfigError::UnusableSource(source, what)),
            None => Ok(Some(source)),
        },
        None => Ok(None),
    }
}

/// Addresses that no host on a LAN can have (RFC 6890).
fn why_unusable(address: Ipv4Addr) -> Option<&'static str> {
    if address.octets()[0] == 0 {
        Some("no host's address (0.0.0.0/8)")
    } else if address.is_loopback() {
        Some("a loopback address (127.0.0.0/8)")
    } else if address.octets()[0] >= 224 {
        Some("a multicast, reserved or broadcast address (224.0.0.0 and above)")
    } else {
        None
    }
}

fn read_keyring(flags: &GroupFlags, exposed: &mut Vec<PathBuf>) -> Result<Keyring, ConfigError> {
    let mut keys = vec![(KeyId(0), read_key(&flags.passfile, exposed)?)];
    for (id, path) in &flags.keys {
        keys.push((KeyId(*id), read_key(path, exposed)?));
    }
    Ok(Keyring::new(keys, KeyId(flags.signs_with))?)
}

/// Reads a password. A name without a directory is looked for among the service's
/// credentials first (systemd.exec(5), `LoadCredential=`).
fn read_key(path: &Path, exposed: &mut Vec<PathBuf>) -> Result<Key, ConfigError> {
    let path = match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) if path.components().count() == 1 => {
            let credential = Path::new(&directory).join(path);
            if credential.exists() {
                credential
            } else {
                path.to_owned()
            }
        }
        _ => path.to_owned(),
    };
    let read = |path: &Path| {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut content = Zeroizing::new(Vec::new());
        file.read_to_end(&mut content)?;
        Ok((mode, content))
    };
    let (mode, content) = read(&path).map_err(|source| ConfigError::Passfile {
        path: path.clone(),
        source,
    })?;
    if mode & 0o002 != 0 {
        return Err(ConfigError::Writable { path });
    }
    let key = Key::from_passfile(&content).map_err(|source| ConfigError::Password {
        path: path.clone(),
        source,
    })?;
    if mode & 0o077 != 0 {
        exposed.push(path);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn flags(passfile: &tempfile::NamedTempFile) -> GroupFlags {
        GroupFlags {
            interface: "eth0".to_owned(),
            vhid: 42,
            vips: vec![Ipv4Addr::new(10, 99, 0, 100)],
            passfile: passfile.path().to_owned(),
            keys: Vec::new(),
            signs_with: 0,
            auth: Policy::Send,
            source: None,
            advbase: 1,
            advskew: 0,
            dead_ratio: 3,
            preempt: false,
            placement: Placement::Interface,
            xdp_mode: xdp::Mode::Auto,
            process: Process::default(),
        }
    }

    fn passfile(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn complaint(flags: &GroupFlags) -> String {
        Config::from_flags(flags)
            .err()
            .expect("refused")
            .to_string()
    }

    #[test]
    fn a_group_from_flags_is_named_after_interface_and_vhid() {
        let file = passfile("secret\n");
        let config = Config::from_flags(&flags(&file)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.engine.groups[0].name, "eth0-42");
    }

    #[test]
    fn a_password_that_others_can_read_is_told_and_one_that_they_can_write_refused() {
        let file = passfile("secret\n");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).unwrap();
        };
        for (bits, is_exposed) in [(0o600, false), (0o400, false), (0o644, true), (0o660, true)] {
            mode(bits);
            let config = Config::from_flags(&flags(&file)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(!config.exposed.is_empty(), is_exposed, "{bits:o}");
        }
        mode(0o606);
        let said = complaint(&flags(&file));
        assert!(said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn several_passwords_go_by_their_numbers() {
        let (first, second) = (passfile("one\n"), passfile("two\n"));
        let with = |keys: &[u8], signs_with| GroupFlags {
            keys: keys
                .iter()
                .map(|id| (*id, second.path().to_owned()))
                .collect(),
            signs_with,
            ..flags(&first)
        };
        let config = Config::from_flags(&with(&[7], 7)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.engine.groups[0].auth.keys.signs_with(), KeyId(7));
        assert!(complaint(&with(&[7, 7], 7)).contains("key 7 is given twice"));
        assert!(complaint(&with(&[7], 8)).contains("no key 8"));
        assert!(complaint(&with(&[0], 0)).contains("key 0 is given twice"));
    }

    #[test]
    fn every_refusal_names_the_value_and_what_is_wrong_with_it() {
        let file = passfile("secret\n");
        let good = flags(&file);
        let vips = |vips: &[[u8; 4]]| GroupFlags {
            vips: vips.iter().map(|octets| Ipv4Addr::from(*octets)).collect(),
            ..good.clone()
        };
        let (empty, long) = (passfile(""), passfile("twenty-bytes-exactly"));
        let with_file = |file: &tempfile::NamedTempFile| flags(file);
        let cases = [
            (
                GroupFlags {
                    vhid: 0,
                    ..good.clone()
                },
                "1 to 255",
            ),
            (vips(&[]), "no virtual address"),
            (
                vips(&[[10, 0, 0, 1], [10, 0, 0, 1]]),
                "10.0.0.1 is given twice",
            ),
            (vips(&[[0, 0, 0, 0]]), "0.0.0.0 cannot"),
            (vips(&[[127, 0, 0, 1]]), "loopback"),
            (vips(&[[224, 0, 0, 18]]), "multicast"),
            (vips(&[[255, 255, 255, 255]]), "broadcast"),
            (
                GroupFlags {
                    source: Some(Ipv4Addr::new(10, 99, 0, 100)),
                    ..good.clone()
                },
                "is one of the virtual addresses",
            ),
            (
                GroupFlags {
                    passfile: "/nonexistent/pass".into(),
                    ..good.clone()
                },
                "/nonexistent",
            ),
            (with_file(&empty), "empty"),
            (with_file(&long), "20 bytes"),
        ];
        for (flags, expected) in cases {
            let said = complaint(&flags);
            assert!(
                said.contains(expected),
                "{said:?} does not say {expected:?}"
            );
        }
    }
}
