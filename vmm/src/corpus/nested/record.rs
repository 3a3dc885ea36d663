//! Records a corpus of nested cases: of those that have run, it keeps those that add something.

use super::select::{NestedSelection, NestedTrial};
use super::{RecordedNested, Source};
use crate::corpus::record::source;
use crosswalk_machine::{Capabilities, Machine};
use crosswalk_nested::generate::{CaseBatch, Stream};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::mutants::{MUTANTS, NestedMutant};
use crosswalk_nested::mutation::{Evidence, offers};
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::verdict::{NestedVerdict, judge_prediction};
use crosswalk_nested::walker::{REFERENCE, predict};

/// A recorded section.
#[derive(Clone, Debug)]
pub struct NestedRecording {
    /// Where it was recorded, and how.
    pub source: Source,
    /// The cases, in the order in which they were tried.
    pub cases: Vec<RecordedNested>,
    /// Number of cases that show a divergence that is not known.
    pub unknown: u64,
}

/// Collects the cases of a section.
pub struct NestedRecorder {
    selection: NestedSelection,
    mutants: Vec<&'static NestedMutant>,
    /// Every case, if all are to be kept.
    all: Option<Vec<NestedTrial>>,
}

impl NestedRecorder {
    /// Nothing has run on a machine that offers this. Keeps all cases, or those that add something.
    pub fn new(machine: &Capabilities, keeps_all: bool) -> Self {
        let within_reach = MUTANTS.iter().filter(|mutant| offers(machine, mutant.need));
        Self {
            selection: NestedSelection::default(),
            mutants: within_reach.collect(),
            all: keeps_all.then(Vec::new),
        }
    }

    /// Number of cases that have run.
    pub const fn tried(&self) -> u64 {
        self.selection.tried()
    }

    /// Number of points that the cases show so far.
    pub fn points(&self) -> usize {
        self.selection.points()
    }

    /// Adds the cases of a batch, on a machine of which this is known.
    pub fn add(
        &mut self,
        known: &KnownNested,
        stream: &Stream,
        batch: &CaseBatch,
        attempts: Vec<NestedAttempt>,
    ) {
        for (index, (case, attempt)) in (batch.first..).zip(batch.cases.iter().zip(attempts)) {
            let trial = NestedTrial { name: stream.name(index), case: case.clone(), attempt };
            if let Some(all) = &mut self.all {
                all.push(trial.clone());
            }
            self.selection.add(trial, known, &self.mutants);
        }
    }

    /// The section.
    pub fn finish(self, machine: &dyn Machine, known: &KnownNested, seed: u64) -> NestedRecording {
        let source = source(machine, seed, self.tried());
        let mut recording = NestedRecording { source, cases: Vec::new(), unknown: 0 };
        for trial in self.all.unwrap_or_else(|| self.selection.finish()) {
            recording.add(trial, known, &self.mutants);
        }
        recording
    }
}

impl NestedRecording {
    fn add(
        &mut self,
        NestedTrial { name, case, attempt }: NestedTrial,
        known: &KnownNested,
        mutants: &[&NestedMutant],
    ) {
        let prediction = predict(&REFERENCE, &case);
        let differs =
            matches!(judge_prediction(&case, &prediction, &attempt), NestedVerdict::Diverge { .. });
        if differs && known.recognize(&case, &attempt).is_empty() {
            self.unknown = self.unknown.saturating_add(1);
        }

        let evidence = Evidence::new(&case, &attempt, known);
        let caught = mutants.iter().filter(|mutant| evidence.against(mutant).is_some());
        let catches = caught.map(|mutant| mutant.id.into()).collect();
        let rules = prediction.rules.iter().map(|rule| rule.id().into()).collect();
        self.cases.push(RecordedNested { name, case, attempt, rules, catches });
    }
}
