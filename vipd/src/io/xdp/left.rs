//! What an earlier daemon left pinned for an interface, and whether it can be
//! taken over as it is. It looks and touches nothing.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use vipd_common::{ABI, leases_of, mode};

use super::maps::{self, GROUPS_SHAPE, INTERFACE_SHAPE, Leases, SHAPES, Shape, VIPS_SHAPE};
use super::pinned::Pinned;
use super::program::reason;
use super::{Attach, Attached, LINK, Mode, NEW};

pub(super) enum Left {
    Nothing,
    /// Link and maps are what this daemon would have made.
    All {
        attached: Attached,
    },
    /// The link is, the maps are not; what they say of leases may still be known.
    Link {
        attached: Attached,
        mode: u16,
        leases: Option<Leases>,
        because: String,
    },
    /// Nothing of it is of use.
    Unusable {
        because: String,
    },
}

impl Left {
    pub(super) fn look(directory: &Path, attach: &Attach<'_>) -> Self {
        let is_empty = directory
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_none());
        if is_empty {
            return Self::Nothing;
        }
        let (attached, mode, abi) = match look_at_link(directory, attach) {
            Ok(found) => found,
            Err(because) => return Self::Unusable { because },
        };
        match look_at_maps(directory, abi) {
            Ok(()) => Self::All { attached },
            Err(because) => Self::Link {
                attached,
                mode,
                leases: leases(directory, abi),
                because,
            },
        }
    }
}

/// How the link is attached and the ABI of the maps, or what is wrong.
fn look_at_link(directory: &Path, attach: &Attach<'_>) -> Result<(Attached, u16, u32), String> {
    let link = open(directory, LINK, "its link")?;
    if link.text("link_type") != Some("xdp") {
        return Err("what is pinned as its link is none".to_owned());
    }
    match link.number("ifindex") {
        Some(ifindex) if ifindex == u64::from(attach.ifindex) => {}
        // The kernel tells 0 once the interface is gone.
        Some(0) | None => return Err("its interface does not exist any more".to_owned()),
        Some(ifindex) => {
            return Err(format!(
                "it is attached to the interface with index {ifindex}"
            ));
        }
    }
    // The same index may be another interface's in another network namespace.
    if attach.program.map(u64::from) != link.number("prog_id") {
        return Err("its program is not on the interface".to_owned());
    }

    check_shape(directory, &INTERFACE_SHAPE)?;
    let interface = maps::pinned_interface(&directory.join(INTERFACE_SHAPE.name))
        .map_err(|error| format!("its map {} can't be read: {error}", INTERFACE_SHAPE.name))?;
    if interface.ifindex != attach.ifindex {
        let ifindex = interface.ifindex;
        return Err(format!(
            "its maps are for the interface with index {ifindex}"
        ));
    }
    let attached = adopted(attach, interface.mode)?;
    Ok((attached, interface.mode, interface.abi))
}

fn look_at_maps(directory: &Path, abi: u32) -> Result<(), String> {
    if abi != ABI {
        return Err(format!(
            "its maps are of ABI {abi}, and this vipd's of {ABI}"
        ));
    }
    for shape in &SHAPES {
        if directory.join(format!("{}{NEW}", shape.name)).exists() {
            return Err("the replacement of its maps was cut short".to_owned());
        }
        check_shape(directory, shape)?;
    }
    Ok(())
}

/// What maps say of leases that are not the program's own, where their rows mean
/// the same and all of them find room in its own.
///
/// Also where another replacement was cut short: until its last step nobody
/// writes, so that it does not matter whether these are the maps before it or after.
fn leases(directory: &Path, abi: u32) -> Option<Leases> {
    let has_known_rows = |shape: &Shape| {
        let Ok(map) = Pinned::open(&directory.join(shape.name)) else {
            return false;
        };
        let rows = [
            ("map_type", shape.map_type),
            ("key_size", shape.key_size),
            ("value_size", shape.value_size),
        ];
        let is_known = |(what, expected)| map.number(what) == Some(expected);
        let entries = map.number("max_entries");
        rows.into_iter().all(is_known) && entries.is_some_and(|it| it <= shape.max_entries)
    };
    let is_known =
        leases_of(abi) == leases_of(ABI) && [VIPS_SHAPE, GROUPS_SHAPE].iter().all(has_known_rows);
    let leases = is_known.then(|| maps::pinned_leases(directory));
    leases?.ok()
}

/// Whether a pinned map is the very map that the program was made for.
fn check_shape(directory: &Path, shape: &Shape) -> Result<(), String> {
    let name = shape.name;
    let map = open(directory, name, &format!("its map {name}"))?;
    let expected = [
        ("map_type", shape.map_type),
        ("key_size", shape.key_size),
        ("value_size", shape.value_size),
        ("max_entries", shape.max_entries),
        ("map_flags", shape.flags),
        ("frozen", 0),
    ];
    let mut wrong = String::new();
    for (what, expected) in expected {
        let found = map.number(what);
        if found != Some(expected) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            let separator = if wrong.is_empty() { "" } else { ", " };
            let _: std::fmt::Result = write!(wrong, "{separator}{what} {found}, not {expected}");
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("its map {name} is another: {wrong}"))
    }
}

fn open(directory: &Path, pin: &str, what: &str) -> Result<Pinned, String> {
    Pinned::open(&directory.join(pin)).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            format!("{what} is missing")
        } else {
            format!("{what} can't be opened: {error}")
        }
    })
}

/// How a program in this mode is attached, if it is the mode that is wanted.
pub(super) fn adopted(attach: &Attach<'_>, found: u16) -> Result<Attached, String> {
    let found_name = match found {
        mode::NATIVE => "native",
        mode::GENERIC | mode::NATIVE_REFUSED => "generic",
        _ => return Err(format!("it is attached in an unknown mode, {found}")),
    };
    let is_wanted = match (attach.mode, attach.kind) {
        (Mode::Native, _) => found == mode::NATIVE,
        (Mode::Auto, None) => found != mode::GENERIC,
        (Mode::Generic, _) | (Mode::Auto, Some(_)) => found != mode::NATIVE,
    };
    if !is_wanted {
        return Err(format!(
            "it is attached in {found_name} mode, and another is wanted"
        ));
    }
    let reason = if found == mode::NATIVE_REFUSED && attach.mode == Mode::Auto {
        "the driver refused a native program when it was attached".to_owned()
    } else {
        reason(attach)
    };
    Ok(Attached {
        mode: found_name,
        reason,
    })
}
