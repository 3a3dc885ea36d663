//! Random operations on the virtual memory system, in 80 columns and as JSON.

use super::NOTHING_COMPARED;
use super::json::{ComparedWithJson, ComparisonJson, comparison_json, machine_json};
use super::text::{compared, ending};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crate::scenario::random::{Operation, Played};
use crosswalk_case::Decimal;
use crosswalk_machine::Identity;
use mmu_core::PagingMode;
use serde::Serialize;

/// The operations of one seed in one mode.
#[derive(Debug)]
pub struct RandomRun {
    /// The paging mode.
    pub mode: PagingMode,
    /// Their result.
    pub played: Played,
    /// Fewer operations that go wrong, too; empty if nothing did.
    pub smallest: Vec<Operation>,
}

/// Random operations to report.
#[derive(Clone, Copy, Debug)]
pub struct NarratedRandomRuns<'t> {
    /// The seed.
    pub seed: u64,
    /// The operations in each mode.
    pub runs: &'t [RandomRun],
    /// The machine that the software was compared with, and why it was chosen.
    pub machine: Option<(&'t Identity, &'t str)>,
    /// Why there is no machine.
    pub why_none: &'t str,
}

impl NarratedRandomRuns<'_> {
    /// Whether nothing was lost, and the machine has the same history.
    pub fn passed(&self) -> bool {
        self.runs.iter().all(|run| run.played.problem.is_none())
    }

    fn result(&self) -> &'static str {
        match self.machine {
            None => NOTHING_COMPARED,
            Some(_) if self.passed() => "histories equal",
            Some(_) => "histories part, or something is lost",
        }
    }
}

/// The report for people.
pub fn text(narrated: &NarratedRandomRuns<'_>) -> String {
    let mut text = String::new();
    line(&mut text, &format!("random operations, seed {}", narrated.seed));
    for RandomRun { mode, played, smallest } in narrated.runs {
        text.push('\n');

        let performed = with_commas(played.performed as u64);
        let written = with_commas(played.written);
        let read = with_commas(played.read);
        line(
            &mut text,
            &format!(
                "{mode} tables: {performed} operations, {written} words written, {read} read and \
                 found as they were written"
            ),
        );

        if let Some(problem) = &played.problem {
            line(&mut text, &format!("wrong: {problem}"));
            line(&mut text, &format!("these {} operations are enough:", smallest.len()));
            for operation in smallest {
                line(&mut text, &format!("  {operation:?}"));
            }
        }
        if let Some(comparison) = &played.comparison {
            compared(&mut text, comparison);
        }
    }

    text.push('\n');
    line(&mut text, &ending(narrated.machine, narrated.why_none, narrated.result()));
    text
}

/// The report for scripts.
pub fn document<'r>(narrated: &NarratedRandomRuns<'r>) -> impl Document + use<'r> {
    RandomRunsDocument {
        comparison: ComparedWithJson {
            machine: narrated.machine.map(|(identity, _)| machine_json(identity)),
            result: narrated.result(),
            reason: narrated.machine.map_or(narrated.why_none, |(_, why)| why),
        },
        seed: Decimal(narrated.seed),
        runs: narrated.runs.iter().map(run_json).collect(),
    }
}

fn run_json(RandomRun { mode, played, smallest }: &RandomRun) -> RandomRunJson<'_> {
    RandomRunJson {
        mode: mode.name(),
        passed: played.problem.is_none(),
        operations: played.performed.into(),
        written: played.written.into(),
        read: played.read.into(),
        problem: played.problem.as_deref(),
        smallest: smallest.iter().map(|operation| format!("{operation:?}")).collect(),
        comparison: played.comparison.as_ref().map(comparison_json),
    }
}

/// Random operations on the virtual memory system: `scenario random`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct RandomRunsDocument<'r> {
    /// With what the software was compared.
    comparison: ComparedWithJson<'r>,
    /// The seed of the operations, as a decimal string.
    seed: Decimal,
    /// The operations in each mode.
    runs: Vec<RandomRunJson<'r>>,
}

impl Document for RandomRunsDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The operations in a paging mode.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RandomRunJson<'r> {
    /// The paging mode.
    mode: &'static str,
    /// Whether nothing was lost, and the machine has the same history.
    passed: bool,
    /// The number of operations that were performed.
    operations: Count,
    /// The number of words that were written.
    written: Count,
    /// The number of words that were read and found as they were written.
    read: Count,
    /// What went wrong at the last operation, if anything did.
    problem: Option<&'r str>,
    /// The shortest list of operations that fails; empty if nothing did.
    smallest: Vec<String>,
    /// How the machine compares; null if there was none.
    comparison: Option<ComparisonJson<'r>>,
}
