//! The responder's maps from user space: one call for each thing the daemon does
//! to them, and the map's name in every error.

use std::io;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use vipd_common::{ABI, Conflict, Counters, Group, Interface, Vip, VipKey, map};

use super::Error;
use super::bpffs::PinDir;

/// The maps, each under the name by which it is pinned.
pub(super) struct Maps {
    vips: HashMap<MapData, VipKey, Vip>,
    groups: HashMap<MapData, u32, Group>,
    interface: Array<MapData, Interface>,
    counters: PerCpuArray<MapData, Counters>,
    conflicts: HashMap<MapData, u32, Conflict>,
}

impl Maps {
    /// Takes the maps out of a loaded object and pins them.
    pub(super) fn take(ebpf: &mut Ebpf, directory: &PinDir) -> Result<Self, Error> {
        fn take<T: TryFrom<aya::maps::Map, Error = MapError>>(
            ebpf: &mut Ebpf,
            directory: &PinDir,
            map: &'static str,
        ) -> Result<T, Error> {
            let value = ebpf.take_map(map).ok_or(Error::Object { missing: map })?;
            let path = directory.path().join(map);
            value.pin(&path).map_err(|error| Error::File {
                action: "pin a map as",
                path,
                source: io::Error::other(error),
            })?;
            value.try_into().map_err(|source| Error::Map {
                action: "use",
                map,
                source,
            })
        }
        Ok(Self {
            vips: take(ebpf, directory, map::VIPS)?,
            groups: take(ebpf, directory, map::GROUPS)?,
            interface: take(ebpf, directory, map::INTERFACE)?,
            counters: take(ebpf, directory, map::COUNTERS)?,
            conflicts: take(ebpf, directory, map::CONFLICTS)?,
        })
    }

    pub(super) fn add_vip(&mut self, address: [u8; 4], group: u32) -> Result<(), Error> {
        self.vips
            .insert(vip_key(address), Vip { group }, ANY)
            .map_err(in_map("write", map::VIPS))
    }

    pub(super) fn remove_vip(&mut self, address: [u8; 4]) -> Result<(), Error> {
        self.vips
            .remove(&vip_key(address))
            .map_err(in_map("delete from", map::VIPS))
    }

    pub(super) fn set_group(&mut self, group: u32, value: Group) -> Result<(), Error> {
        self.groups
            .insert(group, value, ANY)
            .map_err(in_map("write", map::GROUPS))
    }

    pub(super) fn remove_group(&mut self, group: u32) -> Result<(), Error> {
        self.groups
            .remove(&group)
            .map_err(in_map("delete from", map::GROUPS))
    }

    pub(super) fn interface(&self) -> Result<Interface, Error> {
        self.interface
            .get(&0, 0)
            .map_err(in_map("read", map::INTERFACE))
    }

    pub(super) fn set_interface(&mut self, mac: [u8; 6], ifindex: u32) -> Result<(), Error> {
        let interface = Interface {
            mac,
            pad: 0,
            abi: ABI,
            ifindex,
        };
        self.interface
            .set(0, interface, ANY)
            .map_err(in_map("write", map::INTERFACE))
    }

    pub(super) fn counters(&self) -> Result<Counters, Error> {
        let per_cpu = self
            .counters
            .get(&0, 0)
            .map_err(in_map("read", map::COUNTERS))?;
        Ok(per_cpu.iter().copied().sum())
    }

    pub(super) fn conflict(&self, group: u32) -> Result<Option<Conflict>, Error> {
        match self.conflicts.get(&group, 0) {
            Ok(conflict) => Ok(Some(conflict)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(in_map("read", map::CONFLICTS)(error)),
        }
    }

    pub(super) fn remove_conflict(&mut self, group: u32) -> Result<(), Error> {
        match self.conflict(group)? {
            Some(_) => self
                .conflicts
                .remove(&group)
                .map_err(in_map("delete from", map::CONFLICTS)),
            None => Ok(()),
        }
    }
}

fn in_map(action: &'static str, map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |source| Error::Map {
        action,
        map,
        source,
    }
}

const fn vip_key(address: [u8; 4]) -> VipKey {
    VipKey {
        address,
        vlan: 0,
        pad: 0,
    }
}

/// Make the entry or replace it (`BPF_ANY`, linux/bpf.h).
const ANY: u64 = 0;
