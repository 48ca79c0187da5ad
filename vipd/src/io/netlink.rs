//! Links and addresses of this host: what they are, when they change, and the
//! few changes vipd makes itself.
//!
//! It runs on a thread of its own. The kernel performs a netlink request inside
//! the `send`, under a lock that other programs may hold for long, and no
//! election may wait for that.
//!
//! Names are kept apart from indices: an interface that is deleted and made
//! anew has its old name and a new index.

use std::net::Ipv4Addr;
use std::time::Duration;
use std::{io, thread};

use rtnetlink::Handle;
use tokio::sync::{mpsc, oneshot, watch};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod monitor;
mod request;
mod table;
mod wire;

/// What can go wrong with netlink as a whole. A failed request is no error
/// here: it comes as `Event::Done`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no interface {interface}; 'ip link' lists those there are")]
    NoInterface { interface: String },
    #[error("cannot ask the kernel about {interface}: {reason}")]
    Lookup { interface: String, reason: String },
    #[error("cannot ask the kernel for its interfaces: {reason}")]
    Survey { reason: String },
    #[error("cannot open a netlink socket")]
    Open { source: io::Error },
    #[error("cannot start a thread for netlink")]
    Thread { source: io::Error },
    #[error(
        "the kernel did not perform all changes of addresses within {patience:?}; 'vipd clean' removes what is left"
    )]
    Unfinished { patience: Duration },
}

/// An interface at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub ifindex: u32,
    pub name: String,
    /// Its Ethernet address; `None` where it has none of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Administratively up, and with a carrier as far as the driver can tell.
    pub up: bool,
    /// How often the carrier came or went (`IFLA_CARRIER_CHANGES`): a link that is
    /// up again before that could be told differs in this alone.
    pub carrier_changes: u32,
    pub mtu: u32,
    /// `IFLA_INFO_KIND`: `veth`, `vlan`, `bond`; hardware has none.
    pub kind: Option<String>,
    pub is_vlan: bool,
    /// Id of an XDP program that holds the interface, in whatever mode.
    pub xdp_program: Option<u32>,
    /// IPv4 addresses with their prefix lengths, ordered.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A watched interface is there, or differs from what was last told. Only
    /// with a new `ifindex` do `addresses` say something new.
    Link(LinkInfo),
    /// A watched interface is not there.
    LinkGone {
        name: String,
    },
    AddressAdded {
        ifindex: u32,
        address: Ipv4Addr,
    },
    /// It is gone with its last prefix length.
    AddressRemoved {
        ifindex: u32,
        address: Ipv4Addr,
    },
    /// What was asked for under this token holds, or why it does not.
    Done {
        token: u64,
        result: Result<(), String>,
    },
}

/// Asks once about one interface. Blocks; meant for start-up.
pub fn lookup(interface: &str) -> Result<LinkInfo, Error> {
    let found = ask(async |handle| {
        let found = wire::find(handle, interface).await;
        found.map_err(|e| Error::Lookup {
            interface: interface.to_owned(),
            reason: wire::reason(&e),
        })
    })?;
    found.ok_or_else(|| Error::NoInterface {
        interface: interface.to_owned(),
    })
}

/// Asks once about all interfaces, with their addresses. Blocks.
pub fn survey() -> Result<Vec<LinkInfo>, Error> {
    ask(async |handle| {
        let all = wire::all(handle).await;
        all.map_err(|e| Error::Survey {
            reason: wire::reason(&e),
        })
    })
}

fn ask<T: Send>(
    question: impl AsyncFnOnce(&Handle) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    // A thread of its own, as a runtime cannot be started within another.
    let asked = thread::scope(|scope| {
        thread::Builder::new()
            .name("netlink-lookup".to_owned())
            .spawn_scoped(scope, || {
                let runtime = runtime()?;
                runtime.block_on(async {
                    let (connection, handle, _) =
                        rtnetlink::new_connection().map_err(|source| Error::Open { source })?;
                    tokio::spawn(connection);
                    question(&handle).await
                })
            })
            .map(|thread| thread.join().expect("the look-up does not panic"))
    });
    asked.map_err(|source| Error::Thread { source })?
}

