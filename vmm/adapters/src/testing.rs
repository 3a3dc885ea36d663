//! What the adapters' tests share: hand-made cases, and marks for the answers.

use crosswalk::conformance::mark::{Mark, mark};
use crosswalk::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate};
use crosswalk_guest::layout::Arena;
use mmu_core::{AccessKind, PagingMode, Profile, Reference, Ring};

/// A read by ring 3 from a plain page.
pub(crate) fn plain(mode: PagingMode) -> Case {
    Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default())
}

/// A write by ring 3 to a plain page.
pub(crate) fn write(mode: PagingMode) -> Case {
    let mut case = plain(mode);
    case.access.kind = AccessKind::Write;
    case.form = Case::default_form(AccessKind::Write);
    case
}

/// A write whose PTE is in a table at a high physical address.
pub(crate) fn write_through_a_high_table() -> Case {
    let mut case = write(PagingMode::FourLevel);
    case.entries[2].value = 0x12_3456_7007;
    case.entries[3].at = 0x12_3456_7000 + (case.entries[3].at & 0xfff);
    case
}

/// Replaces the entry at a level, 1 for the lowest.
pub(crate) fn set_entry(case: &mut Case, level: usize, value: u64) {
    let index = case.entries.len() - level;
    case.entries[index].value = value;
}

/// The case once for each of its entries, with that entry not present.
pub(crate) fn with_each_entry_absent(case: &Case) -> Vec<Case> {
    let without = |index: usize| {
        let mut absent = case.clone();
        absent.entries[index].value &= !1;
        if let Some(pdpte) = case.pdpte_at(case.entries[index].at) {
            absent.state.pdptes[pdpte] &= !1;
        }
        absent
    };
    (0..case.entries.len()).map(without).collect()
}

/// Plain cases with each table in turn where there is no memory, near and far.
pub(crate) fn with_tables_outside_memory(mode: PagingMode) -> Vec<Case> {
    let bits = match mode {
        PagingMode::Bits32 => 32,
        PagingMode::Pae => 36,
        _ => 52,
    };
    let places: [u64; 5] = [0x80_0000, 0x4000_0000, 0xffff_f000, 1 << 35, (1 << 52) - 0x1000];

    let mut cases = Vec::new();
    for place in places.into_iter().filter(|place| place >> bits == 0) {
        let plain = plain(mode);
        for entry in 0..plain.entries.len() - 1 {
            let mut case = plain.clone();
            let moved = case.entries[entry].value & 0xfff | place;
            case.entries[entry].value = moved;
            if let Some(pdpte) = case.pdpte_at(case.entries[entry].at) {
                case.state.pdptes[pdpte] = moved;
            }
            cases.push(case);
        }
        if mode != PagingMode::Pae {
            let mut case = plain.clone();
            case.state.cr3 = place;
            cases.push(case);
        }
    }
    cases
}

/// The mark for the candidate's answer.
fn marked(candidate: &mut dyn Candidate, case: &Case) -> Mark {
    let answer = candidate.answer(case);
    mark(case, &Reference.predict(case).alternatives, &answer)
}

/// Asserts that the candidate answers, and answers correctly.
#[track_caller]
pub(crate) fn assert_right(candidate: &mut dyn Candidate, case: &Case) {
    assert_eq!(marked(candidate, case), Mark::Right, "{}: {case}", case.mode());
}

/// Asserts that the candidate answers what is not allowed. The case is printed, to be reported to
/// the authors of the walker.
#[track_caller]
pub(crate) fn assert_wrong(candidate: &mut dyn Candidate, case: &Case) {
    let mark = marked(candidate, case);
    println!("{mark:?}: {case}");
    assert!(matches!(mark, Mark::Wrong { .. }), "{mark:?}: {case}");
}

/// The reason that the candidate gives for no answer.
#[track_caller]
pub(crate) fn silence(candidate: &mut dyn Candidate, case: &Case) -> String {
    match candidate.answer(case) {
        Answer::Silent(why) => why,
        answer => panic!("it answers {answer:?} to {case}"),
    }
}

/// Asserts that the candidate notices every table outside memory, and still answers afterwards.
#[track_caller]
pub(crate) fn assert_notices_tables_outside_memory(
    candidate: &mut dyn Candidate,
    mode: PagingMode,
    change: impl Fn(&mut Case),
) {
    for mut case in with_tables_outside_memory(mode) {
        change(&mut case);
        case.profile.physical_address_bits = 52;
        assert_eq!(silence(candidate, &case), crate::frames::OUTSIDE);
    }

    let mut case = plain(mode);
    change(&mut case);
    assert_right(candidate, &case);
}
