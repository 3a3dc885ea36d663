//! The mutation score of nested paging, for people and for scripts.

use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_case::Decimal;
use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::NestedCase;
use crosswalk_nested::mutation::{MutantOutcome, NestedScore, Status};
use serde::Serialize;

/// Which walkers of nested paging with one mistake a machine proves wrong: `mutants --nested`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NestedMutantsDocument<'r> {
    /// The machine.
    machine: MachineJson<'r>,
    /// The seed of the cases, as a decimal string.
    seed: Decimal,
    /// The number of cases that were run.
    cases: Count,
    /// The number of mutants by status.
    score: NestedScoreJson,
    /// Each mutant.
    mutants: Vec<NestedMutantJson<'r>>,
}

impl Document for NestedMutantsDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The number of mutants by status.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedScoreJson {
    /// Those that a case proves wrong.
    caught: Count,
    /// Those whose mistake the machine makes itself.
    machine_has_it: Count,
    /// Those that no case on this machine can show.
    out_of_reach: Count,
    /// Those that could have been caught and were not.
    missed: Count,
    /// All of them.
    total: Count,
}

/// A mutant.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedMutantJson<'r> {
    /// Its id, such as `NM7`.
    id: &'r str,
    /// `caught`, `machine_has_it`, `out_of_reach` or `missed`.
    status: &'static str,
    /// The number of the case that caught it.
    cases_to_catch: Option<Count>,
    /// A case that shows it.
    case: Option<&'r NestedCase>,
    /// Why it is out of reach.
    reason: Option<String>,
    /// What the walker does wrong.
    mistake: &'r str,
    /// The rule that it breaks.
    rule: &'static str,
    /// Where the mistake was made, if it is known.
    origin: Option<&'r str>,
    /// What the wrong walker expects of the case.
    expected: Option<&'r str>,
    /// What the machine did.
    observed: Option<&'r str>,
}

/// The document of `mutants --nested --json`.
pub fn mutants_document<'r>(
    (identity, capabilities): (&'r Identity, &'r Capabilities),
    seed: u64,
    score: &'r NestedScore,
) -> impl Document + 'r {
    NestedMutantsDocument {
        machine: machine(identity, capabilities),
        seed: Decimal(seed),
        cases: score.cases.into(),
        score: NestedScoreJson {
            caught: score.count(Status::Caught).into(),
            machine_has_it: score.count(Status::MachineHasIt).into(),
            out_of_reach: score.count(Status::OutOfReach).into(),
            missed: score.count(Status::Missed).into(),
            total: score.outcomes.len().into(),
        },
        mutants: score.outcomes.iter().map(mutant).collect(),
    }
}

fn mutant(outcome: &MutantOutcome) -> NestedMutantJson<'_> {
    let example = outcome.example.as_ref();
    NestedMutantJson {
        id: outcome.mutant.id,
        status: outcome.status.name(),
        cases_to_catch: outcome.cases_to_catch.map(Count::from),
        case: example.map(|(case, ..)| case),
        reason: reason(outcome),
        mistake: outcome.mutant.mistake,
        rule: outcome.mutant.rule.id(),
        origin: outcome.mutant.origin,
        expected: example.map(|(_, expected, _)| expected.as_str()),
        observed: example.map(|(.., observed)| observed.as_str()),
    }
}

fn reason(outcome: &MutantOutcome) -> Option<String> {
    (outcome.status == Status::OutOfReach)
        .then(|| format!("it takes {}", outcome.mutant.need.name()))
}

/// The score in 80 columns.
pub fn mutants_text(score: &NestedScore) -> String {
    let mut table = new_table(&["mutant", "status", "cases", "mistake, and what shows it"]);
    for outcome in &score.outcomes {
        let evidence = match (&outcome.example, reason(outcome)) {
            (Some((_, expected, seen)), _) => format!("it has {expected}; the machine: {seen}"),
            (None, Some(reason)) => reason,
            (None, None) => String::new(),
        };
        table.add_row([
            outcome.mutant.id.to_owned(),
            outcome.status.name().replace('_', " "),
            outcome.cases_to_catch.map_or_else(String::new, with_commas),
            format!("{}\n  {evidence}", outcome.mutant.mistake),
        ]);
    }

    let mut text = format!("{}\n\n", trimmed(&table));
    let [caught, has_it, out_of_reach, missed] =
        [Status::Caught, Status::MachineHasIt, Status::OutOfReach, Status::Missed]
            .map(|status| score.count(status));
    let (total, cases) = (score.outcomes.len(), with_commas(score.cases));
    line(
        &mut text,
        &format!(
            "{caught} of {total} caught; the machine has {has_it} itself, {out_of_reach} are out of its reach, \
             {missed} missed; {cases} cases."
        ),
    );
    line(&mut text, "--json has a case of each.");
    text
}
