//! The table of walkers and rules: as text, as JSON, and as a page of Markdown.

use super::json::to_text;
use super::layout::{line, new_table, trimmed, with_commas};
use crate::case::Case;
use crate::conformance::{Cell, Column, Mistake, Row, Table, rows};
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Document<'r> {
    corpus: &'r str,
    cases: u64,
    /// Cases on which the machine itself differs from the manuals, or was not seen.
    not_counted: u64,
    walkers: Vec<WalkerJson<'r>>,
    rules: Vec<RuleJson<'r>>,
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
struct RuleJson<'r> {
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
    smallest_case: Option<&'r Case>,
    expected: Option<&'r str>,
    answered: Option<&'r str>,
    explained_by: Option<&'r str>,
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
    let rules = shown(table).into_iter().map(|row| RuleJson {
        rule: row.to_string(),
        meaning: row.meaning(),
        cells: table.columns.iter().map(|column| cell_json(column, row)).collect(),
    });
    to_text(&Document {
        corpus,
        cases: table.cases,
        not_counted: table.not_counted,
        walkers: walkers.collect(),
        rules: rules.collect(),
    })
}

fn cell_json(column: &Column, row: Row) -> CellJson<'_> {
    let none = Cell::default();
    let cell = column.cells.get(&row);
    let Cell { right, wrong, silent, .. } = cell.unwrap_or(&none);
    let mistake = cell.and_then(|cell| cell.mistake.as_ref());
    CellJson {
        walker: &column.walker.name,
        result: Result::of(cell).name(),
        right: *right,
        wrong: *wrong,
        does_not_say: *silent,
        smallest_case: mistake.map(|mistake| &mistake.case),
        expected: mistake.map(|mistake| mistake.expected.as_str()),
        answered: mistake.map(|mistake| mistake.answered.as_str()),
        explained_by: mistake.and_then(|mistake| mistake.explained_by.as_deref()),
    }
}

/// What a cell comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Result {
    Right,
    Wrong,
    Silent,
    NotAsked,
}

impl Result {
    const fn of(cell: Option<&Cell>) -> Self {
        match cell {
            Some(Cell { wrong: 1.., .. }) => Self::Wrong,
            Some(Cell { right: 1.., .. }) => Self::Right,
            Some(Cell { silent: 1.., .. }) => Self::Silent,
            _ => Self::NotAsked,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Silent => "does not say",
            Self::NotAsked => "not asked",
        }
    }
}

/// The rows about which some walker was asked.
fn shown(table: &Table) -> Vec<Row> {
    let is_asked = |row: &Row| table.columns.iter().any(|column| column.cells.contains_key(row));
    rows().into_iter().filter(is_asked).collect()
}

/// A walker with its version.
fn full_name(column: &Column) -> String {
    let walker = &column.walker;
    let version = walker.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
    format!("{}{version}", walker.name)
}

/// What became of a walker besides its cells.
fn remark(column: &Column) -> String {
    if let Some(why) = &column.walker.unavailable {
        return format!("not asked: {why}");
    }
    match &column.failure {
        None => format!("{} cases", with_commas(column.asked)),
        Some((_, why)) => {
            let (failed, asked) = (with_commas(column.failed), with_commas(column.asked));
            format!("{asked} cases, {failed} without an answer: {why}")
        }
    }
}

/// The mistakes of a column, by row.
fn mistakes(column: &Column) -> impl Iterator<Item = (Row, u64, &Mistake)> {
    column.cells.iter().filter_map(|(row, cell)| Some((*row, cell.wrong, cell.mistake.as_ref()?)))
}

