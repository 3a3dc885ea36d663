//! The comparison itself: predictions written by hand against observations written by hand. Nothing
//! here comes from the walk, so a walk and a comparison that err together do not get by.

mod hand_made;

use crosswalk::verdict::{ChoiceTaken, End, Field, Verdict, judge_observation};
use crosswalk_case::observation::{Attempt, EntryAfter, Observation, OutsideAccess, Provenance};
use crosswalk_guest::contents;
use crosswalk_guest::stub::Form;
use hand_made::{
    A, D, HOLE, P, PAGE, crossing, faulting, fields_of, int_from, moved_to, of_kind, seen,
};
use mmu_core::{AccessKind, Prediction, Ring, Rule, Vector};

/// A change that a machine could make to what is seen.
type ObservationChange = fn(&mut Observation);

#[test]
fn what_fits_agrees() {
    for kind in AccessKind::ALL {
        let (case, prediction) = of_kind(kind);
        let verdict =
            judge_observation(&case, &prediction, &Attempt::Observed(seen(&case, &prediction)));
        let unproved = kind == AccessKind::Clflush;
        assert_eq!(verdict, Verdict::Agree { unproved, choices: Vec::new() }, "{kind:?}");
    }
}

#[test]
fn each_field_of_a_completed_access_is_compared() {
    let changes: [(Field, ObservationChange); 6] = [
        (Field::Vector, |seen| seen.fault = Some(hand_made::page_fault(0x4))),
        (Field::Value, |seen| seen.value ^= 1 << 63),
        (Field::Stored, |seen| seen.stored.push((PAGE, !contents::byte(PAGE)))),
        (Field::Outside, |seen| seen.outside.push(hand_made::load_outside(HOLE))),
        (Field::Entry, |seen| seen.entries[1].after &= !A),
        (Field::Entry, |seen| seen.entries[3].after |= D),
    ];
    for (field, change) in changes {
        assert_eq!(fields_of(&of_kind(AccessKind::Read), change), [field]);
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
        (Field::Outside, |seen| seen.outside.push(hand_made::load_outside(HOLE))),
        (Field::Entry, |seen| seen.entries[3].after |= D),
    ];
    for (field, change) in changes {
        assert_eq!(fields_of(&expected, change), [field]);
    }
    // The register means nothing after a fault.
    assert_eq!(fields_of(&expected, |seen| seen.value = 0x1234), []);
}

#[test]
fn all_that_differs_is_reported_together() {
    use Field::{Cr2, Entry, ErrorCode, Outside, Stored, Value, Vector as Exception};
    let of_a_read = fields_of(&of_kind(AccessKind::Read), |seen| {
        seen.value += 1;
        seen.stored.push((PAGE, !contents::byte(PAGE)));
        seen.outside.push(hand_made::load_outside(HOLE));
        seen.entries[0].after &= !A;
        seen.entries[2].after &= !P;
    });
    assert_eq!(of_a_read, [Value, Stored, Outside, Entry, Entry]);
    let of_a_fault = fields_of(&faulting(Vector::PageFault, 0x7), |seen| {
        let fault = seen.fault.as_mut().unwrap();
        (fault.vector, fault.error_code, fault.cr2) = (13, 0, 0);
        seen.stored.push((PAGE, !contents::byte(PAGE)));
        seen.outside.push(hand_made::load_outside(HOLE));
        seen.entries[3].after |= D;
    });
    assert_eq!(of_a_fault, [Exception, ErrorCode, Cr2, Stored, Outside, Entry]);
}

#[test]
fn a_difference_says_what_was_expected_and_what_was_seen() {
    let (case, prediction) = faulting(Vector::PageFault, 0x7);
    let mut seen = seen(&case, &prediction);
    seen.fault.as_mut().unwrap().error_code = 0x5;
    let Verdict::Diverge { differences, .. } =
        judge_observation(&case, &prediction, &Attempt::Observed(seen))
    else {
        panic!("another error code diverges")
    };
    assert_eq!(differences[0].to_string(), "error_code: expected 0x7, observed 0x5");
}

