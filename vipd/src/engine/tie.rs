//! Groups that are tied together move together: a router that has lost one of its
//! links is no use on the other.
//!
//! What makes one of them unfit makes all of them so, and one that cannot take part
//! demotes the others by 240. So the host with a whole tie takes all of it over
//! from a host with a broken one; if both are broken, each does what it can. A host
//! that is master of a part of a tie preempts in the rest, even where it else would
//! not: hosts that were started together may have divided the tie.

use std::collections::{BTreeMap, VecDeque};

use super::group::Group;
use super::{GroupId, Instant, Interval, Output};

/// What the members of a tie have in common.
#[derive(Clone, Copy, Default)]
struct Tie {
    /// The greatest demotion that a member has for its own part.
    worst: u8,
    masters: usize,
    /// Members that cannot take part.
    unable: usize,
}

/// Tells each group of a tie what the others are like.
pub(super) fn settle(groups: &mut [Group], now: Instant, out: &mut VecDeque<Output>) {
    let mut ties: BTreeMap<&str, Tie> = BTreeMap::new();
    for group in groups.iter() {
        let Some(name) = group.tie() else { continue };
        let tie = ties.entry(name).or_default();
        tie.worst = tie.worst.max(group.own_demotion());
        tie.masters += usize::from(group.is_master());
        tie.unable += usize::from(group.is_unable());
    }
    if ties.is_empty() {
        return;
    }
    let of_each: Vec<Option<Tie>> = groups
        .iter()
        .map(|group| ties.get(group.tie()?).copied())
        .collect();
    for (group, tie) in groups.iter_mut().zip(of_each) {
        let Some(tie) = tie else { continue };
        let has_master = tie.masters > usize::from(group.is_master());
        let has_unable = tie.unable > usize::from(group.is_unable());
        let demotion = match has_unable {
            true => tie.worst.max(Interval::DEMOTED_ADVSKEW),
            false => tie.worst,
        };
        group.set_tie(demotion, has_master, now, out);
    }
}

/// The group itself, and what moves with it.
pub(super) fn moves_with(groups: &[Group], id: GroupId) -> Vec<GroupId> {
    let named = groups.iter().find(|group| group.id() == id);
    let tie = named.and_then(Group::tie);
    let is_moved = |group: &&Group| group.id() == id || tie.is_some() && group.tie() == tie;
    groups.iter().filter(is_moved).map(Group::id).collect()
}
