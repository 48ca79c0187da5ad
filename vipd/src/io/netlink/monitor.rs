//! Follows the kernel's notifications about the watched interfaces.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tracing::warn;

use super::table::Table;
use super::{Event, Outlet, wire};

pub(super) struct Monitor {
    table: Table,
    /// Names of the interfaces to be watched.
    watched: watch::Receiver<Vec<String>>,
    receive_buffer: usize,
    feed: Feed,
}

type Feed = BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

/// What a notification means for us.
pub(super) enum News {
    Events(Vec<Event>),
    /// Some were lost: nothing is known any more.
    Lost,
}

impl Monitor {
    /// Subscribes before anything is read, so that no change falls between.
    pub(super) fn open(
        interfaces: &[&str],
        watched: watch::Receiver<Vec<String>>,
        receive_buffer: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            table: Table::new(interfaces),
            watched,
            receive_buffer,
            feed: subscribe(receive_buffer)?,
        })
    }

    /// Never returns: a socket that breaks is opened again.
    pub(super) async fn run(&mut self, mut outlet: Outlet) {
        loop {
            if let Err(error) = self.follow(&mut outlet).await {
                warn!(%error, "netlink notifications interrupted");
            }
            loop {
                tokio::time::sleep(RETRY).await;
                match subscribe(self.receive_buffer) {
                    Ok(feed) => break self.feed = feed,
                    Err(error) => warn!(%error, "cannot subscribe to netlink notifications"),
                }
            }
        }
    }

    async fn follow(&mut self, outlet: &mut Outlet) -> Result<(), rtnetlink::Error> {
        // Questions have a socket of their own: answers are not lost in a flood
        // of notifications, nor notifications behind a large answer.
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|_| rtnetlink::Error::RequestFailed)?;
        tokio::spawn(connection);
        self.read(&handle, outlet).await?;
        loop {
            let message = tokio::select! {
                message = self.feed.next() => message,
                Ok(()) = self.watched.changed() => {
                    self.watch_others(&handle, outlet).await?;
                    continue;
                }
            };
            let Some(message) = message else {
                return Ok(());
            };
            match news(&mut self.table, message) {
                News::Events(events) => {
                    for event in events {
                        outlet.send(event).await;
                    }
                }
                News::Lost => self.read(&handle, outlet).await?,
            }
        }
    }

    /// Reads those that were not watched before.
    async fn watch_others(
        &mut self,
        handle: &Handle,
        outlet: &mut Outlet,
    ) -> Result<(), rtnetlink::Error> {
        let names = self.watched.borrow_and_update().clone();
        for name in self.table.watch(&names) {
            self.read_one(&name, handle, outlet).await?;
        }
        Ok(())
    }

    /// Reads every watched interface. Notifications that are older than what is
    /// read may follow; the newest is always the last.
    async fn read(&mut self, handle: &Handle, outlet: &mut Outlet) -> Result<(), rtnetlink::Error> {
        for name in self.table.names() {
            self.read_one(&name, handle, outlet).await?;
        }
        Ok(())
    }

    async fn read_one(
        &mut self,
        name: &str,
        handle: &Handle,
        outlet: &mut Outlet,
    ) -> Result<(), rtnetlink::Error> {
        let found = wire::find(handle, name).await?;
        for event in self.table.found(name, found) {
            outlet.send(event).await;
        }
        Ok(())
    }
}

pub(super) fn news(table: &mut Table, message: NetlinkMessage<RouteNetlinkMessage>) -> News {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these belong to the groups subscribed to"
    )]
    let events = match message.payload {
        NetlinkPayload::Overrun(_) => return News::Lost,
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            wire::link(&link).map(|link| table.link(link))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            wire::link(&link).map(|link| table.link_removed(link.ifindex))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
            wire::address(&address).map(|(ifindex, address, prefix_len)| {
                table.address_added(ifindex, address, prefix_len)
            })
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => {
            wire::address(&address).map(|(ifindex, address, prefix_len)| {
                table.address_removed(ifindex, address, prefix_len)
            })
        }
        _ => None,
    };
    News::Events(events.unwrap_or_default())
}

fn subscribe(receive_buffer: usize) -> io::Result<Feed> {
    let (mut connection, _, messages) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr])?;
    let socket = connection.socket_mut().socket_ref();
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket.as_fd(), receive_buffer)
        .is_err()
    {
        rustix::net::sockopt::set_socket_recv_buffer_size(socket.as_fd(), receive_buffer)?;
    }
    tokio::spawn(connection);
    Ok(messages.map(|(message, _)| message).boxed())
}

/// Pause before a broken socket is opened again.
const RETRY: Duration = Duration::from_secs(1);
