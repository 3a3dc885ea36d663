//! Sequences of accesses and other actions: many in one batch, and in `check`, as a user runs it.

use crosswalk::campaign::run_one;
use crosswalk::generate::Stream;
use crosswalk::generate::sequence::SequenceStream;
use crosswalk::verdict::agrees;
use crosswalk::walker::{MUTANTS, Walker};
use crosswalk_case::observation::{Attempt, Observation};
use crosswalk_case::{Action, Case};
use crosswalk_guest::layout::{Arena, MAX_SEQUENCES};
use crosswalk_guest::tables;
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

/// What was observed, without the entries that all lanes share: a batch has them once.
fn without_shared_entries(case: &Case, mut attempt: Attempt) -> Attempt {
    let shared = tables::shared_levels(case.table_use());
    let is_own = |at: u64| {
        Arena::ALL.iter().all(|arena| arena.table_at(at).is_none_or(|table| table >= shared))
    };
    if let Attempt::Observed(observation) = &mut attempt {
        observation.entries.retain(|entry| is_own(entry.at));
    }
    attempt
}

/// Batches by their number: 11 is in compatibility mode.
#[track_caller]
fn assert_the_same_together_and_alone(
    machine: &mut dyn Machine,
    mode: PagingMode,
    numbers: &[u64],
) {
    let stream = SequenceStream::new(18, mode, machine.capabilities().clone());
    for number in numbers.iter().copied() {
        let batch = stream.batch(number, usize::MAX);
        assert_eq!(batch.cases.len(), MAX_SEQUENCES);

        let together = run_together(machine, batch.clone());
        let mut compared = 0;
        for (case, attempt) in batch.cases.iter().zip(together) {
            if !is_determined(case) {
                continue;
            }
            let alone = run_one(machine, case).expect("the guest survives");
            let [together, alone] = [attempt, alone]
                .map(|attempt| without_shared_entries(case, without_cr2_before(attempt)));
            assert_eq!(together, alone, "{case}");
            compared += 1;
        }
        assert!(compared > MAX_SEQUENCES / 4, "{compared}");
    }
}

#[test]
fn a_batch_of_sequences_and_each_of_them_alone_do_the_same_on_kvm() {
    require_kvm!();
    assert_the_same_together_and_alone(&mut open_kvm(), PagingMode::FourLevel, &[0, 1, 11]);
}

#[test]
fn a_batch_of_sequences_and_each_of_them_alone_do_the_same_on_qemu() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, numbers) in [
        (PagingMode::Bits32, &[0, 1][..]),
        (PagingMode::Pae, &[0, 1]),
        (PagingMode::FourLevel, &[0, 1, 11]),
        (PagingMode::FiveLevel, &[0, 1, 11]),
    ] {
        assert_the_same_together_and_alone(&mut machine, mode, numbers);
    }
}

/// Mistakes about what is remembered between two accesses, which need nothing of a machine but its modes.
const MISTAKES: [&str; 14] = [
    "B18", "B20", "B21", "B22", "B23", "B25", "B27", "B28", "B65", "M24", "M25", "M26", "M27",
    "M40",
];

/// Asserts that sequences in 32-bit code catch every mistake: a machine agrees with the reference, and not
/// with the mutant.
#[track_caller]
fn assert_mistakes_are_caught(
    machine: &mut dyn Machine,
    mode: PagingMode,
    numbers: impl Iterator<Item = u64>,
) {
    let stream = SequenceStream::new(7, mode, machine.capabilities().clone());
    let mut missed: Vec<_> =
        MUTANTS.iter().filter(|mutant| MISTAKES.contains(&mutant.id)).collect();
    assert_eq!(missed.len(), MISTAKES.len());

    for number in numbers {
        let batch = stream.batch(number, usize::MAX);
        let attempts = run_together(machine, batch.clone());
        for (case, attempt) in batch.cases.iter().zip(&attempts) {
            assert!(case.access.compatibility == mode.is_long_mode(), "{case}");
            if agrees(&Reference, case, attempt) {
                missed.retain(|mutant| agrees(mutant.walker, case, attempt));
            }
        }
        if missed.is_empty() {
            return;
        }
    }
    let missed: Vec<_> = missed.iter().map(|mutant| mutant.id).collect();
    panic!("{mode}: {missed:?}");
}

#[test]
fn mistakes_about_caches_are_caught_in_32_bit_code_on_qemu() {
    require_qemu!();
    let mut machine = open_qemu();
    let together = |number: &u64| !matches!(number % 16, 7 | 8);
    for mode in [PagingMode::Bits32, PagingMode::Pae] {
        assert_mistakes_are_caught(&mut machine, mode, (0..60).filter(together));
    }
    // In compatibility mode.
    let compatible = (0..60).flat_map(|period| [16 * period + 11, 16 * period + 12]);
    assert_mistakes_are_caught(&mut machine, PagingMode::FourLevel, compatible);
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
    let only = ["check", "--machine", "qemu", "--mode", "unpaged", "--sequences", "only"];
    let refused = run(&only).expect_code(2);
    assert!(refused.stderr.contains("no sequences without paging"), "{}", refused.stderr);
}