/// CANON-1: a fault without a walk leaves CR2 as it was before.
#[test]
fn a_general_protection_fault_must_leave_cr2() {
    for vector in [Vector::GeneralProtection, Vector::StackFault] {
        let expected = faulting(vector, 0);
        assert_eq!(fields_of(&expected, |_| ()), []);
        let touched = |seen: &mut Observation| seen.fault.as_mut().unwrap().cr2 = 0x0080_0000;
        assert_eq!(fields_of(&expected, touched), [Field::Cr2]);
        let code = |seen: &mut Observation| seen.fault.as_mut().unwrap().error_code = 8;
        assert_eq!(fields_of(&expected, code), [Field::ErrorCode]);
    }
}

#[test]
fn stored_bytes_must_be_all_there_and_nowhere_else() {
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
            assert_eq!(fields_of(&of_kind(kind), change), [Field::Stored], "{kind:?}");
        }
    }
}

#[test]
fn a_write_must_set_dirty_in_the_leaf_alone() {
    let write = of_kind(AccessKind::Write);
    assert_eq!(fields_of(&write, |seen| seen.entries[3].after &= !D), [Field::Entry]);
    assert_eq!(fields_of(&write, |seen| seen.entries[2].after |= D), [Field::Entry]);
}

#[test]
fn a_read_from_another_place_has_another_value() {
    let read = of_kind(AccessKind::Read);
    for place in [PAGE + 0x1000 + 0x108, PAGE + 0x100, PAGE + 0x109, PAGE + 0x0020_0108] {
        let (case, prediction) = &read;
        let mut seen = seen(case, prediction);
        seen.value = int_from(place, 8);
        let verdict = judge_observation(case, prediction, &Attempt::Observed(seen));
        assert!(matches!(verdict, Verdict::Diverge { .. }), "{place:#x}");
    }
}

#[test]
fn what_is_above_a_narrow_read_does_not_count() {
    let (mut case, mut prediction) = of_kind(AccessKind::Read);
    case.access.size = 2;
    hand_made::resize(&mut prediction, 2);
    let expected = (case, prediction);
    assert_eq!(fields_of(&expected, |seen| seen.value |= 0xdead_0000), []);
    assert_eq!(fields_of(&expected, |seen| seen.value ^= 0x8000), [Field::Value]);
}

/// Low bytes from the first page, high bytes from the second, which may have any frame.
#[test]
fn an_access_across_pages_is_compared_in_both_parts() {
    let read = crossing(AccessKind::Read);
    let first = int_from(PAGE + 0xffd, 3);
    let second = int_from(PAGE + 0x3000, 5);
    assert_eq!(fields_of(&read, |seen| seen.value = 0), [Field::Value]);
    let (case, prediction) = &read;
    let mut observation = seen(case, prediction);
    observation.value = first | second << 24;
    let verdict = judge_observation(case, prediction, &Attempt::Observed(observation));
    assert!(matches!(verdict, Verdict::Agree { unproved: false, .. }), "{verdict:?}");

    // K2: the part on the first page alone.
    let write = crossing(AccessKind::Write);
    let torn = |seen: &mut Observation| seen.stored.retain(|(at, _)| *at < PAGE + 0x1000);
    assert_eq!(fields_of(&write, torn), [Field::Stored]);
}

#[test]
fn a_locked_compare_that_fails_stores_nothing() {
    let (mut case, prediction) = of_kind(AccessKind::ReadModifyWrite);
    let mut observation = seen(&case, &prediction);
    case.form = Form::FailingCompare;
    observation.stored.clear();
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation.clone()));
    assert_eq!(verdict, Verdict::Agree { unproved: false, choices: Vec::new() });
    observation.stored.push((PAGE + 0x108, !contents::byte(PAGE + 0x108)));
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation));
    assert!(matches!(verdict, Verdict::Diverge { .. }));
}

