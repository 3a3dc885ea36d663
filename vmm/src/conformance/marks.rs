//! How something that walks tables handled the cases about each rule: counts, mistakes, and the causes
//! that they are attributed to.

use super::attribution::{Aspect, ConformanceCause};
use super::side::{RightAbout, RightSides, Side};
use crosswalk_case::{Case, size_of_case};
use mmu_core::Alternative;
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

/// Mistakes with the same possible causes.
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

/// The marks of a walker or of a machine, rule by rule.
#[derive(Debug, Default)]
pub struct RuleMarks {
    /// A cell for each aspect that a case was about.
    pub cells: BTreeMap<Aspect, Cell>,
    /// The mistakes, by their possible causes.
    mistakes: BTreeMap<Vec<ConformanceCause>, MistakeGroup>,
    /// Number of right answers that speak against a cause.
    refuted: BTreeMap<ConformanceCause, u64>,
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

    /// Notes that a right answer speaks against a cause.
    pub(super) fn refute(&mut self, cause: ConformanceCause) {
        *self.refuted.entry(cause).or_default() += 1;
    }

    /// Adds a case that is about these aspects, and whose answer says nothing about them.
    pub(super) fn add_silent(&mut self, aspects: BTreeSet<Aspect>) {
        for aspect in aspects {
            self.cells.entry(aspect).or_default().silent += 1;
        }
    }

    /// Adds a mistake with its possible causes.
    pub(super) fn add_mistake(&mut self, causes: Vec<ConformanceCause>, mistake: Mistake) {
        match self.mistakes.entry(causes) {
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
            let is_shown = cell.right_sides.show(aspect.bites(), self.right_about);
            cell.one_sided = cell.right > 0 && !is_shown;
        }
    }

    /// Attributes every mistake to one of its possible causes. The cause that explains most of the
    /// walker's mistakes is taken first, less the number of right answers that speak against it.
    fn attribute_mistakes(&mut self) {
        while let Some(cause) = self.likeliest_cause() {
            let all = std::mem::take(&mut self.mistakes);
            let (explained, others): (BTreeMap<_, _>, _) =
                all.into_iter().partition(|(causes, _)| causes.contains(&cause));
            self.mistakes = others;

            let cell = self.cells.entry(cause.aspect).or_default();
            for MistakeGroup { count, simplest } in explained.into_values() {
                let explained_by = cause.instead.map(String::from);
                cell.add_mistakes(count, Mistake { explained_by, ..simplest });
            }
        }
    }

    /// The likeliest cause of the mistakes that are not attributed yet; `None` if there are none.
    fn likeliest_cause(&self) -> Option<ConformanceCause> {
        let mut explained: BTreeMap<ConformanceCause, u64> = BTreeMap::new();
        for (causes, group) in &self.mistakes {
            for cause in causes {
                *explained.entry(*cause).or_default() += group.count;
            }
        }

        let surplus = |cause: &ConformanceCause, count: u64| {
            let refuted = self.refuted.get(cause).copied().unwrap_or(0);
            i128::from(count) - i128::from(refuted)
        };
        let likeliest = explained.into_iter().max_by_key(|(cause, count)| surplus(cause, *count));
        likeliest.map(|(cause, _)| cause)
    }
}
