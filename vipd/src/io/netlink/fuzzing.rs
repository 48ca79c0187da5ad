//! Notifications from bytes, for the fuzz targets.

use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::Event;
use super::monitor::{News, news};
use super::table::Table;

/// What is known of the watched interfaces, by what was read of them.
pub struct Follower(Table);

impl Follower {
    pub fn new(interfaces: &[&str]) -> Self {
        Self(Table::new(interfaces))
    }

    /// One netlink message, its header first. `None` if it is none; no events
    /// where some were lost.
    pub fn hear(&mut self, bytes: &[u8]) -> Option<Vec<Event>> {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
        match news(&mut self.0, message) {
            News::Events(events) => Some(events),
            News::Lost => Some(Vec::new()),
        }
    }
}
