//! A run for scripts, and what this host offers. The names of fields are a contract. Addresses and
//! register values are hex strings, counts and seconds are numbers.

use super::coverage;
use crate::campaign::Summary;
use crate::campaign::breakdown::Breakdown;
use crate::campaign::journal::ShardLine;
use crate::campaign::tally::{EndSeen, ModeCounts, Tally};
use crate::corpus::Source;
use crate::finding::{Finding, Shown};
use crate::report::conformance::score;
use crate::report::document::Document;
use crate::report::jail::{JailJson, jail};
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::Count;
use crate::report::{RunFacts, name_of_end, when};
use crate::verdict::ChoiceTaken;
use crosswalk_case::{Case, Decimal};
use crosswalk_machine::MachineLine;
use mmu_core::{PagingMode, Rule};
use serde::Serialize;
use std::collections::BTreeMap;

/// The report of a run. The names of fields are part of the contract.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct RunDocument<'r> {
    /// What ran the cases.
    machine: MachineJson<'r>,
    /// The jail of the guest, if one was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    jail: Option<JailJson<'r>>,
    /// Of a replay: where its cases were recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceJson<'r>>,
    /// Of a replay: the rules that decide one of its cases, and all of whose mutants it catches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    covers: Vec<&'static str>,
    /// `random`, `guided`, `exhaustive`, or `recorded`.
    generator: &'r str,
    /// The seed as a decimal string; null where the generator has none.
    seed: Option<Decimal>,
    /// The number of combinations, where they are enumerated.
    combinations: Option<Decimal>,
    /// Which parts of the whole run are in this document.
    shard: ShardJson,
    /// The number of machines that ran at once. The results do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<Count>,
    /// Whether nothing of the run remains to be done.
    complete: bool,
    /// Who predicted.
    walker: String,
    /// Each paging mode.
    modes: Vec<ModeJson<'r>>,
    /// The rules that decided a case, and the others.
    rules: RulesJson,
    /// What was met, with examples.
    coverage: coverage::CoverageJson,
    /// What machines chose where the manuals leave it open.
    choices: Vec<ChoiceJson>,
    /// What differs, known findings included.
    findings: Vec<FindingJson<'r>>,
    /// Of a walker that is a program: its score.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<score::CandidateScoreJson<'r>>,
    /// The whole run.
    totals: Totals,
}

/// Parts of a run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ShardJson {
    /// The number of parts of the whole run.
    count: Count,
    /// The parts in this document, from 0.
    parts: Vec<Count>,
}

/// The cases of a paging mode.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ModeJson<'r> {
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// `checked` or `unsupported`.
    status: &'static str,
    /// Why it was not run.
    reason: Option<&'r str>,
    /// The number of cases.
    cases: Count,
    /// Those that completed.
    translations: Count,
    /// Those that ended in an exception.
    faults: Count,
    /// Those that agree with the prediction.
    agreed: Count,
    /// Those that differ from it.
    diverged: Count,
    /// Those that the machine could not run.
    unsupported: Count,
    /// Those in which nothing proves the physical address.
    unproved: Count,
    /// The number of sequences among the cases.
    sequences: Count,
    /// Those whose access is of ring 0.
    ring0: Count,
    /// Those whose access crosses a page boundary.
    page_crossing: Count,
    /// Those with two or more unusual bits in their entries.
    two_or_more_unusual_bits: Count,
    /// The number of cases by kind of access.
    accesses: BTreeMap<&'static str, Count>,
    /// The number of cases by exception and error code.
    outcomes: BTreeMap<String, Count>,
    /// The number of cases by who decided.
    provenance: BTreeMap<&'static str, Count>,
}

/// The ids of rules.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RulesJson {
    /// Those that decided a case.
    hit: Vec<&'static str>,
    /// The others.
    missed: Vec<&'static str>,
}

/// What a machine chose where the manuals leave it open.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChoiceJson {
    /// The id of the rule.
    rule: &'static str,
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// Who chose.
    provenance: &'static str,
    /// The situation, in words.
    when: String,
    /// What was chosen.
    member: &'static str,
    /// The number of cases.
    count: Count,
}

