//! Each planted bug is found, and by the checker that is there for it.

use std::collections::BTreeMap;

use vipd_tests::sim::checker::Checker::{self, *};
use vipd_tests::sim::sabotage::Sabotage;
use vipd_tests::sim::seeds;

/// Seeds within which a planted bug must be found. A checker that needs more is
/// too weak.
const SEEDS: u64 = 200;

#[track_caller]
fn assert_found(sabotage: Sabotage, by: &[Checker]) {
    let mut found: BTreeMap<Checker, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let violation = seeds::play(seed, Some(sabotage), false).world.violation;
        if let Some(violation) = violation {
            found.entry(violation.checker).or_insert(seed);
        }
        if by.iter().all(|checker| found.contains_key(checker)) {
            println!("{sabotage:?} is found by {found:?} (checker: seed)");
            return;
        }
    }
    panic!("{by:?} did not find {sabotage:?}, but {found:?}");
}

#[test]
fn a_lease_without_end_is_found_by_the_takeover_under_it() {
    assert_found(Sabotage::LeaseNeverExpires, &[NoTakeoverUnderLease]);
}

#[test]
fn a_lease_that_is_renewed_without_a_send_is_found() {
    assert_found(Sabotage::LeaseWithoutSend, &[LeaseWithinPromise]);
}

#[test]
fn a_lease_that_lasts_too_long_is_found() {
    assert_found(Sabotage::LeaseTooLong, &[LeaseWithinPromise]);
}

#[test]
fn an_announcement_before_the_lease_is_found() {
    assert_found(Sabotage::AnnounceBeforeLease, &[NoAnnouncementWithoutLease]);
}

#[test]
fn a_kernel_that_is_not_silenced_is_found() {
    assert_found(Sabotage::SilenceIgnored, &[SilenceBeforeGivingAway]);
}

#[test]
fn a_role_given_away_before_silence_is_found() {
    assert_found(Sabotage::BowOutBeforeSilence, &[SilenceBeforeGivingAway]);
}

#[test]
fn a_deadline_before_the_queue_is_found_by_the_takeover_from_a_living_master() {
    assert_found(Sabotage::DeadlineBeforeQueue, &[NoTakeoverUnderLease]);
}

#[test]
fn a_takeover_without_an_advert_is_found() {
    assert_found(Sabotage::TakeoverAdvertDropped, &[FirstFrameIsAdvert]);
}

#[test]
fn backups_of_one_skew_are_found_taking_over_together() {
    assert_found(Sabotage::SkewIgnored, &[SkewOrders]);
}

#[test]
fn a_reversed_ranking_is_found_by_who_answers() {
    assert_found(Sabotage::RankingReversed, &[ThePreferredAnswers]);
}

#[test]
fn a_host_that_does_not_preempt_is_found() {
    assert_found(Sabotage::PreemptIgnored, &[ThePreferredAnswers]);
}

#[test]
fn a_stranger_who_is_believed_is_found() {
    assert_found(Sabotage::WrongKeyAccepted, &[WorthlessFramesChangeNothing]);
}

#[test]
fn withheld_announcements_are_found_by_the_client_that_only_listens() {
    assert_found(Sabotage::AnnouncementsWithheld, &[ClientFollows]);
}

#[test]
fn a_lost_address_that_stays_lost_is_found_by_the_client() {
    assert_found(Sabotage::LostAddressNotRestored, &[ClientReaches]);
}

#[test]
fn an_announcement_of_another_mac_is_found() {
    assert_found(Sabotage::ForeignMacAnnounced, &[OwnMacOnly]);
}

#[test]
fn a_backup_that_advertises_is_found() {
    assert_found(Sabotage::BackupAdvertises, &[OnlyMastersAdvertise]);
}

#[test]
fn counters_that_shrink_are_found() {
    assert_found(Sabotage::CountersReset, &[CountersGrow]);
}

#[test]
fn a_flooded_log_is_found() {
    assert_found(Sabotage::EveryBadAdvertLogged, &[OneLinePerEpisode]);
}

#[test]
fn a_takeover_that_stops_half_way_is_found_by_the_silence() {
    assert_found(Sabotage::PlacedForgotten, &[SomebodyAnswers]);
}

#[test]
fn a_deadline_that_is_not_kept_is_found_by_the_silence() {
    assert_found(Sabotage::DeadlineForgotten, &[SomebodyAnswers]);
}

#[test]
fn a_master_that_does_not_hear_its_successor_is_found() {
    assert_found(
        Sabotage::MasterIsDeaf,
        &[NoAnswerAfterSuccessor, OneAnswers],
    );
}

#[test]
fn a_lease_that_is_renewed_before_the_send_is_found() {
    assert_found(Sabotage::RenewalBeforeSend, &[LeaseWithinPromise]);
}

#[test]
fn the_adoption_of_a_lease_that_has_ended_is_found() {
    assert_found(Sabotage::ExpiredLeaseAdopted, &[ResumesOnOwnLease]);
}

#[test]
fn the_adoption_of_another_hosts_lease_is_found() {
    assert_found(Sabotage::ForeignLeaseAdopted, &[ResumesOnOwnLease]);
}

#[test]
fn a_predecessor_that_is_not_waited_for_is_found_by_two_that_answer() {
    assert_found(Sabotage::PredecessorNotAwaited, &[NoAnswerAfterSuccessor]);
}

#[test]
fn a_farewell_before_silence_is_found() {
    assert_found(Sabotage::FarewellBeforeSilence, &[SilenceBeforeGivingAway]);
}

#[test]
fn a_late_frame_is_found() {
    assert_found(Sabotage::LateFrameSent, &[NothingLate]);
}

#[test]
fn a_host_that_does_not_know_how_unfit_it_is_is_found() {
    assert_found(Sabotage::FitnessForgotten, &[TheFitAnswers]);
}

#[test]
fn a_host_that_must_not_be_master_and_is_is_found() {
    assert_found(Sabotage::WithheldForgotten, &[TheFitAnswers]);
}

#[test]
fn a_tie_that_does_not_hold_is_found_by_who_answers() {
    assert_found(Sabotage::TieIgnored, &[TheFitAnswers, TiedMoveTogether]);
}

#[test]
fn a_start_that_is_not_waited_for_is_found() {
    assert_found(Sabotage::DelayIgnored, &[PatienceIsKept]);
}
