//! Litmus tests for people.
#![expect(clippy::similar_names, reason = "a test and its text")]

use super::{JudgedTest, LitmusRunFacts, OutcomeClass};
use crate::report::findings::command;
use crate::report::style::number::{numbered, with_commas};
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_litmus::diagram::Diagram;
use crosswalk_litmus::{JudgedOutcome, Litmus};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What is said of tests that no machine has run.
const NOT_RUN: &str = "Every other outcome is forbidden. This is what the manuals allow; no machine has run it: \
                       --machine kvm and --machine qemu do.";

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
            "{count}. `crosswalk litmus NAME` shows what is allowed in one, `crosswalk litmus explain NAME` how it comes \
             about, and `crosswalk litmus all --machine kvm` what a machine shows."
        ),
    );
    text
}

/// A table of what is allowed, or was seen, in each test.
pub fn table(judged: &[JudgedTest], facts: &LitmusRunFacts<'_>) -> String {
    let mut text = verdict(judged, facts);
    if facts.machine.is_none() {
        text += &allowed_table(judged);
        line(&mut text, NOT_RUN);
        return text;
    }

    let mut table = new_table(&["test", "seen", "never seen"]);
    for judged in judged.iter().filter(|judged| judged.was_run()) {
        let outcomes = judged.outcomes();
        let seen = outcomes.iter().filter(|outcome| outcome.count() > 0).map(|outcome| {
            let class = match outcome.class {
                OutcomeClass::Choice => " (choice)".into(),
                OutcomeClass::Known => format!(" (known: {})", outcome.findings.join(" ")),
                OutcomeClass::Forbidden => " FORBIDDEN".into(),
                OutcomeClass::Required | OutcomeClass::Allowed => String::new(),
            };
            format!("{}: {}{class}", outcome.outcome, with_commas(outcome.count()))
        });
        let never = outcomes.iter().filter(|outcome| outcome.count() == 0);
        table.add_row([
            judged.test.name.clone(),
            seen.collect::<Vec<_>>().join(", "),
            never.map(|outcome| outcome.outcome).collect::<Vec<_>>().join(", "),
        ]);
    }
    text += &trimmed(&table);
    text.push_str("\n\n");
    text += &left_out(judged);
    text += &verdict(judged, facts);
    text
}

/// What is allowed in each test.
fn allowed_table(judged: &[JudgedTest]) -> String {
    let mut table = new_table(&["test", "allowed", "by a choice", "states"]);
    for JudgedTest { test, judgement, .. } in judged {
        let outcomes = |without_choice: bool| {
            let outcomes = judgement.outcomes.iter();
            let chosen = outcomes.filter(|(_, judged)| judged.takes_no_choice() == without_choice);
            chosen.map(|(outcome, _)| outcome.as_str()).collect::<Vec<_>>().join(", ")
        };
        let states = judgement.states.to_string();
        table.add_row([test.name.clone(), outcomes(true), outcomes(false), states]);
    }
    trimmed(&table) + "\n\n"
}

