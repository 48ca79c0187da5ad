//! The responder's maps from user space: one call for each thing the daemon does
//! to them, and the map's name in every error.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use vipd_common::{
    ABI, Conflict, Counters, Group, Interface, MAX_GROUPS, MAX_VIPS, Vip, VipKey, map,
};

use super::Error;
use super::groups::{Groups, NO_GROUP};

/// What a map of this ABI looks like to the kernel.
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// `enum bpf_map_type` of linux/bpf.h.
    pub(super) map_type: u64,
    pub(super) key_size: u64,
    pub(super) value_size: u64,
    pub(super) max_entries: u64,
    pub(super) flags: u64,
}

/// Every map, as the eBPF object makes it.
pub(super) const SHAPES: [Shape; 5] = [
    VIPS_SHAPE,
    GROUPS_SHAPE,
    INTERFACE_SHAPE,
    Shape::of::<u32, Counters>(map::COUNTERS, BPF_MAP_TYPE_PERCPU_ARRAY, 1, 0),
    Shape::of::<u32, Conflict>(map::CONFLICTS, BPF_MAP_TYPE_HASH, MAX_GROUPS, 0),
];

pub(super) const VIPS_SHAPE: Shape =
    Shape::of::<VipKey, Vip>(map::VIPS, BPF_MAP_TYPE_HASH, MAX_VIPS, 0);

pub(super) const GROUPS_SHAPE: Shape =
    Shape::of::<u32, Group>(map::GROUPS, BPF_MAP_TYPE_ARRAY, MAX_GROUPS, BPF_F_MMAPABLE);

pub(super) const INTERFACE_SHAPE: Shape =
    Shape::of::<u32, Interface>(map::INTERFACE, BPF_MAP_TYPE_ARRAY, 1, 0);

impl Shape {
    const fn of<K, V>(name: &'static str, map_type: u64, max_entries: u32, flags: u64) -> Self {
        Self {
            name,
            map_type,
            key_size: size_of::<K>() as u64,
            value_size: size_of::<V>() as u64,
            max_entries: max_entries as u64,
            flags,
        }
    }
}

/// Who is answered for, and until when: what one daemon hands to the next.
#[derive(Default)]
pub(super) struct Leases {
    /// Each address's group.
    pub(super) vips: BTreeMap<[u8; 4], u32>,
    pub(super) groups: BTreeMap<u32, Group>,
}

pub(super) struct Maps {
    vips: HashMap<MapData, VipKey, Vip>,
    groups: Groups,
    interface: Array<MapData, Interface>,
    counters: PerCpuArray<MapData, Counters>,
    conflicts: HashMap<MapData, u32, Conflict>,
}

