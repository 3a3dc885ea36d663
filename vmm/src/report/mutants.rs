//! The mutation score, for people and for scripts.

use crate::mutation::{MutantOutcome, MutationScore, Status};
use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_case::{Case, Decimal};
use crosswalk_machine::Machine;
use serde::Serialize;

/// Which walker bugs known from history a machine proves wrong: `mutants`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct MutantsDocument<'r> {
    /// The machine.
    machine: MachineJson<'r>,
    /// The seed of the cases, as a decimal string.
    seed: Decimal,
    /// The number of cases that were run.
    cases: Count,
    /// How long it took.
    seconds: f64,
    /// The number of mutants by status.
    score: MutationScoreJson,
    /// Each mutant.
    mutants: Vec<MutantJson<'r>>,
}

impl Document for MutantsDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The number of mutants by status.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MutationScoreJson {
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
struct MutantJson<'r> {
    /// Its id, such as `M07`.
    id: &'r str,
    /// `caught`, `machine_has_it`, `out_of_reach` or `missed`.
    status: &'static str,
    /// The number of the case that caught it.
    cases_to_catch: Option<Count>,
    /// The smallest case that shows it: an object as in the line protocol of walkers.
    smallest_case: Option<&'r Case>,
    /// Why it is out of reach.
    reason: Option<&'r str>,
    /// What the walker does wrong.
    mistake: &'r str,
    /// Where the mistake was made.
    origin: &'r str,
    /// What the wrong walker expects: the mutant that is caught, or the reference where the machine has
    /// the mistake.
    expected: Option<&'r str>,
    /// What the machine did, in words.
    observed: Option<&'r str>,
}

/// The document of `mutants --json`.
pub fn document<'r>(
    machine_run: &'r dyn Machine,
    seed: u64,
    score: &'r MutationScore,
) -> impl Document {
    let count = |status| score.count(status);
    MutantsDocument {
        machine: machine(machine_run.identity(), machine_run.capabilities()),
        seed: Decimal(seed),
        cases: score.cases.into(),
        seconds: score.duration.as_secs_f64(),
        score: MutationScoreJson {
            caught: count(Status::Caught).into(),
            machine_has_it: count(Status::MachineHasIt).into(),
            out_of_reach: count(Status::OutOfReach).into(),
            missed: count(Status::Missed).into(),
            total: score.outcomes.len().into(),
        },
        mutants: score.outcomes.iter().map(mutant).collect(),
    }
}

fn mutant(outcome: &MutantOutcome) -> MutantJson<'_> {
    let example = outcome.example.as_ref();
    MutantJson {
        id: outcome.id,
        status: outcome.status.name(),
        cases_to_catch: outcome.cases_to_catch.map(Count::from),
        smallest_case: example.map(|example| &example.case),
        reason: outcome.reason.as_deref(),
        mistake: outcome.mistake,
        origin: outcome.origin,
        expected: example.map(|example| example.expected.as_str()),
        observed: example.map(|example| example.observed.as_str()),
    }
}

/// The score in 80 columns.
pub fn text(score: &MutationScore) -> String {
    let mut table = new_table(&["mutant", "status", "cases", "mistake, and what shows it"]);
    for outcome in &score.outcomes {
        let evidence = match (outcome.status, &outcome.example, &outcome.reason) {
            (Status::Caught, Some(example), _) => {
                format!("it has {}; the machine: {}", example.expected, example.observed)
            }
            (_, _, Some(reason)) => reason.clone(),
            _ => String::new(),
        };

        table.add_row([
            outcome.id.to_owned(),
            outcome.status.name().replace('_', " "),
            outcome.cases_to_catch.map_or_else(String::new, with_commas),
            format!("{}\n  {evidence}", outcome.mistake),
        ]);
    }

    let mut text = format!("{}\n\n", trimmed(&table));
    let caught = score.count(Status::Caught);
    let has_it = score.count(Status::MachineHasIt);
    let out_of_reach = score.count(Status::OutOfReach);
    let missed = score.count(Status::Missed);
    let total = score.outcomes.len();
    let cases = with_commas(score.cases);
    let seconds = score.duration.as_secs_f64();
    line(
        &mut text,
        &format!(
            "{caught} of {total} caught; the machine has {has_it} itself, {out_of_reach} are out of \
             its reach, {missed} missed; {cases} cases, {seconds:.1} s."
        ),
    );
    line(&mut text, "--json has the smallest case of each.");
    text
}
