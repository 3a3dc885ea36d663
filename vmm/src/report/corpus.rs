//! A corpus: what a recording contains, and what is replayed; for people and for scripts.

use crate::corpus::Recorded;
use crate::corpus::record::Recording;
use crate::corpus::replay::Replayed;
use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::{Count, by_name};
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crate::walker::MUTANTS;
use crosswalk_case::Decimal;
use crosswalk_machine::{Capabilities, Identity};
use mmu_core::Rule;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A corpus of several machines.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct SectionsDocument<'r> {
    /// What was recorded of each.
    sections: Vec<SectionJson<'r>>,
    /// The size of the whole file.
    bytes: Count,
}

/// What was recorded of a machine.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct SectionJson<'r> {
    /// The machine.
    machine: MachineJson<'r>,
    /// The microcode revision of the processor, as Linux shows it.
    microcode: Option<&'r str>,
    /// The seed of the cases, as a decimal string.
    seed: Decimal,
    /// The number of cases that were tried.
    tried: Count,
    /// The number of cases that were recorded.
    recorded: Count,
    /// The size of the file, if this is its only section.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Count>,
    /// The number of recorded cases by paging mode.
    modes: BTreeMap<&'static str, Count>,
    /// The ids of the rules that decide a case.
    rules: Vec<&'r str>,
    /// The ids of the mutants that a case proves wrong.
    mutants: Vec<&'r str>,
    /// The number of cases that show a divergence that is not known.
    unknown: Count,
}

/// What is being replayed, before its results.
pub fn heading(replayed: &Replayed, name: &str, why: &str) -> String {
    let mut text = String::new();
    line(&mut text, &format!("machine   corpus ({why}): nothing is run, {name} is replayed"));
    for (source, cases) in &replayed.sources {
        line(
            &mut text,
            &format!("recorded  {}: {} cases", source.machine.describe(), with_commas(*cases)),
        );
    }

    let covered: Vec<_> = replayed.covered.iter().map(|rule| rule.id()).collect();
    let count = covered.len();
    let all = Rule::ALL.len();
    line(
        &mut text,
        &format!(
            "covers    {count} of {all} rules; each decides a case, and its mutants are caught: {}",
            covered.join(", ")
        ),
    );

    if replayed.allowed_otherwise > 0 {
        let cases = with_commas(replayed.allowed_otherwise);
        line(
            &mut text,
            &format!(
                "In {cases} cases this version allows something else than the one that recorded them."
            ),
        );
    }
    text.push('\n');
    text
}

/// A section that was recorded, and on what.
#[derive(Clone, Debug)]
pub struct RecordedSection {
    /// The machine.
    pub identity: Identity,
    /// What it offers.
    pub capabilities: Capabilities,
    /// The section.
    pub recording: Recording,
}

/// The document of `record --json`. Of several machines it has a section each.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(in crate::report) enum RecordDocument<'r> {
    One(Box<SectionJson<'r>>),
    Several(SectionsDocument<'r>),
}

impl Document for RecordDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The document of `record --json`.
pub fn recorded_document(sections: &[RecordedSection], bytes: usize) -> impl Document {
    match sections {
        [section] => RecordDocument::One(Box::new(SectionJson {
            bytes: Some(bytes.into()),
            ..section_json(section)
        })),
        several => RecordDocument::Several(SectionsDocument {
            sections: several.iter().map(section_json).collect(),
            bytes: bytes.into(),
        }),
    }
}

fn section_json(section: &RecordedSection) -> SectionJson<'_> {
    let Recording { source, cases, unknown } = &section.recording;
    SectionJson {
        machine: machine(&section.identity, &section.capabilities),
        microcode: source.microcode.as_deref(),
        seed: Decimal(source.seed),
        tried: source.tried.into(),
        recorded: cases.len().into(),
        bytes: None,
        modes: by_name(modes(cases)),
        rules: all_of(cases, |recorded| &recorded.rules),
        mutants: all_of(cases, |recorded| &recorded.catches),
        unknown: (*unknown).into(),
    }
}

/// The report of `record` in 80 columns.
pub fn recorded_text(out: &Path, sections: &[RecordedSection], bytes: usize) -> String {
    let count = |number: usize| with_commas(number as u64);
    let cases: usize = sections.iter().map(|section| section.recording.cases.len()).sum();
    let tried: u64 = sections.iter().map(|section| section.recording.source.tried).sum();
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{}: {} of {} cases, {} bytes.",
            out.display(),
            count(cases),
            with_commas(tried),
            count(bytes)
        ),
    );

    for section in sections {
        if sections.len() > 1 {
            text.push('\n');
            line(&mut text, &section.recording.source.machine.describe());
        }
        describe_section(&mut text, &section.recording);
    }
    text
}

fn describe_section(text: &mut String, recording: &Recording) {
    let Recording { cases, unknown, .. } = recording;

    let by_mode: Vec<_> = modes(cases)
        .into_iter()
        .map(|(mode, cases)| format!("{mode} {}", with_commas(cases)))
        .collect();
    line(text, &format!("modes     {}", by_mode.join(", ")));

    let rules = all_of(cases, |recorded| &recorded.rules).len();
    line(text, &format!("rules     {rules} of {} decide a case", Rule::ALL.len()));
    let mutants = all_of(cases, |recorded| &recorded.catches).len();
    line(text, &format!("mutants   {mutants} of {} are proved wrong by a case", MUTANTS.len()));

    if *unknown > 0 {
        line(
            text,
            &format!("{} cases show a divergence that is not known.", with_commas(*unknown)),
        );
    }
}

/// The number of cases of each mode.
fn modes(cases: &[Recorded]) -> BTreeMap<&'static str, u64> {
    let mut modes = BTreeMap::new();
    for recorded in cases {
        *modes.entry(recorded.case.mode().name()).or_default() += 1;
    }
    modes
}

/// Every id that at least one case has, in order.
fn all_of(cases: &[Recorded], ids: fn(&Recorded) -> &Vec<String>) -> Vec<&str> {
    let all: BTreeSet<&str> = cases.iter().flat_map(ids).map(String::as_str).collect();
    all.into_iter().collect()
}