/// Cases that differ from the prediction for the same reason.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FindingJson<'r> {
    /// Its id; of a known finding, that of its file.
    id: &'r str,
    /// What it is, in a sentence.
    title: &'r str,
    /// `divergence`, `choice`, `unsupported`, `probe` or `fatal`.
    kind: &'static str,
    /// Of a known finding: the rule that the machine treats in its own way.
    rule: Option<&'static str>,
    /// Of a known finding: what a manual says, and where.
    manual: Option<&'r str>,
    /// Of a known finding: where it was measured.
    since: Option<&'r str>,
    /// The mutant that would do the same, or two of them.
    explained_by: Option<&'r str>,
    /// The number of cases; 0 if a known finding was not met.
    count: Count,
    /// Whether it is known, and so forgiven.
    known: bool,
    /// The smallest case that shows it: an object as in the line protocol of walkers.
    smallest_case: Option<&'r Case>,
    /// What was expected, in words.
    expected: Option<&'r str>,
    /// What was observed, in words.
    observed: Option<&'r str>,
    /// In a sequence: the number of the action that differs, from 1.
    action: Option<Count>,
    /// How often the smallest case shows it, in `tries` runs.
    shown: Option<ShownJson>,
    /// Each field that differs in the smallest case, in words.
    differences: Vec<String>,
}

/// How often a case shows a finding.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ShownJson {
    /// How often it did.
    times: u32,
    /// How often it was run.
    tries: u32,
}

/// The whole run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Totals {
    /// The number of cases.
    cases: Count,
    /// The number of sequences among them.
    sequences: Count,
    /// Those that agree with the prediction.
    agreed: Count,
    /// Those that differ from it.
    diverged: Count,
    /// A digest of the cases: equal in runs of the same cases.
    case_set: String,
    /// How long the run took.
    seconds: f64,
    /// The CPU time that the run used, with the emulators and walkers that it started.
    cpu_seconds: f64,
    /// The number of cases in a second.
    cases_per_second: f64,
    /// Processor time in seconds by phase, if a machine ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    breakdown: Option<BTreeMap<&'static str, f64>>,
}

impl Document for RunDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The report of a run.
pub fn document<'r>(facts: &RunFacts<'r>, summary: &'r Summary) -> impl Document + use<'r> {
    run_document(facts, summary)
}

/// The report of a run, which may be a part of another document.
pub(super) fn run_document<'r>(facts: &RunFacts<'r>, summary: &'r Summary) -> RunDocument<'r> {
    let tally = &summary.tally;
    let modes = facts.modes.iter().map(|(mode, offered)| {
        let counts = tally.modes.get(mode).cloned().unwrap_or_default();
        mode_json(*mode, offered, &counts, &tally.outcomes(*mode))
    });

    RunDocument {
        machine: machine(facts.identity, facts.capabilities),
        jail: facts.jail.map(jail),
        sources: facts.sources.iter().map(|(source, cases)| source_json(source, *cases)).collect(),
        covers: facts.covered.iter().map(|rule| rule.id()).collect(),
        generator: facts.run.generator.name(),
        seed: facts.run.has_seed().then_some(facts.run.seed),
        combinations: facts.run.combinations,
        shard: shard_json(&facts.run.shard),
        jobs: facts.jobs.map(Count::from),
        complete: facts.complete,
        walker: facts.run.walker.to_string(),
        modes: modes.collect(),
        rules: rules_json(tally),
        coverage: coverage::json(facts, tally),
        choices: tally.choices.iter().map(|(choice, count)| choice_json(choice, *count)).collect(),
        findings: summary.findings.iter().map(finding_json).collect(),
        candidate: facts.candidate.map(score::json),
        totals: totals_json(facts, summary),
    }
}

fn shard_json(shard: &ShardLine) -> ShardJson {
    ShardJson {
        count: shard.count.into(),
        parts: shard.parts.iter().copied().map(Count::from).collect(),
    }
}

fn rules_json(tally: &Tally) -> RulesJson {
    let ids = |is_hit: bool| {
        let rules = Rule::ALL.iter().filter(move |rule| tally.hits(**rule) == is_hit);
        rules.map(|rule| rule.id()).collect()
    };
    RulesJson { hit: ids(true), missed: ids(false) }
}

fn choice_json(choice: &ChoiceTaken, count: u64) -> ChoiceJson {
    ChoiceJson {
        rule: choice.rule.id(),
        mode: choice.mode.name(),
        provenance: choice.provenance.name(),
        when: when(choice),
        member: choice.member,
        count: count.into(),
    }
}

