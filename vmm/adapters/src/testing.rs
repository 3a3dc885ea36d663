//! What the adapters' tests share: hand-made cases, and marks.

use crosswalk::conformance::mark::{Mark, mark};
use crosswalk::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate};
use crosswalk_guest::layout::Arena;
use mmu_core::{AccessKind, PagingMode, Profile, Reference, Ring};
use std::io::Write;

/// A read by ring 3 of a plain page.
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

/// Lets the walk end at this level, 1 for the lowest, with this entry.
pub(crate) fn leaf(case: &mut Case, level: usize, value: u64) {
    let leaf = case.entries.len() - level;
    case.entries[leaf].value = value;
}

/// What becomes of the candidate's answer.
pub(crate) fn marked(candidate: &mut dyn Candidate, case: &Case) -> Mark {
    let answer = candidate.answer(case);
    mark(case, &Reference.predict(case).alternatives, &answer)
}

/// Whether the candidate answers, and rightly.
pub(crate) fn is_right(candidate: &mut dyn Candidate, case: &Case) -> bool {
    let mark = marked(candidate, case);
    let right = mark == Mark::Right;
    if !right {
        println!("{mark:?}: {}", case.to_json());
    }
    right
}

/// Whether the candidate says what is not allowed. The case is printed, for reports to its authors.
pub(crate) fn is_wrong(candidate: &mut dyn Candidate, case: &Case) -> bool {
    let mark = marked(candidate, case);
    println!("{mark:?}: {}", case.to_json());
    matches!(mark, Mark::Wrong { .. })
}

/// Why the candidate does not answer.
#[track_caller]
pub(crate) fn silence(candidate: &mut dyn Candidate, case: &Case) -> String {
    match candidate.answer(case) {
        Answer::Silent(why) => why,
        answer => panic!("it says {answer:?} of {}", case.to_json()),
    }
}

/// Plain cases with each table in turn where there is no memory, near and far.
pub(crate) fn with_tables_everywhere(mode: PagingMode) -> Vec<Case> {
    let bits = if mode == PagingMode::Bits32 { 32 } else { 52 };
    let mut cases = Vec::new();
    for far in [0x80_0000, 0x4000_0000, 0xffff_f000, 1 << 35, (1 << 52) - 0x1000] {
        let far: u64 = far;
        if far >> bits != 0 || (mode == PagingMode::Pae && far >> 36 != 0) {
            continue;
        }
        let plain = plain(mode);
        for entry in 0..plain.entries.len() - 1 {
            let mut case = plain.clone();
            let moved = case.entries[entry].value & 0xfff | far;
            case.entries[entry].value = moved;
            if let Some(pdpte) = case.pdpte_at(case.entries[entry].at) {
                case.state.pdptes[pdpte] = moved;
            }
            cases.push(case);
        }
        if mode != PagingMode::Pae {
            let mut case = plain.clone();
            case.state.cr3 = far;
            cases.push(case);
        }
    }
    cases
}

/// Says that a test is skipped and why.
///
/// # Panics
/// When `CROSSWALK_REQUIRE` lists what is missing: then a skip is a failure.
pub(crate) fn skip(missing: &str, why: &str) {
    let required = std::env::var("CROSSWALK_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == missing),
        "CROSSWALK_REQUIRE={required} forbids to skip this test: {why}"
    );
    // Straight to standard error: what eprintln! says in a test that passes, nobody sees.
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = std::io::stderr().write_all(format!("skipped: {why} ({test})\n").as_bytes());
}
