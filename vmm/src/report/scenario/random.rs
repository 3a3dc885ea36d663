//! What came of random operations on the virtual memory system, in 80 columns and as JSON.
//!
//! ```text
//! {"comparison": {"machine", "result", "reason"}, "seed",
//!  "runs": [{"mode", "passed", "operations", "written", "read", "problem", "smallest": […],
//!    "comparison": as for scenarios}]}
//! ```

use super::NOTHING_COMPARED;
use super::json::{comparison_json, machine_json};
use super::text::{compared, ending};
use crate::report::style::json::to_text;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crate::scenario::random::{Operation, Played};
use crosswalk_machine::Identity;
use mmu_core::PagingMode;
use serde_json::{Value, json};

/// The operations of one seed in one mode.
#[derive(Debug)]
pub struct RandomRun {
    /// The paging mode.
    pub mode: PagingMode,
    /// What came of them.
    pub played: Played,
    /// The fewest that go wrong, too; empty if nothing did.
    pub smallest: Vec<Operation>,
}

/// All of them.
#[derive(Clone, Copy, Debug)]
pub struct NarratedRandomRuns<'t> {
    /// The seed.
    pub seed: u64,
    /// One for each mode.
    pub runs: &'t [RandomRun],
    /// The machine beside the software, and why it was chosen.
    pub machine: Option<(&'t Identity, &'t str)>,
    /// Why there is none.
    pub why_none: &'t str,
}

impl NarratedRandomRuns<'_> {
    /// Whether nothing was lost, and no history parts.
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

/// For people.
pub fn text(narrate: &NarratedRandomRuns<'_>) -> String {
    let mut text = String::new();
    line(&mut text, &format!("random operations, seed {}", narrate.seed));
    for RandomRun { mode, played, smallest } in narrate.runs {
        text.push('\n');
        let count = |count: u64| with_commas(count);
        let (performed, written, read) =
            (count(played.performed as u64), count(played.written), count(played.read));
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
    line(&mut text, &ending(narrate.machine, narrate.why_none, narrate.result()));
    text
}

/// As one JSON document.
pub fn json(narrate: &NarratedRandomRuns<'_>) -> String {
    let reason = narrate.machine.map_or(narrate.why_none, |(_, why)| why);
    let machine = narrate.machine.map(|(identity, _)| machine_json(identity));
    to_text(&json!({
        "comparison": {"machine": machine, "result": narrate.result(), "reason": reason},
        "seed": narrate.seed,
        "runs": narrate.runs.iter().map(run_json).collect::<Vec<_>>(),
    }))
}

fn run_json(RandomRun { mode, played, smallest }: &RandomRun) -> Value {
    let smallest: Vec<_> = smallest.iter().map(|operation| format!("{operation:?}")).collect();
    json!({
        "mode": mode.name(),
        "passed": played.problem.is_none(),
        "operations": played.performed,
        "written": played.written,
        "read": played.read,
        "problem": played.problem,
        "smallest": smallest,
        "comparison": played.comparison.as_ref().map(comparison_json),
    })
}
