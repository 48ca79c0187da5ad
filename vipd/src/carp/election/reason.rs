//! Why roles change, by the names that people read.

/// Why a role changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The daemon started.
    Start,
    /// The interface can carry frames.
    LinkUp,
    /// The interface cannot carry frames, or is gone.
    LinkDown,
    /// No advert was heard for as long as this host waits.
    MasterTimeout,
    /// The master said that it leaves.
    MasterResigned,
    /// The master advertises so seldom that waiting for it is no use.
    MasterTooSlow,
    /// The master is less preferred than this host.
    Preempt,
    /// The master is less fit than this host.
    MasterDemoted,
    /// A more preferred master was heard.
    BetterMaster,
    /// A master of the same rank was heard, and its address wins.
    TieLost,
    /// The operator asked for it.
    StepDown,
    /// This host must not be master, as [`super::Fitness`] has it.
    Unfit,
    /// The lease ended before it was renewed: this host was stopped, starved,
    /// or could not send.
    LeaseExpired,
    /// The right to answer could not be written into the map.
    MapFault,
    /// The addresses could not be put on the interface.
    AddressFault,
    /// The daemon ends.
    Shutdown,
    /// The daemon was started anew within the lease of the one before it.
    Resumed,
}

impl Reason {
    /// Every reason, for those who check that all of them occur.
    pub const ALL: [Self; 17] = [
        Self::Start,
        Self::LinkUp,
        Self::LinkDown,
        Self::MasterTimeout,
        Self::MasterResigned,
        Self::MasterTooSlow,
        Self::Preempt,
        Self::MasterDemoted,
        Self::BetterMaster,
        Self::TieLost,
        Self::StepDown,
        Self::Unfit,
        Self::LeaseExpired,
        Self::MapFault,
        Self::AddressFault,
        Self::Shutdown,
        Self::Resumed,
    ];

    /// As `vipd status` and the logs name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::LinkUp => "link_up",
            Self::LinkDown => "link_down",
            Self::MasterTimeout => "master_timeout",
            Self::MasterResigned => "master_resigned",
            Self::MasterTooSlow => "master_too_slow",
            Self::Preempt => "preempt",
            Self::MasterDemoted => "master_demoted",
            Self::BetterMaster => "better_master",
            Self::TieLost => "tie_lost",
            Self::StepDown => "step_down",
            Self::Unfit => "unfit",
            Self::LeaseExpired => "lease_expired",
            Self::MapFault => "map_fault",
            Self::AddressFault => "address_fault",
            Self::Shutdown => "shutdown",
            Self::Resumed => "resumed",
        }
    }
}
