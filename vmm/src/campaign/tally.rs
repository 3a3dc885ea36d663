//! Counts of a run: cases and their outcomes, the rules that decided, the choices that machines made.
//! The tallies of the parts of a run add up to the tally of the whole.

use crate::generate::CaseName;
use crate::verdict::{ChoiceTaken, Verdict};
use crosswalk_case::observation::{Attempt, Observation, Provenance};
use crosswalk_case::{Case, UnusualBits};
use mmu_core::x86::format::MAX_LEVELS;
use mmu_core::{AccessKind, PagingMode, Prediction, Ring, Rule, RuleSet};
use std::collections::{BTreeMap, BTreeSet};

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

    /// Cases that are sequences.
    pub sequences: u64,
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
    /// Single accesses by the unusual bits of the entries on their path.
    pub entry_bits: EntryBitCounts,
}

impl ModeCounts {
    /// Every count with its name, in the order in which reports list them.
    pub const fn named(&mut self) -> [(&'static str, &mut u64); 11] {
        [
            ("cases", &mut self.cases),
            ("translations", &mut self.translations),
            ("faults", &mut self.faults),
            ("agreed", &mut self.agreed),
            ("diverged", &mut self.diverged),
            ("unsupported", &mut self.unsupported),
            ("unproved", &mut self.unproved),
            ("sequences", &mut self.sequences),
            ("ring0", &mut self.ring0),
            ("page_crossing", &mut self.page_crossing),
            ("two_or_more_unusual_bits", &mut self.two_unusual_bits),
        ]
    }

    fn add_case(&mut self, case: &Case, unusual: &UnusualBits) {
        self.cases += 1;
        self.sequences += u64::from(case.is_sequence());
        self.ring0 += u64::from(case.access.ring == Ring::Zero);
        self.page_crossing += u64::from(case.access.crosses_page());
        self.two_unusual_bits += u64::from(unusual.count() >= 2);
        *self.accesses.entry(case.access.kind).or_default() += 1;
    }

    fn add_observation(&mut self, is_fault: bool, provenance: Provenance) {
        self.faults += u64::from(is_fault);
        self.translations += u64::from(!is_fault);
        *self.provenance.entry(provenance).or_default() += 1;
    }

    fn add_verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Agree { unproved, .. } => {
                self.agreed += 1;
                self.unproved += u64::from(*unproved);
            }
            Verdict::Diverge { .. } => self.diverged += 1,
            Verdict::Unsupported(_) => self.unsupported += 1,
        }
    }

    fn merge(&mut self, mut other: Self) {
        for ((_, count), (_, more)) in self.named().into_iter().zip(other.named()) {
            *count = count.saturating_add(*more);
        }
        add_counts(&mut self.accesses, other.accesses);
        add_counts(&mut self.provenance, other.provenance);
        self.entry_bits.merge(&other.entry_bits);
    }
}

/// The accesses of a mode by the unusual bits of the entries on their path. Many cases add to several of these counts,
/// so each has a place of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBitCounts(Vec<BitCounts>);

/// The accesses on whose path a bit of an entry is unusual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BitCounts {
    /// Number of accesses that were observed.
    pub cases: u64,
    /// Number of those that faulted.
    pub faults: u64,
}

impl Default for EntryBitCounts {
    fn default() -> Self {
        Self(vec![BitCounts::default(); MAX_LEVELS * Self::BITS])
    }
}

impl EntryBitCounts {
    const BITS: usize = u64::BITS as usize;

    /// Adds accesses on whose path a bit of an entry is unusual. The level is 1 for the last. Returns whether there is
    /// such a bit.
    pub fn add(&mut self, level: u8, bit: u8, more: BitCounts) -> bool {
        let place = usize::from(level).checked_sub(1).map(|level| level * Self::BITS);
        let place = place.filter(|_| usize::from(bit) < Self::BITS);
        let counts = place.and_then(|place| self.0.get_mut(place + usize::from(bit)));

        let is_there = counts.is_some();
        if let Some(BitCounts { cases, faults }) = counts {
            *cases = cases.saturating_add(more.cases);
            *faults = faults.saturating_add(more.faults);
        }
        is_there
    }

