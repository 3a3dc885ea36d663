//! The virtual memory system on machines: every history equals that of the software, and a system
//! that forgets something is found out, with the cause.

mod common;

use common::{require_kvm, require_qemu, run};
use crosswalk::scenario::random::{Operation, operations, play, shrink};
use crosswalk::scenario::{Setting, run_on};
use crosswalk_guest::system::Residence;
use crosswalk_machine::Machine;
use crosswalk_machine::image::Image;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use mmu_core::PagingMode::{self, Bits32, FiveLevel, FourLevel, Pae};
use mmu_core::space::Safeguards;
use serde_json::Value;

/// So many for one seed.
const OPERATIONS: usize = 10_000;

fn kvm() -> KvmMachine {
    KvmMachine::open(Image::built_in().expect("the image is good")).expect("KVM works")
}

fn qemu() -> QemuMachine {
    let image = Image::built_in().expect("the image is good");
    QemuMachine::open(image, &QemuProcessor::default()).expect("QEMU works")
}

/// `crosswalk scenario all` on a machine: everything passes, in these modes and no others.
#[track_caller]
fn all_pass(machine: &str, modes: &[&str]) {
    let arguments = ["scenario", "all", "--machine", machine, "--json"];
    let report = run(&arguments).expect_code(0).json();
    assert_eq!(report["comparison"]["result"], "histories equal");
    assert_eq!(report["comparison"]["machine"]["kind"], machine);
    assert_eq!(report["modes"], Value::from(modes));
    let told = report["scenarios"].as_array().expect("a list");
    assert_eq!(told.len(), 10 * modes.len());
    for story in told {
        let (name, comparison) = (&story["name"], &story["comparison"]);
        assert_eq!(
            (&story["passed"], &comparison["equal"]),
            (&true.into(), &true.into()),
            "{name}"
        );
        // Begin, create, map, run: less is no comparison.
        assert!(comparison["orders"].as_u64() > Some(3), "{name}");
        assert!(comparison["frames"].as_u64() > Some(10), "{name}");
        let known = &comparison["known"]["id"];
        // TCG sets A in PAE's PDPTEs, and nothing else is out of order.
        let expected =
            if machine == "qemu" && story["mode"] == "pae" { "T11".into() } else { Value::Null };
        assert_eq!(*known, expected, "{name} in {}", story["mode"]);
    }
}

#[test]
fn every_scenario_has_the_same_history_on_kvm() {
    require_kvm!();
    let machine = kvm();
    let modes = &machine.capabilities().modes;
    let offered =
        |mode: &PagingMode| modes.iter().any(|(known, offer)| known == mode && offer.is_ok());
    let modes = [Bits32, Pae, FourLevel, FiveLevel].into_iter().filter(offered);
    let names: Vec<_> = modes.map(PagingMode::name).collect();
    drop(machine);
    assert!(names.contains(&"4level"));
    all_pass("kvm", &names);
}

#[test]
fn every_scenario_has_the_same_history_on_qemu() {
    require_qemu!();
    all_pass("qemu", &["32bit", "pae", "4level", "5level"]);
}

/// On a processor without XD, and on one with narrow physical addresses.
#[test]
fn scenarios_follow_the_processor_of_qemu() {
    require_qemu!();
    for option in ["--qemu-cpu=-nx", "--phys-bits=36"] {
        let arguments = ["scenario", "protection", "--machine", "qemu", option, "--json"];
        let report = run(&arguments).expect_code(0).json();
        assert_eq!(report["totals"]["passed"], 4, "{option}");
    }
}

/// The scenario fails on the machine, whose system alone forgets something, and the cause is named.
#[track_caller]
fn found_out(machine: &mut dyn Machine, name: &str, setting: Setting, cause: &str) {
    let story = run_on(machine, name, setting).expect("a known name").expect("the machine lives");
    let mode = setting.mode;
    assert!(!story.passed(), "{name} in {mode}");
    assert!(story.problems.is_empty(), "the software forgets nothing: {:?}", story.problems);
    let parted = story.comparison.and_then(|comparison| comparison.parted);
    let parted = parted.expect("the histories part");
    let told = parted.cause.clone().unwrap_or_default();
    assert!(told.contains(cause), "{name} in {mode}: {parted:#?}");
}

