//! The table of the walkers that people use: what was seen of them by hand, it finds.

use crosswalk::conformance::{Aspect, Cell, Table, adapters};
use crosswalk::corpus::read::{CorpusItem, CorpusReader};
use crosswalk::verdict::{self, Verdict};
use mmu_core::{Reference, Rule};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// The libraries: they are always there.
const LIBRARIES: [&str; 4] = ["x86_64", "memflow", "page_table_multiarch", "vm-memory"];

/// What a walker made of the corpus.
struct BuiltTable {
    cells: BTreeMap<Aspect, Cell>,
    asked: u64,
    failure: Option<String>,
}

/// The table by the bundled corpus. Several tests look at it.
fn table() -> &'static BTreeMap<String, BuiltTable> {
    static TABLE: OnceLock<BTreeMap<String, BuiltTable>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_crosswalk-adapters"));
        let mut walkers = adapters(program).expect("it lists them");
        walkers.retain(|walker| LIBRARIES.contains(&walker.name.as_str()));
        let mut table = Table::new(walkers);
        for item in CorpusReader::bundled().expect("it can be read") {
            if let CorpusItem::Case(recorded) = item.expect("it is whole") {
                let judged = verdict::judge(&Reference, &recorded.case, &recorded.attempt);
                table.add(&recorded.case, matches!(judged, Verdict::Agree { .. }));
            }
        }
        table.finish();
        let made = table.columns.into_iter().map(|column| {
            let failure = column.failure.map(|(case, why)| format!("{why}: {case}"));
            (column.walker.name, BuiltTable { cells: column.cells, asked: column.asked, failure })
        });
        made.collect()
    })
}

#[track_caller]
fn cell(walker: &str, rule: Rule) -> &'static Cell {
    let column = table().get(walker).unwrap_or_else(|| panic!("no {walker}"));
    column.cells.get(&Aspect::Rule(rule)).unwrap_or_else(|| panic!("{walker}: nothing of {rule}"))
}

/// Asserts that a walker gets a rule wrong, by this mistake, in a case that shows it.
#[track_caller]
fn assert_wrong(walker: &str, rule: Rule, by: &str) {
    let cell = cell(walker, rule);
    let mistake = cell.mistake.as_ref().unwrap_or_else(|| panic!("{walker}, {rule}: {cell:?}"));
    let explained_by = mistake.explained_by.as_deref().unwrap_or_default();
    assert!(explained_by.contains(by), "{walker}, {rule}: {mistake:?}");
}

#[test]
fn each_is_asked_every_case_and_answers() {
    for name in LIBRARIES {
        let column = table().get(name).unwrap_or_else(|| panic!("no {name}"));
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
    assert_wrong("x86_64", Rule::Code1, "P=0");
}

#[test]
fn page_table_multiarch_ignores_p_above_the_leaf() {
    assert_wrong("page_table_multiarch", Rule::Code1, "P=0");
    let mistake = cell("page_table_multiarch", Rule::Code1).mistake.as_ref().expect("a case");
    let present = |entry: &crosswalk_case::TableEntry| entry.value & 1 != 0;
    let (leaf, above) = mistake.case.entries.split_last().expect("entries");
    assert!(present(leaf) && !above.iter().all(present), "{}", mistake.case);
}

/// No library is blamed for what it does not claim: those that know no rights are silent on them.
#[test]
fn who_says_nothing_of_rights_is_not_blamed_for_them() {
    for rule in [Rule::Right2, Rule::Right3, Rule::Right4] {
        let Cell { wrong, right, .. } = cell("x86_64", rule);
        assert_eq!((*wrong, *right), (0, 0), "{rule}");
    }
}

#[test]
fn our_own_over_vm_memory_is_right_everywhere() {
    let column = &table()["vm-memory"];
    let wrong: Vec<_> = column.cells.iter().filter(|(_, cell)| cell.wrong > 0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(column.cells.values().filter(|cell| cell.right > 0).count() > 20);
}
