//! The conformance table of the libraries, over the bundled corpus: it finds the mistakes that were
//! found by hand.

use crosswalk::conformance::{Aspect, Cell, Table, adapters};
use crosswalk::corpus::read::{CorpusItem, CorpusReader};
use crosswalk::verdict::{self, Verdict};
use crosswalk_case::TableEntry;
use crosswalk_machine::jail::Jail;
use mmu_core::{Reference, Rule};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// The libraries, which every build of the adapters has.
const LIBRARIES: [&str; 4] = ["x86_64", "memflow", "page_table_multiarch", "vm-memory"];

/// The column of one walker.
struct WalkerColumn {
    cells: BTreeMap<Aspect, Cell>,
    asked: u64,
    failure: Option<String>,
}

/// The table over the bundled corpus, built once for all tests.
fn table() -> &'static BTreeMap<String, WalkerColumn> {
    static TABLE: OnceLock<BTreeMap<String, WalkerColumn>> = OnceLock::new();
    TABLE.get_or_init(build_table)
}

fn build_table() -> BTreeMap<String, WalkerColumn> {
    let program = Path::new(env!("CARGO_BIN_EXE_crosswalk-adapters"));
    let mut walkers =
        adapters(program, &Jail::strongest()).expect("the program lists its adapters");
    walkers.retain(|walker| LIBRARIES.contains(&walker.name.as_str()));

    let mut table = Table::new(walkers);
    for item in CorpusReader::bundled().expect("the corpus can be read") {
        if let CorpusItem::Case(recorded) = item.expect("the corpus is complete") {
            let verdict = verdict::judge(&Reference, &recorded.case, &recorded.attempt);
            table.add(&recorded.case, matches!(verdict, Verdict::Agree { .. }));
        }
    }
    table.finish();

    let columns = table.columns.into_iter().map(|column| {
        let failure = column.failure.map(|(case, why)| format!("{why}: {case}"));
        (
            column.walker.name,
            WalkerColumn { cells: column.marks.cells, asked: column.asked, failure },
        )
    });
    columns.collect()
}

#[track_caller]
fn column(walker: &str) -> &'static WalkerColumn {
    table().get(walker).unwrap_or_else(|| panic!("no column for {walker}"))
}

#[track_caller]
fn cell(walker: &str, rule: Rule) -> &'static Cell {
    let cells = &column(walker).cells;
    cells.get(&Aspect::Rule(rule)).unwrap_or_else(|| panic!("{walker}: no cell for {rule}"))
}

/// Asserts that a walker gets a rule wrong, in a case that this mistake explains.
#[track_caller]
fn assert_wrong(walker: &str, rule: Rule, by: &str) {
    let cell = cell(walker, rule);
    let mistake = cell.mistake.as_ref().unwrap_or_else(|| panic!("{walker}, {rule}: {cell:?}"));
    let explained_by = mistake.explained_by.as_deref().unwrap_or_default();
    assert!(explained_by.contains(by), "{walker}, {rule}: {mistake:?}");
}

#[test]
fn every_library_answers_every_case() {
    for name in LIBRARIES {
        let column = column(name);
        assert!(column.asked > 1000, "{name}: {}", column.asked);
        assert_eq!(column.failure, None, "{name}");
    }
}

#[test]
fn memflow_ors_rw_over_the_levels() {
    assert_wrong("memflow", Rule::Right1, "R/W ORed over the levels");
}

#[test]
fn memflow_leaves_the_pat_bit_in_the_address_of_a_2_mib_page() {
    assert_wrong("memflow", Rule::Mode11, "PAT, bit 12 of a large leaf");
}

#[test]
fn x86_64_reports_a_leaf_that_is_not_present_as_mapped() {
    assert_wrong("x86_64", Rule::Code1, "P is not checked in the entry of a 4 KiB page");
}

#[test]
fn page_table_multiarch_ignores_p_above_the_leaf() {
    assert_wrong(
        "page_table_multiarch",
        Rule::Code1,
        "P is not checked in entries that point to tables",
    );

    let mistake = cell("page_table_multiarch", Rule::Code1).mistake.as_ref().expect("a case");
    let present = |entry: &TableEntry| entry.value & 1 != 0;
    let (leaf, above) = mistake.case.entries.split_last().expect("entries");
    assert!(present(leaf) && !above.iter().all(present), "{}", mistake.case);
}

/// A library is marked only on what it claims, and one that knows no rights claims nothing here.
#[test]
fn a_library_that_reports_no_rights_is_not_marked_on_them() {
    for rule in [Rule::Right2, Rule::Right3, Rule::Right4] {
        let Cell { wrong, right, .. } = cell("x86_64", rule);
        assert_eq!((*wrong, *right), (0, 0), "{rule}");
    }
}

/// memflow knows whether a page can be written and executed, and never heard of SMAP or CR0.WP.
#[test]
fn memflow_is_not_right_about_what_it_does_not_know() {
    for rule in [Rule::Right2, Rule::Right3, Rule::Right4] {
        let Cell { wrong, right, .. } = cell("memflow", rule);
        assert_eq!((*wrong, *right), (0, 0), "{rule}");
    }
}

/// No case shows whether a walker uses locked read-modify-writes: what it gets right it would get right
/// without as well.
#[test]
fn ad_4_no_library_is_right_about_locked_updates() {
    for name in LIBRARIES {
        let cell = cell(name, Rule::Ad4);
        assert!(cell.wrong == 0 && (cell.right == 0 || cell.one_sided), "{name}: {cell:?}");
    }
}

#[test]
fn crosswalk_s_own_walker_over_vm_memory_is_right_everywhere() {
    let column = column("vm-memory");
    let wrong: Vec<_> = column.cells.iter().filter(|(_, cell)| cell.wrong > 0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(column.cells.values().filter(|cell| cell.right > 0).count() > 20);
}