    /// The levels and bits that were met, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u8, BitCounts)> {
        let levels = (1..).zip(self.0.chunks(Self::BITS));
        let bits = levels.flat_map(|(level, bits)| {
            (0..).zip(bits).map(move |(bit, counts)| (level, bit, *counts))
        });
        bits.filter(|(.., counts)| counts.cases > 0)
    }

    fn add_case(&mut self, unusual: &UnusualBits, is_fault: bool) {
        let once = BitCounts { cases: 1, faults: u64::from(is_fault) };
        for (level, bits) in &unusual.entries {
            let mut left = *bits;
            while left != 0 {
                self.add(*level, left.trailing_zeros() as u8, once);
                left &= left - 1;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (level, bit, counts) in other.iter() {
            self.add(level, bit, counts);
        }
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

impl Occurrences {
    /// No occurrences, to be added to.
    const fn none_yet(self) -> Self {
        Self { count: 0, ..self }
    }

    fn add(&mut self, more: Self) {
        self.count = self.count.saturating_add(more.count);
        self.example = self.example.min(more.example);
    }
}

/// How an access ended on the machine: vector and error code of a fault, `None` if it completed.
pub type EndSeen = Option<(u8, u32)>;

/// How often each rule decided a case in each mode. Every case adds to several of these counts, so each
/// has a place of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounts(Vec<Option<Occurrences>>);

impl Default for RuleCounts {
    fn default() -> Self {
        Self(vec![None; Rule::ALL.len() * Self::MODES])
    }
}

impl RuleCounts {
    const MODES: usize = PagingMode::Linear as usize + 1;

    /// How often a rule decided a case in a mode; `None` if it never did.
    pub fn get(&self, rule: Rule, mode: PagingMode) -> Option<&Occurrences> {
        self.0[Self::place_of(rule, mode)].as_ref()
    }

    /// Adds occurrences to those of a rule in a mode.
    pub fn add(&mut self, rule: Rule, mode: PagingMode, occurrences: Occurrences) {
        let known = self.0[Self::place_of(rule, mode)].get_or_insert(occurrences.none_yet());
        known.add(occurrences);
    }

    /// The rules that decided cases and the modes in which they did, in the order of the specification.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, PagingMode, &Occurrences)> {
        let all = Rule::ALL.iter().flat_map(|rule| PagingMode::ALL.map(|mode| (*rule, mode)));
        all.filter_map(|(rule, mode)| Some((rule, mode, self.get(rule, mode)?)))
    }

    const fn place_of(rule: Rule, mode: PagingMode) -> usize {
        rule as usize * Self::MODES + mode as usize
    }
}

/// All counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The counts of each paging mode.
    pub modes: BTreeMap<PagingMode, ModeCounts>,
    /// The rules that decided cases that ran.
    pub rules: RuleCounts,
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

impl Tally {
    /// Counts one judged case, with the predictions for its accesses.
    pub fn add(
        &mut self,
        (name, case): (CaseName, &Case),
        predictions: &[Prediction],
        attempt: &Attempt,
        verdict: &Verdict,
    ) {
        self.digest = self.digest.wrapping_add(name.digest());

        let mode = case.mode();
        let counts = self.modes.entry(mode).or_default();
        let unusual = case.unusual();
        counts.add_case(case, &unusual);
        counts.add_verdict(verdict);
        if let Verdict::Agree { choices, .. } = verdict {
            for choice in choices {
                *self.choices.entry(*choice).or_default() += 1;
            }
        }

        if let Attempt::Observed(observation) = attempt {
            let Observation { fault, provenance, .. } = *observation;
            counts.add_observation(fault.is_some(), provenance);
            if !case.is_sequence() {
                counts.entry_bits.add_case(&unusual, fault.is_some());
            }

            let once = Occurrences { count: 1, example: name };
            let end = fault.map(|fault| (fault.vector, fault.error_code));
            let ended = self.ends.entry((mode, provenance, end));
            ended.or_insert(once.none_yet()).add(once);
            let mut rules = RuleSet::default();
            for prediction in predictions {
                rules.extend(prediction.rules);
            }
            for rule in rules.iter() {
                self.rules.add(rule, mode, once);
            }
        }
    }

    /// Adds the tally of another part of the run.
    pub fn merge(&mut self, other: Self) {
        for (mode, counts) in other.modes {
            self.modes.entry(mode).or_default().merge(counts);
        }
        for (rule, mode, occurrences) in other.rules.iter() {
            self.rules.add(rule, mode, *occurrences);
        }
        for (end, occurrences) in other.ends {
            self.ends.entry(end).or_insert(occurrences.none_yet()).add(occurrences);
        }
        add_counts(&mut self.choices, other.choices);

        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Whether a rule decided a case, in any mode.
    pub fn hits(&self, rule: Rule) -> bool {
        self.rules.iter().any(|(hit, ..)| hit == rule)
    }

    /// Number of rules that decided a case, in any mode.
    pub fn rules_hit(&self) -> u64 {
        let rules: BTreeSet<Rule> = self.rules.iter().map(|(rule, ..)| rule).collect();
        rules.len() as u64
    }

    /// Number of ways in which accesses ended, in all modes, regardless of who decided it.
    pub fn kinds_of_outcomes(&self) -> u64 {
        let kinds: BTreeSet<_> = self.ends.keys().map(|(mode, _, end)| (*mode, *end)).collect();
        kinds.len() as u64
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

    /// Number of sequences among them.
    pub fn sequences(&self) -> u64 {
        self.sum(|mode| mode.sequences)
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

    /// A page table entry at the last level without P, and a page directory entry without R/W and with bit 63: of two
    /// accesses one faults.
    #[test]
    fn unusual_bits_are_counted_by_level() {
        let mut unusual = UnusualBits::default();
        unusual.entries.extend([(2, 1 << 63 | 2), (1, 1)]);

        let mut counts = EntryBitCounts::default();
        counts.add_case(&unusual, true);
        let mut sum = EntryBitCounts::default();
        sum.add_case(&unusual, false);
        sum.merge(&counts);

        let twice = BitCounts { cases: 2, faults: 1 };
        assert_eq!(sum.iter().collect::<Vec<_>>(), [(1, 0, twice), (2, 1, twice), (2, 63, twice)]);
        for (level, bit) in [(0, 0), (6, 0), (1, 64)] {
            assert!(!sum.add(level, bit, twice), "level {level}, bit {bit}");
        }
    }

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
