//! The comparison itself, of predictions and observations that are both written by hand. Nothing here
//! comes from the walk, so a mistake of the walk cannot hide one of the comparison.

use crosswalk::verdict::{ChoiceTaken, Difference, End, Field, Verdict, judge_observation};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, EntryAfter, Observation, OutsideAccess, Provenance};
use crosswalk_guest::contents;
use crosswalk_guest::stub::Form;
use crosswalk_test_support as support;
use mmu_core::{AccessKind, Alternative, Prediction, Ring, Rule, Vector};
use support::hand_made::{
    A, D, HOLE, P, PAGE, crossing, differing_fields, faulting, load_outside, memory_at, moved_to,
    observation_of, of_kind, page_fault, resize,
};

/// Agreement, with nothing unproved and no choice taken.
const AGREES: Verdict = Verdict::Agree { unproved: false, choices: Vec::new() };

/// A change that turns the predicted observation into another one.
type ObservationChange = fn(&mut Observation);

/// The verdict on an observation.
fn judge(case: &Case, prediction: &Prediction, observation: Observation) -> Verdict {
    judge_observation(case, prediction, &Attempt::Observed(observation))
}

/// The nearest alternative and the differences of an observation that must diverge.
#[track_caller]
fn divergence(
    case: &Case,
    prediction: &Prediction,
    observation: Observation,
) -> (Alternative, Vec<Difference>) {
    match judge(case, prediction, observation) {
        Verdict::Diverge { expected, differences, .. } => (*expected, differences),
        verdict => panic!("expected a divergence, got {verdict:?}"),
    }
}

/// The choices taken in an observation that must agree.
#[track_caller]
fn choices(case: &Case, prediction: &Prediction, observation: Observation) -> Vec<ChoiceTaken> {
    match judge(case, prediction, observation) {
        Verdict::Agree { choices, .. } => choices,
        verdict => panic!("expected agreement, got {verdict:?}"),
    }
}

#[test]
fn the_predicted_observation_agrees() {
    for kind in AccessKind::ALL {
        let (case, prediction) = of_kind(kind);
        let observation = observation_of(&case, &prediction);
        // Nothing proves where a CLFLUSH went.
        let unproved = kind == AccessKind::Clflush;
        let expected = Verdict::Agree { unproved, choices: Vec::new() };
        assert_eq!(judge(&case, &prediction, observation), expected, "{kind:?}");
    }
}

#[test]
fn each_field_of_a_completed_access_is_compared() {
    let changes: [(Field, ObservationChange); 6] = [
        (Field::Vector, |seen| seen.fault = Some(page_fault(0x4))),
        (Field::Value, |seen| seen.value ^= 1 << 63),
        (Field::Stored, |seen| seen.stored.push((PAGE, !contents::byte(PAGE)))),
        (Field::Outside, |seen| seen.outside.push(load_outside(HOLE))),
        (Field::Entry, |seen| seen.entries[1].after &= !A),
        (Field::Entry, |seen| seen.entries[3].after |= D),
    ];
    for (field, change) in changes {
        assert_eq!(differing_fields(&of_kind(AccessKind::Read), change), [field]);
    }
}

#[test]
fn each_field_of_a_fault_is_compared() {
    let expected = faulting(Vector::PageFault, 0x7);
    let changes: [(Field, ObservationChange); 7] = [
        (Field::Vector, |seen| seen.fault = None),
        (Field::Vector, |seen| seen.fault.as_mut().unwrap().vector = 13),
        (Field::ErrorCode, |seen| seen.fault.as_mut().unwrap().error_code ^= 0x20),
        (Field::Cr2, |seen| seen.fault.as_mut().unwrap().cr2 += 1),
        (Field::Stored, |seen| seen.stored.push((PAGE, !contents::byte(PAGE)))),
        (Field::Outside, |seen| seen.outside.push(load_outside(HOLE))),
        (Field::Entry, |seen| seen.entries[3].after |= D),
    ];
    for (field, change) in changes {
        assert_eq!(differing_fields(&expected, change), [field]);
    }

    // The register means nothing after a fault.
    assert_eq!(differing_fields(&expected, |seen| seen.value = 0x1234), []);
}

