//! Mistakes of processors, and the litmus tests that find them.

use crate::report::document::Document;
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_litmus::mutants::LitmusMutant;
use serde::Serialize;

/// A mutant, and the test and the outcome by which it is caught.
pub struct LitmusTrial {
    /// The mutant.
    pub mutant: &'static LitmusMutant,
    /// The test's name and the outcome.
    pub caught: Option<(String, String)>,
}

/// Mistakes of processors, and the litmus tests that find them: `litmus mutants`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LitmusMutantsDocument<'r> {
    /// Each mutant.
    mutants: Vec<LitmusMutantJson<'r>>,
}

/// A processor with one mistake.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LitmusMutantJson<'r> {
    /// Its id.
    id: &'r str,
    /// The rule that it breaks.
    rule: &'r str,
    /// The mistake.
    mistake: &'r str,
    /// The first test that finds it, or `null`.
    caught_by: Option<&'r str>,
    /// The forbidden outcome that it shows there, or `null`.
    outcome: Option<&'r str>,
}

impl Document for LitmusMutantsDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The mutants as JSON.
pub fn mutants_document(trials: &[LitmusTrial]) -> LitmusMutantsDocument<'_> {
    let mutants = trials.iter().map(|LitmusTrial { mutant, caught }| LitmusMutantJson {
        id: mutant.id,
        rule: mutant.rule,
        mistake: mutant.mistake,
        caught_by: caught.as_ref().map(|(test, _)| test.as_str()),
        outcome: caught.as_ref().map(|(_, outcome)| outcome.as_str()),
    });
    LitmusMutantsDocument { mutants: mutants.collect() }
}

/// The mutants as a table.
pub fn mutants_text(trials: &[LitmusTrial]) -> String {
    let mut table = new_table(&["mutant", "rule", "mistake", "caught by", "outcome"]);
    for LitmusTrial { mutant, caught } in trials {
        let (test, outcome) =
            caught.as_ref().map_or(("MISSED", ""), |(test, outcome)| (test.as_str(), outcome));
        table.add_row([mutant.id, mutant.rule, mutant.mistake, test, outcome]);
    }
    let caught = trials.iter().filter(|trial| trial.caught.is_some()).count();
    let mut text = trimmed(&table) + "\n\n";
    line(
        &mut text,
        &format!(
            "{caught} of {} mistakes show a forbidden outcome in a test of the catalogue, on the simulated machine.",
            trials.len()
        ),
    );
    text
}
