//! Machines beside the manuals and beside each other, in 80 columns.

use super::names;
use crate::conformance::machines::{Disagreement, MachineTable, SharedExample};
use crate::report::style::letters;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use comfy_table::CellAlignment;
use std::fmt::Write;

/// Who differs from the manuals and who from the others, and the smallest case of what is not known.
pub fn text(table: &MachineTable) -> String {
    let mut text = String::new();
    for (letter, name) in letters().zip(names(table)) {
        line(&mut text, &format!("{letter}  {name}"));
    }
    add_machines(&mut text, table);

    let count = with_commas;
    line(
        &mut text,
        &format!(
            "{} cases; at least two machines ran {} of them, and in {} of these all did the same, as \
             the manuals allow.\n",
            count(table.cases),
            count(table.shared),
            count(table.unanimous)
        ),
    );
    add_disagreements(&mut text, table);

    let is_unknown = |found: &&Disagreement| !found.is_known;
    for found in table.disagreements.iter().filter(is_unknown) {
        describe(&mut text, found);
    }
    line(&mut text, verdict(table));
    text
}

fn add_machines(text: &mut String, table: &MachineTable) {
    let header =
        ["who", "cases", "right", "known", "unknown", "unrun", "varies", "shared", "outvoted"];
    let mut grid = new_table(&header);
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }

    for (letter, machine) in letters().zip(&table.machines) {
        let counts = [
            machine.cases,
            machine.right,
            machine.known,
            machine.unknown,
            machine.unsupported,
            machine.unsteady,
            machine.shared,
            machine.outvoted,
        ];
        let mut row = vec![letter.to_string()];
        row.extend(counts.map(with_commas));
        grid.add_row(row);
    }
    let _ = writeln!(text, "\n{}\n", trimmed(&grid));
}

/// The most rows that people want to read.
const MAX_ROWS: usize = 30;

fn add_disagreements(text: &mut String, table: &MachineTable) {
    if table.disagreements.is_empty() {
        return;
    }

    let mut grid = new_table(&["from the manuals", "from the others", "cases", "about"]);
    for found in table.disagreements.iter().take(MAX_ROWS) {
        let wrong = letters_of(&found.wrong);
        let wrong = if found.everyone { format!("{wrong} (all)") } else { wrong };
        grid.add_row([wrong, letters_of(&found.outvoted), with_commas(found.count), about(found)]);
    }
    let _ = writeln!(text, "Who differs, and in what:\n{}", trimmed(&grid));
    let left = table.disagreements.len().saturating_sub(MAX_ROWS);
    if left > 0 {
        line(text, &format!("and {left} more, which are rarer; --json has all."));
    }
    text.push('\n');
}

/// What a disagreement is about: findings, fields, or a choice.
fn about(found: &Disagreement) -> String {
    let words = found.about.join(", ");
    match found {
        Disagreement { wrong, .. } if wrong.is_empty() && words.is_empty() => "allowed".into(),
        Disagreement { wrong, .. } if wrong.is_empty() => format!("allowed: {words}"),
        Disagreement { is_known: false, .. } => format!("NOT KNOWN: {words}"),
        _ => words,
    }
}

fn describe(text: &mut String, found: &Disagreement) {
    let SharedExample { case, expected, observed } = &found.smallest;
    let count = with_commas(found.count);
    let cases = if found.count == 1 { "case" } else { "cases" };
    line(text, &format!("{}, {count} {cases}: expected {expected}", about(found)));
    for (machine, words) in observed {
        line(text, &format!("  {} {words}", letters_of(&[*machine])));
    }
    // One line, however long: people copy it into a shell.
    let _ = writeln!(text, "  crosswalk explain '{case}'\n");
}

fn letters_of(machines: &[usize]) -> String {
    let all: Vec<char> = letters().collect();
    let names = machines.iter().filter_map(|machine| all.get(*machine));
    let names: Vec<_> = names.map(char::to_string).collect();
    if names.is_empty() { "-".into() } else { names.join(" ") }
}

fn verdict(table: &MachineTable) -> &'static str {
    if table.shared == 0 {
        "No case was run by two machines: there is nothing to compare."
    } else if table.machines.iter().any(|machine| machine.unknown > 0) {
        "A machine differs from the manuals in a way that is not known."
    } else {
        "Every difference from the manuals is known."
    }
}
