//! How something that walks tables handled the cases about each rule: counts, mistakes, and the causes
//! that they are attributed to.

use super::attribution::{Aspect, ConformanceCause, PossibleCauses};
use super::side::{RightAbout, RightSides, Side};
use crosswalk_case::{Case, size_of_case};
use mmu_core::{Alternative, PagingMode};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// How a walker handled the cases about a rule.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Number of cases in which it gets the rule right.
    pub right: u64,
    /// Number of cases in which it gets the rule wrong.
    pub wrong: u64,
    /// Number of cases in which its answer says nothing about the rule.
    pub silent: u64,
    /// The cases in which it gets the rule right, by the side of the rule.
    pub right_sides: RightSides,
    /// Whether its right answers are on one side of the rule only, so that a walker that knows nothing
    /// of the rule could have given them all.
    pub one_sided: bool,
    /// The simplest case in which it gets the rule wrong.
    pub mistake: Option<Mistake>,
}

impl Cell {
    /// Forgets that faults were right where the rule asks for one: they had other reasons.
    fn forget_lax(&mut self) {
        self.right_sides.too_lax = 0;
        if self.right_sides == RightSides::default() {
            self.silent += std::mem::take(&mut self.right);
        }
    }

    pub(super) fn add_mistakes(&mut self, count: u64, mistake: Mistake) {
        self.wrong += count;
        if self.mistake.as_ref().is_none_or(|known| mistake.is_simpler_than(known)) {
            self.mistake = Some(mistake);
        }
    }
}

/// A case that a walker gets wrong.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The case.
    pub case: Case,
    /// The likeliest outcome that is allowed, in words.
    pub expected: String,
    /// The walker's answer, in words.
    pub answered: String,
    /// What explains the answer: the mistake of a mutant, or what an omission does instead.
    pub explained_by: Option<String>,
}

impl Mistake {
    fn is_simpler_than(&self, other: &Self) -> bool {
        size_of_case(&self.case) < size_of_case(&other.case)
    }
}

/// Mistakes in one mode with the same possible causes.
#[derive(Debug)]
struct MistakeGroup {
    count: u64,
    simplest: Mistake,
}

impl MistakeGroup {
    fn add(&mut self, mistake: Mistake) {
        self.count += 1;
        if mistake.is_simpler_than(&self.simplest) {
            self.simplest = mistake;
        }
    }
}

/// A cause of mistakes in one mode.
type CauseInMode = (PagingMode, ConformanceCause);

/// The marks of a walker or of a machine, rule by rule.
#[derive(Debug, Default)]
pub struct RuleMarks {
    /// A cell for each aspect that a case was about.
    pub cells: BTreeMap<Aspect, Cell>,
    /// The mistakes, by the mode and their possible causes.
    mistakes: BTreeMap<(PagingMode, PossibleCauses), MistakeGroup>,
    /// Number of right answers in a mode that speak against a cause.
    refuted: BTreeMap<CauseInMode, u64>,
    /// The rules whose reserved bits the walker does not look for, as it says itself.
    unchecked: BTreeSet<Aspect>,
    /// Whether an answer was right about an access that completes, and about one that faults.
    right_about: RightAbout,
}

impl RuleMarks {
    /// Adds a right answer in a case that allows these outcomes. `refuted_on` has, for each aspect that the
    /// case is about, the sides on which leaving it out would have been wrong.
    pub(super) fn add_right(
        &mut self,
        allowed: &[Alternative],
        refuted_on: BTreeMap<Aspect, BTreeSet<Side>>,
    ) {
        let faults = |way: &Alternative| way.outcome.fault().is_some();
        self.right_about.fault |= allowed.iter().all(faults);
        self.right_about.completion |= !allowed.iter().any(faults);

        for (aspect, sides) in refuted_on {
            let cell = self.cells.entry(aspect).or_default();
            if sides.is_empty() {
                cell.silent += 1;
            } else {
                cell.right += 1;
            }
            for side in sides {
                cell.right_sides.add(side);
            }
        }
    }

    /// Notes that a right answer in a case of this mode speaks against a cause.
    pub(super) fn refute(&mut self, mode: PagingMode, cause: ConformanceCause) {
        *self.refuted.entry((mode, cause)).or_default() += 1;
    }

