//! Reduces the example of a finding to the smallest case that still shows the finding.

use super::CampaignPlan;
use super::runner::BatchRunner;
use crate::finding::quirks::explaining;
use crate::finding::{Example, Finding, Shown, known, shrink};
use crate::verdict::value::comparison_succeeds;
use crate::verdict::{self, Difference, Field, Verdict};
use crate::walker::WalkerSpec;
use crate::walker::quirk::Quirks;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Machine, MachineError};
use std::collections::BTreeSet;
use std::time::Instant;

/// How often a case is tried that shows a finding only sometimes, such as one that depends on what the
/// processor has cached.
const TRIES: u32 = 5;

/// How often the smallest case is run, to say how often it shows the finding.
const CONFIRMATIONS: u32 = 10;

/// Replaces a finding's example by the smallest case that differs in the same fields, by running
/// simpler cases on the machine until the deadline. Then says how often that case shows it, unless it is
/// known and no sequence.
pub(super) fn reduce_example(
    runner: &mut BatchRunner,
    machine: &mut dyn Machine,
    plan: &CampaignPlan,
    finding: &mut Finding,
    deadline: Instant,
) -> Result<(), MachineError> {
    let Some(example) = finding.example.take() else { return Ok(()) };
    let target = WantedFinding::of(plan, finding, &example);

    let mut tries = Tries { runner, machine, target, deadline };
    // What a single access does depends on nothing that is cached.
    let is_sequence = example.case.is_sequence();
    let measured = if is_sequence { tries.count(&example.case, TRIES)? } else { Shown::default() };
    let needed = if measured.times == measured.tries { 1 } else { TRIES };
    let mut smallest = shrink(example, |case| tries.show(case, needed))?;

    if is_sequence || !finding.known {
        let shown = tries.count(&smallest.case, CONFIRMATIONS)?;
        smallest.shown = (shown.tries > 0).then_some(shown);
    }
    finding.example = Some(smallest);
    Ok(())
}

/// Runs of cases that may show a finding.
struct Tries<'t> {
    runner: &'t mut BatchRunner,
    machine: &'t mut dyn Machine,
    target: WantedFinding,
    deadline: Instant,
}

impl Tries<'_> {
    /// The example that a case gives in the first of so many tries that shows the finding.
    fn show(&mut self, case: &Case, tries: u32) -> Result<Option<Example>, MachineError> {
        for _ in 0..tries {
            if Instant::now() >= self.deadline {
                return Ok(None);
            }
            let attempt = self.runner.run_one(self.machine, case)?;
            if let Some(example) = self.target.shown_by(case, &attempt) {
                return Ok(Some(example));
            }
        }
        Ok(None)
    }

    /// How often a case shows the finding in so many tries, or in those before the deadline.
    fn count(&mut self, case: &Case, tries: u32) -> Result<Shown, MachineError> {
        let mut shown = Shown::default();
        while shown.tries < tries && Instant::now() < self.deadline {
            shown.tries += 1;
            let attempt = self.runner.run_one(self.machine, case)?;
            shown.times += u32::from(self.target.shown_by(case, &attempt).is_some());
        }
        Ok(shown)
    }
}

/// What a simpler case must show to be an example of the same finding.
struct WantedFinding {
    /// A finding about the machine is judged by the reference, whichever walker predicted.
    judge: WalkerSpec,
    catches_walker: bool,
    /// The fields that differ.
    fields: BTreeSet<Field>,
    /// The quirks that explain the example.
    quirks: Quirks,
    /// The quirks that the machine is known to have.
    machine_quirks: Quirks,
}

impl WantedFinding {
    fn of(plan: &CampaignPlan, finding: &Finding, example: &Example) -> Self {
        Self {
            judge: if finding.catches_walker { plan.walker } else { WalkerSpec::Reference },
            catches_walker: finding.catches_walker,
            fields: fields(&example.differences),
            quirks: example.quirks,
            machine_quirks: known::quirks(&plan.known.findings),
        }
    }

    /// The example that a case gives, if it shows the finding.
    fn shown_by(&self, case: &Case, attempt: &Attempt) -> Option<Example> {
        // It would store a register that no prediction knows.
        if case.accesses().iter().any(comparison_succeeds) {
            return None;
        }
        let judge = |walker: WalkerSpec| verdict::judge(walker.walker(), case, attempt);
        let Verdict::Diverge { at, expected, differences } = judge(self.judge) else { return None };

        let machine_is_right = matches!(judge(WalkerSpec::Reference), Verdict::Agree { .. });
        if machine_is_right != self.catches_walker {
            return None;
        }

        let quirks = if machine_is_right {
            Quirks::empty()
        } else {
            explaining(self.machine_quirks, case, attempt).unwrap_or_default()
        };
        let is_same_cause =
            quirks == self.quirks && (!quirks.is_empty() || fields(&differences) == self.fields);

        is_same_cause
            .then(|| Example { quirks, ..Example::of(case, at, &expected, attempt, &differences) })
    }
}

fn fields(differences: &[Difference]) -> BTreeSet<Field> {
    differences.iter().map(|difference| difference.field).collect()
}
