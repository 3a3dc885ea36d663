//! A column of the table: how one walker handled the cases about each rule.

use super::attribution::{self, Aspect, ConformanceCause, Deviation};
use super::mark::{Mark, mark};
use super::process::NoAnswer;
use super::side::{RightAbout, RightSides, Side};
use super::subjects::Subject;
use crosswalk_case::protocol::Answer;
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
    fn add_mistakes(&mut self, count: u64, mistake: Mistake) {
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

/// A walker's column of the table.
#[derive(Debug)]
pub struct Column {
    /// The walker.
    pub walker: Subject,
    /// A cell for each aspect about which the walker was asked.
    pub cells: BTreeMap<Aspect, Cell>,
    /// Number of cases about which it was asked.
    pub asked: u64,
    /// Number of cases without an answer.
    pub failed: u64,
    /// The first of them, and why there is no answer.
    pub failure: Option<(Case, String)>,
    /// The mistakes, by their possible causes.
    mistakes: BTreeMap<Vec<ConformanceCause>, MistakeGroup>,
    /// Number of right answers that speak against a cause.
    refuted: BTreeMap<ConformanceCause, u64>,
    /// Whether an answer was right about an access that completes, and about one that faults.
    right_about: RightAbout,
}

impl Column {
    /// The column of a walker that has not been asked yet.
    pub fn new(walker: Subject) -> Self {
        Self {
            walker,
            cells: BTreeMap::new(),
            asked: 0,
            failed: 0,
            failure: None,
            mistakes: BTreeMap::new(),
            refuted: BTreeMap::new(),
            right_about: RightAbout::default(),
        }
    }

    /// Asks the walker about a case, unless it is unavailable or fails all the time.
    pub(super) fn add(&mut self, case: &Case, allowed: &[Alternative], deviations: &[Deviation]) {
        if self.walker.unavailable.is_some() || self.walker.is_given_up() {
            return;
        }

        self.asked += 1;
        let answer = match self.walker.ask(case) {
            Ok(answer) => answer,
            Err(failure) => return self.add_failure(case, &failure),
        };

        match mark(case, allowed, &answer) {
            Mark::Right => self.add_right(case, allowed, &answer, deviations),
            Mark::Silent(_) => self.add_silent(deviations),
            Mark::Wrong { expected, answered } => {
                let marked_by = |way: &Deviation| way.mark(case, &answer);
                let causes = attribution::causes(deviations, marked_by, case, allowed);
                let case = case.clone();
                self.add_mistake(causes, Mistake { case, expected, answered, explained_by: None });
            }
        }
    }

    /// Adds an answer that is allowed. It shows that the walker gets a rule right if one of the
    /// rule's deviations does not allow it.
    fn add_right(
        &mut self,
        case: &Case,
        allowed: &[Alternative],
        answer: &Answer,
        deviations: &[Deviation],
    ) {
        let faults = |way: &Alternative| way.outcome.fault().is_some();
        self.right_about.fault |= allowed.iter().all(faults);
        self.right_about.completion |= !allowed.iter().any(faults);

        let mut aspects: BTreeMap<Aspect, BTreeSet<Side>> = BTreeMap::new();
        for deviation in deviations {
            let refuted_on = aspects.entry(deviation.aspect).or_default();
            if !matches!(deviation.mark(case, answer), Mark::Wrong { .. }) {
                continue;
            }
            *self.refuted.entry(deviation.cause()).or_default() += 1;
            if !deviation.is_excused(case, answer) {
                refuted_on.insert(deviation.side);
            }
        }

        for (aspect, sides) in aspects {
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

    fn add_silent(&mut self, deviations: &[Deviation]) {
        let aspects: BTreeSet<_> = deviations.iter().map(|deviation| deviation.aspect).collect();
        for aspect in aspects {
            self.cells.entry(aspect).or_default().silent += 1;
        }
    }

    fn add_mistake(&mut self, causes: Vec<ConformanceCause>, mistake: Mistake) {
        match self.mistakes.entry(causes) {
            Entry::Occupied(mut group) => group.get_mut().add(mistake),
            Entry::Vacant(place) => {
                place.insert(MistakeGroup { count: 1, simplest: mistake });
            }
        }
    }

    fn add_failure(&mut self, case: &Case, failure: &NoAnswer) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| (case.clone(), failure.to_string()));
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