#[test]
fn all_differences_are_reported_together() {
    use Field::{Cr2, Entry, ErrorCode, Outside, Stored, Value, Vector as Exception};

    let of_a_read = differing_fields(&of_kind(AccessKind::Read), |seen| {
        seen.value += 1;
        seen.stored.push((PAGE, !contents::byte(PAGE)));
        seen.outside.push(load_outside(HOLE));
        seen.entries[0].after &= !A;
        seen.entries[2].after &= !P;
    });
    assert_eq!(of_a_read, [Value, Stored, Outside, Entry, Entry]);

    let of_a_fault = differing_fields(&faulting(Vector::PageFault, 0x7), |seen| {
        let fault = seen.fault.as_mut().unwrap();
        fault.vector = 13;
        fault.error_code = 0;
        fault.cr2 = 0;
        seen.stored.push((PAGE, !contents::byte(PAGE)));
        seen.outside.push(load_outside(HOLE));
        seen.entries[3].after |= D;
    });
    assert_eq!(of_a_fault, [Exception, ErrorCode, Cr2, Stored, Outside, Entry]);
}

#[test]
fn a_difference_has_the_expected_and_the_observed_value() {
    let (case, prediction) = faulting(Vector::PageFault, 0x7);
    let mut observation = observation_of(&case, &prediction);
    observation.fault.as_mut().unwrap().error_code = 0x5;

    let (_, differences) = divergence(&case, &prediction, observation);
    assert_eq!(differences[0].to_string(), "error_code: expected 0x7, observed 0x5");
}

/// CANON-1: a fault without a walk leaves CR2 unchanged.
#[test]
fn a_general_protection_fault_must_leave_cr2() {
    for vector in [Vector::GeneralProtection, Vector::StackFault] {
        let expected = faulting(vector, 0);
        assert_eq!(differing_fields(&expected, |_| ()), []);

        let change_cr2 = |seen: &mut Observation| seen.fault.as_mut().unwrap().cr2 = 0x0080_0000;
        assert_eq!(differing_fields(&expected, change_cr2), [Field::Cr2]);

        let change_code = |seen: &mut Observation| seen.fault.as_mut().unwrap().error_code = 8;
        assert_eq!(differing_fields(&expected, change_code), [Field::ErrorCode]);
    }
}

#[test]
fn every_byte_must_be_stored_at_its_place_and_nowhere_else() {
    let changes: [ObservationChange; 5] = [
        |seen| seen.stored.clear(),
        |seen| seen.stored.truncate(7),
        |seen| seen.stored[3].1 ^= 1,
        |seen| seen.stored.push((PAGE + 0x110, !contents::byte(PAGE + 0x110))),
        // The right bytes in another frame.
        |seen| seen.stored.iter_mut().for_each(|(at, _)| *at += 0x1000),
    ];
    for kind in [AccessKind::Write, AccessKind::ReadModifyWrite] {
        for change in changes {
            assert_eq!(differing_fields(&of_kind(kind), change), [Field::Stored], "{kind:?}");
        }
    }
}

#[test]
fn a_write_must_set_dirty_in_the_leaf_alone() {
    let write = of_kind(AccessKind::Write);
    assert_eq!(differing_fields(&write, |seen| seen.entries[3].after &= !D), [Field::Entry]);
    assert_eq!(differing_fields(&write, |seen| seen.entries[2].after |= D), [Field::Entry]);
}

#[test]
fn a_read_from_another_place_has_another_value() {
    let (case, prediction) = of_kind(AccessKind::Read);
    for place in [PAGE + 0x1000 + 0x108, PAGE + 0x100, PAGE + 0x109, PAGE + 0x0020_0108] {
        let mut observation = observation_of(&case, &prediction);
        observation.value = memory_at(place, 8);
        divergence(&case, &prediction, observation);
    }
}

#[test]
fn bytes_above_a_narrow_read_do_not_count() {
    let (mut case, mut prediction) = of_kind(AccessKind::Read);
    case.access.size = 2;
    resize(&mut prediction, 2);
    let expected = (case, prediction);

    assert_eq!(differing_fields(&expected, |seen| seen.value |= 0xdead_0000), []);
    assert_eq!(differing_fields(&expected, |seen| seen.value ^= 0x8000), [Field::Value]);
}

/// The low bytes come from the first page, the high bytes from the second, which may have any frame.
#[test]
fn both_parts_of_an_access_across_pages_are_compared() {
    let read = crossing(AccessKind::Read);
    assert_eq!(differing_fields(&read, |seen| seen.value = 0), [Field::Value]);

    let (case, prediction) = &read;
    let first = memory_at(PAGE + 0xffd, 3);
    let second = memory_at(PAGE + 0x3000, 5);
    let mut observation = observation_of(case, prediction);
    observation.value = first | second << 24;
    assert_eq!(judge(case, prediction, observation), AGREES);

    // K2: only the part on the first page is stored.
    let write = crossing(AccessKind::Write);
    let tear = |seen: &mut Observation| seen.stored.retain(|(at, _)| *at < PAGE + 0x1000);
    assert_eq!(differing_fields(&write, tear), [Field::Stored]);
}

