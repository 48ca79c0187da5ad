//! What can go wrong.

use super::reload::Change;
use super::setup::{Nanos, SECOND};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The daemon is stopped, and goes on later.
    Stall {
        host: usize,
        lasts: Nanos,
    },
    /// The daemon is stopped between two of the effects that it performs next.
    StallMidway {
        host: usize,
        after: u8,
        lasts: Nanos,
    },
    /// The daemon dies without a word, or is told to leave all as it is. The next
    /// one, later, finds what it left in the kernel.
    Kill {
        host: usize,
        back_after: Nanos,
    },
    /// The daemon dies, and the next one finds nothing of use.
    KillAndLose {
        host: usize,
        back_after: Nanos,
    },
    /// The host loses its power: its kernel, too, is silent at once.
    PowerLoss {
        host: usize,
        back_after: Nanos,
    },
    /// The daemon is told to end; it is started again later.
    Shutdown {
        host: usize,
        back_after: Nanos,
    },
    /// The daemon starts.
    Start {
        host: usize,
    },
    /// The daemon starts, and what another one left is of no use.
    StartAnew {
        host: usize,
    },
    StepDown {
        host: usize,
        group: Option<usize>,
    },
    /// The operator changes the configuration of one host, which reloads it.
    Reload {
        host: usize,
        change: Change,
    },
    /// A host does not have a group for a while.
    GroupRemoved {
        host: usize,
        group: usize,
        lasts: Nanos,
    },
    LinkDown {
        host: usize,
        lan: usize,
        lasts: Nanos,
    },
    MapFails {
        host: usize,
        lasts: Nanos,
    },
    SendsFail {
        host: usize,
        lasts: Nanos,
    },
    PlacingFails {
        host: usize,
        lasts: Nanos,
    },
    PlacingIsSlow {
        host: usize,
        lasts: Nanos,
    },
    /// Somebody removes the addresses of whichever host has them.
    AddressLost {
        group: usize,
    },
    NewMac {
        host: usize,
        lan: usize,
    },
    /// The interface is deleted, with all that was on it, and made anew.
    NicReplaced {
        host: usize,
        lan: usize,
        lasts: Nanos,
    },
    /// A UCARP process is stopped: its kernel answers as before.
    UcarpStall {
        host: usize,
        lasts: Nanos,
    },
    /// It dies, its addresses stay, and it is started again.
    UcarpKill {
        host: usize,
        lasts: Nanos,
    },
    /// A member that is not master says that it resigns.
    StrayBowOut {
        group: usize,
    },
    /// A host with another password, many times.
    WrongPassword {
        group: usize,
    },
    /// A host with the password and other addresses.
    OtherAddresses {
        group: usize,
    },
    Garbage {
        lan: usize,
    },
    UnknownVhid {
        lan: usize,
    },
    /// Each broadcast comes back to its sender.
    Loop {
        lan: usize,
        lasts: Nanos,
    },
    /// A stranger claims the addresses by ARP.
    RivalArp {
        group: usize,
    },
    /// A stranger plays back what members have signed, as it was or altered.
    Replay {
        lan: usize,
    },
    /// A stranger advertises with this host's source address.
    SameSource {
        host: usize,
        group: usize,
    },
    CutOneWay {
        lan: usize,
        from: usize,
        to: usize,
        lasts: Nanos,
    },
    CutBothWays {
        lan: usize,
        from: usize,
        to: usize,
        lasts: Nanos,
    },
    Loss {
        lan: usize,
        per_mille: u64,
        lasts: Nanos,
    },
    Doubling {
        lan: usize,
        per_mille: u64,
        lasts: Nanos,
    },
    /// Something behind the addresses fails: the daemon is told, and told again
    /// when it is over.
    Unfit {
        host: usize,
        group: usize,
        demotion: u8,
        withheld: bool,
        lasts: Nanos,
    },
    Promote {
        host: usize,
        group: usize,
    },
    Announce {
        host: usize,
        group: usize,
    },
}

