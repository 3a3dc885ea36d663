//! Machines made by hand: what each did with four cases, spelled out, and what the table says of it.

use super::*;
use crate::conformance::{Aspect, Cell};
use crate::corpus::{Recorded, write};
use crate::generate::CaseName;
use crosswalk_case::observation::{EntryAfter, Observation, ObservedFault, Provenance};
use crosswalk_guest::contents::byte;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::{Capabilities, Identity};
use mmu_core::{Profile, Ring, Rule};
use std::io::Cursor;

const A: u64 = 1 << 5;
/// Error codes: P is bit 0, U/S bit 2, RSVD bit 3.
const NOT_PRESENT: u32 = 0x4;
const RESERVED: u32 = 0xd;

fn profile() -> Profile {
    Profile { physical_address_bits: 40, ..Profile::default() }
}

/// A read of ring 3: of a page that is there; of one that is not; and of one whose table has bit 45 of its
/// entry set, which is reserved.
fn cases() -> [Case; 3] {
    let plain = Case::plain(Arena::ALL[0], 3, Ring::Three, profile());
    let mut absent = plain.clone();
    absent.entries[3].value = 0;
    let mut reserved = plain.clone();
    reserved.entries[2].value |= 1 << 45;
    [plain, absent, reserved]
}

/// The read completes: the bytes of the lane's frame, and A in all four entries.
fn completed(case: &Case) -> Attempt {
    let frame = Arena::ALL[0].data_frames(3) + 0x108;
    let value = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| byte(frame + i)));
    let mut seen = Observation::new(None, value, Provenance::Tcg);
    seen.entries = entries(case, 4);
    Attempt::Observed(seen)
}

/// A page fault with this error code, and A in the first entries of the path.
fn faulted(case: &Case, error_code: u32, accessed: usize) -> Attempt {
    let cr2 = case.access.address.get();
    let fault =
        ObservedFault { vector: 14, error_code, cr2, cr2_before: 0, rip: None, frame: None };
    let mut seen = Observation::new(Some(fault), 0, Provenance::Tcg);
    seen.entries = entries(case, accessed);
    Attempt::Observed(seen)
}

fn entries(case: &Case, accessed: usize) -> Vec<EntryAfter> {
    let flag = |index| if index < accessed { A } else { 0 };
    let after = |(index, entry): (usize, &crosswalk_case::TableEntry)| EntryAfter {
        at: entry.at,
        before: entry.value,
        after: entry.value | flag(index),
    };
    case.entries.iter().enumerate().map(after).collect()
}

/// A corpus of one machine that did this with the cases.
fn corpus(flavour: &str, version: &str, runs: Vec<(Case, Attempt)>) -> CorpusReader {
    let identity = Identity {
        kind: "qemu".into(),
        flavour: flavour.into(),
        beneath: "bare".into(),
        cpu: "a processor".into(),
        host_kernel: "6.1".into(),
        version: Some(version.into()),
    };
    let source = Source {
        crosswalk: "0.1.0".into(),
        machine: MachineLine::new(&identity, &Capabilities::of_everything(profile())),
        microcode: None,
        seed: 1,
        tried: 3,
    };
    let recorded = |(index, (case, attempt)): (u64, (Case, Attempt))| Recorded {
        name: format!("random:4level:1:{index}").parse::<CaseName>().unwrap(),
        case,
        attempt,
        rules: Vec::new(),
        catches: Vec::new(),
        allowed: serde_json::Value::Null,
    };
    let cases: Vec<_> = (0..).zip(runs).map(recorded).collect();
    let text = write::section(&source, &cases);
    CorpusReader::new("corpus".into(), Box::new(Cursor::new(text.into_bytes()))).unwrap()
}

/// What a machine does that follows the manuals, and sets no A where a walk fails.
fn right() -> Vec<(Case, Attempt)> {
    let [plain, absent, reserved] = cases();
    vec![
        (plain.clone(), completed(&plain)),
        (absent.clone(), faulted(&absent, NOT_PRESENT, 0)),
        (reserved.clone(), faulted(&reserved, RESERVED, 0)),
    ]
}

