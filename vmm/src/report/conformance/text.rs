//! The table of walkers and rules in 80 columns.

use super::{CellResult, full_name, mistakes, remark, shown};

use crate::conformance::{Mistake, Table};
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use std::fmt::Write;

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
            cell => match CellResult::of(cell) {
                CellResult::Right => "ok".into(),
                CellResult::Silent => "-".into(),
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
