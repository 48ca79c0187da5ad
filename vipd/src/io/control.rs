//! The control socket: the server in the daemon and the client in the command.
//!
//! The bytes are Varlink's: JSON objects, each ended by a NUL. A call is
//! `{"method":"org.vipd.Status","parameters":{}}`; its answer is
//! `{"parameters":{}}` or `{"error":"org.vipd.NotFound","parameters":{}}`.
//! What a method means is decided in the daemon's loop. The socket has neither
//! Varlink's introspection nor answers of more than one part.
//!
//! The server has a thread of its own. A client that floods, stalls or dies
//! costs its own connection and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::Mode;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::sync::{mpsc, oneshot};

mod client;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod server;

pub use client::{ClientError, call};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("another daemon answers at {}; stop it, or choose another path with --socket", path.display())]
    InUse { path: PathBuf },
    #[error("{} is no socket; move it away, or choose another path with --socket", path.display())]
    NoSocket { path: PathBuf },
    #[error("cannot {operation} {}", path.display())]
    Path {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot start a thread for the control socket")]
    Thread { source: io::Error },
}

/// One call, to be answered once. A reply that is dropped answers that the
/// daemon did not.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    /// An object, empty if the client sent none.
    pub parameters: Value,
    pub reply: oneshot::Sender<Reply>,
}

/// The parameters of the answer, or the name of an error and its parameters.
pub type Reply = Result<Value, (String, Value)>;

/// The server. Dropping it disconnects all clients and removes the socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Device and inode of the socket, by which it is known to be ours.
    identity: Option<(u64, u64)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    /// Listens at `path`, with mode 0660. A missing directory is made, with
    /// mode 0755; a socket nobody answers at is removed.
    pub fn bind(path: &Path) -> Result<(Self, mpsc::Receiver<Request>), Error> {
        prepare(path)?;
        let listener = listen(path)?;
        let identity = identity(path);

        let (requests, requests_rx) = mpsc::channel(server::CLIENTS);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Thread { source })?;
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = server::serve(listener, requests) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(|source| Error::Thread { source })?;
        let control = Self {
            path: path.to_owned(),
            identity,
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((control, requests_rx))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Best effort: a socket left behind is recognised as stale.
            let _ = fs::remove_file(&self.path);
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes room for a socket at `path`, unless somebody lives there.
fn prepare(path: &Path) -> Result<(), Error> {
    let failed = |operation| {
        move |source| Error::Path {
            operation,
            path: path.to_owned(),
            source,
        }
    };

    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(failed("make the directory of"))?;
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("look at")(source)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NoSocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }

    let address = SockAddr::unix(path).map_err(failed("use the path"))?;
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
        .map_err(failed("connect to"))?;
    match probe.connect(&address) {
        // `WouldBlock`: its queue is full, as of a daemon that is stopped.
        Ok(()) => Err(Error::InUse {
            path: path.to_owned(),
        }),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Error::InUse {
            path: path.to_owned(),
        }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(failed("connect to")(source)),
    }
}

fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |operation| {
        move |source| Error::Path {
            operation,
            path: path.to_owned(),
            source,
        }
    };

    let address = SockAddr::unix(path).map_err(failed("use the path"))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
        .map_err(failed("open a socket for"))?;
    // On Linux the file inherits the mode of the unbound socket, less the
    // umask: there is no moment in which others may connect. What the umask
    // took from the group is given back afterwards.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))
        .map_err(|e| failed("set the mode of")(e.into()))?;
    socket.bind(&address).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            Error::InUse {
                path: path.to_owned(),
            }
        } else {
            failed("bind")(source)
        }
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("set the mode of"))?;
    socket.listen(BACKLOG).map_err(failed("listen at"))?;
    Ok(UnixListener::from(std::os::fd::OwnedFd::from(socket)))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// The group may ask; what it may change is decided per call.
const SOCKET_MODE: u32 = 0o660;

/// Connections that may wait to be accepted; beyond that, connecting waits.
const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests;
