//! The table with walkers made by hand: what each knows, and what it does not.

use super::subjects::Subject;
use super::{Aspect, Cell, Table};
use crate::walker::{OMISSIONS, Walker, WalkerSpec};
use crosswalk_case::protocol::{Answer, Candidate, Faulted, Ignores, PageRights, Translated};
use crosswalk_case::{Action, Case, TableEntry};
use crosswalk_guest::layout::Arena;
use mmu_core::{AccessKind, Cr0, Cr4, PagingMode, Profile, Reference, Ring, Rule, Vendor};
use std::collections::BTreeMap;

/// A candidate that is a function.
struct ByHand(fn(&Case) -> Answer);

impl Candidate for ByHand {
    fn answer(&mut self, case: &Case) -> Answer {
        (self.0)(case)
    }
}

/// The cells after a walker was asked about these cases.
fn cells(answer: fn(&Case) -> Answer, cases: &[Case]) -> BTreeMap<Aspect, Cell> {
    let mut table = Table::new(vec![Subject::by_hand(Box::new(ByHand(answer)))]);
    for case in cases {
        table.add(case, true);
    }
    table.finish();
    table.columns.remove(0).marks.cells
}

/// The cell for a rule after a walker was asked about these cases.
fn cell(answer: fn(&Case) -> Answer, cases: &[Case], rule: Rule) -> Cell {
    let cell = cells(answer, cases).remove(&Aspect::Rule(rule));
    cell.unwrap_or_else(|| panic!("no case is about {rule}"))
}

/// What the cells call wrong: the rule, the number of cases, and what the walker is said to do instead.
fn blamed(cells: &BTreeMap<Aspect, Cell>) -> Vec<(Aspect, u64, Option<&str>)> {
    let wrong = cells.iter().filter(|(_, cell)| cell.wrong > 0);
    wrong
        .map(|(aspect, cell)| {
            let mistake = cell.mistake.as_ref().expect("a mistake has a case");
            (*aspect, cell.wrong, mistake.explained_by.as_deref())
        })
        .collect()
}

/// Asserts what the table says: wrong cases, and whether the right answers are on one side only.
#[track_caller]
fn assert_cell(cell: &Cell, (wrong, has_right, one_sided): (bool, bool, bool)) {
    let said = (cell.wrong > 0, cell.right > 0, cell.one_sided);
    assert_eq!(said, (wrong, has_right, one_sided), "{cell:?}");
}

fn plain(ring: Ring) -> Case {
    Case::plain(Arena::ALL[0], 3, ring, Profile { vendor: Vendor::Amd, ..Profile::default() })
}

/// Where a plain case leads: 0x108 bytes into the lane's frame.
fn place() -> u64 {
    Arena::ALL[0].data_frames(3) + 0x108
}

/// A read by ring 0 from a user page: with SMAP and AC=0, where it must fault; with AC=1; and without
/// SMAP.
fn smap_cases() -> Vec<Case> {
    let mut denied = plain(Ring::Zero);
    denied.state.cr4 |= Cr4::SMAP;
    let mut excused = denied.clone();
    excused.access.ac = true;
    vec![denied, excused, plain(Ring::Zero)]
}

/// P of the error code: the page is there, but may not be accessed.
fn denial() -> Answer {
    Answer::Fault(Faulted { vector: Some(14), error_code: Some(1), ..Faulted::default() })
}

fn is_denied_by_smap(case: &Case) -> bool {
    case.state.cr4.contains(Cr4::SMAP) && !case.access.ac
}

#[test]
fn right_4_a_walker_that_obeys_smap_is_right() {
    let obeys = |case: &Case| {
        if is_denied_by_smap(case) { denial() } else { Answer::translated(place()) }
    };
    assert_cell(&cell(obeys, &smap_cases(), Rule::Right4), (false, true, false));
}

/// It must be right where EFLAGS.AC excuses the access, and is wrong where nothing does.
#[test]
fn right_4_a_walker_that_ignores_smap_is_wrong() {
    let ignores = |_: &Case| Answer::translated(place());
    assert_cell(&cell(ignores, &smap_cases(), Rule::Right4), (true, true, true));
}

/// It ignores SMAP as well, but leaves the cases out in which that is a mistake.
#[test]
fn right_4_a_walker_that_answers_where_smap_allows_does_not_say() {
    let silent = |case: &Case| {
        if is_denied_by_smap(case) {
            Answer::Silent("whose page it is".into())
        } else {
            Answer::translated(place())
        }
    };
    let cell = cell(silent, &smap_cases(), Rule::Right4);
    assert_cell(&cell, (false, true, true));
    assert_eq!((cell.right_sides.too_lax, cell.right_sides.too_strict), (0, 1));
}

/// It knows that a page can be written and executed, and not whose it is. That AC excuses the access is
/// what crosswalk makes of these rights, not what the walker says.
#[test]
fn right_4_rights_without_us_say_nothing_about_smap() {
    let rights = |_: &Case| {
        let page = PageRights { writable: Some(true), user: None, executable: Some(true) };
        Answer::Translated(Translated {
            address: place(),
            page: Some(page),
            ..Translated::default()
        })
    };
    let cell = cell(rights, &smap_cases(), Rule::Right4);
    assert_cell(&cell, (false, false, false));
}