/// The tests that the machine cannot run, by the reason.
fn left_out(judged: &[JudgedTest]) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for judged in judged {
        if let Some(why) = judged.not_run() {
            by_reason.entry(why).or_default().push(&judged.test.name);
        }
    }
    let mut text = String::new();
    for (why, names) in by_reason {
        line(&mut text, &format!("not run: {}: {why}", names.join(", ")));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The result of a run in a sentence. Nothing without a machine.
fn verdict(judged: &[JudgedTest], facts: &LitmusRunFacts<'_>) -> String {
    let mut text = String::new();
    let Some(machine) = &facts.machine else { return text };
    let ran: Vec<_> = judged.iter().filter(|judged| judged.was_run()).collect();
    let runs: u64 = ran.iter().filter_map(|judged| judged.seen()).map(|seen| seen.runs).sum();
    let forbidden: usize = judged.iter().map(|judged| judged.forbidden().count()).sum();
    let known: usize = judged.iter().map(|judged| judged.known.len()).sum();

    let tests = numbered(ran.len() as u64, "test");
    let of =
        if ran.len() == judged.len() { String::new() } else { format!(" of {}", judged.len()) };
    let result = match forbidden {
        _ if ran.is_empty() => "NOTHING RUN".into(),
        0 if known > 0 => no_forbidden_but(known),
        0 => "no forbidden outcome".into(),
        count => format!("{} FORBIDDEN", numbered(count as u64, "outcome")),
    };
    line(
        &mut text,
        &format!(
            "{result}: {tests}{of} on {} {}, {} runs, seed {}",
            machine.identity.kind,
            machine.identity.flavour,
            with_commas(runs),
            facts.seed
        ),
    );
    text.push('\n');
    text
}

/// The result of a run in which everything that no manual allows is known.
pub(super) fn no_forbidden_but(known: usize) -> String {
    let are = if known == 1 { "is" } else { "are" };
    format!("no forbidden outcome but {known} that {are} known")
}

/// What is allowed in one test, and what was seen.
pub fn test(judged: &JudgedTest, facts: &LitmusRunFacts<'_>) -> String {
    let JudgedTest { test, judgement, .. } = judged;
    let mut text = verdict(std::slice::from_ref(judged), facts);
    text += &head(test);

    let heads = ["outcome", "class", "choices", "seen"];
    let heads = if judged.was_run() { &heads[..] } else { &heads[..3] };
    let mut table = new_table(heads);
    for classed in judged.outcomes() {
        let choices = judgement.outcomes.get(classed.outcome).map(choices).unwrap_or_default();
        let class = [&[classed.class.name().to_owned()], classed.findings].concat().join(" ");
        let mut row = vec![classed.outcome.to_owned(), class, choices];
        if let Some(seen) = judged.seen() {
            row.push(match classed.count() {
                0 => format!("never in {}", with_commas(seen.runs)),
                count => with_commas(count),
            });
        }
        table.add_row(row);
    }
    text += &trimmed(&table);
    text.push_str("\n\n");

    for (outcome, ids) in &judged.known {
        let ids = ids.join(" and ");
        let command = command(facts.known);
        line(
            &mut text,
            &format!("No manual allows {outcome}; it is known: `{command}` has {ids}."),
        );
    }
    for (outcome, seen) in judged.forbidden() {
        let delays: Vec<_> = seen.delays.iter().map(ToString::to_string).collect();
        let at = format!("seed {}, delays {}", seen.seed, delays.join(" and "));
        line(&mut text, &format!("{outcome} is forbidden: it was seen first with {at}."));
    }
    text += &refuted(judged);
    text += &left_out(std::slice::from_ref(judged));
    let states = numbered(judgement.states as u64, "state");
    let note = if facts.machine.is_some() { "" } else { NOT_RUN };
    line(&mut text, format!("{note} The model has {states}.").trim());
    text
}

/// The claims that do not hold.
fn refuted(judged: &JudgedTest) -> String {
    let words = |outcomes: &BTreeSet<String>| {
        let outcomes: Vec<_> = outcomes.iter().map(String::as_str).collect();
        if outcomes.is_empty() { "nothing".into() } else { outcomes.join(", ") }
    };
    let mut text = String::new();
    for (claim, allowed) in judged.refuted_claims() {
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
    text
}

/// Random tests: their counts, those in which something forbidden was seen, and what is known.
pub fn random(judged: &[JudgedTest], facts: &LitmusRunFacts<'_>) -> String {
    let mut text = verdict(judged, facts);
    for judged in judged.iter().filter(|judged| judged.forbidden().next().is_some()) {
        text += &test(judged, facts);
        text.push('\n');
    }

    let outcomes: Vec<_> = judged.iter().flat_map(JudgedTest::outcomes).collect();
    let is_allowed = |class| !matches!(class, OutcomeClass::Known | OutcomeClass::Forbidden);
    let allowed = outcomes.iter().filter(|outcome| is_allowed(outcome.class));
    let seen = allowed.clone().filter(|outcome| outcome.count() > 0).count();
    let states: usize = judged.iter().map(|judged| judged.judgement.states).sum();
    let count = numbered(judged.len() as u64, "random test");
    let all = with_commas(allowed.count() as u64);
    let of_them = match facts.machine {
        Some(_) => format!("; {} of them were seen", with_commas(seen as u64)),
        None => "; no machine has run them".into(),
    };
    line(
        &mut text,
        &format!(
            "{count} of seed {} with {all} allowed outcomes in {} states{of_them}.",
            facts.seed,
            with_commas(states as u64)
        ),
    );
    for (ids, tests) in by_findings(judged) {
        let tests = tests.join(", ");
        line(&mut text, &format!("known: {ids}, in {tests}"));
    }
    text += &left_out(judged);
    text
}

/// The names of the tests that show known findings, by their ids.
fn by_findings(judged: &[JudgedTest]) -> BTreeMap<String, Vec<&str>> {
    let mut tests: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for judged in judged {
        for ids in judged.known.values() {
            tests.entry(ids.join(" and ")).or_default().push(&judged.test.name);
        }
    }
    tests.values_mut().for_each(Vec::dedup);
    tests
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
    text += &columns(test);
    text.push('\n');
    text
}

/// The actions, a column for each processor, and the handlers.
pub(super) fn columns(test: &Litmus) -> String {
    let width = |column: &Vec<String>| column.iter().map(String::len).max().unwrap_or(0).max(2);
    let widths: Vec<usize> = test.columns.iter().map(width).collect();
    let heads = (0..test.columns.len()).map(|number| format!("P{number}")).collect();
    let rows = test.columns.iter().map(Vec::len).max().unwrap_or(0);
    let rows = (0..rows).map(|number| {
        let cell = |column: &Vec<String>| column.get(number).cloned().unwrap_or_default();
        test.columns.iter().map(cell).collect()
    });

    let mut text = String::new();
    for row in std::iter::once(heads).chain(rows) {
        let row: Vec<String> = row;
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join(" | ").trim_end());
    }
    for (number, handler) in test.handlers.iter().enumerate() {
        if !handler.is_empty() {
            let _ = writeln!(text, "  handler P{number}: {}", handler.join("; "));
        }
    }
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
