//! Sequences of accesses and other actions: many in one batch, and in `check`, as a user runs it.

use crosswalk::campaign::run_one;
use crosswalk::generate::Stream;
use crosswalk::generate::sequence::SequenceStream;
use crosswalk::verdict::agrees;
use crosswalk::walker::quirk::{Quirks, Quirky};
use crosswalk::walker::{MUTANTS, Walker};
use crosswalk_case::observation::{Attempt, EarlierAccess, Observation, SavedRip};
use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, MAX_SEQUENCES};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables;
use crosswalk_machine::Machine;
use crosswalk_machine::batch::{Batch, Encoded};
use crosswalk_test_support as support;
use mmu_core::{Access, AccessKind, Cr4, Features, PagingMode, Reference, Ring, Rule, VirtAddr};
use support::single::{LANE, RW, leaf, memory_at, observe, open_kvm, open_qemu, places};
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

    // Nor does a page fault drop anything there, or CR4.PKE (T18, T23).
    let keeps = Quirky(Quirks::FAULT_DROPS_NOTHING | Quirks::PKE_DROPS_NOTHING);
    let walkers: [&dyn Walker; 2] = [&Reference, &keeps];
    let mut both = walkers.into_iter().flat_map(|walker| [(walker, case), (walker, &loads)]);
    both.all(|(walker, case)| {
        let predictions = walker.predict_accesses(case);
        let mut ways = predictions.iter().flat_map(|prediction| &prediction.alternatives);
        ways.all(|way| way.choice.is_none_or(|(rule, _)| rule != Rule::Tlb2))
    })
}

/// What was observed, without CR2 as others have left it.
fn without_cr2_before(mut attempt: Attempt) -> Attempt {
    if let Attempt::Observed(Observation { earlier, privileged, fault, .. }) = &mut attempt {
        let faults = earlier.iter_mut().filter_map(|access| access.fault.as_mut());
        let of_movs = privileged.iter_mut().filter_map(|record| record.fault.as_mut());
        for fault in faults.chain(of_movs).chain(fault) {
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
        assert_mistakes_are_caught(&mut machine, mode, (0..150).filter(together));
    }
    // In compatibility mode.
    let compatible = (0..60).flat_map(|period| [16 * period + 11, 16 * period + 12]);
    assert_mistakes_are_caught(&mut machine, PagingMode::FourLevel, compatible);
}

/// In one ring after the other a read, a fetch, and a write to the read-only page. Ring 0 has EFLAGS.AC set,
/// without which it could not read the page under SMAP.
fn alternating(machine: &dyn Machine, rings: [Ring; 5]) -> Case {
    let profile = machine.capabilities().profile;
    let mut case = Case::plain(Arena::ALL[0], LANE, Ring::Three, profile);
    if profile.features.contains(Features::SMAP) {
        case.state.cr4 |= Cr4::SMAP;
    }
    *leaf(&mut case) &= !RW;

    let page = case.access.address.get() & !0xfff;
    let mut steps = Vec::new();
    for ring in rings {
        for (form, kind, offset) in [
            (Form::Load, AccessKind::Read, 0x48),
            (Form::Jump, AccessKind::Fetch, 0x808),
            (Form::Store, AccessKind::Write, 0x48),
        ] {
            let access = Access::new(kind, VirtAddr::new(page | offset), 8, ring);
            let ac = ring == Ring::Zero;
            steps.push(AccessStep { access: Access { ac, ..access }, form, value: 7 });
        }
    }

    let last = steps.pop().expect("there are some");
    case.before = steps.into_iter().map(Action::Access).collect();
    Case { access: last.access, form: last.form, value: last.value, ..case }
}

/// SDM "Access Rights": with CR0.WP=1 nobody writes a read-only page. P, W and, in ring 3, U: 3 and 7.
#[track_caller]
fn assert_rings_alternate(machine: &mut dyn Machine) {
    let [three, zero] = [Ring::Three, Ring::Zero];
    for rings in [[three, zero, three, zero, three], [zero, three, zero, zero, three]] {
        let case = alternating(machine, rings);
        let seen = observe(machine, &case);

        let frame = Arena::ALL[0].data_frames(LANE);
        let read = memory_at(&places(frame + 0x48, 8));
        let fetched = contents::fetched(frame + 0x808, None, Code::Bits64).expect("code is there");
        let expected = rings.into_iter().flat_map(|ring| {
            let error_code = if ring == Ring::Three { 7 } else { 3 };
            [(None, read), (None, fetched), (Some((14, error_code)), 0)]
        });

        let last = EarlierAccess { fault: seen.fault, value: seen.value, moved: None };
        let found = seen.earlier.iter().copied().chain([last]).map(
            |EarlierAccess { fault, value, .. }| {
                assert!(
                    fault.is_none_or(|fault| fault.rip == Some(SavedRip::AT_INSTRUCTION)),
                    "{case}"
                );
                (fault.map(|fault| (fault.vector, fault.error_code)), value)
            },
        );
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{case}");
        assert_eq!(seen.stored, [], "{case}");
    }
}

#[test]
fn rings_come_in_any_order_on_kvm() {
    require_kvm!();
    assert_rings_alternate(&mut open_kvm());
}

#[test]
fn rings_come_in_any_order_on_qemu() {
    require_qemu!();
    assert_rings_alternate(&mut open_qemu());
}

/// A write of ring 0, then one of ring 3, which must not use what the first has cached.
#[track_caller]
fn assert_b55_is_caught(machine: &str) {
    let mutant = ["check", "--machine", machine, "--walker", "mutant:B55", "--seed", "4"];
    let caught = run(&[&mutant, &["--cases", "30000"][..]].concat()).expect_code(1).stdout;
    assert!(caught.contains("mutant:B55 is caught"), "{caught}");
}

#[test]
fn check_catches_b55_on_kvm() {
    require_kvm!();
    assert_b55_is_caught("kvm");
}

#[test]
fn check_catches_b55_on_qemu() {
    require_qemu!();
    assert_b55_is_caught("qemu");
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
    let combinations = report["combinations"].as_str().and_then(|count| count.parse::<u64>().ok());
    assert!(combinations > Some(1_000_000), "{combinations:?}");
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