/// Wrong where AC excuses the access. Where the rule has no other side, as CODE-4, it is not right: it
/// never said that an access completes.
#[test]
fn a_walker_that_denies_everything_is_right_about_nothing() {
    let denies = |_: &Case| denial();
    let right_4 = cell(denies, &smap_cases(), Rule::Right4);
    assert!(right_4.wrong > 0 && right_4.right > 0, "{right_4:?}");

    // Bit 51 is reserved, since MAXPHYADDR is below 52.
    let mut reserved = plain(Ring::Three);
    reserved.entries[3].value |= 1 << 51;
    let faults = |_: &Case| Answer::Fault(Faulted { vector: Some(14), ..Faulted::default() });
    assert_cell(&cell(faults, &[reserved.clone()], Rule::Code4), (false, true, true));

    let looks = |case: &Case| {
        let is_reserved = case.entries[3].value >> 51 & 1 != 0;
        let fault = Answer::Fault(Faulted { vector: Some(14), ..Faulted::default() });
        if is_reserved { fault } else { Answer::translated(place()) }
    };
    let both = [reserved, plain(Ring::Three)];
    assert_cell(&cell(looks, &both, Rule::Code4), (false, true, false));
}

/// CR0.WP=0 permits. A walker that reports R/W of a page has not said what CR0.WP does.
#[test]
fn right_2_a_read_only_page_says_nothing_about_wp() {
    let mut protected = plain(Ring::Zero);
    protected.access.kind = AccessKind::Write;
    protected.form = Case::default_form(protected.access.kind);
    protected.entries[3].value &= !2;
    let mut unprotected = protected.clone();
    unprotected.state.cr0 -= Cr0::WP;
    let cases = [protected, unprotected];

    let read_only = |_: &Case| {
        let page = PageRights { writable: Some(false), user: Some(true), executable: Some(true) };
        Answer::Translated(Translated {
            address: place(),
            page: Some(page),
            ..Translated::default()
        })
    };
    assert_cell(&cell(read_only, &cases, Rule::Right2), (false, false, false));

    // P and W: bits 0 and 1.
    let obeys = |case: &Case| {
        let fault = Faulted { vector: Some(14), error_code: Some(3), ..Faulted::default() };
        let is_denied = case.state.cr0.contains(Cr0::WP);
        if is_denied { Answer::Fault(fault) } else { Answer::translated(place()) }
    };
    assert_cell(&cell(obeys, &cases, Rule::Right2), (false, true, false));
}

/// A read, then P of the leaf is cleared, then a write that faults and must leave D alone. A walker
/// that never sets a flag leaves it alone, too.
#[test]
fn ad_4_a_walker_that_sets_no_flag_does_not_say() {
    // A is bit 5, and set everywhere.
    let mut sequence = plain(Ring::Three);
    for entry in &mut sequence.entries {
        entry.value |= 0x20;
    }
    let leaf = sequence.entries[3];
    let cleared = TableEntry { value: leaf.value & !1, ..leaf };
    sequence.before = vec![Action::Access(sequence.access_step()), Action::Write(cleared)];
    sequence.access.kind = AccessKind::Write;
    sequence.form = Case::default_form(sequence.access.kind);

    // W and U: bits 1 and 2.
    let sets_nothing = |case: &Case| {
        if case.is_sequence() {
            Answer::Fault(Faulted {
                vector: Some(14),
                error_code: Some(6),
                cr2: None,
                entries: Some(Vec::new()),
            })
        } else {
            let entries = Some(Vec::new());
            Answer::Translated(Translated { address: place(), entries, ..Translated::default() })
        }
    };
    let cases = [sequence, plain(Ring::Three)];
    assert_cell(&cell(sets_nothing, &cases, Rule::Ad4), (false, true, true));
    assert!(cell(sets_nothing, &cases, Rule::Ad1).wrong > 0);
}

/// Each omission changes something; the reference has them all right, whatever side they are on.
#[test]
fn the_reference_is_right_where_an_omission_of_a_rule_is_not() {
    let smap = OMISSIONS.iter().filter(|omission| omission.rule == Some(Rule::Right4));
    let differs = |case: &Case| {
        let right = Reference.predict(case).alternatives;
        smap.clone().any(|omission| omission.walker.predict(case).alternatives != right)
    };
    assert_eq!(smap_cases().iter().filter(|case| differs(case)).count(), 2);

    let mut table = Table::new(vec![Subject::built_in(WalkerSpec::Reference)]);
    for case in &smap_cases() {
        table.add(case, true);
    }
    table.finish();
    assert_cell(&table.columns[0].marks.cells[&Aspect::Rule(Rule::Right4)], (false, true, false));
}

