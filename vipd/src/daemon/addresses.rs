//! Addresses, on the interfaces and on `lo`: asked for of netlink's thread, which
//! tells later what came of it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info};

use super::{Daemon, Error, clock, ledger};
use crate::engine::{Effect, GroupId, Input, InterfaceId};
use crate::io::netlink;

/// A change of addresses under way.
pub(super) struct Placing {
    tokens: BTreeSet<u64>,
    has_failed: bool,
}

impl Daemon {
    /// Addresses that a daemon left that was killed, unless this one goes on with
    /// them: as long as they are on the interface, the kernel would answer for
    /// them whenever no responder is attached. Returns what else netlink told
    /// meanwhile.
    pub(super) async fn remove_leftovers(
        &mut self,
        links: &[netlink::LinkInfo],
    ) -> Result<Vec<netlink::Event>, Error> {
        let mut found = Vec::new();
        let now = clock::now();
        for (port, link) in self.ports.iter().zip(links) {
            let vips = port.vips_out_of_place(now);
            let placed = link.addresses.iter().filter(|(vip, _)| vips.contains(vip));
            let left = placed.map(|(address, prefix_len)| {
                (link.name.clone(), link.ifindex, *address, *prefix_len)
            });
            found.extend(left);
        }
        for (name, address) in self.ledger.left_on_interfaces()? {
            // What is configured is dealt with above, or gone on with.
            let port = self.ports.iter().find(|port| port.name() == name);
            let link = links.iter().find(|link| link.name == name);
            let (Some(port), Some(link)) = (port, link) else {
                continue;
            };
            let placed = link.addresses.iter().find(|(left, _)| *left == address);
            if let Some((_, prefix_len)) = placed.filter(|_| !port.has_vip(address)) {
                found.push((name, link.ifindex, address, *prefix_len));
            }
        }
        let device = || ledger::DEVICE.to_owned();
        for address in self.ledger.left_on_loopback()? {
            found.push((device(), self.ledger.ifindex(), address, 32));
        }
        let mut left = BTreeMap::new();
        for (interface, ifindex, address, prefix_len) in found {
            info!(interface, %address, "removing an address that an earlier daemon left");
            let token = self.token();
            self.netlink
                .remove_address(token, ifindex, address, prefix_len);
            left.insert(token, (interface, address));
        }
        let mut early = Vec::new();
        while !left.is_empty() {
            match self.events.recv().await {
                Some(netlink::Event::Done { token, result }) => {
                    if let (Some((interface, address)), Err(reason)) = (left.remove(&token), result)
                    {
                        return Err(Error::Leftover {
                            interface,
                            address,
                            reason,
                        });
                    }
                }
                Some(event) => early.push(event),
                None => break,
            }
        }
        Ok(early)
    }

    pub(super) fn place(&mut self, interface: InterfaceId, group: GroupId) {
        let Some((port, ifindex)) = self
            .port(interface)
            .and_then(|port| Some((port, port.ifindex()?)))
        else {
            let failed = Input::Failed {
                group,
                effect: Effect::Address,
            };
            return self.engine.handle(failed, clock::now());
        };
        let mut tokens = BTreeSet::new();
        for vip in port.vips(group).to_vec() {
            let token = self.token();
            self.netlink.add_address(token, ifindex, vip, 32);
            tokens.insert(token);
        }
        self.placing.insert(
            group,
            Placing {
                tokens,
                has_failed: false,
            },
        );
    }

    pub(super) fn unplace(&mut self, interface: InterfaceId, group: GroupId) {
        // What is still being placed is of no interest any more; requests are
        // performed in order, so the removal is the last word.
        self.placing.remove(&group);
        let Some((port, ifindex)) = self
            .port(interface)
            .and_then(|port| Some((port, port.ifindex()?)))
        else {
            return;
        };
        for vip in port.vips(group).to_vec() {
            let token = self.token();
            self.netlink.remove_address(token, ifindex, vip, 32);
        }
    }

    pub(super) fn handle_done(&mut self, token: u64, result: Result<(), String>) {
        if let Err(reason) = &result {
            error!("{reason}");
        }
        for port in &mut self.ports {
            port.removed(token, result.is_ok());
        }
        let of_token = |(_, placing): &(&GroupId, &mut Placing)| placing.tokens.contains(&token);
        let Some((&group, placing)) = self.placing.iter_mut().find(of_token) else {
            return;
        };
        placing.tokens.remove(&token);
        placing.has_failed |= result.is_err();
        if !placing.tokens.is_empty() {
            return;
        }
        let has_failed = placing.has_failed;
        self.placing.remove(&group);
        self.handle(if has_failed {
            Input::Failed {
                group,
                effect: Effect::Address,
            }
        } else {
            Input::Placed { group }
        });
    }

    pub(super) fn place_on_loopback(&mut self) {
        for address in self.ledger.addresses().collect::<Vec<_>>() {
            let token = self.token();
            self.netlink
                .add_address(token, self.ledger.ifindex(), address, 32);
        }
    }

    pub(super) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}