#[test]
fn an_access_outside_memory_is_proved_by_its_exit() {
    let write = moved_to(of_kind(AccessKind::Write), HOLE + 0x108);
    let store =
        OutsideAccess { address: HOLE + 0x108, len: 8, is_write: true, data: write.0.value };
    let (case, prediction) = &write;
    let mut observation = seen(case, prediction);
    observation.stored.clear();
    observation.outside = vec![store];
    let verdict = judge_observation(case, prediction, &Attempt::Observed(observation.clone()));
    assert_eq!(verdict, Verdict::Agree { unproved: false, choices: Vec::new() });
    for wrong in [
        vec![],
        vec![store, store],
        vec![OutsideAccess { address: HOLE + 0x1108, ..store }],
        vec![OutsideAccess { len: 4, ..store }],
        vec![OutsideAccess { data: store.data ^ 1, ..store }],
        vec![OutsideAccess { is_write: false, ..store }],
    ] {
        observation.outside.clone_from(&wrong);
        let verdict = judge_observation(case, prediction, &Attempt::Observed(observation.clone()));
        let Verdict::Diverge { differences, .. } = verdict else { panic!("{wrong:?} agrees") };
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].field, Field::Outside);
    }
}

/// "The destination operand is written back if the comparison fails" (SDM, CMPXCHG).
#[test]
fn a_failing_comparison_writes_back_what_it_read() {
    let (mut case, prediction) = moved_to(of_kind(AccessKind::ReadModifyWrite), HOLE + 0x108);
    case.form = Form::FailingCompare;
    let mut observation = seen(&case, &prediction);
    let load = hand_made::load_outside(HOLE + 0x108);
    let store = OutsideAccess { is_write: true, ..load };
    (observation.value, observation.stored) = (load.data, Vec::new());
    observation.outside = vec![load, store];
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation.clone()));
    assert_eq!(verdict, Verdict::Agree { unproved: false, choices: Vec::new() });
    observation.outside = vec![load];
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation));
    assert!(matches!(verdict, Verdict::Diverge { .. }), "a device sees the write-back");
}

#[test]
fn nothing_proves_where_a_clflush_went() {
    let clflush = of_kind(AccessKind::Clflush);
    assert_eq!(fields_of(&clflush, |seen| seen.value = 1), []);
    // Whether a flush of a line without memory leaves the machine is nobody's business.
    assert_eq!(fields_of(&clflush, |seen| seen.outside.push(hand_made::load_outside(HOLE))), []);
    assert_eq!(fields_of(&clflush, |seen| seen.entries[3].after |= D), [Field::Entry]);
}

#[test]
fn a_store_of_what_is_there_already_proves_nothing() {
    let (mut case, prediction) = of_kind(AccessKind::Write);
    case.value = int_from(PAGE + 0x108, 8);
    let mut observation = seen(&case, &prediction);
    observation.stored.clear();
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation));
    assert_eq!(verdict, Verdict::Agree { unproved: true, choices: Vec::new() });
}

/// AD-2, AD-3: the A bits of a path that faults are free, and which way they went is told.
#[test]
fn open_accessed_bits_agree_both_ways_and_are_told() {
    let (case, mut prediction) = faulting(Vector::PageFault, 0x7);
    let updates = &mut prediction.alternatives[0].updates;
    (updates[0].may_set, updates[0].open_by) = (A, Rule::Ad2);
    (updates[3].may_set, updates[3].open_by) = (A, Rule::Ad3);
    let mut observation = seen(&case, &prediction);
    observation.entries[3].after |= A;
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation.clone()));
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
    let choices = vec![taken(Rule::Ad2, "PML4E", "A left clear"), taken(Rule::Ad3, "PTE", "A set")];
    assert_eq!(verdict, Verdict::Agree { unproved: false, choices });
    // Free is A alone.
    observation.entries[3].after |= D;
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation.clone()));
    assert!(matches!(verdict, Verdict::Diverge { .. }));
    observation.entries[3].after &= !(D | P);
    let verdict = judge_observation(&case, &prediction, &Attempt::Observed(observation));
    assert!(matches!(verdict, Verdict::Diverge { .. }));
}