    /// Adds a case that is about these aspects, and whose answer says nothing about them.
    pub(super) fn add_silent(&mut self, aspects: BTreeSet<Aspect>) {
        for aspect in aspects {
            self.cells.entry(aspect).or_default().silent += 1;
        }
    }

    /// Notes that the walker does not look for the reserved bits of these rules, as it says itself.
    pub(super) fn add_unchecked(&mut self, aspects: BTreeSet<Aspect>) {
        self.unchecked.extend(aspects);
    }

    /// Adds a mistake with its possible causes.
    pub(super) fn add_mistake(&mut self, causes: PossibleCauses, mistake: Mistake) {
        match self.mistakes.entry((mistake.case.mode(), causes)) {
            Entry::Occupied(mut group) => group.get_mut().add(mistake),
            Entry::Vacant(place) => {
                place.insert(MistakeGroup { count: 1, simplest: mistake });
            }
        }
    }

    /// Attributes the mistakes, once all cases have been added, and says which right answers are on
    /// one side of their rule only.
    pub(super) fn finish(&mut self) {
        self.attribute_mistakes();
        for (aspect, cell) in &mut self.cells {
            if self.unchecked.contains(aspect) {
                cell.forget_lax();
            }
            let is_shown = cell.right_sides.show(aspect.bites(), self.right_about);
            cell.one_sided = cell.right > 0 && !is_shown;
        }
    }

    /// Attributes every mistake to one of its possible causes, mode by mode: a walker may have code of its
    /// own for each. Of the causes of one rank, that which explains most of the mistakes that are left is
    /// taken first, less the number of right answers that speak against it; of several such, that of which the
    /// same is true over all modes.
    fn attribute_mistakes(&mut self) {
        let believed = self.believed();
        for rank in 0..PossibleCauses::RANKS {
            while let Some(cause) = self.likeliest_cause(rank, &believed) {
                self.attribute_to(cause, rank);
            }
        }
    }

    /// The causes that at least as many mistakes speak for as right answers speak against.
    fn believed(&self) -> BTreeSet<CauseInMode> {
        let mut explained = self.explained(PossibleCauses::each);
        explained.retain(|cause, count| *count >= self.refutations(cause));
        explained.into_keys().collect()
    }

    /// The likeliest cause of a rank for the mistakes that are not attributed yet.
    fn likeliest_cause(
        &self,
        rank: usize,
        believed: &BTreeSet<CauseInMode>,
    ) -> Option<CauseInMode> {
        let explained = self.explained(|causes| causes.of_rank(rank));
        let surplus = |cause: &CauseInMode| {
            let count = explained.get(cause).copied().unwrap_or(0);
            i128::from(count) - i128::from(self.refutations(cause))
        };
        let in_all_modes =
            |cause| PagingMode::ALL.iter().map(|mode| surplus(&(*mode, cause))).sum::<i128>();

        let possible = explained.keys().filter(|cause| believed.contains(cause));
        possible.max_by_key(|cause| (surplus(cause), in_all_modes(cause.1))).copied()
    }

    /// The number of mistakes that each cause explains, where `causes_of` gives the causes to look at.
    fn explained(
        &self,
        causes_of: impl Fn(&PossibleCauses) -> BTreeSet<ConformanceCause>,
    ) -> BTreeMap<CauseInMode, u64> {
        let mut explained = BTreeMap::new();
        for ((mode, causes), group) in &self.mistakes {
            for cause in causes_of(causes) {
                *explained.entry((*mode, cause)).or_default() += group.count;
            }
        }
        explained
    }

    fn refutations(&self, cause: &CauseInMode) -> u64 {
        self.refuted.get(cause).copied().unwrap_or(0)
    }

    /// Attributes the mistakes that a cause of this rank explains.
    fn attribute_to(&mut self, (mode, cause): CauseInMode, rank: usize) {
        let all = std::mem::take(&mut self.mistakes);
        let is_explained = |(shown_in, causes): &(PagingMode, PossibleCauses)| {
            *shown_in == mode && causes.of_rank(rank).contains(&cause)
        };
        let (explained, others): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(key, _)| is_explained(key));
        self.mistakes = others;

        let cell = self.cells.entry(cause.aspect).or_default();
        for MistakeGroup { count, simplest } in explained.into_values() {
            let explained_by = cause.instead.map(String::from);
            cell.add_mistakes(count, Mistake { explained_by, ..simplest });
        }
    }
}
