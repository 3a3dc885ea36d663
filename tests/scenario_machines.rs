//! The virtual memory system on machines: its history equals that of the software model, and a system
//! that leaves out one of its safeguards is detected, with the cause.

use crosswalk::finding::known;
use crosswalk::scenario::random::{Operation, operations, play, shrink};
use crosswalk::scenario::{MachineSide, Setting, run_on};
use crosswalk::walker::quirk::Quirks;
use crosswalk_guest::system::Residence;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::PagingMode::{self, Bits32, FiveLevel, FourLevel, Pae};
use mmu_core::space::Safeguards;
use serde_json::Value;
use std::time::Instant;
use support::report::list;
use support::single::{open_kvm, open_qemu};
use support::{count, require_kvm, require_qemu, run};

/// Number of random operations for one seed.
const OPERATIONS: usize = 10_000;

/// A machine as the other side of a scenario, with the known finding that scenarios ask for.
fn side(machine: &mut dyn Machine) -> MachineSide<'_> {
    let loose_pdptes = known::id_of(Quirks::LOOSE_PDPTES, machine.identity());
    MachineSide { machine, loose_pdptes }
}

/// Asserts that `crosswalk scenario all` passes on a machine, in exactly these modes.
#[track_caller]
fn assert_all_pass(machine: &str, modes: &[&str]) {
    let arguments = ["scenario", "all", "--machine", machine, "--json"];
    let report = run(&arguments).expect_code(0).json();
    assert_eq!(report["comparison"]["result"], "histories equal");
    assert_eq!(report["comparison"]["machine"]["kind"], machine);
    assert_eq!(report["modes"], Value::from(modes));

    let scenarios = list(&report["scenarios"]);
    assert_eq!(scenarios.len(), 10 * modes.len());
    for scenario in scenarios {
        let name = &scenario["name"];
        let comparison = &scenario["comparison"];
        assert_eq!(scenario["passed"], true, "{name}");
        assert_eq!(comparison["equal"], true, "{name}");

        // At least begin, create, map and run must have been compared.
        assert!(count(comparison, "orders") > 3, "{name}");
        assert!(count(comparison, "frames") > 10, "{name}");

        // TCG sets A in PAE's PDPTEs (T11); every other scenario agrees without a known finding.
        let is_pae_on_qemu = machine == "qemu" && scenario["mode"] == "pae";
        let known = if is_pae_on_qemu { Value::from("T11") } else { Value::Null };
        assert_eq!(comparison["known"]["id"], known, "{name} in {}", scenario["mode"]);
    }
}

#[test]
fn every_scenario_has_the_same_history_on_kvm() {
    require_kvm!();
    let machine = open_kvm();
    let modes = &machine.capabilities().modes;
    let offered =
        |mode: &PagingMode| modes.iter().any(|(known, offer)| known == mode && offer.is_ok());
    let names: Vec<_> = [Bits32, Pae, FourLevel, FiveLevel]
        .into_iter()
        .filter(offered)
        .map(PagingMode::name)
        .collect();
    drop(machine);

    assert!(names.contains(&"4level"));
    assert_all_pass("kvm", &names);
}

#[test]
fn every_scenario_has_the_same_history_on_qemu() {
    require_qemu!();
    assert_all_pass("qemu", &["32bit", "pae", "4level", "5level"]);
}

/// On a processor without XD, and on one with narrow physical addresses.
#[test]
fn scenarios_adapt_to_the_processor_of_qemu() {
    require_qemu!();
    for option in ["--qemu-cpu=-nx", "--phys-bits=36"] {
        let arguments = ["scenario", "protection", "--machine", "qemu", option, "--json"];
        let report = run(&arguments).expect_code(0).json();
        assert_eq!(report["totals"]["passed"], 4, "{option}");
    }
}

/// Asserts that a scenario fails on the machine, where only the machine's system leaves something
/// out, and that the report names the cause.
#[track_caller]
fn assert_detected(machine: &mut dyn Machine, name: &str, setting: Setting, cause: &str) {
    let story =
        run_on(side(machine), name, setting).expect("a known name").expect("the machine survives");
    let mode = setting.mode;
    assert!(!story.passed(), "{name} in {mode}");
    assert!(story.problems.is_empty(), "the software model is complete: {:?}", story.problems);

    let divergence = story.comparison.and_then(|comparison| comparison.divergence);
    let divergence = divergence.expect("the histories diverge");
    let named = divergence.cause.clone().unwrap_or_default();
    assert!(named.contains(cause), "{name} in {mode}: {divergence:#?}");
}

