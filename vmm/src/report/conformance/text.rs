//! The table of walkers and rules in 80 columns.

use super::{CellResult, full_name, mistakes, remark, shown};
use crate::conformance::{Cell, Column, Mistake, Table};
use crate::report::style::letters;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use std::fmt::Write;

/// The table in 80 columns, then the smallest case of every wrong cell.
pub fn text(corpus: &str, table: &Table) -> String {
    let mut text = String::new();
    let cases = with_commas(table.cases);
    let others = with_commas(table.not_counted);
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

    draw_table(&mut text, table);
    for column in &table.columns {
        describe_mistakes(&mut text, column);
    }
    text
}

/// A row for each known mistake, a column for each walker, and what the marks mean.
fn draw_table(text: &mut String, table: &Table) {
    let names: Vec<_> = letters().take(table.columns.len()).map(String::from).collect();
    let mut header = vec!["rule"];
    header.extend(names.iter().map(String::as_str));

    let mut grid = new_table(&header);
    for known in shown(table) {
        let marks = table.columns.iter().map(|column| mark(column.marks.cells.get(&known)));
        grid.add_row([vec![known.to_string()], marks.collect()].concat());
    }

    let _ = writeln!(text, "{}\n", trimmed(&grid));
    line(text, "ok: right in every case that decides; x N: wrong in N cases; -: it does not say");
    line(
        text,
        "(-): it does not say either: all its answers are right, but only in cases where a walker that \
         knows nothing of the rule is right as well\n",
    );
}

fn mark(cell: Option<&Cell>) -> String {
    match (CellResult::of(cell), cell) {
        (CellResult::Wrong, Some(cell)) => format!("x {}", cell.wrong),
        (CellResult::Right, _) => "ok".into(),
        (CellResult::OneSided, _) => "(-)".into(),
        (CellResult::Silent, _) => "-".into(),
        (CellResult::Wrong | CellResult::NotAsked, _) => String::new(),
    }
}

/// The smallest case of every mistake that a walker makes.
fn describe_mistakes(text: &mut String, column: &Column) {
    let name = full_name(column);
    for (known, count, mistake) in mistakes(column) {
        let Mistake { case, expected, answered, explained_by } = mistake;
        let why = explained_by.as_ref().map_or_else(String::new, |why| format!(": {why}"));

        line(text, &format!("{name}, {known}, {} wrong{why}", with_commas(count)));
        line(text, &format!("  expected {expected}"));
        line(text, &format!("  answered {answered}"));
        // One line, however long: people copy it into a shell.
        let _ = writeln!(text, "  crosswalk explain '{case}'\n");
    }
}
