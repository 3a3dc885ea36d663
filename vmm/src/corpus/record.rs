//! Records a corpus: runs cases of every kind on a machine, and keeps those that add something.
#![allow(clippy::arithmetic_side_effects, reason = "counts of cases that were read")]

use super::allowed::allowed;
use super::select::Selection;
use super::{Recorded, Source, microcode};
use crate::campaign::Trial;
use crate::campaign::sampler::TrialSource;
use crate::finding::Findings;
use crate::verdict::{self, Verdict};
use crate::walker::{MUTANTS, Walker};
use crosswalk_machine::{Machine, MachineError, MachineLine};
use mmu_core::{PagingMode, Reference};
use std::ops::ControlFlow;

/// What to record.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// The seed of the cases.
    pub seed: u64,
    /// The modes.
    pub modes: Vec<PagingMode>,
    /// Number of cases to try.
    pub cases: u64,
    /// Whether to keep all of them, not only those that add something.
    pub all: bool,
}

/// A recorded section.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Where it was recorded, and how.
    pub source: Source,
    /// The cases, in the order in which they were tried.
    pub cases: Vec<Recorded>,
    /// Number of cases that show a divergence that is not a known finding.
    pub unknown: u64,
}

/// Records what a machine does with the cases of a source. `findings` has the machine's known findings; `note`
/// is called with the number of cases tried so far, and the number of points that they show, and can break off.
///
/// # Errors
/// When the guest or the machine dies.
pub fn record_from(
    source_of_cases: &mut dyn TrialSource,
    machine: &mut dyn Machine,
    options: &RecordOptions,
    findings: &Findings,
    note: impl FnMut(u64, usize) -> ControlFlow<()>,
) -> Result<Recording, MachineError> {
    let (tried, kept) = try_cases(source_of_cases, machine, options, findings, note)?;

    let mut recording =
        Recording { source: source(machine, options.seed, tried), cases: Vec::new(), unknown: 0 };
    for trial in kept {
        recording.add(trial, findings);
    }

    Ok(recording)
}

/// Tries the cases. Returns their number, and those to keep.
fn try_cases(
    source: &mut dyn TrialSource,
    machine: &mut dyn Machine,
    options: &RecordOptions,
    findings: &Findings,
    mut note: impl FnMut(u64, usize) -> ControlFlow<()>,
) -> Result<(u64, Vec<Trial>), MachineError> {
    let mut selection = Selection::default();
    let mut all = Vec::new();

    while selection.tried() < options.cases {
        let trials = source.run(machine, options.cases - selection.tried())?;
        if trials.is_empty() {
            break;
        }

        for trial in trials {
            if options.all {
                all.push(trial.clone());
            }
            selection.add(trial, findings);
        }
        if note(selection.tried(), selection.points()).is_break() {
            break;
        }
    }

    let tried = selection.tried();
    Ok((tried, if options.all { all } else { selection.finish() }))
}

/// Where and how a section is recorded.
pub(super) fn source(machine: &dyn Machine, seed: u64, tried: u64) -> Source {
    let identity = machine.identity();
    let is_emulated = identity.version.is_some();

    Source {
        crosswalk: env!("CARGO_PKG_VERSION").into(),
        machine: MachineLine::new(identity, machine.capabilities()),
        // An emulated processor does not run the host's microcode.
        microcode: if is_emulated { None } else { microcode() },
        seed,
        tried,
    }
}

impl Recording {
    fn add(&mut self, trial: Trial, findings: &Findings) {
        let Trial { name, case, attempt } = trial;
        let prediction = Reference.predict(&case);
        let verdict = verdict::judge_prediction(&Reference, &case, &prediction, &attempt);
        let agrees = matches!(verdict, Verdict::Agree { .. });

        self.unknown += u64::from(findings.shown(&case, &attempt, &verdict).is_none());

        let is_caught = |walker: &dyn Walker| {
            matches!(verdict::judge(walker, &case, &attempt), Verdict::Diverge { .. })
        };
        let caught = MUTANTS
            .iter()
            .filter(|mutant| agrees && is_caught(mutant.walker))
            .map(|mutant| mutant.id.into())
            .collect();

        self.cases.push(Recorded {
            name,
            rules: prediction.rules.iter().map(|rule| rule.id().into()).collect(),
            catches: caught,
            allowed: allowed(&case),
            case,
            attempt,
        });
    }
}
