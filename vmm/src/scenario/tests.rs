//! Every scenario in every mode, and three systems that forget something.

use super::*;
use mmu_core::PagingMode::{Bits32, FiveLevel, FourLevel, Pae};

#[test]
fn every_scenario_passes_in_every_mode() {
    for mode in [Bits32, Pae, FourLevel, FiveLevel] {
        for scenario in SCENARIOS {
            let story = run(scenario.name, mode, Duties::all()).expect("a known name");
            let failed: Vec<_> = story.claims.iter().filter(|claim| !claim.holds).collect();
            let (name, problems) = (scenario.name, &story.problems);
            assert!(story.passed(), "{name} in {mode}: {failed:?} {problems:?}");
            assert!(!story.claims.is_empty(), "{name}");
        }
    }
}

/// The scenario fails, and one of its problems names the cause.
#[track_caller]
fn fails(name: &str, duty: Duties, cause: &str) {
    for mode in [Bits32, Pae, FourLevel, FiveLevel] {
        let story = run(name, mode, Duties::all() - duty).expect("a known name");
        assert!(!story.passed(), "{name} in {mode}");
        let named = story.problems.iter().any(|problem| problem.contains(cause));
        assert!(named, "{name} in {mode}: {:?}", story.problems);
    }
}

#[test]
fn a_forgotten_shoot_down_is_named() {
    fails("reclaim", Duties::SHOOT_DOWN, "the shoot-down is missing");
    fails("copy-on-write", Duties::SHOOT_DOWN, "the shoot-down is missing");
}

#[test]
fn a_forgotten_wipe_is_named() {
    fails("reallocation", Duties::WIPE, "the wipe is missing");
}

#[test]
fn a_forgotten_write_protection_is_named() {
    fails("copy-on-write", Duties::WRITE_PROTECT, "the write protection after a fork is missing");
}

#[test]
fn an_unknown_name_or_a_mode_without_tables_is_no_scenario() {
    assert!(run("nonsense", FourLevel, Duties::all()).is_none());
    assert!(run("isolation", PagingMode::Unpaged, Duties::all()).is_none());
}
