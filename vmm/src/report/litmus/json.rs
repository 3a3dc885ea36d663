//! Litmus tests for scripts.

use super::{JudgedTest, LitmusRunFacts, OutcomeClass};
use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::Count;
use crosswalk_case::Decimal;
use crosswalk_litmus::JudgedOutcome;
use serde::Serialize;
use std::collections::BTreeSet;

/// Litmus tests, what is allowed in them, and what a machine showed: `litmus`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LitmusDocument<'r> {
    /// The machine, or `null` if none has run them.
    machine: Option<MachineJson<'r>>,
    /// The seed of delays and of random tests.
    seed: Decimal,
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
    /// How often the machine has run it.
    runs: Count,
    /// Why the machine has not, or `null`.
    not_run: Option<&'r str>,
    /// The outcomes that are allowed or were seen.
    outcomes: Vec<OutcomeJson<'r>>,
    /// Number of states of the model.
    states: u32,
    /// The claims of its author that do not hold.
    refuted_claims: Vec<RefutedClaim<'r>>,
}

/// An outcome.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OutcomeJson<'r> {
    /// The results in the order of the processors, and then the observed flags.
    outcome: &'r str,
    /// `required`, `allowed`, `choice`, `known` or `forbidden`.
    class: OutcomeClass,
    /// The ids of the known findings of the machine by which it comes about, if it is `known`.
    findings: &'r [String],
    /// The sets of choices by which a processor comes to it; empty ones take none.
    choices: Vec<Vec<&'static str>>,
    /// Number of steps of a shortest execution that leads to it, or `null` if it is forbidden.
    steps: Option<u32>,
    /// How often the machine showed it.
    count: Count,
    /// How it was seen first, or `null` if it was not.
    first: Option<FirstSeen<'r>>,
}

/// How an outcome was seen first.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FirstSeen<'r> {
    /// The seed of the delays.
    seed: Decimal,
    /// The processors' delays, in turns of a loop.
    delays: &'r [u32],
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
pub fn document<'r>(judged: &'r [JudgedTest], facts: &LitmusRunFacts<'r>) -> LitmusDocument<'r> {
    LitmusDocument {
        machine: facts.machine.as_ref().map(|of| machine(of.identity, of.capabilities)),
        seed: Decimal(facts.seed),
        tests: judged.iter().map(litmus_json).collect(),
    }
}

fn litmus_json(judged: &JudgedTest) -> LitmusJson<'_> {
    let JudgedTest { test, judgement, .. } = judged;
    let outcomes = judged.outcomes().into_iter().map(|classed| {
        let allowed = judgement.outcomes.get(classed.outcome);
        OutcomeJson {
            outcome: classed.outcome,
            class: classed.class,
            findings: classed.findings,
            choices: allowed.map(JudgedOutcome::choice_names).unwrap_or_default(),
            steps: allowed.map(|allowed| allowed.execution.len() as u32),
            count: classed.count().into(),
            first: classed
                .seen
                .map(|seen| FirstSeen { seed: Decimal(seen.seed), delays: &seen.delays }),
        }
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
        runs: judged.seen().map_or(0, |seen| seen.runs).into(),
        not_run: judged.not_run(),
        outcomes: outcomes.collect(),
        states: judgement.states as u32,
        refuted_claims: refuted.collect(),
    }
}
