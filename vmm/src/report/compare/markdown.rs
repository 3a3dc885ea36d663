//! Machines by rule as a page of Markdown.

use super::{differs_by_choice, machines_choose, names, shown};
use crate::conformance::machines::{MachineColumn, MachineTable};
use crate::conformance::{Aspect, Cell, Mistake};
use crate::report::conformance::CellResult;
use crate::report::style::number::with_commas;
use mmu_core::Rule;
use std::fmt::Write;

/// The head of the page.
const PAGE_HEAD: &str = "\
# Machines by rule

What machines do where the manuals leave no choice, and where they do: emulators, hypervisors, and what lies
beneath them. `crosswalk compare FILE... --page FILE` writes this page from corpora that were recorded on each.
Nothing on it is about a processor of silicon unless its column says so.

A case is about a rule when leaving the rule out changes what is allowed. A machine is *right* about the rule
when it did what is allowed in every such case, and in some of them would not have without the rule, on both of
its sides: some where the rule bites, because it forbids something, sets a flag or leads to another address, and
some where the access ends the other way. It is *wrong* when it did what the rule does not allow; the number of
cases and the known findings stand beside it, and a link leads to the smallest case. It *cannot say* when its
cases would have ended so without the rule as well (–), or are on one side only, marked (–) in brackets; an
empty cell means that no case was about the rule. *Choice* means that the rule leaves a choice, and that the
machine takes other members of it than another machine does: neither is wrong.

";

/// The page.
pub fn page(table: &MachineTable) -> String {
    let names = names(table);
    let mut text = String::from(PAGE_HEAD);
    add_machines(&mut text, table, &names);
    add_table(&mut text, table, &names);

    text += "\n## The rules\n\n";
    for aspect in shown(table) {
        let _ = writeln!(text, "- {aspect}: {}", aspect.meaning());
    }

    text += "\n## The choices\n\nThe members that each machine takes where machines differ, with the number of cases.\n";
    for rule in Rule::ALL.iter().filter(|rule| machines_choose(table, **rule)) {
        add_choice(&mut text, table, &names, *rule);
    }

    text += "\n## The smallest case of every wrong cell\n";
    for (machine, name) in table.machines.iter().zip(&names) {
        add_mistakes(&mut text, machine, name);
    }
    text
}

fn add_machines(text: &mut String, table: &MachineTable, names: &[String]) {
    *text += "| machine | recorded on | cases | right | known findings | not known | not run |\n";
    *text += "|---|---|---|---|---|---|---|\n";
    for (machine, name) in table.machines.iter().zip(names) {
        let counts =
            [machine.cases, machine.right, machine.known, machine.unknown, machine.unsupported];
        let counts = counts.map(with_commas).join(" | ");
        let _ = writeln!(text, "| {name} | {} | {counts} |", machine.line.describe());
    }
}

fn add_table(text: &mut String, table: &MachineTable, names: &[String]) {
    *text += "\n| rule |";
    for name in names {
        let _ = write!(text, " {name} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(names.len()));

    for aspect in shown(table) {
        let _ = write!(text, "| {aspect} |");
        for (machine, name) in table.machines.iter().zip(names) {
            let _ = write!(text, " {} |", cell_text(table, machine, name, aspect));
        }
        text.push('\n');
    }
}

/// What a cell says; a wrong one links to its smallest case.
fn cell_text(table: &MachineTable, machine: &MachineColumn, name: &str, aspect: Aspect) -> String {
    let cell = machine.marks.cells.get(&aspect);
    let mark = match (CellResult::of(cell), cell) {
        (CellResult::Wrong, Some(Cell { wrong, .. })) => {
            let ids = machine.findings.get(&aspect).into_iter().flatten();
            let ids: Vec<_> = ids.map(|(id, _)| id.as_str()).collect();
            let ids = if ids.is_empty() { String::new() } else { format!(" {}", ids.join(" ")) };
            format!("[**wrong** {wrong}{ids}](#{})", anchor(name, aspect))
        }
        (CellResult::Right, _) => "right".into(),
        (CellResult::OneSided, _) => "(–)".into(),
        (CellResult::Silent, _) => "–".into(),
        (CellResult::Wrong | CellResult::NotAsked, _) => String::new(),
    };

    let chooses = matches!(aspect, Aspect::Rule(rule) if differs_by_choice(table, machine, rule));
    match (chooses, mark.is_empty()) {
        (false, _) => mark,
        (true, true) => "choice".into(),
        (true, false) => format!("{mark}, choice"),
    }
}

fn add_choice(text: &mut String, table: &MachineTable, names: &[String], rule: Rule) {
    let _ = writeln!(text, "\n### {rule}: {}\n", rule.meaning());
    for (machine, name) in table.machines.iter().zip(names) {
        let Some(members) = machine.choices.get(&rule) else { continue };
        let members = members
            .iter()
            .map(|(member, count)| format!("{member} ({})", with_commas(*count)))
            .collect::<Vec<_>>();
        let _ = writeln!(text, "- {name}: {}", members.join(", "));
    }
}

fn add_mistakes(text: &mut String, machine: &MachineColumn, name: &str) {
    let mistakes =
        machine.marks.cells.iter().filter_map(|(row, cell)| Some((*row, cell.mistake.as_ref()?)));
    for (aspect, mistake) in mistakes {
        let Mistake { case, expected, answered, explained_by } = mistake;
        let anchor = anchor(name, aspect);

        let _ = writeln!(text, "\n<a id=\"{anchor}\"></a>\n### {name}: {aspect}\n");
        if let Some(why) = explained_by {
            let _ = writeln!(text, "{why}.\n");
        }
        let _ = writeln!(text, "Expected {expected}; observed {answered}.\n");
        let _ = writeln!(text, "```\n{case}\n```");
    }
}

/// The name of the place on the page where a mistake is described.
fn anchor(name: &str, aspect: Aspect) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("{name}-{aspect}").chars().map(plain).collect()
}
