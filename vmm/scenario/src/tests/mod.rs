//! Every scenario in every mode, and systems without one of their safeguards, in software.

mod page_maps;

use super::*;
use mmu_core::PagingMode::{Bits32, FiveLevel, FourLevel, Pae};
use random::{operations, play, shrink};

#[test]
fn every_scenario_passes_in_every_mode() {
    for mode in [Bits32, Pae, FourLevel, FiveLevel] {
        for scenario in SCENARIOS.iter() {
            let story = scenario.run(Setting::new(mode)).expect("a mode with tables");
            let failed: Vec<_> = story.claims.iter().filter(|claim| !claim.holds).collect();
            let (name, problems) = (&scenario.name, &story.problems);
            assert!(story.passed(), "{name} in {mode}: {failed:?} {problems:?}");
            assert!(!story.claims.is_empty(), "{name}");
        }
    }
}

/// The scenario fails, and one of its problems names the cause.
#[track_caller]
fn fails(name: &str, safeguard: Safeguards, cause: &str) {
    for mode in [Bits32, Pae, FourLevel, FiveLevel] {
        let setting = Setting { safeguards: Safeguards::all() - safeguard, ..Setting::new(mode) };
        let story = run(name, setting).expect("a known name");
        assert!(!story.passed(), "{name} in {mode}");
        let named = story.problems.iter().any(|problem| problem.contains(cause));
        assert!(named, "{name} in {mode}: {:?}", story.problems);
    }
}

#[test]
fn a_missing_shoot_down_is_named() {
    fails("reclaim", Safeguards::SHOOT_DOWN, "the shoot-down is missing");
    fails("copy-on-write", Safeguards::SHOOT_DOWN, "the shoot-down is missing");
}

#[test]
fn a_missing_wipe_is_named() {
    fails("reallocation", Safeguards::WIPE, "the wipe is missing");
}

#[test]
fn a_missing_write_protection_is_named() {
    fails(
        "copy-on-write",
        Safeguards::WRITE_PROTECT,
        "the write protection after a fork is missing",
    );
}

#[test]
fn an_unknown_name_or_a_mode_without_tables_has_no_scenario() {
    assert!(run("nonsense", Setting::new(FourLevel)).is_none());
    assert!(run("isolation", Setting::new(PagingMode::Unpaged)).is_none());
}

#[test]
fn random_operations_lose_nothing() {
    for mode in [Bits32, Pae, FourLevel, FiveLevel] {
        let played = play(None, Setting::new(mode), &operations(11, 3000)).unwrap();
        assert_eq!(played.problem, None, "{mode}: {played}");
        assert!(played.written > 300 && played.read > 300, "{mode}: {played}");
    }
}

/// By hand: a process, memory, and one touch of it.
#[test]
fn operations_that_fail_are_shrunk_to_the_few_that_matter() {
    let safeguards = Safeguards::all() - Safeguards::WIPE;
    let setting = Setting { safeguards, ..Setting::new(FourLevel) };
    let mut play = |operations: &[random::Operation]| play(None, setting, operations);
    let smallest = shrink(&operations(3, 500), &mut play).unwrap();
    assert_eq!(smallest.len(), 3, "{smallest:?}");
    let problem = play(&smallest).unwrap().problem.unwrap();
    assert!(problem.contains("the wipe is missing"), "{problem}");
}
