//! The kernel's IPv4 settings of one interface, under `/proc/sys`.
//!
//! Who changes one keeps what `set` returns, and gives it to `restore`.

use std::path::{Path, PathBuf};
use std::{fs, io};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}; does the interface exist", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {value:?} to {}; vipd needs CAP_NET_ADMIN, and /proc/sys/net must be writable", path.display())]
    Write {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
}

/// What `net.ipv4.conf.INTERFACE.NAME` is.
pub fn get(interface: &str, name: &str) -> Result<String, Error> {
    read(&Path::new(IPV4_CONF).join(interface).join(name))
}

/// Sets `net.ipv4.conf.INTERFACE.NAME` and returns what it was.
pub fn set(interface: &str, name: &str, value: &str) -> Result<String, Error> {
    set_in(Path::new(IPV4_CONF), interface, name, value)
}

/// Sets it to what `set` returned. An interface that is gone took its setting
/// with it, which is as good.
pub fn restore(interface: &str, name: &str, value: &str) -> Result<(), Error> {
    match set(interface, name, value) {
        Ok(_) => Ok(()),
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn set_in(directory: &Path, interface: &str, name: &str, value: &str) -> Result<String, Error> {
    // The dots of a name stand as they are here; only sysctl(8) swaps them for
    // slashes. Neither '/' nor '..' can be a part of an interface's name.
    let path = directory.join(interface).join(name);
    let old = read(&path)?;
    if old != value
        && let Err(source) = fs::write(&path, value)
    {
        return Err(Error::Write {
            path,
            value: value.to_owned(),
            source,
        });
    }
    Ok(old)
}

fn read(path: &Path) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(value) => Ok(value.trim_end().to_owned()),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

const IPV4_CONF: &str = "/proc/sys/net/ipv4/conf";

#[cfg(test)]
mod tests;
