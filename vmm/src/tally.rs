//! Counting: what was tried, what came of it, which rules decided, which choices machines made.

use crate::case::Case;
use crate::observation::{Provenance, Run};
use crate::verdict::{ChoiceTaken, Verdict};
use mmu_core::{AccessKind, PagingMode, Prediction, Ring, RuleSet};
use std::collections::BTreeMap;

/// Counts for one paging mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModeCounts {
    /// Cases tried.
    pub cases: u64,
    /// Of these, accesses that completed on the machine.
    pub translations: u64,
    /// Of these, accesses that faulted on the machine.
    pub faults: u64,
    /// Verdicts.
    pub agreed: u64,
    /// Verdicts.
    pub diverged: u64,
    /// Verdicts.
    pub unsupported: u64,
    /// Completed accesses whose physical address nothing proves.
    pub unproved: u64,
    /// Cases in ring 0.
    pub ring0: u64,
    /// Accesses that touch two pages.
    pub page_crossing: u64,
    /// Cases with two or more unusual bits on their path.
    pub two_unusual_bits: u64,
    /// Cases of each kind of access.
    pub accesses: BTreeMap<AccessKind, u64>,
    /// Who decided the observations.
    pub provenance: BTreeMap<Provenance, u64>,
    /// How the accesses ended on the machine: vector and error code, or nothing for a completed one.
    pub outcomes: BTreeMap<Option<(u8, u32)>, u64>,
}

/// Everything counted in a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By paging mode.
    pub modes: BTreeMap<PagingMode, ModeCounts>,
    /// The rules that decided at least one case that ran.
    pub rules: RuleSet,
    /// The choices machines made, and how often.
    pub choices: BTreeMap<ChoiceTaken, u64>,
}

impl Tally {
    /// Counts one judged case.
    pub fn add(&mut self, case: &Case, prediction: &Prediction, run: &Run, verdict: &Verdict) {
        let mode = self.modes.entry(case.mode()).or_default();
        mode.cases += 1;
        mode.ring0 += u64::from(case.access.ring == Ring::Zero);
        mode.page_crossing += u64::from(case.access.crosses_page());
        mode.two_unusual_bits += u64::from(case.unusual_bits() >= 2);
        *mode.accesses.entry(case.access.kind).or_default() += 1;
        if let Run::Observed(observation) = run {
            let faulted = observation.fault.is_some();
            mode.faults += u64::from(faulted);
            mode.translations += u64::from(!faulted);
            *mode.provenance.entry(observation.provenance).or_default() += 1;
            let end = observation.fault.map(|fault| (fault.vector, fault.error_code));
            *mode.outcomes.entry(end).or_default() += 1;
            self.rules.extend(prediction.rules);
        }
        match verdict {
            Verdict::Agree { unproved, choices } => {
                mode.agreed += 1;
                mode.unproved += u64::from(*unproved);
                for choice in choices {
                    *self.choices.entry(*choice).or_default() += 1;
                }
            }
            Verdict::Diverge { .. } => mode.diverged += 1,
            Verdict::Unsupported(_) => mode.unsupported += 1,
        }
    }

    /// Cases tried in all modes.
    pub fn cases(&self) -> u64 {
        self.modes.values().map(|mode| mode.cases).sum()
    }

    /// Cases that agreed, in all modes.
    pub fn agreed(&self) -> u64 {
        self.modes.values().map(|mode| mode.agreed).sum()
    }

    /// Cases that diverged, in all modes.
    pub fn diverged(&self) -> u64 {
        self.modes.values().map(|mode| mode.diverged).sum()
    }
}
