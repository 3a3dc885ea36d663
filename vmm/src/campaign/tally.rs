//! Counts of a run: cases and their outcomes, the rules that decided, the choices that machines made.
//! The tallies of the parts of a run add up to the tally of the whole.

use crate::generate::CaseName;
use crate::verdict::{ChoiceTaken, Verdict};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation, Provenance};
use mmu_core::{AccessKind, PagingMode, Prediction, Ring, Rule};
use std::collections::BTreeMap;

/// Counts for one paging mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModeCounts {
    /// Number of cases.
    pub cases: u64,
    /// Accesses that completed on the machine.
    pub translations: u64,
    /// Accesses that faulted on the machine.
    pub faults: u64,

    /// Cases on which the machine did what the walker allows.
    pub agreed: u64,
    /// Cases on which it did something else.
    pub diverged: u64,
    /// Cases that the machine could not run.
    pub unsupported: u64,
    /// Completed accesses whose physical address was not proved.
    pub unproved: u64,

    /// Cases in ring 0.
    pub ring0: u64,
    /// Accesses that touch two pages.
    pub page_crossing: u64,
    /// Cases with two or more unusual bits on their path.
    pub two_unusual_bits: u64,

    /// Cases by kind of access.
    pub accesses: BTreeMap<AccessKind, u64>,
    /// Observations by who decided them.
    pub provenance: BTreeMap<Provenance, u64>,
}

impl ModeCounts {
    /// Every count with its name, in the order in which reports list them.
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

    fn merge(&mut self, mut other: Self) {
        for ((_, count), (_, more)) in self.named().into_iter().zip(other.named()) {
            *count = count.saturating_add(*more);
        }
        add_counts(&mut self.accesses, other.accesses);
        add_counts(&mut self.provenance, other.provenance);
    }
}

/// How often something occurred, and the first case by name that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// Number of cases.
    pub count: u64,
    /// The first of the cases.
    pub example: CaseName,
}

/// How an access ended on the machine: vector and error code of a fault, `None` if it completed.
pub type EndSeen = Option<(u8, u32)>;

/// All counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The counts of each paging mode.
    pub modes: BTreeMap<PagingMode, ModeCounts>,
    /// The rules that decided cases that ran.
    pub rules: BTreeMap<(Rule, PagingMode), Occurrences>,
    /// How accesses ended, and who decided it.
    pub ends: BTreeMap<(PagingMode, Provenance, EndSeen), Occurrences>,
    /// The choices that machines made, and how often.
    pub choices: BTreeMap<ChoiceTaken, u64>,
    /// The sum of the digests of all case names: equal sums mean equal sets of cases.
    pub digest: u64,
}

/// Adds counts to those of the same key. A count from a journal may be any number.
fn add_counts<K: Ord>(all: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (key, more) in more {
        let count = all.entry(key).or_default();
        *count = count.saturating_add(more);
    }
}

/// Adds occurrences to those of the same key.
fn count_occurrence<K: Ord>(all: &mut BTreeMap<K, Occurrences>, key: K, more: Occurrences) {
    let known = all.entry(key).or_insert(Occurrences { count: 0, ..more });
    known.count = known.count.saturating_add(more.count);
    known.example = known.example.min(more.example);
}

impl Tally {
    /// Counts one judged case.
    pub fn add(
        &mut self,
        (name, case): (CaseName, &Case),
        prediction: &Prediction,
        attempt: &Attempt,
        verdict: &Verdict,
    ) {
        self.digest = self.digest.wrapping_add(name.digest());
        self.add_case(case);
        if let Attempt::Observed(observation) = attempt {
            self.add_observation(case, observation, name, prediction);
        }
        self.add_verdict(case.mode(), verdict);
    }

    fn add_case(&mut self, case: &Case) {
        let mode = self.modes.entry(case.mode()).or_default();

        mode.cases += 1;
        mode.ring0 += u64::from(case.access.ring == Ring::Zero);
        mode.page_crossing += u64::from(case.access.crosses_page());
        mode.two_unusual_bits += u64::from(case.unusual_bits() >= 2);
        *mode.accesses.entry(case.access.kind).or_default() += 1;
    }

