//! Why a role changed, as a person would say it: for log lines and the table of
//! `vipd status`. The names that programs rely on are `Reason::as_str`.

use super::Reason;

impl Reason {
    /// Half a sentence, without a full stop.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Start => "the daemon started",
            Self::LinkUp => "the link came up",
            Self::LinkDown => "the link is down",
            Self::MasterTimeout => "no master was heard any more",
            Self::MasterResigned => "the master resigned",
            Self::MasterTooSlow => "the master advertises too seldom",
            Self::Preempt => "the master was less preferred",
            Self::BetterMaster => "a better master was heard",
            Self::TieLost => "a master of the same rank won",
            Self::MasterDemoted => "the master was less fit",
            Self::Unfit => "this host is not fit",
            Self::StepDown => "the operator asked for it",
            Self::LeaseExpired => "the lease ended before it was renewed",
            Self::MapFault => "the BPF map could not be written",
            Self::AddressFault => "the addresses could not be placed",
            Self::Shutdown => "the daemon is stopping",
            Self::Resumed => "went on after a restart",
        }
    }

    /// The reason of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_name_and_has_words_of_its_own() {
        let mut words: Vec<&str> = Vec::new();
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.as_str()), Some(reason));
            assert!(!words.contains(&reason.words()), "{}", reason.words());
            words.push(reason.words());
        }
        assert_eq!(Reason::from_name("sunspots"), None);
    }
}