#[test]
fn a_locked_compare_that_fails_stores_nothing() {
    let (mut case, prediction) = of_kind(AccessKind::ReadModifyWrite);
    let mut observation = observation_of(&case, &prediction);
    case.form = Form::FailingCompare;
    observation.stored.clear();
    assert_eq!(judge(&case, &prediction, observation.clone()), AGREES);

    observation.stored.push((PAGE + 0x108, !contents::byte(PAGE + 0x108)));
    divergence(&case, &prediction, observation);
}

#[test]
fn an_access_outside_memory_is_proved_by_its_exit() {
    let (case, prediction) = moved_to(of_kind(AccessKind::Write), HOLE + 0x108);
    let store = OutsideAccess { address: HOLE + 0x108, len: 8, is_write: true, data: case.value };
    let mut observation = observation_of(&case, &prediction);
    observation.stored.clear();
    observation.outside = vec![store];
    assert_eq!(judge(&case, &prediction, observation.clone()), AGREES);

    for wrong in [
        vec![],
        vec![store, store],
        vec![OutsideAccess { address: HOLE + 0x1108, ..store }],
        vec![OutsideAccess { len: 4, ..store }],
        vec![OutsideAccess { data: store.data ^ 1, ..store }],
        vec![OutsideAccess { is_write: false, ..store }],
    ] {
        observation.outside.clone_from(&wrong);
        let (_, differences) = divergence(&case, &prediction, observation.clone());
        assert_eq!(differences.len(), 1, "{wrong:?}");
        assert_eq!(differences[0].field, Field::Outside, "{wrong:?}");
    }
}

/// "The destination operand is written back if the comparison fails" (SDM, CMPXCHG).
#[test]
fn a_failing_comparison_writes_back_what_it_read() {
    let (mut case, prediction) = moved_to(of_kind(AccessKind::ReadModifyWrite), HOLE + 0x108);
    case.form = Form::FailingCompare;
    let load = load_outside(HOLE + 0x108);
    let store = OutsideAccess { is_write: true, ..load };

    let mut observation = observation_of(&case, &prediction);
    observation.value = load.data;
    observation.stored = Vec::new();
    observation.outside = vec![load, store];
    assert_eq!(judge(&case, &prediction, observation.clone()), AGREES);

    // A device sees whether the value is written back.
    observation.outside = vec![load];
    divergence(&case, &prediction, observation);
}

#[test]
fn nothing_proves_where_a_clflush_went() {
    let clflush = of_kind(AccessKind::Clflush);
    assert_eq!(differing_fields(&clflush, |seen| seen.value = 1), []);
    // The flush of a line without memory may leave the machine, or not.
    assert_eq!(differing_fields(&clflush, |seen| seen.outside.push(load_outside(HOLE))), []);
    assert_eq!(differing_fields(&clflush, |seen| seen.entries[3].after |= D), [Field::Entry]);
}

#[test]
fn a_store_of_the_bytes_already_there_proves_nothing() {
    let (mut case, prediction) = of_kind(AccessKind::Write);
    case.value = memory_at(PAGE + 0x108, 8);
    let mut observation = observation_of(&case, &prediction);
    observation.stored.clear();

    let expected = Verdict::Agree { unproved: true, choices: Vec::new() };
    assert_eq!(judge(&case, &prediction, observation), expected);
}

/// AD-2, AD-3: the A bits on the path of a fault are open, and the verdict reports which value each
/// has.
#[test]
fn open_accessed_bits_agree_either_way_and_are_reported() {
    let (case, mut prediction) = faulting(Vector::PageFault, 0x7);
    let updates = &mut prediction.alternatives[0].updates;
    updates[0].may_set = A;
    updates[0].open_by = Rule::Ad2;
    updates[3].may_set = A;
    updates[3].open_by = Rule::Ad3;
    let mut observation = observation_of(&case, &prediction);
    observation.entries[3].after |= A;

    let taken = |rule, level, member| ChoiceTaken {
        rule,
        mode: case.mode(),
        provenance: Provenance::KvmWalker,
        ring: Ring::Three,
        access: AccessKind::Read,
        end: End::Denied,
        level,
        member,
    };
    assert_eq!(
        choices(&case, &prediction, observation.clone()),
        [taken(Rule::Ad2, "PML4E", "A left clear"), taken(Rule::Ad3, "PTE", "A set")]
    );

    // Only A is open.
    observation.entries[3].after |= D;
    divergence(&case, &prediction, observation.clone());
    observation.entries[3].after &= !(D | P);
    divergence(&case, &prediction, observation);
}

