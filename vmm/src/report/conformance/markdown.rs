//! The table of walkers and rules as a page of Markdown.

use super::{CellResult, full_name, mistakes, remark, shown};
use crate::conformance::{Aspect, Column, Mistake, Table};
use crate::report::style::number::with_commas;
use std::fmt::Write;

/// The head of the page.
const PAGE_HEAD: &str = "\
# Conformance of walkers

What the page-table walkers that people use answer in cases whose outcome a machine has shown and the
manuals ask for. `crosswalk conformance --page FILE` writes this page.

A case is about a rule when leaving the rule out changes what is allowed. A walker is *right* about the
rule when its answers are allowed and would not be without the rule; *wrong* when an answer is not
allowed; and it *does not say* (–) when its answers are allowed either way, or say nothing. Each walker
is judged by what it claims: one that gives an address and no rights is not blamed for rights.

A walker that knows nothing of a rule is right wherever the rule asks for what it does anyway: one that
never heard of SMAP is right about every access that SMAP allows. So *right* takes cases on both sides: some
where the rule bites, because it forbids something, sets a flag or leads to another address, and some where
the access ends the other way. A walker with right answers on one side only does not say either; that is
marked (–) in brackets.

";

/// The table as a page of Markdown.
pub fn page(corpus: &str, table: &Table) -> String {
    let mut text = String::from(PAGE_HEAD);
    let cases = with_commas(table.cases);
    let others = with_commas(table.not_counted);
    let _ = writeln!(
        text,
        "Asked: {cases} cases of {corpus}. {others} more do not count, since the machine itself \
         differs\nfrom the manuals there, or could not run them.\n"
    );

    add_walkers(&mut text, table);
    add_table(&mut text, table);

    text += "\n## The rules\n\n";
    for known in shown(table) {
        let _ = writeln!(text, "- {known}: {}", known.meaning());
    }

    text += "\n## The smallest case of every wrong cell\n";
    for column in &table.columns {
        add_mistakes(&mut text, column);
    }
    text
}

fn add_walkers(text: &mut String, table: &Table) {
    *text += "| walker | what it is | asked |\n|---|---|---|\n";
    for column in &table.columns {
        let name = full_name(column);
        let _ = writeln!(text, "| {name} | {} | {} |", column.walker.what, remark(column));
    }
}

fn add_table(text: &mut String, table: &Table) {
    *text += "\n| rule |";
    for column in &table.columns {
        let _ = write!(text, " {} |", column.walker.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(table.columns.len()));

    for known in shown(table) {
        let _ = write!(text, "| {known} |");
        for column in &table.columns {
            let _ = write!(text, " {} |", mark(column, known));
        }
        text.push('\n');
    }
}

/// The mark of a cell; a wrong one links to its smallest case.
fn mark(column: &Column, known: Aspect) -> String {
    let cell = column.marks.cells.get(&known);
    match (CellResult::of(cell), cell) {
        (CellResult::Wrong, Some(cell)) => {
            format!("[**wrong** {}](#{})", cell.wrong, anchor(column, known))
        }
        (CellResult::Right, _) => "right".into(),
        (CellResult::OneSided, _) => "(–)".into(),
        (CellResult::Silent, _) => "–".into(),
        (CellResult::Wrong | CellResult::NotAsked, _) => String::new(),
    }
}

fn add_mistakes(text: &mut String, column: &Column) {
    let name = full_name(column);
    for (known, _, mistake) in mistakes(column) {
        let Mistake { case, expected, answered, explained_by } = mistake;
        let anchor = anchor(column, known);

        let _ = writeln!(text, "\n<a id=\"{anchor}\"></a>\n### {name}, {known}\n");
        if let Some(why) = explained_by {
            let _ = writeln!(text, "It answers as if: {why}.\n");
        }
        let _ = writeln!(text, "Expected {expected}; answered {answered}.\n");
        let _ = writeln!(text, "```\n{case}\n```");
    }
}

/// The name of the place on the page where a mistake is described.
fn anchor(column: &Column, known: Aspect) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("{}-{known}", column.walker.name).chars().map(plain).collect()
}
