//! Many seeds.

use std::collections::BTreeSet;

use vipd_tests::sim::{coverage, seeds};

use super::from_environment;

/// Seeds that are played without being asked for any.
const SEEDS: u64 = 3000;

#[test]
fn the_promises_hold_whatever_fails() {
    if let Some(seed) = from_environment("VIPD_SIM_SEED") {
        let report = seeds::report(seed, None);
        println!("{report}");
        let violation = seeds::play(seed, None, false).world.violation;
        assert!(violation.is_none(), "{violation:?}");
        return;
    }
    let count = from_environment("VIPD_SIM_SEEDS").unwrap_or(SEEDS);
    let first = from_environment("VIPD_SIM_FROM").unwrap_or(0);
    let mut seen = BTreeSet::new();
    let mut judged = 0;
    let mut failed = Vec::new();
    for seed in first..first + count {
        let world = seeds::play(seed, None, false).world;
        seen.extend(world.coverage);
        judged += world.checks.judged;
        if let Some(violation) = world.violation {
            failed.push((seed, violation));
        }
    }
    for (seed, violation) in failed.iter().take(20) {
        println!("seed {seed}: {:?}: {}", violation.checker, violation.what);
    }
    if let Some((seed, _)) = failed.first() {
        panic!(
            "{} of {count} seeds fail\n{}",
            failed.len(),
            seeds::report(*seed, None)
        );
    }
    println!("{count} seeds, {judged} requests judged in settled worlds");
    if count >= SEEDS {
        // A simulation proves only what it provokes.
        let missing: Vec<_> = coverage::everything()
            .into_iter()
            .filter(|name| !seen.contains(name))
            .collect();
        assert!(missing.is_empty(), "never occurred: {missing:?}");
        assert!(judged > 10 * count, "only {judged} requests were judged");
    }
}

/// Seeds that failed once: the sends of all announcements failed after a rival's
/// claim, and nobody announced again; the claim came while the master's link was
/// away for a moment, or before a stopped master wrote its lease; a host that could
/// not wait for a fitter one took the role from it for ever.
#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    for seed in [149190, 458018, 423569, 1504344, 9433, 16333] {
        let violation = seeds::play(seed, None, false).world.violation;
        assert!(violation.is_none(), "{seed}: {violation:?}");
    }
}