fn totals_json(facts: &RunFacts<'_>, summary: &Summary) -> Totals {
    let tally = &summary.tally;
    let seconds = summary.duration.as_secs_f64();
    Totals {
        cases: tally.cases().into(),
        sequences: tally.sequences().into(),
        agreed: tally.agreed().into(),
        diverged: tally.diverged().into(),
        case_set: format!("{:#018x}", tally.digest),
        seconds,
        cpu_seconds: facts.cpu_seconds,
        cases_per_second: tally.cases() as f64 / seconds,
        breakdown: summary.breakdown.as_ref().map(breakdown_json),
    }
}

fn breakdown_json(breakdown: &Breakdown) -> BTreeMap<&'static str, f64> {
    breakdown.named().into_iter().map(|(phase, time)| (phase, time.as_secs_f64())).collect()
}

/// Where the cases of a replay were recorded.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct SourceJson<'r> {
    /// The machine, as the corpus has it.
    machine: &'r MachineLine,
    /// The microcode revision of the processor, as Linux shows it.
    microcode: Option<&'r str>,
    /// The version of the program that recorded.
    crosswalk: &'r str,
    /// The seed of the cases, as a decimal string.
    seed: Decimal,
    /// The number of cases that were tried.
    tried: Count,
    /// The number of cases that were replayed.
    cases: Count,
}

/// A source, and how many of its cases were replayed.
pub(in crate::report) fn source_json(source: &Source, cases: u64) -> SourceJson<'_> {
    let Source { crosswalk, machine, microcode, seed, tried } = source;
    SourceJson {
        machine,
        microcode: microcode.as_deref(),
        crosswalk,
        seed: Decimal(*seed),
        tried: (*tried).into(),
        cases: cases.into(),
    }
}

fn mode_json<'r>(
    mode: PagingMode,
    offered: &'r Result<(), String>,
    counts: &ModeCounts,
    outcomes: &BTreeMap<EndSeen, u64>,
) -> ModeJson<'r> {
    ModeJson {
        mode: mode.name(),
        status: if offered.is_ok() { "checked" } else { "unsupported" },
        reason: offered.as_ref().err().map(String::as_str),
        cases: counts.cases.into(),
        translations: counts.translations.into(),
        faults: counts.faults.into(),
        agreed: counts.agreed.into(),
        diverged: counts.diverged.into(),
        unsupported: counts.unsupported.into(),
        unproved: counts.unproved.into(),
        sequences: counts.sequences.into(),
        ring0: counts.ring0.into(),
        page_crossing: counts.page_crossing.into(),
        two_or_more_unusual_bits: counts.two_unusual_bits.into(),
        accesses: counts
            .accesses
            .iter()
            .map(|(kind, count)| (kind.name(), (*count).into()))
            .collect(),
        outcomes: outcomes
            .iter()
            .map(|(end, count)| (name_of_end(*end), (*count).into()))
            .collect(),
        provenance: counts
            .provenance
            .iter()
            .map(|(who, count)| (who.name(), (*count).into()))
            .collect(),
    }
}

fn finding_json(finding: &Finding) -> FindingJson<'_> {
    let example = finding.example.as_ref();
    let source = finding.source.as_ref();

    FindingJson {
        id: &finding.id,
        title: &finding.title,
        kind: finding.kind.name(),
        rule: source.map(|source| source.rule.id()),
        manual: source.map(|source| source.manual.as_str()),
        since: source.map(|source| source.since.as_str()),
        explained_by: finding.explained_by.as_deref(),
        count: finding.count.into(),
        known: finding.known,
        smallest_case: example.map(|example| &example.case),
        expected: example.map(|example| example.expected.as_str()),
        observed: example.map(|example| example.observed.as_str()),
        action: example
            .filter(|example| example.case.is_sequence() && !example.differences.is_empty())
            .map(|example| (example.at + 1).into()),
        shown: example
            .and_then(|example| example.shown)
            .map(|Shown { times, tries }| ShownJson { times, tries }),
        differences: example.map_or_else(Vec::new, |example| {
            example.differences.iter().map(ToString::to_string).collect()
        }),
    }
}
