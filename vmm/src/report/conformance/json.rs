//! The table of walkers and rules as JSON.

use super::{CellResult, shown};
use crate::conformance::{Aspect, Cell, Column, RightSides, Table};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crosswalk_case::Case;
use serde::Serialize;

/// Which rules walkers get right: `conformance`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ConformanceDocument<'r> {
    /// The corpus whose cases were asked.
    corpus: &'r str,
    /// The number of cases that count.
    cases: Count,
    /// The number of cases in which the machine itself differs from the manuals, or was not seen.
    not_counted: Count,
    /// The walkers.
    walkers: Vec<WalkerJson<'r>>,
    /// Each rule that a case was about.
    rules: Vec<AspectJson<'r>>,
}

/// A walker.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WalkerJson<'r> {
    /// Its name.
    name: &'r str,
    /// Its version.
    version: Option<&'r str>,
    /// What it is.
    what: &'r str,
    /// Why it was not asked.
    unavailable: Option<&'r str>,
    /// The number of cases that it was asked.
    asked: Count,
    /// Those to which it gave no answer.
    failed: Count,
    /// The first of these.
    failure: Option<FailureJson<'r>>,
}

/// A case to which a walker gave no answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FailureJson<'r> {
    /// The case.
    case: &'r Case,
    /// Why not.
    why: &'r str,
}

/// A rule, and what each walker makes of it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AspectJson<'r> {
    /// The id of the rule, or what else the cases are about.
    rule: String,
    /// What it is, in words.
    meaning: &'static str,
    /// A cell for each walker.
    cells: Vec<CellJson<'r>>,
}

/// A walker and a rule.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CellJson<'r> {
    /// The name of the walker.
    walker: &'r str,
    /// `right`, `wrong`, `does not say`, or `not asked`.
    result: &'static str,
    /// The number of cases in which it is right.
    right: Count,
    /// Those in which it is wrong.
    wrong: Count,
    /// Those in which it does not answer.
    does_not_say: Count,
    /// Whether the right answers are only where a walker that knows nothing of the rule is right, too.
    one_sided: bool,
    /// The right cases, by what leaving out the rule would be in them.
    right_by_side: RightSidesJson,
    /// The smallest case in which it is wrong.
    smallest_case: Option<&'r Case>,
    /// What the manuals allow in it.
    expected: Option<&'r str>,
    /// What the walker answered.
    answered: Option<&'r str>,
    /// The mutant that answers the same.
    explained_by: Option<&'r str>,
}

/// In how many of the right cases leaving out the rule would be too lax, too strict, or neither.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RightSidesJson {
    /// Those in which it would be too lax.
    too_lax: Count,
    /// Those in which it would be too strict.
    too_strict: Count,
    /// Those in which it makes no difference.
    elsewhere: Count,
}

impl Document for ConformanceDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The table as JSON.
pub fn document<'r>(corpus: &'r str, table: &'r Table) -> impl Document {
    let walkers = table.columns.iter().map(|column| WalkerJson {
        name: &column.walker.name,
        version: column.walker.version.as_deref(),
        what: &column.walker.what,
        unavailable: column.walker.unavailable.as_deref(),
        asked: column.asked.into(),
        failed: column.failed.into(),
        failure: column.failure.as_ref().map(|(case, why)| FailureJson { case, why }),
    });
    let rules = shown(table).into_iter().map(|known| AspectJson {
        rule: known.to_string(),
        meaning: known.meaning(),
        cells: table.columns.iter().map(|column| cell_json(column, known)).collect(),
    });

    ConformanceDocument {
        corpus,
        cases: table.cases.into(),
        not_counted: table.not_counted.into(),
        walkers: walkers.collect(),
        rules: rules.collect(),
    }
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
        right: (*right).into(),
        wrong: (*wrong).into(),
        does_not_say: (*silent).into(),
        one_sided: *one_sided,
        right_by_side: RightSidesJson {
            too_lax: too_lax.into(),
            too_strict: too_strict.into(),
            elsewhere: elsewhere.into(),
        },
        smallest_case: mistake.map(|mistake| &mistake.case),
        expected: mistake.map(|mistake| mistake.expected.as_str()),
        answered: mistake.map(|mistake| mistake.answered.as_str()),
        explained_by: mistake.and_then(|mistake| mistake.explained_by.as_deref()),
    }
}