    fn add_observation(
        &mut self,
        case: &Case,
        observation: &Observation,
        name: CaseName,
        prediction: &Prediction,
    ) {
        let Observation { fault, provenance, .. } = *observation;
        let mode = self.modes.entry(case.mode()).or_default();
        mode.faults += u64::from(fault.is_some());
        mode.translations += u64::from(fault.is_none());
        *mode.provenance.entry(provenance).or_default() += 1;

        let once = Occurrences { count: 1, example: name };
        let end = fault.map(|fault| (fault.vector, fault.error_code));
        count_occurrence(&mut self.ends, (case.mode(), provenance, end), once);
        for rule in prediction.rules.iter() {
            count_occurrence(&mut self.rules, (rule, case.mode()), once);
        }
    }

    fn add_verdict(&mut self, mode: PagingMode, verdict: &Verdict) {
        let counts = self.modes.entry(mode).or_default();

        match verdict {
            Verdict::Agree { unproved, choices } => {
                counts.agreed += 1;
                counts.unproved += u64::from(*unproved);
                for choice in choices {
                    *self.choices.entry(*choice).or_default() += 1;
                }
            }
            Verdict::Diverge { .. } => counts.diverged += 1,
            Verdict::Unsupported(_) => counts.unsupported += 1,
        }
    }

    /// Adds the tally of another part of the run.
    pub fn merge(&mut self, other: Self) {
        for (mode, counts) in other.modes {
            self.modes.entry(mode).or_default().merge(counts);
        }
        for (key, occurrences) in other.rules {
            count_occurrence(&mut self.rules, key, occurrences);
        }
        for (key, occurrences) in other.ends {
            count_occurrence(&mut self.ends, key, occurrences);
        }
        add_counts(&mut self.choices, other.choices);

        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Whether a rule decided a case, in any mode.
    pub fn hits(&self, rule: Rule) -> bool {
        self.rules.keys().any(|(hit, _)| *hit == rule)
    }

    /// How the accesses of a mode ended, regardless of who decided it.
    pub fn outcomes(&self, mode: PagingMode) -> BTreeMap<EndSeen, u64> {
        let mut outcomes = BTreeMap::new();

        for ((in_mode, _, end), occurrences) in &self.ends {
            if *in_mode == mode {
                let count: &mut u64 = outcomes.entry(*end).or_default();
                *count = count.saturating_add(occurrences.count);
            }
        }

        outcomes
    }

    /// Number of cases in all modes.
    pub fn cases(&self) -> u64 {
        self.sum(|mode| mode.cases)
    }

    /// Number of cases that agreed, in all modes.
    pub fn agreed(&self) -> u64 {
        self.sum(|mode| mode.agreed)
    }

    /// Number of cases that diverged, in all modes.
    pub fn diverged(&self) -> u64 {
        self.sum(|mode| mode.diverged)
    }

    /// The sum of a count over all modes. A count from a journal may be any number.
    fn sum(&self, count: impl Fn(&ModeCounts) -> u64) -> u64 {
        self.modes.values().map(count).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal, or many that are merged, may name any numbers.
    #[test]
    fn counts_of_any_size_add_up_without_overflow() {
        let counts = ModeCounts {
            cases: u64::MAX,
            agreed: u64::MAX,
            diverged: u64::MAX,
            ..ModeCounts::default()
        };
        let example = "random:4level:1:0".parse().expect("a name of a case");
        let occurrences = Occurrences { count: u64::MAX, example };

        let mut tally = Tally::default();
        for mode in [PagingMode::FourLevel, PagingMode::Pae] {
            tally.modes.insert(mode, counts.clone());
        }
        for who in [Provenance::Processor, Provenance::Tcg] {
            tally.ends.insert((PagingMode::FourLevel, who, None), occurrences);
        }

        assert_eq!([tally.cases(), tally.agreed(), tally.diverged()], [u64::MAX; 3]);
        assert_eq!(tally.outcomes(PagingMode::FourLevel), [(None, u64::MAX)].into());
    }
}