fn assert_every_omission_is_detected(machine: &mut dyn Machine, modes: &[PagingMode]) {
    for mode in modes {
        let without = |safeguard| Setting {
            machine_safeguards: Safeguards::all() - safeguard,
            ..Setting::new(*mode)
        };
        assert_detected(machine, "reallocation", without(Safeguards::WIPE), "the wipe is missing");
        assert_detected(
            machine,
            "copy-on-write",
            without(Safeguards::WRITE_PROTECT),
            "the write protection after a fork is missing",
        );
    }

    // Where the kernel is in the process's space, leaf entries are edited in ring 3, and no MOV to
    // CR3 comes between two accesses. With every safeguard the history is the same there, too.
    let resident = Setting { residence: Residence::InProcess, ..Setting::new(FourLevel) };
    for name in ["reclaim", "copy-on-write", "isolation", "growth"] {
        let story = run_on(side(machine), name, resident)
            .expect("a known name")
            .expect("the machine survives");
        assert!(story.passed(), "{name}: {:#?}", story.comparison);
    }

    let without_shoot_down =
        Setting { machine_safeguards: Safeguards::all() - Safeguards::SHOOT_DOWN, ..resident };
    let cause = "an old translation was used, the shoot-down is missing";
    assert_detected(machine, "reclaim", without_shoot_down, cause);
}

#[test]
fn a_system_that_leaves_something_out_is_detected_on_kvm() {
    require_kvm!();
    assert_every_omission_is_detected(&mut open_kvm(), &[FourLevel]);
}

#[test]
fn a_system_that_leaves_something_out_is_detected_on_qemu() {
    require_qemu!();
    assert_every_omission_is_detected(&mut open_qemu(), &[Bits32, Pae, FourLevel, FiveLevel]);
}

/// Asserts that a seed's operations have the same history on the machine; if not, panics with a
/// smallest list of operations that fails.
#[track_caller]
fn assert_same_history(machine: &mut dyn Machine, mode: PagingMode, seed: u64) {
    let operations = operations(seed, OPERATIONS);
    let mut play =
        |operations: &[Operation]| play(Some(side(machine)), Setting::new(mode), operations);
    let started = Instant::now();
    let played = play(&operations).expect("the machine survives");
    println!("{mode}, seed {seed}: {played} in {:.1} s", started.elapsed().as_secs_f64());

    if played.problem.is_some() {
        let smallest = shrink(&operations, &mut play).expect("the machine survives");
        let problem = play(&smallest).expect("the machine survives").problem;
        panic!("{mode}, seed {seed}: {smallest:#?} ends in {problem:?}");
    }

    let comparison = played.comparison.as_ref().expect("a machine took part");
    assert!(comparison.divergence.is_none());
    assert_eq!(played.performed, OPERATIONS);
    assert!(played.written > 1000 && played.read > 1000 && comparison.events > 1000, "{played}");
}

#[test]
fn random_operations_have_the_same_history_on_kvm() {
    require_kvm!();
    let mut machine = open_kvm();
    for seed in [1, 2] {
        assert_same_history(&mut machine, FourLevel, seed);
    }
}

#[test]
fn random_operations_have_the_same_history_on_qemu() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, seed) in [(FourLevel, 1), (FiveLevel, 2), (Pae, 3), (Bits32, 4)] {
        assert_same_history(&mut machine, mode, seed);
    }
}

#[test]
fn random_operations_are_available_as_a_command() {
    require_qemu!();
    let arguments =
        ["scenario", "random", "--machine", "qemu", "--operations", "300", "--seed", "9"];
    let report = run(&[&arguments[..], &["--json"]].concat()).expect_code(0).json();
    assert_eq!(report["comparison"]["result"], "histories equal");

    let runs = list(&report["runs"]);
    assert_eq!(runs.len(), 4);
    for run in runs {
        assert_eq!(run["operations"], 300);
        assert_eq!(run["passed"], true);
        assert_eq!(run["comparison"]["equal"], true);
    }

    let text = run(&arguments).expect_code(0).expect_80_columns().stdout;
    assert!(text.contains("5level tables: 300 operations, "), "{text}");
}

/// By hand: a process, memory, and one access to it show that nothing is wiped.
#[test]
fn operations_that_fail_on_a_machine_are_shrunk() {
    require_qemu!();
    let mut machine = open_qemu();
    let machine_safeguards = Safeguards::all() - Safeguards::WIPE;
    let setting = Setting { machine_safeguards, ..Setting::new(FourLevel) };
    let mut play = |operations: &[Operation]| play(Some(side(&mut machine)), setting, operations);

    let smallest = shrink(&operations(5, 400), &mut play).expect("the machine survives");
    assert_eq!(smallest.len(), 3, "{smallest:?}");
    let played = play(&smallest).expect("the machine survives");
    let problem = played.problem.expect("the operations fail");
    assert!(problem.contains("the wipe is missing"), "{problem}");
}
