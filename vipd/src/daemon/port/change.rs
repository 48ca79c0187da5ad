//! What changes of an interface while the daemon runs: its groups, their addresses,
//! how the responder is attached.

use std::net::Ipv4Addr;

use tracing::error;

use super::{Member, Port};
use crate::daemon::chain;
use crate::engine::{GroupConfig, GroupId, InterfaceId, Placement};
use crate::io::xdp::{self, Mode};

impl Port {
    /// These are its groups from now on. Those that it had besides stay until they are
    /// forgotten. It goes under this number.
    pub(in crate::daemon) fn reconfigure(
        &mut self,
        id: InterfaceId,
        groups: &[(GroupId, &GroupConfig)],
    ) {
        self.id = id;
        self.is_retired = groups.is_empty();
        for member in &mut self.members {
            member.is_leaving = true;
        }
        for (id, config) in groups {
            let new = Member::new(*id, config);
            match self.members.iter_mut().find(|member| member.id == *id) {
                Some(member) => *member = new,
                None => self.members.push(new),
            }
        }
        self.filter();
    }

    /// Its groups were told what numbers they have, which they had not when it was
    /// opened.
    pub(in crate::daemon) fn forget_members(&mut self) {
        self.members.clear();
    }

    /// The responder knows these addresses as the group's, too.
    pub(in crate::daemon) fn know(
        &mut self,
        group: GroupId,
        vips: &[Ipv4Addr],
    ) -> Result<(), xdp::Error> {
        let key = self.key(group);
        match &mut self.open {
            Some(open) => open.responder.add_vips(key, vips),
            // It will be filled with all of them.
            None => Ok(()),
        }
    }

    /// Nobody answers for these addresses any more, until [`Self::removed`] tells that
    /// they are off the host.
    pub(in crate::daemon) fn retire(&mut self, group: GroupId, vips: &[Ipv4Addr]) {
        let members = self.members.iter_mut();
        for member in members.filter(|member| member.id == group) {
            member.vips.retain(|vip| !vips.contains(vip));
        }
        if let Some(open) = &mut self.open
            && let Err(error) = open.responder.retire(vips)
        {
            error!(
                interface = self.name,
                "cannot silence addresses that are given up: {}",
                chain(&error)
            );
        }
    }

    /// A retired address is being removed under this token.
    pub(in crate::daemon) fn is_removing(&mut self, token: u64, vip: Ipv4Addr) {
        self.retired.insert(token, vip);
    }

    /// What was asked for under this token is done. An address that could not be
    /// removed stays silent.
    pub(in crate::daemon) fn removed(&mut self, token: u64, is_removed: bool) {
        if let Some(vip) = self.retired.remove(&token)
            && is_removed
            && !self.retired.values().any(|other| *other == vip)
        {
            self.release(vip);
        }
    }

    /// Requests for it are the kernel's again, unless a group has it.
    pub(in crate::daemon) fn release(&mut self, vip: Ipv4Addr) {
        if let Some(open) = &mut self.open
            && let Err(error) = open.responder.release(vip)
        {
            error!(
                interface = self.name,
                "cannot forget an address that was given up: {}",
                chain(&error)
            );
        }
    }

    /// The group is no more. Its addresses were retired before.
    pub(in crate::daemon) fn forget_group(&mut self, group: GroupId) {
        let key = self.key(group);
        self.members.retain(|member| member.id != group);
        let is_used = self.members.iter().any(|member| member.key() == key);
        if !is_used
            && let Some(open) = &mut self.open
            && let Err(error) = open.responder.remove_group(key)
        {
            error!(
                interface = self.name,
                "cannot forget a group that is configured no more: {}",
                chain(&error)
            );
        }
        self.filter();
    }

    pub(in crate::daemon) fn placement(&self, group: GroupId) -> Option<Placement> {
        let member = self.members.iter().find(|member| member.id == group);
        member.map(|member| member.placement)
    }

    /// Whether it still has addresses of groups, or groups, that are given up.
    pub(in crate::daemon) fn is_settling(&self) -> bool {
        !self.retired.is_empty() || self.members.iter().any(|member| member.is_leaving)
    }

    /// Whether nothing is left to be done on it but to close it.
    pub(in crate::daemon) fn is_done(&self) -> bool {
        self.is_retired && self.members.is_empty() && self.retired.is_empty()
    }

    /// Whether that is another mode than the one until now. It is used when the port is
    /// opened next.
    pub(in crate::daemon) fn set_mode(&mut self, mode: Mode) -> bool {
        std::mem::replace(&mut self.mode, mode) != mode
    }

    /// The vhids whose adverts are let through, introductions' among them.
    pub(super) fn vhids(&self) -> Vec<u8> {
        let vhids = self.members.iter().map(|member| member.vhid);
        // Introductions come under vhid 0.
        vhids.chain([0]).collect()
    }

    fn filter(&mut self) {
        if let Some(open) = &self.open
            && let Err(error) = open.adverts.set_vhids(&self.vhids())
        {
            error!(
                interface = self.name,
                "cannot listen for other groups: {}",
                chain(&error)
            );
        }
    }
}
