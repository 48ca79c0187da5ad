//! The committed corpora, as an ordinary test: every file of them, cut anywhere
//! and with any byte spoilt, as far as time allows. Needs no fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use vipd_tests::fuzz::{Said, TARGETS, Target};

#[test]
fn every_target_takes_what_its_corpus_says_and_breaks_at_nothing_near_it() {
    for target in TARGETS {
        let mut said = Vec::new();
        for path in seeds(target) {
            let seed = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            // What a panic is about: libtest shows it where the test fails.
            println!("{}", path.display());
            said.push((target.check)(&seed));
            for near in near(&seed) {
                (target.check)(&near);
            }
        }
        // A corpus that a parser refuses whole begins nowhere, and one that it
        // takes whole does not say what is wrong.
        for wanted in [Said::Yes, Said::No] {
            let name = target.name;
            assert!(said.contains(&wanted), "no seed of {name} is {wanted:?}");
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let corpora = fs::read_dir(corpus()).unwrap_or_else(|e| panic!("no corpus: {e}"));
    for directory in corpora.flatten() {
        let name = directory.file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{name:?}");
    }
}

/// Every beginning of it, and every byte of it changed in three ways; of a long
/// one some.
fn near(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let step = seed.len() / MOST + 1;
    let cut = (0..seed.len())
        .step_by(step)
        .map(|len| seed[..len].to_vec());
    let spoilt = (0..seed.len()).step_by(step).flat_map(|at| {
        [0x01, 0x80, 0xff].map(|bits| {
            let mut spoilt = seed.to_vec();
            spoilt[at] ^= bits;
            spoilt
        })
    });
    cut.chain(spoilt)
}

fn seeds(target: &Target) -> Vec<PathBuf> {
    let directory = corpus().join(target.name);
    let entries = fs::read_dir(&directory);
    let entries = entries.unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Places in a seed at which it is cut and spoilt.
const MOST: usize = 200;
