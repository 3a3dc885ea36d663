//! A run of nested cases as JSON.

use super::NestedFacts;
use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::run::json::{SourceJson, source_json};
use crate::report::style::count::{Count, by_name};
use crosswalk_case::Decimal;
use crosswalk_nested::NestedCase;
use crosswalk_nested::known::{KnownNested, KnownNestedFinding};
use crosswalk_nested::tally::{NestedFinding, NestedTally, Signature};
use serde::Serialize;
use std::collections::BTreeMap;

/// A run of nested cases, `check --nested`, or a replay of recorded ones.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NestedDocument<'r> {
    /// The machine.
    machine: MachineJson<'r>,
    /// Of a replay: where its cases were recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceJson<'r>>,
    /// How the cases were chosen: `random`, `guided`, `exhaustive`, `given`, or `recorded`.
    generator: &'r str,
    /// The seed of the cases, as a decimal string.
    seed: Option<Decimal>,
    /// Which part of the run this is.
    shard: NestedShardJson,
    /// Who predicts.
    walker: &'r str,
    /// Whether everything that was asked for was run.
    complete: bool,
    /// How long it took.
    seconds: f64,
    /// The number of cases, by what came of them.
    totals: NestedTotalsJson,
    /// The number of cases by how they ended on the machine.
    ends: BTreeMap<&'static str, Count>,
    /// The number of cases in which each rule decided.
    rules: BTreeMap<&'static str, Count>,
    /// What the machine chose where rules leave a choice.
    choices: Vec<NestedChoiceJson>,
    /// The number of cases that the machine could not run, by the reason.
    unsupported: BTreeMap<String, Count>,
    /// The number of batches that the guest did not survive, although it survived each of their cases alone, by how it
    /// failed. What these cases did alone is what counts.
    failures: BTreeMap<String, Count>,
    /// What a probe of the machine has shown, if that is a finding.
    probe: Option<NestedProbeJson<'r>>,
    /// What differs, in groups.
    findings: Vec<NestedFindingJson<'r>>,
}

impl Document for NestedDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A part of a run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedShardJson {
    /// Its number, from 0.
    index: Count,
    /// The number of parts; 1 if it is the whole.
    count: Count,
}

/// The number of cases, by what came of them.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedTotalsJson {
    /// All that were tried.
    cases: Count,
    /// Those on which machine and walker agree.
    agree: Count,
    /// Those on which they differ.
    diverge: Count,
    /// Those among them that known findings explain.
    known: Count,
    /// Those that the machine could not run.
    unsupported: Count,
    /// Those that lead where nothing is known, so that nothing was predicted.
    unpredicted: Count,
}

/// What the machine chose where a rule leaves a choice.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedChoiceJson {
    /// The rule.
    rule: &'static str,
    /// What the machine did.
    member: &'static str,
    /// The number of cases.
    cases: Count,
}

/// A finding of a probe.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedProbeJson<'r> {
    /// What the machine does, in words.
    shows: String,
    /// The known finding that it is; none if it is new.
    known: Option<NestedKnownJson<'r>>,
}

/// Divergences of one kind: those that are known for the same reasons, or those that are new and differ alike.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedFindingJson<'r> {
    /// The known findings that explain them; none if they are new.
    known: Vec<NestedKnownJson<'r>>,
    /// The number of cases.
    cases: Count,
    /// How they should end; of known ones, how the example should.
    expected_end: &'static str,
    /// How they ended; of known ones, how the example did.
    seen_end: &'static str,
    /// The name of the first of them.
    name: String,
    /// A case that shows them.
    example: &'r NestedCase,
    /// What is expected of it.
    expected: &'r str,
    /// Every field in which the machine differs.
    differences: Vec<NestedDifferenceJson<'r>>,
    /// How often the example showed it when it ran alone.
    shows: Option<ShowsJson>,
}

/// A known finding.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedKnownJson<'r> {
    /// Its id.
    id: &'r str,
    /// What the machine does.
    title: &'r str,
    /// The rule that it concerns.
    rule: &'r str,
    /// What a manual says.
    manual: &'r str,
}

/// A field that differs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedDifferenceJson<'r> {
    /// The field.
    field: &'static str,
    /// The host-physical address, if it is a table entry.
    address: Option<crosswalk_case::Hex>,
    /// What was expected.
    expected: &'r str,
    /// What the machine did.
    seen: &'r str,
}

/// How often a case showed a finding.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ShowsJson {
    /// So often.
    shown: u32,
    /// Of so many runs.
    runs: u32,
}

/// The document of a run.
pub fn document<'r>(facts: &NestedFacts<'r>, tally: &'r NestedTally) -> impl Document + 'r {
    let unsupported: u64 = tally.unsupported.values().sum();
    NestedDocument {
        machine: machine(facts.identity, facts.capabilities),
        sources: facts.sources.iter().map(|(source, cases)| source_json(source, *cases)).collect(),
        generator: facts.generator,
        seed: facts.seed.map(Decimal),
        shard: NestedShardJson { index: facts.shard.index.into(), count: facts.shard.count.into() },
        walker: facts.walker,
        complete: facts.complete,
        seconds: facts.seconds,
        totals: NestedTotalsJson {
            cases: tally.cases.into(),
            agree: tally.agree.into(),
            diverge: tally.diverge.into(),
            known: tally.known.into(),
            unsupported: unsupported.into(),
            unpredicted: tally.unpredicted.into(),
        },
        ends: by_name(tally.ends.clone()),
        rules: tally.rules.iter().map(|(rule, cases)| (rule.id(), (*cases).into())).collect(),
        choices: tally
            .choices
            .iter()
            .map(|((rule, member), cases)| NestedChoiceJson {
                rule: rule.id(),
                member,
                cases: (*cases).into(),
            })
            .collect(),
        unsupported: by_name(tally.unsupported.clone()),
        failures: by_name(tally.failures.clone()),
        probe: super::probed(facts).map(|(probe, known)| NestedProbeJson {
            shows: probe.to_string(),
            known: known.map(known_json),
        }),
        findings: tally
            .findings
            .iter()
            .map(|(signature, found)| finding(signature, found, facts.known))
            .collect(),
    }
}

fn finding<'r>(
    signature: &'r Signature,
    found: &'r NestedFinding,
    known: &'r KnownNested,
) -> NestedFindingJson<'r> {
    let of_id = |id: &'r String| known.finding(id).map(known_json);
    let (expected_end, seen_end) = found.example.ends;
    NestedFindingJson {
        known: signature.known().iter().filter_map(of_id).collect(),
        cases: found.cases.into(),
        expected_end,
        seen_end,
        name: found.name.clone(),
        example: &found.example.case,
        expected: &found.example.expected,
        differences: found
            .example
            .differences
            .iter()
            .map(|difference| NestedDifferenceJson {
                field: difference.field.name(),
                address: difference.at.map(crosswalk_case::Hex),
                expected: &difference.expected,
                seen: &difference.seen,
            })
            .collect(),
        shows: found.shows.map(|(shown, runs)| ShowsJson { shown, runs }),
    }
}

fn known_json(known: &KnownNestedFinding) -> NestedKnownJson<'_> {
    NestedKnownJson { id: &known.id, title: &known.title, rule: &known.rule, manual: &known.manual }
}