impl Fault {
    pub const NAMES: [&'static str; 37] = [
        "fault stall",
        "fault stall midway",
        "fault kill",
        "fault shutdown",
        "fault stray_bow_out",
        "fault ucarp_kill",
        "fault ucarp_stall",
        "fault nic_replaced",
        "fault start_anew",
        "fault power_loss",
        "fault kill_and_lose",
        "fault start",
        "fault step_down",
        "fault reload",
        "fault group_removed",
        "fault link_down",
        "fault map_fails",
        "fault sends_fail",
        "fault placing_fails",
        "fault placing_is_slow",
        "fault address_lost",
        "fault new_mac",
        "fault wrong_password",
        "fault other_addresses",
        "fault garbage",
        "fault unknown_vhid",
        "fault loop",
        "fault rival_arp",
        "fault replay",
        "fault same_source",
        "fault cut_one_way",
        "fault cut_both_ways",
        "fault loss",
        "fault doubling",
        "fault unfit",
        "fault promote",
        "fault announce",
    ];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Stall { .. } => "fault stall",
            Self::StallMidway { .. } => "fault stall midway",
            Self::Kill { .. } => "fault kill",
            Self::Shutdown { .. } => "fault shutdown",
            Self::StrayBowOut { .. } => "fault stray_bow_out",
            Self::UcarpKill { .. } => "fault ucarp_kill",
            Self::UcarpStall { .. } => "fault ucarp_stall",
            Self::NicReplaced { .. } => "fault nic_replaced",
            Self::StartAnew { .. } => "fault start_anew",
            Self::PowerLoss { .. } => "fault power_loss",
            Self::KillAndLose { .. } => "fault kill_and_lose",
            Self::Start { .. } => "fault start",
            Self::StepDown { .. } => "fault step_down",
            Self::LinkDown { .. } => "fault link_down",
            Self::MapFails { .. } => "fault map_fails",
            Self::SendsFail { .. } => "fault sends_fail",
            Self::PlacingFails { .. } => "fault placing_fails",
            Self::PlacingIsSlow { .. } => "fault placing_is_slow",
            Self::AddressLost { .. } => "fault address_lost",
            Self::NewMac { .. } => "fault new_mac",
            Self::WrongPassword { .. } => "fault wrong_password",
            Self::OtherAddresses { .. } => "fault other_addresses",
            Self::Garbage { .. } => "fault garbage",
            Self::UnknownVhid { .. } => "fault unknown_vhid",
            Self::Reload { .. } => "fault reload",
            Self::GroupRemoved { .. } => "fault group_removed",
            Self::Loop { .. } => "fault loop",
            Self::Replay { .. } => "fault replay",
            Self::RivalArp { .. } => "fault rival_arp",
            Self::SameSource { .. } => "fault same_source",
            Self::CutOneWay { .. } => "fault cut_one_way",
            Self::CutBothWays { .. } => "fault cut_both_ways",
            Self::Loss { .. } => "fault loss",
            Self::Doubling { .. } => "fault doubling",
            Self::Unfit { .. } => "fault unfit",
            Self::Promote { .. } => "fault promote",
            Self::Announce { .. } => "fault announce",
        }
    }

    /// Whether the others must serve while it lasts: a host that is gone is no
    /// excuse, a network that is torn or a map that refuses is.
    pub fn excuses_nobody(&self) -> bool {
        matches!(
            self,
            Self::Stall { .. }
                | Self::StallMidway { .. }
                | Self::LinkDown { .. }
                | Self::NicReplaced { .. }
                | Self::SendsFail { .. }
                | Self::GroupRemoved { .. }
                | Self::Unfit { .. }
                | Self::Loop { .. }
                | Self::Doubling { .. }
        )
    }

    /// Whether the role may come and go while it lasts, but not stay away.
    pub fn excuses_moments(&self) -> bool {
        matches!(self, Self::MapFails { .. } | Self::PlacingFails { .. })
    }

    pub(super) fn lasts(&self) -> Option<Nanos> {
        match *self {
            Self::Stall { lasts, .. }
            | Self::StallMidway { lasts, .. }
            | Self::LinkDown { lasts, .. }
            | Self::MapFails { lasts, .. }
            | Self::SendsFail { lasts, .. }
            | Self::GroupRemoved { lasts, .. }
            | Self::Unfit { lasts, .. }
            | Self::PlacingFails { lasts, .. }
            | Self::PlacingIsSlow { lasts, .. }
            | Self::NicReplaced { lasts, .. }
            | Self::UcarpStall { lasts, .. }
            | Self::UcarpKill { lasts, .. }
            | Self::Loop { lasts, .. }
            | Self::CutOneWay { lasts, .. }
            | Self::CutBothWays { lasts, .. }
            | Self::Loss { lasts, .. }
            | Self::Doubling { lasts, .. } => Some(lasts),
            Self::Kill { .. }
            | Self::KillAndLose { .. }
            | Self::PowerLoss { .. }
            | Self::Shutdown { .. }
            | Self::Start { .. }
            | Self::StartAnew { .. }
            | Self::StrayBowOut { .. }
            | Self::StepDown { .. }
            | Self::Reload { .. }
            | Self::AddressLost { .. }
            | Self::NewMac { .. }
            | Self::WrongPassword { .. }
            | Self::OtherAddresses { .. }
            | Self::Garbage { .. }
            | Self::UnknownVhid { .. }
            | Self::RivalArp { .. }
            | Self::Replay { .. }
            | Self::Promote { .. }
            | Self::Announce { .. }
            | Self::SameSource { .. } => None,
        }
    }

    pub(super) fn host(&self) -> Option<usize> {
        match *self {
            Self::Stall { host, .. }
            | Self::StallMidway { host, .. }
            | Self::Kill { host, .. }
            | Self::KillAndLose { host, .. }
            | Self::PowerLoss { host, .. }
            | Self::Shutdown { host, .. }
            | Self::Start { host }
            | Self::StartAnew { host }
            | Self::NicReplaced { host, .. }
            | Self::UcarpStall { host, .. }
            | Self::UcarpKill { host, .. }
            | Self::StepDown { host, .. }
            | Self::Reload { host, .. }
            | Self::GroupRemoved { host, .. }
            | Self::LinkDown { host, .. }
            | Self::MapFails { host, .. }
            | Self::SendsFail { host, .. }
            | Self::PlacingFails { host, .. }
            | Self::PlacingIsSlow { host, .. }
            | Self::NewMac { host, .. }
            | Self::Unfit { host, .. }
            | Self::Promote { host, .. }
            | Self::Announce { host, .. }
            | Self::SameSource { host, .. } => Some(host),
            Self::AddressLost { .. }
            | Self::StrayBowOut { .. }
            | Self::WrongPassword { .. }
            | Self::OtherAddresses { .. }
            | Self::Garbage { .. }
            | Self::UnknownVhid { .. }
            | Self::Loop { .. }
            | Self::RivalArp { .. }
            | Self::Replay { .. }
            | Self::CutOneWay { .. }
            | Self::CutBothWays { .. }
            | Self::Loss { .. }
            | Self::Doubling { .. } => None,
        }
    }
}

/// A host that could not keep its promise does not preempt for so long.
pub const FAULT_HOLD: Nanos = 10 * SECOND;
