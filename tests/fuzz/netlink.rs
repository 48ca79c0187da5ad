//! Netlink notifications, as the kernel of tomorrow may word them: what is told
//! of the watched interfaces agrees with what was told before. Each message
//! begins with its length, in two bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use vipd::io::netlink::Event;
use vipd::io::netlink::fuzzing::Follower;

use super::Said;
use super::bytes::Bytes;

pub(super) fn check(data: &[u8]) -> Said {
    let mut bytes = Bytes::new(data);
    let mut follower = Follower::new(&WATCHED);
    let mut told = Told::default();
    let mut events = 0;
    while !bytes.is_empty() {
        let len = u16::from_le_bytes(bytes.array());
        let message = bytes.take(usize::from(len));
        for event in follower.hear(message).unwrap_or_default() {
            told.hear(&event);
            events += 1;
        }
    }
    (events > 0).into()
}

/// What somebody knows who heard all events and nothing else.
#[derive(Default)]
struct Told {
    index_of: BTreeMap<String, u32>,
    addresses: BTreeMap<u32, BTreeSet<Ipv4Addr>>,
}

impl Told {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Link(link) => {
                assert!(WATCHED.contains(&link.name.as_str()), "{event:?}");
                let before = self.index_of.insert(link.name.clone(), link.ifindex);
                if before != Some(link.ifindex) {
                    assert_eq!(before, None, "two indices: {event:?}");
                    let addresses = link.addresses.iter().map(|(address, _)| *address);
                    self.addresses.insert(link.ifindex, addresses.collect());
                }
                let indices: BTreeSet<_> = self.index_of.values().collect();
                assert_eq!(indices.len(), self.index_of.len(), "two names: {event:?}");
            }
            Event::LinkGone { name } => {
                let index = self.index_of.remove(name).expect("it was there");
                self.addresses.remove(&index);
            }
            Event::AddressAdded { ifindex, address } => {
                assert!(self.known(*ifindex).insert(*address), "{event:?}");
            }
            Event::AddressRemoved { ifindex, address } => {
                assert!(self.known(*ifindex).remove(address), "{event:?}");
            }
            Event::Done { .. } => panic!("nothing was asked for: {event:?}"),
        }
    }

    fn known(&mut self, ifindex: u32) -> &mut BTreeSet<Ipv4Addr> {
        self.addresses
            .get_mut(&ifindex)
            .expect("a link that was told")
    }
}

const WATCHED: [&str; 2] = ["eth0", "eth1"];
