//! Cases that the user gave: each is run once, as it is, and judged like any other.

use super::Summary;
use super::runner::BatchRunner;
use super::series::Series;
use super::tally::Tally;
use crate::campaign::known::KnownFindings;
use crate::generate::{CaseName, Generator};
use crate::verdict::{Verdict, judge_accesses};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_machine::{Machine, MachineError};
use sha2::{Digest, Sha256};
use std::time::Instant;

/// The name of a case that the user gave, with its place among them, from 1: it tells two cases apart wherever they
/// come from.
pub fn name_of_given(case: &Case, place: u64) -> CaseName {
    let hash = Sha256::digest(case.to_string());
    let hash = hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    CaseName { generator: Generator::Given(hash), mode: case.mode(), index: place }
}

/// Runs cases one at a time, in their order. `follow` is called with each and its verdict; where it returns false,
/// the others are not run.
///
/// # Errors
/// When the guest or the machine dies.
pub fn run_given(
    machine: &mut dyn Machine,
    cases: &[(CaseName, Case)],
    (walker, known): (WalkerSpec, KnownFindings),
    mut follow: impl FnMut(&Case, &Verdict) -> bool,
) -> Result<Summary, MachineError> {
    let start = Instant::now();
    let mut runner = BatchRunner::new(machine);
    let mut findings = known.collector(walker, machine.capabilities());
    let mut tally = Tally::default();

    for (name, case) in cases {
        let attempt = runner.run_one(machine, case)?;
        let predictions = walker.walker().predict_accesses(case);
        let verdict = judge_accesses(walker.walker(), case, &predictions, &attempt);
        tally.add((*name, case), &predictions, &attempt, &verdict);
        findings.add(case, &attempt, &verdict);

        if !follow(case, &verdict) {
            break;
        }
    }

    Ok(Summary {
        tally,
        findings: findings.finish(),
        duration: start.elapsed(),
        breakdown: None,
        series: Series::default(),
    })
}