/// The table in 80 columns, then the smallest case of every wrong cell.
pub fn text(corpus: &str, table: &Table) -> String {
    let mut text = String::new();
    let (cases, others) = (with_commas(table.cases), with_commas(table.not_counted));
    line(
        &mut text,
        &format!(
            "{corpus}: {cases} cases count; {others} do not, since the machine itself differs from \
             the manuals there, or could not run them"
        ),
    );
    text.push('\n');
    for (letter, column) in letters().zip(&table.columns) {
        let name = full_name(column);
        line(&mut text, &format!("{letter}  {name}: {}; {}", column.walker.what, remark(column)));
    }
    text.push('\n');
    let header: Vec<String> = letters().take(table.columns.len()).map(String::from).collect();
    let header: Vec<&str> =
        [&["rule"], &*header.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    let mut grid = new_table(&header);
    for row in shown(table) {
        let cells = table.columns.iter().map(|column| match column.cells.get(&row) {
            Some(cell) if cell.wrong > 0 => format!("x {}", cell.wrong),
            cell => match Result::of(cell) {
                Result::Right => "ok".into(),
                Result::Silent => "-".into(),
                _ => String::new(),
            },
        });
        grid.add_row([vec![row.to_string()], cells.collect()].concat());
    }
    let _ = writeln!(text, "{}\n", trimmed(&grid));
    line(
        &mut text,
        "ok: right in every case that tells; x N: wrong in N cases; -: it does not say\n",
    );
    for column in &table.columns {
        for (row, wrong, mistake) in mistakes(column) {
            let Mistake { case, expected, answered, explained_by } = mistake;
            let name = full_name(column);
            let why = explained_by.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            line(&mut text, &format!("{name}, {row}, {} wrong{why}", with_commas(wrong)));
            line(&mut text, &format!("  expected {expected}"));
            line(&mut text, &format!("  answered {answered}"));
            // One line, however long: it is to be copied into a shell.
            let _ = writeln!(text, "  crosswalk explain '{case}'\n");
        }
    }
    text
}

fn letters() -> impl Iterator<Item = char> {
    'A'..='Z'
}

/// The table as a page of Markdown.
pub fn page(corpus: &str, table: &Table) -> String {
    let mut text = String::from(PAGE_HEAD);
    let (cases, others) = (with_commas(table.cases), with_commas(table.not_counted));
    let _ = writeln!(
        text,
        "Asked: {cases} cases of {corpus}. {others} more do not count, since the machine itself \
         differs\nfrom the manuals there, or could not run them.\n"
    );
    text += "| walker | what it is | asked |\n|---|---|---|\n";
    for column in &table.columns {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            full_name(column),
            column.walker.what,
            remark(column)
        );
    }
    text += "\n| rule |";
    for column in &table.columns {
        let _ = write!(text, " {} |", column.walker.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(table.columns.len()));
    for row in shown(table) {
        let _ = write!(text, "| {row} |");
        for column in &table.columns {
            let cell = column.cells.get(&row);
            let mark = match (Result::of(cell), cell) {
                (Result::Wrong, Some(cell)) => {
                    format!("[**wrong** {}](#{})", cell.wrong, anchor(column, row))
                }
                (Result::Right, _) => "right".into(),
                (Result::Silent, _) => "–".into(),
                _ => String::new(),
            };
            let _ = write!(text, " {mark} |");
        }
        text.push('\n');
    }
    text += "\n## The rules\n\n";
    for row in shown(table) {
        let _ = writeln!(text, "- {row}: {}", row.meaning());
    }
    text += "\n## The smallest case of every wrong cell\n";
    for column in &table.columns {
        for (row, _, mistake) in mistakes(column) {
            let Mistake { case, expected, answered, explained_by } = mistake;
            let (name, anchor) = (full_name(column), anchor(column, row));
            let _ = writeln!(text, "\n<a id=\"{anchor}\"></a>\n### {name}, {row}\n");
            if let Some(why) = explained_by {
                let _ = writeln!(text, "It answers as if: {why}.\n");
            }
            let _ = writeln!(text, "Expected {expected}; answered {answered}.\n");
            let _ = writeln!(text, "```\n{case}\n```");
        }
    }
    text
}

const PAGE_HEAD: &str = "\
# Conformance of walkers

What walkers of page tables that people use make of cases whose outcome a machine has shown and the
manuals ask for. `crosswalk conformance --page FILE` writes this page.

A case is about a rule when leaving the rule out changes what is allowed. A walker is *right* about the
rule when its answers are allowed and would not be without the rule; *wrong* when an answer is not
allowed; and it *does not say* (–) when its answers are allowed either way, or say nothing. Each walker
is held to what it claims: one that gives an address and no rights is not blamed for rights.

";

fn anchor(column: &Column, row: Row) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("{}-{row}", column.walker.name).chars().map(plain).collect()
}