/// The way to the netlink thread. Dropping it lets the thread finish what was
/// asked for and end.
#[derive(Debug)]
pub struct Netlink {
    requests: mpsc::UnboundedSender<request::Request>,
    watched: watch::Sender<Vec<String>>,
    closing: watch::Sender<bool>,
    finished: oneshot::Receiver<()>,
}

impl Netlink {
    /// Watches interfaces by name. Each is first told of as it is, by
    /// `Event::Link` or `Event::LinkGone`, then whenever it changes.
    ///
    /// Must be called in the network namespace that is meant.
    pub fn spawn(interfaces: &[&str]) -> Result<(Self, mpsc::Receiver<Event>), Error> {
        Self::spawn_with_buffer(interfaces, RECEIVE_BUFFER)
    }

    /// As `spawn`, with this many bytes for notifications not read yet. What
    /// does not fit is lost, and everything is then read anew.
    pub fn spawn_with_buffer(
        interfaces: &[&str],
        receive_buffer: usize,
    ) -> Result<(Self, mpsc::Receiver<Event>), Error> {
        let (requests, requests_rx) = mpsc::unbounded_channel();
        let (events, events_rx) = mpsc::channel(EVENTS);
        let names = interfaces.iter().map(|name| (*name).to_owned()).collect();
        let (watched, watched_rx) = watch::channel(names);
        let (closing, closing_rx) = watch::channel(false);
        let (finished_tx, finished) = oneshot::channel();
        let outlet = Outlet {
            events,
            closing: closing_rx,
        };

        let runtime = runtime()?;
        let mut monitor = {
            let _guard = runtime.enter();
            monitor::Monitor::open(interfaces, watched_rx, receive_buffer)
                .map_err(|source| Error::Open { source })?
        };
        thread::Builder::new()
            .name("netlink".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = request::perform(requests_rx, outlet.clone()) => {}
                        () = monitor.run(outlet.clone()) => {}
                    }
                });
                // Nobody waits for it if `Netlink` was dropped.
                let _ = finished_tx.send(());
            })
            .map_err(|source| Error::Thread { source })?;
        Ok((
            Self {
                requests,
                watched,
                closing,
                finished,
            },
            events_rx,
        ))
    }

    /// Watches these interfaces from now on, and no others. Those that are new are told
    /// of as at the start.
    pub fn watch(&self, interfaces: &[&str]) {
        let names = interfaces.iter().map(|name| (*name).to_owned()).collect();
        self.watched.send_replace(names);
    }

    /// Adds an address; one that is there already is as good.
    pub fn add_address(&self, token: u64, ifindex: u32, address: Ipv4Addr, prefix_len: u8) {
        self.request(token, request::Change::Add, ifindex, address, prefix_len);
    }

    /// Removes an address; one that is not there is as good, and so is an
    /// interface that is not.
    pub fn remove_address(&self, token: u64, ifindex: u32, address: Ipv4Addr, prefix_len: u8) {
        self.request(token, request::Change::Remove, ifindex, address, prefix_len);
    }

    /// Waits until all that was asked for is done. Events nobody reads do not
    /// hold it up: they are lost.
    pub async fn shutdown(self, patience: Duration) -> Result<(), Error> {
        let Self {
            requests,
            watched: _,
            closing,
            finished,
        } = self;
        drop(requests);
        closing.send_replace(true);
        match tokio::time::timeout(patience, finished).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Unfinished { patience }),
        }
    }

    fn request(
        &self,
        token: u64,
        change: request::Change,
        ifindex: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) {
        // The thread ends only when this sender is gone.
        let _ = self.requests.send(request::Request {
            token,
            change,
            ifindex,
            address,
            prefix_len,
        });
    }
}

/// Where events leave the thread.
#[derive(Clone)]
struct Outlet {
    events: mpsc::Sender<Event>,
    closing: watch::Receiver<bool>,
}

impl Outlet {
    async fn send(&mut self, event: Event) {
        tokio::select! {
            biased;
            // A reader that is gone wants none of them.
            _ = self.events.send(event) => {}
            _ = self.closing.wait_for(|closing| *closing) => {}
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Thread { source })
}

/// Events the daemon may leave unread before the thread waits for it.
const EVENTS: usize = 256;

/// Bytes of notifications the kernel keeps for us. One takes up to some
/// 4 KiB; a burst beyond that costs a full read of the watched interfaces.
const RECEIVE_BUFFER: usize = 1 << 20;
