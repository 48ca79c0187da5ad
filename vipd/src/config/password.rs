//! Password files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::carp::{Key, KeyError};

/// A password, and whose secret it is.
pub(super) struct Password {
    pub(super) key: Key,
    pub(super) path: PathBuf,
    /// Others than the owner of the file can read it.
    pub(super) is_exposed: bool,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read the password file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the password file {} is of no use: {source}", path.display())]
    Password { path: PathBuf, source: KeyError },
    #[error("everybody may write the password file {}", path.display())]
    Writable { path: PathBuf },
}

impl Error {
    /// What to do.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "expected a file whose first line is the password",
            Self::Password { .. } => "expected a first line of 1 to 19 bytes",
            Self::Writable { .. } => "use 'chmod 600' and another password",
        }
    }
}

/// Reads a password. A name without a directory is looked for among the service's
/// credentials first (systemd.exec(5), `LoadCredential=`).
pub(super) fn read(path: &Path) -> Result<Password, Error> {
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
    let (mode, content) = match content(&path) {
        Ok(content) => content,
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    if mode & 0o002 != 0 {
        return Err(Error::Writable { path });
    }
    match Key::from_passfile(&content) {
        Ok(key) => Ok(Password {
            key,
            path,
            is_exposed: mode & 0o077 != 0,
        }),
        Err(source) => Err(Error::Password { path, source }),
    }
}

fn content(path: &Path) -> io::Result<(u32, Zeroizing<Vec<u8>>)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    // All in one allocation: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MOST + 1));
    file.take(MOST as u64).read_to_end(&mut content)?;
    Ok((mode, content))
}

/// Bytes that are read: as many as UCARP looks at.
const MOST: usize = 511;
