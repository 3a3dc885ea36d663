//! Sequences of accesses and other actions: many in one batch, and in `check`, as a user runs it.

use crosswalk::campaign::run_one;
use crosswalk::generate::Stream;
use crosswalk::generate::sequence::SequenceStream;
use crosswalk::walker::Walker;
use crosswalk_case::observation::{Attempt, Observation};
use crosswalk_case::{Action, Case};
use crosswalk_guest::layout::MAX_SEQUENCES;
use crosswalk_machine::Machine;
use crosswalk_machine::batch::{Batch, Encoded};
use crosswalk_test_support as support;
use mmu_core::{AccessKind, PagingMode, Reference, Rule};
use support::single::{open_kvm, open_qemu};
use support::{count, require_kvm, require_qemu, run};

/// Whether what is cached cannot matter (TLB-2). Where it can, the other lanes have a say: QEMU, for
/// example, remembers one region around all large pages, and INVLPG within it drops everything.
fn is_determined(case: &Case) -> bool {
    let mut loads = case.clone();
    // QEMU translates the load of a read-modify-write on its own (T2).
    let steps = loads.before.iter_mut().filter_map(|action| match action {
        Action::Access(step) => Some(&mut step.access),
        _ => None,
    });
    for access in steps.chain([&mut loads.access]) {
        if access.kind == AccessKind::ReadModifyWrite {
            access.kind = AccessKind::Read;
        }
    }

    [case, &loads].into_iter().all(|case| {
        let predictions = Reference.predict_accesses(case);
        let mut ways = predictions.iter().flat_map(|prediction| &prediction.alternatives);
        ways.all(|way| way.choice.is_none_or(|(rule, _)| rule != Rule::Tlb2))
    })
}

/// What was observed, without CR2 as others have left it.
fn without_cr2_before(mut attempt: Attempt) -> Attempt {
    if let Attempt::Observed(Observation { earlier, fault, .. }) = &mut attempt {
        let faults = earlier.iter_mut().filter_map(|access| access.fault.as_mut());
        for fault in faults.chain(fault) {
            if fault.vector != 14 {
                fault.cr2 = 0;
            }
            fault.cr2_before = 0;
        }
    }
    attempt
}

/// Runs a batch in one go.
fn run_together(machine: &mut dyn Machine, batch: Batch) -> Vec<Attempt> {
    let memory = machine.memory().clone();
    let encoded = Encoded::new(batch, machine.image(), machine.capabilities());
    let log = machine.run(encoded.write(&memory)).expect("the guest survives");
    assert!(log.gave_up.is_none(), "{:?}", log.gave_up);
    encoded.read_back(&log, &memory, machine.provenance()).expect("its records are good")
}

#[track_caller]
fn assert_the_same_together_and_alone(machine: &mut dyn Machine, mode: PagingMode) {
    let stream = SequenceStream::new(18, mode, machine.capabilities().clone());
    for number in 0..2 {
        let batch = stream.batch(number, usize::MAX);
        assert_eq!(batch.cases.len(), MAX_SEQUENCES);

        let together = run_together(machine, batch.clone());
        let mut compared = 0;
        for (case, attempt) in batch.cases.iter().zip(together) {
            if !is_determined(case) {
                continue;
            }
            let alone = run_one(machine, case).expect("the guest survives");
            assert_eq!(without_cr2_before(attempt), without_cr2_before(alone), "{case}");
            compared += 1;
        }
        assert!(compared > MAX_SEQUENCES / 4, "{compared}");
    }
}

#[test]
fn a_batch_of_sequences_and_each_of_them_alone_do_the_same_on_kvm() {
    require_kvm!();
    assert_the_same_together_and_alone(&mut open_kvm(), PagingMode::FourLevel);
}

#[test]
fn a_batch_of_sequences_and_each_of_them_alone_do_the_same_on_qemu() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        assert_the_same_together_and_alone(&mut machine, mode);
    }
}

/// The cases and the sequences among them of a run with these arguments.
fn counts(machine: &str, arguments: &[&str]) -> [u64; 2] {
    let all = ["check", "--machine", machine, "--seed", "4", "--json", "--cases", "60000"];
    let report = run(&[&all, arguments].concat()).expect_code(0).json();
    ["cases", "sequences"].map(|name| count(&report["totals"], name))
}

#[track_caller]
fn assert_sequences_are_a_fifth(machine: &str) {
    let [cases, sequences] = counts(machine, &[]);
    assert_eq!(cases, 60_000);
    assert!(sequences >= cases / 5, "{sequences} of {cases}");
}

#[test]
fn a_fifth_of_the_cases_of_check_are_sequences_on_kvm() {
    require_kvm!();
    assert_sequences_are_a_fifth("kvm");
    assert_eq!(counts("kvm", &["--sequences", "off"]), [60_000, 0]);
    assert_eq!(counts("kvm", &["--sequences", "only"]), [60_000; 2]);
}

#[test]
fn a_fifth_of_the_cases_of_check_are_sequences_on_qemu() {
    require_qemu!();
    assert_sequences_are_a_fifth("qemu");
}

#[test]
fn modes_without_sequences_are_refused_if_nothing_else_is_to_run() {
    require_qemu!();
    let only = ["check", "--machine", "qemu", "--mode", "pae,32bit", "--sequences", "only"];
    let refused = run(&only).expect_code(2);
    assert!(refused.stderr.contains("sequences run in 64-bit code"), "{}", refused.stderr);
}

/// A finding in a sequence names the action that differs, and says how often the smallest case shows it.
#[track_caller]
fn assert_a_caught_sequence_is_placed(machine: &str) {
    let arguments = ["--sequences", "only", "--walker", "mutant:B18", "--cases", "20000"];
    let check = ["check", "--machine", machine, "--seed", "4", "--json"];
    let report = run(&[&check[..], &arguments].concat()).expect_code(1).json();
    let findings = report["findings"].as_array().expect("a list");
    let caught = findings.iter().find(|finding| finding["id"] == "B18").expect("it is caught");

    let before = caught["smallest_case"]["before"].as_array().expect("a sequence");
    let action = count(caught, "action") as usize;
    assert!((1..=before.len() + 1).contains(&action), "{caught}");

    let [times, tries] = ["times", "tries"].map(|name| count(&caught["shown"], name));
    assert_eq!(tries, 10);
    assert!((1..=10).contains(&times), "{caught}");
}

#[test]
fn a_caught_sequence_is_placed_and_tried_again_on_kvm() {
    require_kvm!();
    assert_a_caught_sequence_is_placed("kvm");
}

#[test]
fn a_caught_sequence_is_placed_and_tried_again_on_qemu() {
    require_qemu!();
    assert_a_caught_sequence_is_placed("qemu");
}

/// All short sequences, in the order of their index; those of two actions come first.
#[track_caller]
fn assert_short_sequences_agree(machine: &str) {
    let check = ["check", "--machine", machine, "--mode", "4level", "--exhaustive", "--json"];
    let arguments = ["--sequences", "only", "--cases", "20000"];
    let report = run(&[&check[..], &arguments].concat()).expect_code(0).json();
    assert_eq!(["cases", "sequences"].map(|name| count(&report["totals"], name)), [20_000; 2]);
    assert!(count(&report, "combinations") > 1_000_000);
}

#[test]
fn short_sequences_agree_on_kvm() {
    require_kvm!();
    assert_short_sequences_agree("kvm");
}

#[test]
fn short_sequences_agree_on_qemu() {
    require_qemu!();
    assert_short_sequences_agree("qemu");
}