/// The same with another attempt at one of the cases.
fn except(index: usize, attempt: Attempt) -> Vec<(Case, Attempt)> {
    let mut runs = right();
    runs[index].1 = attempt;
    runs
}

fn table(corpora: Vec<CorpusReader>) -> MachineTable {
    let known = KnownSource::default();
    let mut builder = TableBuilder::new(&known, &[]);
    for corpus in corpora {
        builder.read(corpus, || {}).unwrap();
    }
    builder.finish(|| {})
}

fn cell(table: &MachineTable, machine: usize, rule: Rule) -> Option<&Cell> {
    table.machines[machine].marks.cells.get(&Aspect::Rule(rule))
}

#[test]
fn machines_that_do_the_same_as_the_manuals_allow_are_unanimous() {
    let table = table(vec![corpus("one", "One 1.0", right()), corpus("two", "Two 1.0", right())]);
    assert_eq!((table.cases, table.shared, table.unanimous), (3, 3, 3));
    assert!(table.disagreements.is_empty());

    for machine in 0..2 {
        let code_4 = cell(&table, machine, Rule::Code4).expect("bit 45 is about CODE-4");
        assert!(code_4.right == 1 && code_4.wrong == 0 && !code_4.one_sided, "{code_4:?}");
        let column = &table.machines[machine];
        assert_eq!((column.cases, column.right, column.shared, column.outvoted), (3, 3, 3, 0));
    }
}

/// T1 is known of QEMU's TCG; the other two machines are right.
#[test]
fn a_known_finding_is_wrong_by_its_rule_and_outvoted() {
    let [_, _, reserved] = cases();
    let wrong = except(2, faulted(&reserved, RESERVED & !1, 0));
    let table = table(vec![
        corpus("one", "One 1.0", right()),
        corpus("tcg", "QEMU 7.2.22", wrong),
        corpus("two", "Two 1.0", right()),
    ]);

    let [found] = table.disagreements.as_slice() else { panic!("{:?}", table.disagreements) };
    assert_eq!((found.wrong.as_slice(), found.outvoted.as_slice()), (&[1][..], &[1][..]));
    assert_eq!(found.about, ["T1"]);
    assert!(found.is_known && !found.everyone && found.count == 1);
    assert_eq!(found.smallest.case.entries, reserved.entries);
    assert!(found.smallest.expected.starts_with("#PF(P|U|RSVD)"), "{:?}", found.smallest);
    let observed: Vec<_> = found.smallest.observed.iter().map(|(who, _)| *who).collect();
    assert_eq!(observed, [0, 1, 2]);

    // T1 is a finding about CODE-1. Nothing shows whether this machine knows CODE-4.
    let code_1 = cell(&table, 1, Rule::Code1).unwrap();
    assert_eq!(code_1.wrong, 1);
    let mistake = code_1.mistake.as_ref().unwrap();
    assert!(mistake.explained_by.as_ref().unwrap().starts_with("T1: "), "{mistake:?}");
    assert!(cell(&table, 1, Rule::Code4).is_none_or(|cell| cell.right == 0));
    assert_eq!((table.machines[1].known, table.machines[1].unknown), (1, 0));
}

#[test]
fn what_is_not_known_is_named_by_the_fields_that_differ() {
    let [_, absent, _] = cases();
    let wrong = except(1, faulted(&absent, 0x5, 0));
    let table = table(vec![corpus("one", "One 1.0", right()), corpus("two", "Two 1.0", wrong)]);

    let [found] = table.disagreements.as_slice() else { panic!("{:?}", table.disagreements) };
    assert_eq!((found.about.as_slice(), found.is_known), (&["error_code".to_owned()][..], false));
    // Neither of two has a majority.
    assert_eq!((found.wrong.as_slice(), found.outvoted.as_slice()), (&[1][..], &[0, 1][..]));
    assert_eq!(table.machines[1].unknown, 1);
}