impl Maps {
    /// Takes the maps out of a loaded object. Where `pin` gives a path for a map's
    /// name, it is pinned there.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        pin: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, Error> {
        let mut take = |map| {
            let value = ebpf.take_map(map).ok_or(Error::Object { missing: map })?;
            if let Some(path) = pin(map) {
                value.pin(&path).map_err(|error| Error::File {
                    action: "pin a map as",
                    path,
                    source: io::Error::other(error),
                })?;
            }
            Ok(value)
        };
        let vips = take(map::VIPS)?;
        let groups = take(map::GROUPS)?;
        let interface = take(map::INTERFACE)?;
        let counters = take(map::COUNTERS)?;
        let conflicts = take(map::CONFLICTS)?;
        let Map::Array(groups) = groups else {
            return Err(Error::Object {
                missing: map::GROUPS,
            });
        };
        Ok(Self {
            vips: vips.try_into().map_err(in_map("use", map::VIPS))?,
            groups: Groups::new(&groups)?,
            interface: interface
                .try_into()
                .map_err(in_map("use", map::INTERFACE))?,
            counters: counters.try_into().map_err(in_map("use", map::COUNTERS))?,
            conflicts: conflicts
                .try_into()
                .map_err(in_map("use", map::CONFLICTS))?,
        })
    }

    /// All that the maps hold of leases.
    pub(super) fn leases(&self) -> Result<Leases, Error> {
        Ok(Leases {
            vips: read_vips(&self.vips).map_err(in_map("read", map::VIPS))?,
            groups: self.groups.all(),
        })
    }

    /// Has the maps, which are empty, hold these.
    pub(super) fn fill(&mut self, leases: &Leases) -> Result<(), Error> {
        for (&key, &group) in &leases.groups {
            self.groups.set(key, group)?;
        }
        for (&address, &group) in &leases.vips {
            self.add_vip(address, group)?;
        }
        Ok(())
    }

    /// Where the address belongs to another group it changes over.
    pub(super) fn add_vip(&mut self, address: [u8; 4], group: u32) -> Result<(), Error> {
        self.vips
            .insert(vip_key(address), Vip { group }, ANY)
            .map_err(in_map("write", map::VIPS))
    }

    pub(super) fn remove_vip(&mut self, address: [u8; 4]) -> Result<(), Error> {
        match self.vips.remove(&vip_key(address)) {
            // Somebody was there with bpftool.
            Err(error) if !is_missing(&error) => Err(in_map("delete from", map::VIPS)(error)),
            _ => Ok(()),
        }
    }

    pub(super) const fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn interface(&self) -> Result<Interface, Error> {
        self.interface
            .get(&0, 0)
            .map_err(in_map("read", map::INTERFACE))
    }

    pub(super) fn set_interface(
        &mut self,
        mac: [u8; 6],
        ifindex: u32,
        mode: u16,
    ) -> Result<(), Error> {
        let interface = Interface {
            mac,
            mode,
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
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(in_map("read", map::CONFLICTS)(error)),
        }
    }

    /// The groups of which a conflict is noted.
    pub(super) fn conflicts(&self) -> Result<BTreeSet<u32>, Error> {
        let groups = self.conflicts.keys().collect::<Result<_, _>>();
        groups.map_err(in_map("read", map::CONFLICTS))
    }

    pub(super) fn remove_conflict(&mut self, group: u32) -> Result<(), Error> {
        match self.conflicts.remove(&group) {
            Err(error) if !is_missing(&error) => Err(in_map("delete from", map::CONFLICTS)(error)),
            _ => Ok(()),
        }
    }
}

/// What a pinned map of the shape [`INTERFACE_SHAPE`] says.
pub(super) fn pinned_interface(path: &Path) -> Result<Interface, MapError> {
    let map = Map::from_map_data(MapData::from_pin(path)?)?;
    Array::<_, Interface>::try_from(map)?.get(&0, 0)
}

/// What pinned maps say whose rows are those of [`VIPS_SHAPE`] and
/// [`GROUPS_SHAPE`]; of the latter there may be fewer.
pub(super) fn pinned_leases(directory: &Path) -> Result<Leases, MapError> {
    let open = |map: &str| Map::from_map_data(MapData::from_pin(directory.join(map))?);
    let vips = HashMap::try_from(open(map::VIPS)?)?;
    let groups = Array::<_, Group>::try_from(open(map::GROUPS)?)?;
    let mut leases = Leases {
        vips: read_vips(&vips)?,
        groups: BTreeMap::new(),
    };
    for (key, group) in (0..).zip(groups.iter()) {
        leases.groups.insert(key, group?);
    }
    leases.groups.retain(|_, group| *group != NO_GROUP);
    Ok(leases)
}

fn read_vips(map: &HashMap<MapData, VipKey, Vip>) -> Result<BTreeMap<[u8; 4], u32>, MapError> {
    let vips = map.iter();
    let vips = vips.map(|entry| entry.map(|(key, vip)| (key.address, vip.group)));
    vips.collect()
}

fn is_missing(error: &MapError) -> bool {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "aya's enum; most of it cannot occur here"
    )]
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
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

/// `enum bpf_map_type` and the flags of linux/bpf.h.
const BPF_MAP_TYPE_HASH: u64 = 1;
const BPF_MAP_TYPE_ARRAY: u64 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u64 = 6;
const BPF_F_MMAPABLE: u64 = 1 << 10;