/// A read by ring 3 of a page of 2 MiB at `page`, by tables at `table` and above; CR4.PSE is 0.
fn large_page(mode: PagingMode, table: u64, page: u64) -> Case {
    let profile = Profile { physical_address_bits: 48, ..plain(Ring::Three).profile };
    let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, profile);
    case.entries.pop();
    let [.., above, leaf] = case.entries.as_mut_slice() else { panic!("two levels at least") };

    // P in a PDPTE of PAE, which has no W and U; P, W, U and PS in the leaf.
    above.value = table | if mode == PagingMode::Pae { 1 } else { 7 };
    leaf.at = table | leaf.at & 0xfff;
    leaf.value = page | 0x87;
    if mode == PagingMode::Pae {
        let index = case.access.address.get() >> 30;
        case.state.pdptes[index as usize] = above.value;
    }
    case
}

/// In PAE paging it has 36 physical bits, and finds nothing where a table at `0x40_0064_3000` is cut to
/// `0x64_3000`; in 4-level paging it has all. It does not look for reserved bits, and knows no CR4.PSE.
fn with_36_bits_in_pae(case: &Case) -> Answer {
    let [.., above, leaf] = case.entries.as_slice() else { panic!("two levels at least") };
    let bits = if case.mode() == PagingMode::Pae { 36 } else { 52 };
    let frame = |entry: u64| entry & ((1 << bits) - 1) & !0xfff;
    if frame(above.value) != leaf.at & !0xfff {
        return Answer::Fault(Faulted::default());
    }
    let address = frame(leaf.value) + (case.access.address.get() & 0x1f_ffff);
    let ignores = Ignores::RESERVED;
    Answer::Translated(Translated { address, ignores, ..Translated::default() })
}

/// If CR4.PSE mattered in PAE paging, the walk would go on below the PDE and fault as well: the same answer. But
/// the walker is right about each large page that it reaches. Its 36 bits explain the fault, and that it has more
/// in 4-level paging, which has code of its own, is no evidence about PAE.
#[test]
fn a_cause_that_right_answers_refute_is_not_named() {
    let cases = [
        large_page(PagingMode::Pae, 0x40_0064_3000, 0x4020_0000),
        large_page(PagingMode::Pae, 0x64_3000, 0x4020_0000),
        large_page(PagingMode::Pae, 0x64_3000, 0x4040_0000),
        large_page(PagingMode::FourLevel, 0x64_3000, 0x40_4020_0000),
        large_page(PagingMode::FourLevel, 0x64_3000, 0x80_4020_0000),
    ];
    let cells = cells(with_36_bits_in_pae, &cases);
    let cause = "physical addresses cut to 36 bits";
    assert_eq!(blamed(&cells), [(Aspect::Walk, 1, Some(cause))]);
}

/// One that obeys SMAP in all cases but one does not ignore it: the mistake has a case and no explanation.
/// If it ignores SMAP in one of two modes, that explains what it does there.
#[test]
fn a_mistake_that_nothing_explains_is_told_as_such() {
    let denied = |mode: PagingMode, size: u64| {
        let profile = plain(Ring::Zero).profile;
        let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Zero, profile);
        case.state.cr4 |= Cr4::SMAP;
        case.access.size = size as _;
        case
    };
    let four = PagingMode::FourLevel;
    let obeys_but_once = |case: &Case| {
        let ignores = case.mode() == PagingMode::Pae || case.access.size == 8;
        if ignores { Answer::translated(place()) } else { denial() }
    };

    let mut cases = vec![denied(four, 1), denied(four, 2), denied(four, 4), denied(four, 8)];
    let right_4 = Aspect::Rule(Rule::Right4);
    assert_eq!(blamed(&cells(obeys_but_once, &cases)), [(right_4, 1, None)]);

    cases.pop();
    cases.push(denied(PagingMode::Pae, 4));
    let cause = "SMAP is not obeyed";
    assert_eq!(blamed(&cells(obeys_but_once, &cases)), [(right_4, 1, Some(cause))]);
}

/// Another page, for no reason that a rule is.
#[test]
fn a_wrong_address_that_no_rule_explains_is_the_walks() {
    let elsewhere = |_: &Case| Answer::translated(place() ^ 0x5000);
    let cells = cells(elsewhere, &[plain(Ring::Three)]);
    assert_eq!(blamed(&cells), [(Aspect::Walk, 1, None)]);
}

/// CODE-4: bit 51 is reserved. The walker does not look for it, as it says, so that its fault where a table is
/// at an address that it cuts, which is right, is not for the rule's sake. With 52 bits of address it follows it.
#[test]
fn code_4_a_fault_for_another_reason_is_not_right() {
    let reserved = |mut case: Case| {
        case.entries.last_mut().expect("a leaf").value |= 1 << 51;
        case
    };
    let pae = |table| large_page(PagingMode::Pae, table, 0x4020_0000);
    let unchecked = reserved(large_page(PagingMode::FourLevel, 0x64_3000, 0x4020_0000));
    let cases = [reserved(pae(0x40_0064_3000)), unchecked, pae(0x64_3000)];
    assert_cell(&cell(with_36_bits_in_pae, &cases, Rule::Code4), (false, false, false));
    // Without the case in which it says so, it could be for the rule's sake.
    let cases = [reserved(pae(0x40_0064_3000)), pae(0x64_3000)];
    assert_cell(&cell(with_36_bits_in_pae, &cases, Rule::Code4), (false, true, false));
}
