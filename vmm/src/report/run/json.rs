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
use crate::report::jail::{JailJson, jail};
use crate::report::machine::{MachineJson, machine};
use crate::report::style::json::to_text;
use crate::report::{BootedOffer, RunFacts, name_of_end, when};
use crate::verdict::ChoiceTaken;
use crosswalk_case::Case;
use crosswalk_machine::jail::JailReport;
use crosswalk_machine::{Deciders, Machine, MachineLine};
use mmu_core::{PagingMode, Rule};
use serde::Serialize;
use std::collections::BTreeMap;

/// The report of a run. The names of fields are part of the contract.
#[derive(Serialize)]
pub(super) struct RunDocument<'r> {
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
    generator: &'r str,
    seed: Option<u64>,
    /// The number of combinations, where they are enumerated.
    combinations: Option<u64>,
    shard: &'r ShardLine,
    /// The number of machines that ran at once. The results do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<usize>,
    /// Whether nothing of the run remains to be done.
    complete: bool,
    walker: String,
    modes: Vec<ModeJson<'r>>,
    rules: RulesJson,
    coverage: coverage::CoverageJson,
    choices: Vec<ChoiceJson>,
    findings: Vec<FindingJson<'r>>,
    /// Of a walker that is a program: its score.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<score::CandidateScoreJson<'r>>,
    totals: Totals,
}

#[derive(Serialize)]
struct ModeJson<'r> {
    mode: &'static str,
    status: &'static str,
    reason: Option<&'r str>,
    cases: u64,
    translations: u64,
    faults: u64,
    agreed: u64,
    diverged: u64,
    unsupported: u64,
    unproved: u64,
    sequences: u64,
    ring0: u64,
    page_crossing: u64,
    two_or_more_unusual_bits: u64,
    accesses: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<String, u64>,
    provenance: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct RulesJson {
    hit: Vec<&'static str>,
    missed: Vec<&'static str>,
}

#[derive(Serialize)]
struct ChoiceJson {
    rule: &'static str,
    mode: &'static str,
    provenance: &'static str,
    when: String,
    member: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct FindingJson<'r> {
    id: &'r str,
    title: &'r str,
    kind: &'static str,
    explained_by: Option<&'r str>,
    count: u64,
    known: bool,
    smallest_case: Option<&'r Case>,
    expected: Option<&'r str>,
    observed: Option<&'r str>,
    /// In a sequence: the number of the action that differs, from 1.
    action: Option<usize>,
    /// How often the smallest case shows it, in `tries` runs.
    shown: Option<ShownJson>,
    differences: Vec<String>,
}

#[derive(Serialize)]
struct ShownJson {
    times: u32,
    tries: u32,
}

#[derive(Serialize)]
struct Totals {
    cases: u64,
    /// The number of sequences among them.
    sequences: u64,
    agreed: u64,
    diverged: u64,
    /// A digest of the cases: equal in runs of the same cases.
    case_set: String,
    seconds: f64,
    cpu_seconds: f64,
    cases_per_second: f64,
    /// Processor time in seconds by phase, if a machine ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    breakdown: Option<BTreeMap<&'static str, f64>>,
}

#[derive(Serialize)]
struct OfferJson<'r> {
    kind: &'r str,
    available: bool,
    reason: Option<&'r str>,
    machine: Option<MachineJson<'r>>,
    jail: Option<JailJson<'r>>,
    walkers_jail: JailJson<'r>,
    modes: Vec<ModeOfferJson<'r>>,
    provenance: Option<BTreeMap<&'static str, BTreeMap<&'static str, &'static str>>>,
    /// Why implicit supervisor accesses cannot be tested, if they cannot.
    no_implicit_accesses: Option<&'r str>,
    /// Why code in compatibility mode cannot be run, if it cannot.
    no_compatibility_mode: Option<&'r str>,
    /// Of an emulator that boots images: its name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    emulator: Option<&'r str>,
    /// The same: the names of its processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<&'r str>,
}

#[derive(Serialize)]
struct ModeOfferJson<'r> {
    mode: &'static str,
    offered: bool,
    reason: Option<&'r str>,
}

/// The report of a run.
///
/// # Panics
/// Never: a report contains nothing that JSON cannot hold.
pub fn document(facts: &RunFacts<'_>, summary: &Summary) -> String {
    to_text(&run_document(facts, summary))
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
        shard: &facts.run.shard,
        jobs: facts.jobs,
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
        count,
    }
}

