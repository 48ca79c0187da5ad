//! The control socket: the server in the daemon and the client in the command.
//!
//! It speaks Varlink (<https://varlink.org>): JSON objects, each ended by a NUL. A call
//! is `{"method":"org.vipd.Status","parameters":{}}`; its answer is
//! `{"parameters":{}}` or `{"error":"org.vipd.NotFound","parameters":{}}`, and with
//! `"more":true` there may be several, all but the last with `"continues":true`.
//! `org.varlink.service.GetInterfaceDescription` tells the methods, from
//! `org.vipd.varlink` beside this file. What a method means is decided in the
//! daemon's loop.
//!
//! Whoever can connect may read: the socket has mode 0660 and the daemon's group.
//! Who may change is decided per call, by what the kernel says of the peer.
//!
//! The server has a thread of its own. A client that floods, stalls or dies costs its
//! own connection and nothing else.
//!
//! The server's framing is its own and not that of `zlink`, the Varlink library, which
//! was tried (0.8.0) and is what the tests hold this server to, as a client. In a daemon
//! that must not fail, its server takes too much on trust: a message may have 100 MB,
//! with no way to set less; nothing has a time limit, so that who does not read holds
//! its place for ever; descriptors that a client sends are taken; while a stream is
//! under way nobody notices that its reader has left; and a malformed call is
//! answered with silence. Each can be mended from outside only by replacing its socket
//! and its loop, and then a page of framing is all that is left of it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fs::Mode;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

mod access;
mod client;
mod follow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod interface;
mod server;

pub use access::{Access, Peer};
pub use client::{ClientError, Follower, call, follow};
pub use follow::Subscription;
pub use interface::DESCRIPTION;

use follow::Published;

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
/// daemon did not. Who may not call the method was refused before.
#[derive(Debug)]
pub struct Request {
    /// One of [`DESCRIPTION`], with the interface's name before it.
    pub method: String,
    /// An object, empty if the client sent none.
    pub parameters: Value,
    pub peer: Peer,
    pub reply: oneshot::Sender<Reply>,
}

/// What is answered, or the name of an error and its parameters.
pub type Reply = Result<Answer, (String, Value)>;

#[derive(Debug)]
pub enum Answer {
    /// An object.
    Once(Value),
    /// The first of many, and where the others come from. Only for a method that the
    /// description says is called with `more`.
    Follow { first: Value, then: Subscription },
}

impl From<Value> for Answer {
    fn from(parameters: Value) -> Self {
        Self::Once(parameters)
    }
}

/// The server. Dropping it disconnects all clients and removes the socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Device and inode of the socket, by which it is known to be ours.
    identity: Option<(u64, u64)>,
    access: watch::Sender<Access>,
    /// `None` only while it is dropped.
    events: Option<broadcast::Sender<Arc<Published>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    /// Listens at `path`, with mode 0660. A missing directory is made, with
    /// mode 0755; a socket nobody answers at is removed.
    pub fn bind(path: &Path, access: Access) -> Result<(Self, mpsc::Receiver<Request>), Error> {
        prepare(path)?;
        let listener = listen(path)?;
        let identity = identity(path);

        let (requests, requests_rx) = mpsc::channel(server::CLIENTS);
        let (access, access_rx) = watch::channel(access);
        let (events, _) = broadcast::channel(follow::QUEUE);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Thread { source })?;
        let service = Arc::new(server::Service::new(requests, access_rx));
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || runtime.block_on(server::serve(listener, service, stopped)))
            .map_err(|source| Error::Thread { source })?;
        let control = Self {
            path: path.to_owned(),
            identity,
            access,
            events: Some(events),
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((control, requests_rx))
    }

    /// Who may change things, from now on.
    pub fn allow(&self, access: Access) {
        self.access.send_replace(access);
    }

    /// Tells all that follow. Never blocks: whoever reads too slowly is cut off. The
    /// event is an object; without a group it is for everybody.
    pub fn publish(&self, group: Option<&str>, event: impl FnOnce() -> Value) {
        if let Some(events) = &self.events
            && events.receiver_count() > 0
        {
            let published = Published {
                group: group.map(str::to_owned),
                event: event(),
            };
            // They may leave at any time.
            let _ = events.send(Arc::new(published));
        }
    }

    /// What is published from now on, of all groups or of one.
    pub fn subscribe(&self, group: Option<String>) -> Subscription {
        Subscription::new(self.events.as_ref(), group)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Best effort: a socket left behind is recognised as stale.
            let _ = fs::remove_file(&self.path);
        }
        // Whoever follows is told the rest, as far as he reads it.
        drop(self.events.take());
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
