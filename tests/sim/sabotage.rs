//! Faults planted into the driver, to see that a checker finds each of them.
//! The product has no switch for any of this.

/// What the driver, or the configuration it hands out, does wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The kernel answers for ever.
    LeaseNeverExpires,
    /// A failed send is reported as done.
    LeaseWithoutSend,
    /// Clients are told before the kernel can answer them.
    AnnounceBeforeLease,
    /// The kernel is not told to fall silent.
    SilenceIgnored,
    /// After a stall the timers fire before the queue is read.
    DeadlineBeforeQueue,
    /// The first advert of a takeover does not leave.
    TakeoverAdvertDropped,
    /// The role is given away before the kernel is silent.
    BowOutBeforeSilence,
    /// All hosts have advskew 0.
    SkewIgnored,
    /// The last host has the first one's interval, and so on.
    RankingReversed,
    PreemptIgnored,
    /// The stranger has the right password.
    WrongKeyAccepted,
    AnnouncementsWithheld,
    /// An address that was taken away is not put back.
    LostAddressNotRestored,
    /// Announcements name another host's MAC.
    ForeignMacAnnounced,
    /// A host that yielded goes on to advertise.
    BackupAdvertises,
    /// The counters start again while the daemon runs.
    CountersReset,
    /// Each bad advert is logged.
    EveryBadAdvertLogged,
    /// The engine is never told that its addresses are placed.
    PlacedForgotten,
    /// The engine's deadline is not kept.
    DeadlineForgotten,
    /// A master hears no adverts.
    MasterIsDeaf,
    /// A lease reaches one interval further than the engine said.
    LeaseTooLong,
    /// A lease is renewed before its advert is sent.
    RenewalBeforeSend,
    /// A lease that has ended is gone on with.
    ExpiredLeaseAdopted,
    /// A lease of another MAC is gone on with.
    ForeignLeaseAdopted,
    /// Nobody knows a vipd host when it hears one, and nobody waits for one.
    PredecessorNotAwaited,
    /// The yielding host says so before it is silent.
    FarewellBeforeSilence,
    /// What should have been said before a stop is said after it.
    LateFrameSent,
    /// The engine is not told how fit its host is.
    FitnessForgotten,
    /// The engine is not told that it must not be master.
    WithheldForgotten,
    /// The groups of a tie do not know of each other.
    TieIgnored,
    /// The start is not waited for.
    DelayIgnored,
}