#[test]
fn a_bit_that_was_set_before_is_not_a_choice_and_stays_set() {
    let (mut case, mut prediction) = faulting(Vector::PageFault, 0x7);
    case.entries[0].value |= A;
    let update = &mut prediction.alternatives[0].updates[0];
    update.before |= A;
    update.may_set = A;

    assert_eq!(judge(&case, &prediction, observation_of(&case, &prediction)), AGREES);
    let expected = (case, prediction);
    assert_eq!(differing_fields(&expected, |seen| seen.entries[0].after &= !A), [Field::Entry]);
}

#[test]
fn a_changed_neighbour_diverges() {
    let neighbour = |before: u64, after: u64| {
        move |seen: &mut Observation| {
            let at = seen.entries[3].at + 8;
            seen.entries.push(EntryAfter { at, before, after });
        }
    };
    let read = of_kind(AccessKind::Read);
    assert_eq!(differing_fields(&read, neighbour(0, 0)), []);
    assert_eq!(differing_fields(&read, neighbour(0, A)), [Field::Entry]);
    assert_eq!(differing_fields(&read, neighbour(0x4000_0007, 0x4000_0027)), [Field::Entry]);
}

/// AD-5: a processor that walks the guest's tables may set A in an entry that the access does not
/// use; never D, never in an entry that is not present. Software may not set it.
#[test]
fn only_a_processor_may_speculate() {
    let (case, prediction) = of_kind(AccessKind::Read);
    let with_neighbour = |provenance, before: u64, after: u64| {
        let mut observation = observation_of(&case, &prediction);
        observation.provenance = provenance;
        let at = observation.entries[3].at + 8;
        observation.entries.push(EntryAfter { at, before, after });
        observation
    };
    let present = PAGE | 0x7;

    let by_processor = with_neighbour(Provenance::Processor, present, present | A);
    let taken = choices(&case, &prediction, by_processor);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].rule, Rule::Ad5);
    assert_eq!(taken[0].member, "A set without an access");

    for (provenance, before, after) in [
        (Provenance::Processor, present, present | A | D),
        (Provenance::Processor, present, present | D),
        (Provenance::Processor, 0x6, 0x6 | A),
        (Provenance::ProcessorOnShadowTables, present, present | A),
        (Provenance::KvmWalker, present, present | A),
        (Provenance::KvmEmulator, present, present | A),
        (Provenance::Tcg, present, present | A),
    ] {
        let verdict = judge(&case, &prediction, with_neighbour(provenance, before, after));
        assert!(matches!(verdict, Verdict::Diverge { .. }), "{provenance} {before:#x} {after:#x}");
    }
}

#[test]
fn any_alternative_agrees_and_differences_are_to_the_nearest() {
    let (case, reserved) = faulting(Vector::PageFault, 0xd);
    let (_, absent) = faulting(Vector::PageFault, 0x4);
    let mut prediction: Prediction = reserved.clone();
    prediction.alternatives[0].choice = Some((Rule::Code7, "reserved"));
    prediction.alternatives.extend(absent.alternatives.iter().cloned());
    prediction.alternatives[1].choice = Some((Rule::Code7, "absent"));

    let taken = choices(&case, &prediction, observation_of(&case, &absent));
    assert_eq!(taken[0].rule, Rule::Code7);
    assert_eq!(taken[0].member, "absent");
    assert_eq!(taken[0].level, "");
    assert_eq!(taken[0].end, End::NotPresent);

    // It differs from the first alternative in two fields, from the second in one.
    let mut near_absent = observation_of(&case, &absent);
    near_absent.entries[0].after |= D;
    let (nearest, differences) = divergence(&case, &prediction, near_absent);
    assert_eq!(nearest, prediction.alternatives[1]);
    assert_eq!(differences.len(), 1);
}

#[test]
fn a_case_that_did_not_run_is_neither_right_nor_wrong() {
    let (case, prediction) = of_kind(AccessKind::Read);
    let verdict = judge_observation(&case, &prediction, &Attempt::Unsupported("the reason".into()));
    assert_eq!(verdict, Verdict::Unsupported("the reason".into()));
}