/// AD-2: when the walk fails, the entries above may have A set or not.
#[test]
fn a_choice_is_allowed_and_can_be_outvoted() {
    let [_, absent, _] = cases();
    let other = except(1, faulted(&absent, NOT_PRESENT, 3));
    let table = table(vec![
        corpus("one", "One 1.0", right()),
        corpus("two", "Two 1.0", other),
        corpus("three", "Three 1.0", right()),
    ]);

    let [found] = table.disagreements.as_slice() else { panic!("{:?}", table.disagreements) };
    assert_eq!((found.wrong.as_slice(), found.outvoted.as_slice()), (&[][..], &[1][..]));
    assert_eq!(found.about, ["AD-2"]);
    assert!(found.is_known);
    let [first, second] = [&table.machines[0], &table.machines[1]];
    assert!(second.chooses_otherwise(Rule::Ad2, first));
    assert!(!first.chooses_otherwise(Rule::Ad2, &table.machines[2]));
}

#[test]
fn where_everyone_differs_from_the_manuals_it_is_said() {
    let [_, _, reserved] = cases();
    let wrong = || except(2, faulted(&reserved, RESERVED & !1, 0));
    let table =
        table(vec![corpus("tcg", "QEMU 7.2.22", wrong()), corpus("tcg", "QEMU 10.0.2", wrong())]);
    let [found] = table.disagreements.as_slice() else { panic!("{:?}", table.disagreements) };
    assert!(found.everyone && found.outvoted.is_empty() && found.wrong == [0, 1]);
}

/// What an earlier section of a machine did is compared with a later one, and not counted twice.
#[test]
fn a_machine_that_ran_a_case_twice_has_one_vote() {
    let [plain, absent, _] = cases();
    let again = vec![
        (plain.clone(), completed(&plain)),
        (absent.clone(), faulted(&absent, NOT_PRESENT, 2)),
    ];
    let table = table(vec![
        corpus("one", "One 1.0", right()),
        corpus("one", "One 1.0", again),
        corpus("two", "Two 1.0", right()),
    ]);
    assert_eq!(table.machines.len(), 2);
    let one = &table.machines[0];
    assert_eq!((one.cases, one.unsteady, one.shared), (3, 1, 3));
    assert_eq!(table.unanimous, 3);
}

#[test]
fn a_case_that_only_one_machine_could_run_is_not_voted_on() {
    let cannot = except(0, Attempt::Unsupported("it cannot".into()));
    let table = table(vec![corpus("one", "One 1.0", cannot), corpus("two", "Two 1.0", right())]);
    assert_eq!((table.cases, table.shared, table.unanimous), (3, 2, 2));
    assert_eq!(table.machines[0].unsupported, 1);
}

/// Processors differ in MAXPHYADDR, so the manuals allow them different things: bit 45 is an address bit of
/// one with 48 bits.
#[test]
fn machines_that_are_not_allowed_the_same_do_not_outvote_each_other() {
    let [_, _, reserved] = cases();
    let wide = Profile { physical_address_bits: 48, ..Profile::default() };
    let of_wide = Case { profile: wide, ..reserved.clone() };
    // There is no table at that address: it reads as not present (OUT-1).
    let attempt = faulted(&of_wide, NOT_PRESENT, 0);
    let table = table(vec![
        corpus("one", "One 1.0", right()),
        corpus("two", "Two 1.0", vec![(of_wide, attempt)]),
    ]);
    assert_eq!((table.cases, table.shared, table.unanimous), (3, 1, 1));
    assert_eq!((table.machines[0].outvoted, table.machines[1].right), (0, 1));
}

#[test]
fn other_modes_are_left_out() {
    let known = KnownSource::default();
    let mut builder = TableBuilder::new(&known, &[PagingMode::Pae]);
    builder.read(corpus("one", "One 1.0", right()), || {}).unwrap();
    assert_eq!(builder.finish(|| {}).cases, 0);
}
