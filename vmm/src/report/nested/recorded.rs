//! A recording of nested cases, and what is replayed.

use crate::corpus::Source;
use crate::corpus::nested::RecordedNested;
use crate::corpus::nested::record::NestedRecording;
use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crosswalk_case::Decimal;
use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::mutants::MUTANTS;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// A section that was recorded, and on what.
#[derive(Clone, Debug)]
pub struct RecordedNestedSection {
    /// The machine.
    pub identity: Identity,
    /// What it offers.
    pub capabilities: Capabilities,
    /// The section.
    pub recording: NestedRecording,
}

/// What was recorded of nested cases: `record --nested`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NestedRecordDocument<'r> {
    /// The machine.
    machine: MachineJson<'r>,
    /// The seed of the cases, as a decimal string.
    seed: Decimal,
    /// The number of cases that were tried.
    tried: Count,
    /// The number of cases that were recorded.
    recorded: Count,
    /// The size of the file.
    bytes: Count,
    /// The ids of the rules that decide a case.
    rules: Vec<&'r str>,
    /// The ids of the mutants that a case proves wrong.
    mutants: Vec<&'r str>,
    /// The number of cases that show a divergence that is not known.
    unknown: Count,
}

impl Document for NestedRecordDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The document of `record --nested --json`.
pub fn recorded_document(section: &RecordedNestedSection, bytes: usize) -> impl Document + use<'_> {
    let RecordedNestedSection { identity, capabilities, recording } = section;
    NestedRecordDocument {
        machine: machine(identity, capabilities),
        seed: Decimal(recording.source.seed),
        tried: recording.source.tried.into(),
        recorded: recording.cases.len().into(),
        bytes: bytes.into(),
        rules: all_of(&recording.cases, |recorded| &recorded.rules),
        mutants: all_of(&recording.cases, |recorded| &recorded.catches),
        unknown: recording.unknown.into(),
    }
}

/// The report of `record --nested` in 80 columns.
pub fn recorded_text(out: &Path, section: &RecordedNestedSection, bytes: usize) -> String {
    let NestedRecording { source, cases, unknown } = &section.recording;
    let count = |number: usize| with_commas(number as u64);
    let mut text = String::new();
    let (recorded, tried) = (count(cases.len()), with_commas(source.tried));
    let size = count(bytes);
    line(&mut text, &format!("{}: {recorded} of {tried} cases, {size} bytes.", out.display()));

    let rules = all_of(cases, |recorded| &recorded.rules).len();
    line(&mut text, &format!("rules     {rules} decide a case"));
    let mutants = all_of(cases, |recorded| &recorded.catches).len();
    line(
        &mut text,
        &format!("mutants   {mutants} of {} are proved wrong by a case", MUTANTS.len()),
    );
    if *unknown > 0 {
        let unknown = with_commas(*unknown);
        line(&mut text, &format!("{unknown} cases show a divergence that is not known."));
    }
    text
}

/// What is being replayed, before its results.
pub fn replay_heading(name: &str, sources: &[(Source, u64)]) -> String {
    let mut text = String::new();
    line(&mut text, &format!("machine   corpus: nothing is run, {name} is replayed"));
    for (source, cases) in sources {
        let machine = source.machine.describe();
        line(&mut text, &format!("recorded  {machine}: {} cases", with_commas(*cases)));
    }
    text.push('\n');
    text
}

/// The ids that at least one case has, in order.
fn all_of(cases: &[RecordedNested], ids: fn(&RecordedNested) -> &Vec<String>) -> Vec<&str> {
    let all: BTreeSet<&str> = cases.iter().flat_map(ids).map(String::as_str).collect();
    all.into_iter().collect()
}
