//! Reduces the example of a finding to the smallest case that still shows the finding.

use super::CampaignPlan;
use super::runner::BatchRunner;
use crate::finding::quirks::explaining;
use crate::finding::{Example, Finding, known, shrink};
use crate::verdict::{self, Difference, Field, Verdict};
use crate::walker::WalkerSpec;
use crate::walker::quirk::Quirks;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Machine, MachineError};
use std::collections::BTreeSet;
use std::time::Instant;

/// Replaces a finding's example by the smallest case that differs in the same fields, by running
/// simpler cases on the machine until the deadline.
pub(super) fn reduce_example(
    runner: &mut BatchRunner,
    machine: &mut dyn Machine,
    plan: &CampaignPlan,
    finding: &mut Finding,
    deadline: Instant,
) -> Result<(), MachineError> {
    let Some(example) = finding.example.take() else { return Ok(()) };
    let target = WantedFinding::of(plan, finding, &example);

    let smallest = shrink(example, |case| {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let attempt = runner.run_one(machine, case)?;
        Ok::<_, MachineError>(target.shown_by(case, &attempt))
    })?;

    finding.example = Some(smallest);
    Ok(())
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
        let judge = |walker: WalkerSpec| verdict::judge(walker.walker(), case, attempt);
        let Verdict::Diverge { expected, differences } = judge(self.judge) else { return None };

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
            .then(|| Example { quirks, ..Example::of(case, &expected, attempt, &differences) })
    }
}

fn fields(differences: &[Difference]) -> BTreeSet<Field> {
    differences.iter().map(|difference| difference.field).collect()
}
