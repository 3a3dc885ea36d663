//! Counting: what was tried, what came of it, which rules decided, which choices machines made.
//! Tallies of parts of a run add up to that of the whole.

use crate::generate::CaseName;
use crate::verdict::{ChoiceTaken, Verdict};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Provenance};
use mmu_core::{AccessKind, PagingMode, Prediction, Ring, Rule};
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
}

impl ModeCounts {
    /// Every count with its name, in the order of reports.
    pub const fn named(&mut self) -> [(&'static str, &mut u64); 10] {
        [
            ("cases", &mut self.cases),
            ("translations", &mut self.translations),
            ("faults", &mut self.faults),
            ("agreed", &mut self.agreed),
            ("diverged", &mut self.diverged),
            ("unsupported", &mut self.unsupported),
            ("unproved", &mut self.unproved),
            ("ring0", &mut self.ring0),
            ("page_crossing", &mut self.page_crossing),
            ("two_or_more_unusual_bits", &mut self.two_unusual_bits),
        ]
    }
}

/// How often something was met, and the case that comes first in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// How often.
    pub count: u64,
    /// One of the cases.
    pub example: CaseName,
}

/// How an access ended on the machine: vector and error code, or nothing for a completed one.
pub type EndSeen = Option<(u8, u32)>;

/// Everything counted in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By paging mode.
    pub modes: BTreeMap<PagingMode, ModeCounts>,
    /// The rules that decided a case that ran.
    pub rules: BTreeMap<(Rule, PagingMode), Occurrences>,
    /// How accesses ended, and who decided.
    pub ends: BTreeMap<(PagingMode, Provenance, EndSeen), Occurrences>,
    /// The choices machines made, and how often.
    pub choices: BTreeMap<ChoiceTaken, u64>,
    /// The sum of the digests of all names of cases: equal sums, equal sets of cases.
    pub digest: u64,
}

/// Counts one more case of a kind.
fn count_occurrence<K: Ord>(met: &mut BTreeMap<K, Occurrences>, key: K, more: Occurrences) {
    let known = met.entry(key).or_insert(Occurrences { count: 0, ..more });
    known.count += more.count;
    known.example = known.example.min(more.example);
}

impl Tally {
    /// Counts one judged case.
    pub fn add(
        &mut self,
        (name, case): (CaseName, &Case),
        prediction: &Prediction,
        run: &Attempt,
        verdict: &Verdict,
    ) {
        self.digest = self.digest.wrapping_add(name.digest());
        let mode = self.modes.entry(case.mode()).or_default();
        mode.cases += 1;
        mode.ring0 += u64::from(case.access.ring == Ring::Zero);
        mode.page_crossing += u64::from(case.access.crosses_page());
        mode.two_unusual_bits += u64::from(case.unusual_bits() >= 2);
        *mode.accesses.entry(case.access.kind).or_default() += 1;
        if let Attempt::Observed(observation) = run {
            let faulted = observation.fault.is_some();
            mode.faults += u64::from(faulted);
            mode.translations += u64::from(!faulted);
            *mode.provenance.entry(observation.provenance).or_default() += 1;
            let end = observation.fault.map(|fault| (fault.vector, fault.error_code));
            let once = Occurrences { count: 1, example: name };
            count_occurrence(&mut self.ends, (case.mode(), observation.provenance, end), once);
            for rule in prediction.rules.iter() {
                count_occurrence(&mut self.rules, (rule, case.mode()), once);
            }
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

    /// Adds the tally of another part of the run.
    pub fn merge(&mut self, other: Self) {
        for (mode, mut counts) in other.modes {
            let known = self.modes.entry(mode).or_default();
            for ((_, count), (_, more)) in known.named().into_iter().zip(counts.named()) {
                *count += *more;
            }
            for (kind, more) in counts.accesses {
                *known.accesses.entry(kind).or_default() += more;
            }
            for (who, more) in counts.provenance {
                *known.provenance.entry(who).or_default() += more;
            }
        }
        for (key, met) in other.rules {
            count_occurrence(&mut self.rules, key, met);
        }
        for (key, met) in other.ends {
            count_occurrence(&mut self.ends, key, met);
        }
        for (choice, more) in other.choices {
            *self.choices.entry(choice).or_default() += more;
        }
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Whether a rule decided a case, in any mode.
    pub fn hits(&self, rule: Rule) -> bool {
        self.rules.keys().any(|(hit, _)| *hit == rule)
    }

    /// How the accesses of a mode ended, whoever decided.
    pub fn outcomes(&self, mode: PagingMode) -> BTreeMap<EndSeen, u64> {
        let mut outcomes = BTreeMap::new();
        for ((in_mode, _, end), met) in &self.ends {
            if *in_mode == mode {
                *outcomes.entry(*end).or_default() += met.count;
            }
        }
        outcomes
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