fn every_breakage_is_found_out(machine: &mut dyn Machine, modes: &[PagingMode]) {
    for mode in modes {
        let without =
            |duty| Setting { machine_duties: Safeguards::all() - duty, ..Setting::new(*mode) };
        found_out(machine, "reallocation", without(Safeguards::WIPE), "the wipe is missing");
        let cause = "the write protection after a fork is missing";
        found_out(machine, "copy-on-write", without(Safeguards::WRITE_PROTECT), cause);
    }
    // Where the kernel lives in the process, its leaf edits in ring 3 and no MOV to CR3 come between
    // two accesses. With all duties done that is the same history, too.
    let resident = Setting { residence: Residence::InProcess, ..Setting::new(FourLevel) };
    for name in ["reclaim", "copy-on-write", "isolation", "growth"] {
        let story = run_on(machine, name, resident).expect("a known name").expect("it lives");
        assert!(story.passed(), "{name}: {:#?}", story.comparison);
    }
    let broken = Setting { machine_duties: Safeguards::all() - Safeguards::SHOOT_DOWN, ..resident };
    found_out(machine, "reclaim", broken, "an old translation was used, the shoot-down is missing");
}

#[test]
fn a_system_that_forgets_something_is_found_out_on_kvm() {
    require_kvm!();
    every_breakage_is_found_out(&mut kvm(), &[FourLevel]);
}

#[test]
fn a_system_that_forgets_something_is_found_out_on_qemu() {
    require_qemu!();
    every_breakage_is_found_out(&mut qemu(), &[Bits32, Pae, FourLevel, FiveLevel]);
}

/// Operations of a seed lose nothing; if they do, the fewest that do are told.
#[track_caller]
fn nothing_is_lost(machine: &mut dyn Machine, mode: PagingMode, seed: u64) {
    let operations = operations(seed, OPERATIONS);
    let mut play = |operations: &[Operation]| play(Some(machine), Setting::new(mode), operations);
    let started = std::time::Instant::now();
    let played = play(&operations).expect("the machine lives");
    println!("{mode}, seed {seed}: {played} in {:.1} s", started.elapsed().as_secs_f64());
    if played.problem.is_some() {
        let smallest = shrink(&operations, &mut play).expect("the machine lives");
        let problem = play(&smallest).expect("the machine lives").problem;
        panic!("{mode}, seed {seed}: {smallest:#?} ends in {problem:?}");
    }
    let comparison = played.comparison.as_ref().expect("a machine took part");
    assert!(comparison.parted.is_none());
    assert_eq!(played.performed, OPERATIONS);
    assert!(played.written > 1000 && played.read > 1000 && comparison.events > 1000, "{played}");
}

#[test]
fn random_operations_have_the_same_history_on_kvm() {
    require_kvm!();
    let mut machine = kvm();
    for seed in [1, 2] {
        nothing_is_lost(&mut machine, FourLevel, seed);
    }
}

#[test]
fn random_operations_have_the_same_history_on_qemu() {
    require_qemu!();
    let mut machine = qemu();
    for (mode, seed) in [(FourLevel, 1), (FiveLevel, 2), (Pae, 3), (Bits32, 4)] {
        nothing_is_lost(&mut machine, mode, seed);
    }
}

#[test]
fn random_operations_are_a_command_too() {
    require_qemu!();
    let arguments =
        ["scenario", "random", "--machine", "qemu", "--operations", "300", "--seed", "9"];
    let report = run(&[&arguments[..], &["--json"]].concat()).expect_code(0).json();
    assert_eq!(report["comparison"]["result"], "histories equal");
    let runs = report["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 4);
    for run in runs {
        assert_eq!((&run["operations"], &run["passed"]), (&300.into(), &true.into()));
        assert_eq!(run["comparison"]["equal"], true);
    }
    let text = run(&arguments).expect_code(0).stdout;
    assert!(text.contains("5level tables: 300 operations, "), "{text}");
    assert_eq!(text.lines().find(|line| line.chars().count() > 80), None, "{text}");
}

/// By hand: a process, memory, and one touch of it show that nothing is wiped.
#[test]
fn operations_that_fail_on_a_machine_are_shrunk() {
    require_qemu!();
    let mut machine = qemu();
    let machine_duties = Safeguards::all() - Safeguards::WIPE;
    let setting = Setting { machine_duties, ..Setting::new(FourLevel) };
    let mut play = |operations: &[Operation]| play(Some(&mut machine), setting, operations);
    let smallest = shrink(&operations(5, 400), &mut play).expect("the machine lives");
    assert_eq!(smallest.len(), 3, "{smallest:?}");
    let problem = play(&smallest).expect("the machine lives").problem.expect("it fails");
    assert!(problem.contains("the wipe is missing"), "{problem}");
}
