//! The table of walkers and rules as JSON.

use super::{CellResult, shown};
use crate::conformance::{Aspect, Cell, Column, RightSides, Table};
use crate::report::style::json::to_text;
use crosswalk_case::Case;
use serde::Serialize;

#[derive(Serialize)]
struct ConformanceDocument<'r> {
    corpus: &'r str,
    cases: u64,
    /// The number of cases in which the machine itself differs from the manuals, or was not seen.
    not_counted: u64,
    walkers: Vec<WalkerJson<'r>>,
    rules: Vec<AspectJson<'r>>,
}

#[derive(Serialize)]
struct WalkerJson<'r> {
    name: &'r str,
    version: Option<&'r str>,
    what: &'r str,
    /// Why it was not asked.
    unavailable: Option<&'r str>,
    asked: u64,
    failed: u64,
    failure: Option<FailureJson<'r>>,
}

#[derive(Serialize)]
struct FailureJson<'r> {
    case: &'r Case,
    why: &'r str,
}

#[derive(Serialize)]
struct AspectJson<'r> {
    rule: String,
    meaning: &'static str,
    cells: Vec<CellJson<'r>>,
}

#[derive(Serialize)]
struct CellJson<'r> {
    walker: &'r str,
    /// `right`, `wrong`, `does not say`, or `not asked`.
    result: &'static str,
    right: u64,
    wrong: u64,
    does_not_say: u64,
    /// Whether the right answers are only where a walker that knows nothing of the rule is right, too.
    one_sided: bool,
    right_by_side: RightSidesJson,
    smallest_case: Option<&'r Case>,
    expected: Option<&'r str>,
    answered: Option<&'r str>,
    explained_by: Option<&'r str>,
}

/// In how many of the right cases leaving out the rule would be too lax, too strict, or neither.
#[derive(Serialize)]
struct RightSidesJson {
    too_lax: u64,
    too_strict: u64,
    elsewhere: u64,
}

/// The table as JSON.
pub fn document(corpus: &str, table: &Table) -> String {
    let walkers = table.columns.iter().map(|column| WalkerJson {
        name: &column.walker.name,
        version: column.walker.version.as_deref(),
        what: &column.walker.what,
        unavailable: column.walker.unavailable.as_deref(),
        asked: column.asked,
        failed: column.failed,
        failure: column.failure.as_ref().map(|(case, why)| FailureJson { case, why }),
    });
    let rules = shown(table).into_iter().map(|known| AspectJson {
        rule: known.to_string(),
        meaning: known.meaning(),
        cells: table.columns.iter().map(|column| cell_json(column, known)).collect(),
    });

    to_text(&ConformanceDocument {
        corpus,
        cases: table.cases,
        not_counted: table.not_counted,
        walkers: walkers.collect(),
        rules: rules.collect(),
    })
}

fn cell_json(column: &Column, known: Aspect) -> CellJson<'_> {
    let cell = column.marks.cells.get(&known);
    let none = Cell::default();
    let Cell { right, wrong, silent, right_sides, one_sided, .. } = cell.unwrap_or(&none);
    let RightSides { too_lax, too_strict, elsewhere } = *right_sides;
    let mistake = cell.and_then(|cell| cell.mistake.as_ref());

    CellJson {
        walker: &column.walker.name,
        result: CellResult::of(cell).name(),
        right: *right,
        wrong: *wrong,
        does_not_say: *silent,
        one_sided: *one_sided,
        right_by_side: RightSidesJson { too_lax, too_strict, elsewhere },
        smallest_case: mistake.map(|mistake| &mistake.case),
        expected: mistake.map(|mistake| mistake.expected.as_str()),
        answered: mistake.map(|mistake| mistake.answered.as_str()),
        explained_by: mistake.and_then(|mistake| mistake.explained_by.as_deref()),
    }
}
