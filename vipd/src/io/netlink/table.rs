//! What was last told about each watched interface, and what is news.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Event, LinkInfo};

pub(super) struct Table {
    /// By name. `None` for one that is not there.
    links: BTreeMap<String, Option<LinkInfo>>,
}

impl Table {
    pub(super) fn new(interfaces: &[&str]) -> Self {
        Self {
            links: interfaces
                .iter()
                .map(|name| ((*name).to_owned(), None))
                .collect(),
        }
    }

    /// Follows these from now on, and no others. Returns those that are new.
    pub(super) fn watch(&mut self, interfaces: &[String]) -> Vec<String> {
        self.links.retain(|name, _| interfaces.contains(name));
        let is_new = |name: &&String| !self.links.contains_key(*name);
        let new: Vec<String> = interfaces.iter().filter(is_new).cloned().collect();
        self.links
            .extend(new.iter().map(|name| (name.clone(), None)));
        new
    }

    /// An interface as a notification tells it, which is without addresses.
    pub(super) fn link(&mut self, mut link: LinkInfo) -> Vec<Event> {
        let mut events = self.renamed(link.ifindex, &link.name);
        let Some(known) = self.links.get_mut(&link.name) else {
            return events;
        };
        match known {
            Some(known) if known.ifindex == link.ifindex => {
                link.addresses.clone_from(&known.addresses)
            }
            Some(_) => events.push(Event::LinkGone {
                name: link.name.clone(),
            }),
            None => {}
        }
        if known.as_ref() != Some(&link) {
            *known = Some(link.clone());
            events.push(Event::Link(link));
        }
        events
    }

    pub(super) fn link_removed(&mut self, ifindex: u32) -> Vec<Event> {
        self.renamed(ifindex, "")
    }

    pub(super) fn address_added(
        &mut self,
        ifindex: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Vec<Event> {
        let Some(link) = self.by_index(ifindex) else {
            return Vec::new();
        };
        let Err(place) = link.addresses.binary_search(&(address, prefix_len)) else {
            return Vec::new();
        };
        let known = has(link, address);
        link.addresses.insert(place, (address, prefix_len));
        if known {
            Vec::new()
        } else {
            vec![Event::AddressAdded { ifindex, address }]
        }
    }

    pub(super) fn address_removed(
        &mut self,
        ifindex: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Vec<Event> {
        let Some(link) = self.by_index(ifindex) else {
            return Vec::new();
        };
        let Ok(place) = link.addresses.binary_search(&(address, prefix_len)) else {
            return Vec::new();
        };
        link.addresses.remove(place);
        if has(link, address) {
            Vec::new()
        } else {
            vec![Event::AddressRemoved { ifindex, address }]
        }
    }

    /// What was found under a name, addresses included, after nothing was heard
    /// for a while or for the first time.
    pub(super) fn found(&mut self, name: &str, found: Option<LinkInfo>) -> Vec<Event> {
        let Some(known) = self.links.get(name).cloned() else {
            return Vec::new();
        };
        let Some(found) = found else {
            self.links.insert(name.to_owned(), None);
            return vec![Event::LinkGone {
                name: name.to_owned(),
            }];
        };
        let Some(known) = known.filter(|known| known.ifindex == found.ifindex) else {
            let mut events = self.link(found.clone());
            if let Some(Event::Link(link)) = events.last_mut() {
                link.addresses.clone_from(&found.addresses);
            }
            self.links.insert(name.to_owned(), Some(found));
            return events;
        };

        let mut events = self.link(found.clone());
        let ifindex = found.ifindex;
        for &(address, prefix_len) in &known.addresses {
            if !found.addresses.contains(&(address, prefix_len)) {
                events.extend(self.address_removed(ifindex, address, prefix_len));
            }
        }
        for &(address, prefix_len) in &found.addresses {
            events.extend(self.address_added(ifindex, address, prefix_len));
        }
        events
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.links.keys().cloned().collect()
    }

    /// An index belongs to this name from here on, and to no other.
    fn renamed(&mut self, ifindex: u32, to: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for (name, known) in &mut self.links {
            if name != to && known.as_ref().is_some_and(|link| link.ifindex == ifindex) {
                *known = None;
                events.push(Event::LinkGone { name: name.clone() });
            }
        }
        events
    }

    fn by_index(&mut self, ifindex: u32) -> Option<&mut LinkInfo> {
        self.links
            .values_mut()
            .flatten()
            .find(|link| link.ifindex == ifindex)
    }
}

fn has(link: &LinkInfo, address: Ipv4Addr) -> bool {
    link.addresses.iter().any(|(known, _)| *known == address)
}

#[cfg(test)]
mod tests;