#[test]
fn a_bit_that_was_set_before_is_no_choice_and_stays() {
    let (mut case, mut prediction) = faulting(Vector::PageFault, 0x7);
    case.entries[0].value |= A;
    let update = &mut prediction.alternatives[0].updates[0];
    (update.before, update.may_set) = (update.before | A, A);
    let expected = (case, prediction);
    let (case, prediction) = &expected;
    let verdict = judge_observation(case, prediction, &Attempt::Observed(seen(case, prediction)));
    assert_eq!(verdict, Verdict::Agree { unproved: false, choices: Vec::new() });
    assert_eq!(fields_of(&expected, |seen| seen.entries[0].after &= !A), [Field::Entry]);
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
    assert_eq!(fields_of(&read, neighbour(0, 0)), []);
    assert_eq!(fields_of(&read, neighbour(0, A)), [Field::Entry]);
    assert_eq!(fields_of(&read, neighbour(0x4000_0007, 0x4000_0027)), [Field::Entry]);
}

/// AD-5: a processor that walks by itself may set A where nobody looked; never D, never in an entry
/// that is not present; and software has no excuse.
#[test]
fn only_a_processor_may_speculate() {
    let (case, prediction) = of_kind(AccessKind::Read);
    let verdict = |provenance, before: u64, after: u64| {
        let mut observation = seen(&case, &prediction);
        observation.provenance = provenance;
        let at = observation.entries[3].at + 8;
        observation.entries.push(EntryAfter { at, before, after });
        judge_observation(&case, &prediction, &Attempt::Observed(observation))
    };
    let present = PAGE | 0x7;
    let Verdict::Agree { choices, .. } = verdict(Provenance::Processor, present, present | A)
    else {
        panic!("a processor may")
    };
    assert_eq!(choices.len(), 1);
    assert_eq!((choices[0].rule, choices[0].member), (Rule::Ad5, "A set without an access"));
    for (provenance, before, after) in [
        (Provenance::Processor, present, present | A | D),
        (Provenance::Processor, present, present | D),
        (Provenance::Processor, 0x6, 0x6 | A),
        (Provenance::ProcessorOnShadowTables, present, present | A),
        (Provenance::KvmWalker, present, present | A),
        (Provenance::KvmEmulator, present, present | A),
        (Provenance::Tcg, present, present | A),
    ] {
        let verdict = verdict(provenance, before, after);
        assert!(matches!(verdict, Verdict::Diverge { .. }), "{provenance} {before:#x} {after:#x}");
    }
}

#[test]
fn any_alternative_will_do_and_the_nearest_is_told() {
    let (case, reserved) = faulting(Vector::PageFault, 0xd);
    let mut prediction: Prediction = reserved.clone();
    prediction.alternatives[0].choice = Some((Rule::Code7, "reserved"));
    let (_, absent) = faulting(Vector::PageFault, 0x4);
    prediction.alternatives.extend(absent.alternatives.clone());
    prediction.alternatives[1].choice = Some((Rule::Code7, "absent"));

    let run = Attempt::Observed(seen(&case, &absent));
    let Verdict::Agree { choices, .. } = judge_observation(&case, &prediction, &run) else {
        panic!("the second alternative fits")
    };
    assert_eq!((choices[0].rule, choices[0].member, choices[0].level), (Rule::Code7, "absent", ""));
    assert_eq!(choices[0].end, End::NotPresent);

    // Two fields from the first, one from the second.
    let mut near = seen(&case, &absent);
    near.entries[0].after |= D;
    let Verdict::Diverge { expected, differences } =
        judge_observation(&case, &prediction, &Attempt::Observed(near))
    else {
        panic!("neither fits")
    };
    assert_eq!(*expected, prediction.alternatives[1]);
    assert_eq!(differences.len(), 1);
}

#[test]
fn a_case_that_did_not_run_is_neither_right_nor_wrong() {
    let (case, prediction) = of_kind(AccessKind::Read);
    let verdict = judge_observation(&case, &prediction, &Attempt::Unsupported("the reason".into()));
    assert_eq!(verdict, Verdict::Unsupported("the reason".into()));
}
