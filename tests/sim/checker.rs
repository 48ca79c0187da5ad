//! The names of the promises, and what is said of a broken one.

use super::setup::{Nanos, SECOND};

/// What can be found wanting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// A settled world has one host that answers, not two.
    OneAnswers,
    /// And not none.
    SomebodyAnswers,
    /// And it is the best one, where all preempt.
    ThePreferredAnswers,
    /// And one that may, and none is less demoted.
    TheFitAnswers,
    /// Tied groups are not divided without need.
    TiedMoveTogether,
    /// Nobody takes over in the start-up delay, nor preempts in the preempt delay, or
    /// where it is not told to.
    PatienceIsKept,
    /// Nobody answers after his successor's first answer.
    NoAnswerAfterSuccessor,
    /// Nobody takes over while another may answer, except by preempting.
    NoTakeoverUnderLease,
    /// No lease before an advert.
    FirstFrameIsAdvert,
    NoAnnouncementWithoutLease,
    /// The kernel is silent before the role is given away.
    SilenceBeforeGivingAway,
    OnlyMastersAdvertise,
    /// Announcements name the sender and its group's addresses.
    OwnMacOnly,
    /// A lease ends before anybody can take over.
    LeaseWithinPromise,
    /// A client that only listens remembers the right host.
    ClientFollows,
    /// And reaches it.
    ClientReaches,
    /// Bad adverts, garbage and echoes change no role and provoke no frame.
    WorthlessFramesChangeNothing,
    CountersGrow,
    /// Two backups of different skew do not take over together.
    SkewOrders,
    OneLinePerEpisode,
    /// Nobody speaks as a master that it has not been since.
    NothingLate,
    /// A daemon goes on with a lease that is its own and has not ended.
    ResumesOnOwnLease,
}

#[derive(Clone, Debug)]
pub struct Violation {
    pub checker: Checker,
    pub at: Nanos,
    pub what: String,
}

/// Seconds.
pub fn time(at: Nanos) -> String {
    format!("{}.{:06}", at / SECOND, at % SECOND / 1000)
}