fn totals_json(facts: &RunFacts<'_>, summary: &Summary) -> Totals {
    let tally = &summary.tally;
    let seconds = summary.duration.as_secs_f64();
    Totals {
        cases: tally.cases(),
        sequences: tally.sequences(),
        agreed: tally.agreed(),
        diverged: tally.diverged(),
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
struct SourceJson<'r> {
    machine: &'r MachineLine,
    microcode: Option<&'r str>,
    crosswalk: &'r str,
    seed: u64,
    tried: u64,
    cases: u64,
}

fn source_json(source: &Source, cases: u64) -> SourceJson<'_> {
    let Source { crosswalk, machine, microcode, seed, tried } = source;
    SourceJson {
        machine,
        microcode: microcode.as_deref(),
        crosswalk,
        seed: *seed,
        tried: *tried,
        cases,
    }
}

/// What this host offers: each machine, or why not, and the jail of the walkers.
pub fn machines(
    offers: &[(&str, Result<&dyn Machine, &str>)],
    booted: &[BootedOffer],
    walkers: &JailReport,
) -> String {
    let machines = offers.iter().map(|(kind, offer)| offer_json(kind, *offer, walkers));
    let emulators = booted.iter().map(|emulator| {
        let why = emulator.found.as_ref().map_or_else(String::as_str, |_| "");
        let none = offer_json(emulator.kind, Err(why), walkers);
        match &emulator.found {
            Err(_) => none,
            Ok((name, models)) => OfferJson {
                available: true,
                reason: None,
                emulator: Some(name),
                models: models.iter().map(String::as_str).collect(),
                ..none
            },
        }
    });
    to_text(&machines.chain(emulators).collect::<Vec<_>>())
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
        cases: counts.cases,
        translations: counts.translations,
        faults: counts.faults,
        agreed: counts.agreed,
        diverged: counts.diverged,
        unsupported: counts.unsupported,
        unproved: counts.unproved,
        sequences: counts.sequences,
        ring0: counts.ring0,
        page_crossing: counts.page_crossing,
        two_or_more_unusual_bits: counts.two_unusual_bits,
        accesses: counts.accesses.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
        outcomes: outcomes.iter().map(|(end, count)| (name_of_end(*end), *count)).collect(),
        provenance: counts.provenance.iter().map(|(who, count)| (who.name(), *count)).collect(),
    }
}

fn finding_json(finding: &Finding) -> FindingJson<'_> {
    let example = finding.example.as_ref();

    FindingJson {
        id: &finding.id,
        title: &finding.title,
        kind: finding.kind.name(),
        explained_by: finding.explained_by.as_deref(),
        count: finding.count,
        known: finding.known,
        smallest_case: example.map(|example| &example.case),
        expected: example.map(|example| example.expected.as_str()),
        observed: example.map(|example| example.observed.as_str()),
        action: example
            .filter(|example| example.case.is_sequence() && !example.differences.is_empty())
            .map(|example| example.at + 1),
        shown: example
            .and_then(|example| example.shown)
            .map(|Shown { times, tries }| ShownJson { times, tries }),
        differences: example.map_or_else(Vec::new, |example| {
            example.differences.iter().map(ToString::to_string).collect()
        }),
    }
}

fn offer_json<'r>(
    kind: &'r str,
    offer: Result<&'r dyn Machine, &'r str>,
    walkers: &'r JailReport,
) -> OfferJson<'r> {
    let Ok(opened) = offer else {
        return OfferJson {
            kind,
            available: false,
            reason: offer.err(),
            machine: None,
            jail: None,
            walkers_jail: jail(walkers),
            modes: Vec::new(),
            provenance: None,
            no_implicit_accesses: None,
            no_compatibility_mode: None,
            emulator: None,
            models: Vec::new(),
        };
    };

    let capabilities = opened.capabilities();
    let map = opened.provenance();
    let by_class = |who: &Deciders| {
        let classes = ["translation", "page_fault", "address_fault", "alignment_fault"];
        classes.into_iter().zip(who.iter().map(|who| who.name())).collect()
    };

    OfferJson {
        kind: &opened.identity().kind,
        available: true,
        reason: None,
        machine: Some(machine(opened.identity(), capabilities)),
        jail: Some(jail(opened.jail())),
        walkers_jail: jail(walkers),
        modes: capabilities
            .modes
            .iter()
            .map(|(mode, offered)| ModeOfferJson {
                mode: mode.name(),
                offered: offered.is_ok(),
                reason: offered.as_ref().err().map(String::as_str),
            })
            .collect(),
        provenance: Some(BTreeMap::from([
            ("ring0", by_class(&map.supervisor)),
            ("ring3", by_class(&map.user)),
            ("ring0_compatibility", by_class(&map.compatible_supervisor)),
            ("ring3_compatibility", by_class(&map.compatible_user)),
            ("outside", BTreeMap::from([("any", map.outside.name())])),
        ])),
        no_implicit_accesses: capabilities.implicit_accesses.as_ref().err().map(String::as_str),
        no_compatibility_mode: capabilities.compatibility.as_ref().err().map(String::as_str),
        emulator: None,
        models: Vec::new(),
    }
}
