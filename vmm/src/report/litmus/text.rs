//! Litmus tests for people.

use super::{JudgedTest, OutcomeClass};
use crate::report::style::number::numbered;
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_litmus::diagram::Diagram;
use crosswalk_litmus::{JudgedOutcome, Litmus};
use std::fmt::Write;

/// What is said of every test.
const NOT_RUN: &str =
    "Every other outcome is forbidden. This is what the manuals allow; no machine has run it.";

/// A list of tests.
pub fn list(judged: &[JudgedTest]) -> String {
    let mut table = new_table(&["test", "about"]);
    for JudgedTest { test, .. } in judged {
        table.add_row([&test.name, &test.about]);
    }
    let mut text = trimmed(&table) + "\n\n";
    let count = numbered(judged.len() as u64, "test");
    line(
        &mut text,
        &format!(
            "{count}. `crosswalk litmus NAME` shows what is allowed in one, `crosswalk litmus explain NAME` how it comes about."
        ),
    );
    text
}

/// A table of what is allowed in each test.
pub fn table(judged: &[JudgedTest]) -> String {
    let mut table = new_table(&["test", "allowed", "by a choice", "states"]);
    for JudgedTest { test, judgement } in judged {
        let outcomes = |without_choice: bool| {
            let outcomes = judgement.outcomes.iter();
            let chosen = outcomes.filter(|(_, judged)| judged.takes_no_choice() == without_choice);
            chosen.map(|(outcome, _)| outcome.as_str()).collect::<Vec<_>>().join(", ")
        };
        let states = judgement.states.to_string();
        table.add_row([test.name.clone(), outcomes(true), outcomes(false), states]);
    }
    let mut text = trimmed(&table) + "\n\n";
    line(&mut text, NOT_RUN);
    text
}

/// What is allowed in one test.
pub fn test(judged: &JudgedTest) -> String {
    let JudgedTest { test, judgement } = judged;
    let mut text = head(test);

    let mut table = new_table(&["outcome", "class", "choices"]);
    for (outcome, judged) in &judgement.outcomes {
        let class = OutcomeClass::of(judgement, judged.takes_no_choice());
        table.add_row([outcome.as_str(), class.name(), &choices(judged)]);
    }
    text += &trimmed(&table);
    text.push_str("\n\n");
    for (claim, allowed) in judged.refuted_claims() {
        let words = |outcomes: &std::collections::BTreeSet<String>| {
            let outcomes: Vec<_> = outcomes.iter().map(String::as_str).collect();
            if outcomes.is_empty() { "nothing".into() } else { outcomes.join(", ") }
        };
        let by = if claim.choices.is_empty() {
            String::new()
        } else {
            let choices: Vec<_> = claim.choices.iter().map(String::as_str).collect();
            format!(" by {}", choices.join(" and "))
        };
        let (claimed, allowed) = (words(&claim.outcomes), words(&allowed));
        line(
            &mut text,
            &format!("The test claims {claimed}{by}; what is allowed{by} is {allowed}."),
        );
    }
    let states = numbered(judgement.states as u64, "state");
    line(&mut text, &format!("{NOT_RUN} The model has {states}."));
    text
}

/// One execution that leads to an outcome.
pub fn execution(
    test: &Litmus,
    outcome: &str,
    judged: &JudgedOutcome,
    diagram: &Diagram,
) -> String {
    let mut text = String::new();
    let by = choices(judged);
    let by = if by.is_empty() {
        String::new()
    } else {
        format!(", by a choice of the processor ({by})")
    };
    line(&mut text, &format!("{}: {outcome}{by}", test.name));
    text.push('\n');
    text += &diagram.text(80);
    text.push('\n');
    text
}

/// The test itself.
fn head(test: &Litmus) -> String {
    let mut text = String::new();
    line(&mut text, &format!("{}: {}\n", test.name, test.about));
    for setting in &test.setting {
        let _ = writeln!(text, "  {setting}");
    }

    let widths: Vec<usize> = test
        .columns
        .iter()
        .map(|column| column.iter().map(String::len).max().unwrap_or(0).max(2))
        .collect();
    let rows = test.columns.iter().map(Vec::len).max().unwrap_or(0);
    let mut row = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join(" | ").trim_end());
    };
    let heads: Vec<String> = (0..test.columns.len()).map(|number| format!("P{number}")).collect();
    row(heads.iter().map(String::as_str).collect());
    for number in 0..rows {
        let cell = |column: &'_ Vec<String>| {
            column.get(number).map_or("", |cell| cell.as_str()).to_owned()
        };
        let cells: Vec<String> = test.columns.iter().map(cell).collect();
        row(cells.iter().map(String::as_str).collect());
    }
    for (number, handler) in
        test.handlers.iter().enumerate().filter(|(_, handler)| !handler.is_empty())
    {
        let _ = writeln!(text, "  handler P{number}: {}", handler.join("; "));
    }
    text.push('\n');
    text
}

/// The choices that an outcome takes, any of these sets.
fn choices(judged: &JudgedOutcome) -> String {
    if judged.takes_no_choice() {
        return String::new();
    }
    let sets = judged.choice_names().into_iter().map(|names| names.join(" and "));
    sets.collect::<Vec<_>>().join(", or ")
}
