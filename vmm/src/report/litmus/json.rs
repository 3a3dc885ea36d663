//! Litmus tests for scripts.

use super::{JudgedTest, OutcomeClass};
use crate::report::document::Document;
use serde::Serialize;
use std::collections::BTreeSet;

/// Litmus tests, and what is allowed in them: `litmus`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LitmusDocument<'r> {
    /// Each test.
    tests: Vec<LitmusJson<'r>>,
}

/// A litmus test.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LitmusJson<'r> {
    /// Its name.
    name: &'r str,
    /// What it is about.
    about: &'r str,
    /// The lines that say what is there when it begins.
    setting: &'r [String],
    /// The actions of each processor.
    processors: &'r [Vec<String>],
    /// The actions of each processor's handler.
    handlers: &'r [Vec<String>],
    /// The outcomes that are allowed; every other is forbidden.
    outcomes: Vec<OutcomeJson<'r>>,
    /// Number of states of the model.
    states: u32,
    /// The claims of its author that do not hold.
    refuted_claims: Vec<RefutedClaim<'r>>,
}

/// An outcome that is allowed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OutcomeJson<'r> {
    /// The results in the order of the processors, and then the observed flags.
    outcome: &'r str,
    /// `required`, `allowed` or `choice`.
    class: OutcomeClass,
    /// The sets of choices by which a processor comes to it; empty ones take none.
    choices: Vec<Vec<&'static str>>,
    /// Number of steps of a shortest execution that leads to it.
    steps: u32,
}

/// A claim that does not hold.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RefutedClaim<'r> {
    /// The choices that it is about.
    choices: &'r BTreeSet<String>,
    /// The outcomes that it claims.
    claimed: &'r BTreeSet<String>,
    /// Those that are allowed.
    allowed: BTreeSet<String>,
}

impl Document for LitmusDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// Tests as JSON.
pub fn document(judged: &[JudgedTest]) -> LitmusDocument<'_> {
    LitmusDocument { tests: judged.iter().map(litmus_json).collect() }
}

fn litmus_json(judged: &JudgedTest) -> LitmusJson<'_> {
    let JudgedTest { test, judgement } = judged;
    let outcomes = judgement.outcomes.iter().map(|(outcome, judged)| OutcomeJson {
        outcome,
        class: OutcomeClass::of(judgement, judged.takes_no_choice()),
        choices: judged.choice_names(),
        steps: judged.execution.len() as u32,
    });
    let refuted = judged.refuted_claims().into_iter().map(|(claim, allowed)| RefutedClaim {
        choices: &claim.choices,
        claimed: &claim.outcomes,
        allowed,
    });
    LitmusJson {
        name: &test.name,
        about: &test.about,
        setting: &test.setting,
        processors: &test.columns,
        handlers: &test.handlers,
        outcomes: outcomes.collect(),
        states: judgement.states as u32,
        refuted_claims: refuted.collect(),
    }
}
