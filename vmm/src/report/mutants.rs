//! The mutation score, for people and for scripts.

use crate::mutation::{MutantOutcome, MutationScore, Status};
use crate::report::machine::{MachineJson, machine};
use crate::report::style::json::to_text;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_case::Case;
use crosswalk_machine::Machine;
use serde::Serialize;

#[derive(Serialize)]
struct MutantsDocument<'r> {
    machine: MachineJson<'r>,
    seed: u64,
    cases: u64,
    seconds: f64,
    score: MutationScoreJson,
    mutants: Vec<MutantJson<'r>>,
}

#[derive(Serialize)]
struct MutationScoreJson {
    caught: usize,
    machine_has_it: usize,
    out_of_reach: usize,
    missed: usize,
    total: usize,
}

#[derive(Serialize)]
struct MutantJson<'r> {
    id: &'r str,
    status: &'static str,
    cases_to_catch: Option<u64>,
    smallest_case: Option<&'r Case>,
    reason: Option<&'r str>,
    mistake: &'r str,
    origin: &'r str,
    /// What the wrong walker expects: the mutant that is caught, or the reference where the machine has
    /// the mistake.
    expected: Option<&'r str>,
    observed: Option<&'r str>,
}

/// The document of `mutants --json`.
pub fn document(machine_run: &dyn Machine, seed: u64, score: &MutationScore) -> String {
    let count = |status| score.count(status);
    to_text(&MutantsDocument {
        machine: machine(machine_run.identity(), machine_run.capabilities()),
        seed,
        cases: score.cases,
        seconds: score.duration.as_secs_f64(),
        score: MutationScoreJson {
            caught: count(Status::Caught),
            machine_has_it: count(Status::MachineHasIt),
            out_of_reach: count(Status::OutOfReach),
            missed: count(Status::Missed),
            total: score.outcomes.len(),
        },
        mutants: score.outcomes.iter().map(mutant).collect(),
    })
}

fn mutant(outcome: &MutantOutcome) -> MutantJson<'_> {
    let example = outcome.example.as_ref();
    MutantJson {
        id: outcome.id,
        status: outcome.status.name(),
        cases_to_catch: outcome.cases_to_catch,
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
