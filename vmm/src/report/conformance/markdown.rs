//! The table of walkers and rules as a page of Markdown.

use super::{CellResult, full_name, mistakes, remark, shown};
use crate::conformance::{Aspect, Column, Mistake, Table};
use crate::report::style::number::with_commas;
use std::fmt::Write;

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
            let mark = match (CellResult::of(cell), cell) {
                (CellResult::Wrong, Some(cell)) => {
                    format!("[**wrong** {}](#{})", cell.wrong, anchor(column, row))
                }
                (CellResult::Right, _) => "right".into(),
                (CellResult::Silent, _) => "–".into(),
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

fn anchor(column: &Column, row: Aspect) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("{}-{row}", column.walker.name).chars().map(plain).collect()
}
