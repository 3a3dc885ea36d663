//! Recording: a mixture of cases is run on a machine, and what adds something is kept.

use super::outcome::allowed;
use super::select::Selection;
use super::{Recorded, Source, microcode};
use crate::campaign::sampler::{Sampler, Trial};
use crate::finding::Findings;
use crate::verdict::{self, Verdict};
use crate::walker::{MUTANTS, Walker};
use crosswalk_machine::{Machine, MachineError, MachineLine};
use mmu_core::{PagingMode, Reference};

/// What to record.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// The seed of the cases.
    pub seed: u64,
    /// The modes.
    pub modes: Vec<PagingMode>,
    /// How many cases to try.
    pub cases: u64,
    /// Whether all of them are kept, not only those that add something.
    pub all: bool,
}

/// A recorded section.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it was recorded from.
    pub source: Source,
    /// Its cases, in the order in which they were tried.
    pub cases: Vec<Recorded>,
    /// How many of those show a divergence that is not known.
    pub unknown: u64,
}

/// Records what a machine does. `findings` knows its known ones; `note` is told how many cases were
/// tried, and how many points are shown so far.
///
/// # Errors
/// When the guest or the machine dies.
pub fn record(
    machine: &mut dyn Machine,
    order: &RecordOptions,
    findings: &Findings,
    mut note: impl FnMut(u64, usize),
) -> Result<Recording, MachineError> {
    let mut mixture = Sampler::new(order.seed, &order.modes, machine.capabilities());
    let mut selection = Selection::default();
    let mut all = Vec::new();
    while selection.tried() < order.cases {
        let tried = mixture.run(machine, order.cases - selection.tried())?;
        if tried.is_empty() {
            break;
        }
        for tried in tried {
            let Trial { case, run, .. } = &tried;
            let prediction = Reference.predict(case);
            let verdict = verdict::judge_prediction(&Reference, case, &prediction, run);
            let shown = findings.shown(case, run, &verdict);
            if order.all {
                all.push(tried.clone());
            }
            let shown = shown.as_deref();
            selection.add(tried, &prediction, &verdict, shown);
        }
        note(selection.tried(), selection.points());
    }
    let source = Source {
        crosswalk: env!("CARGO_PKG_VERSION").into(),
        machine: MachineLine::new(machine.identity(), machine.capabilities()),
        // That of an emulated processor says nothing.
        microcode: (machine.identity().kind == "kvm").then(microcode).flatten(),
        seed: order.seed,
        tried: selection.tried(),
    };
    let kept = if order.all { all } else { selection.finish() };
    let mut recording = Recording { source, cases: Vec::new(), unknown: 0 };
    for Trial { name, case, run } in kept {
        let prediction = Reference.predict(&case);
        let verdict = verdict::judge_prediction(&Reference, &case, &prediction, &run);
        recording.unknown += u64::from(findings.shown(&case, &run, &verdict).is_none());
        let agrees = matches!(verdict, Verdict::Agree { .. });
        let tells = MUTANTS.iter().filter(|mutant| {
            let by_mutant = || verdict::judge(mutant.walker, &case, &run);
            agrees && matches!(by_mutant(), Verdict::Diverge { .. })
        });
        recording.cases.push(Recorded {
            name,
            rules: prediction.rules.iter().map(|rule| rule.id().into()).collect(),
            tells: tells.map(|mutant| mutant.id.into()).collect(),
            allowed: allowed(&case),
            case,
            run,
        });
    }
    Ok(recording)
}
