//! A column of the table: how one walker handled the cases about each rule.

use super::attribution::{self, Aspect, Deviation};
use super::mark::{Mark, mark};
use super::marks::{Mistake, RuleMarks};
use super::process::NoAnswer;
use super::side::Side;
use super::subjects::Subject;
use crosswalk_case::Case;
use crosswalk_case::protocol::Answer;
use mmu_core::Alternative;
use std::collections::{BTreeMap, BTreeSet};

/// A walker's column of the table.
#[derive(Debug)]
pub struct Column {
    /// The walker.
    pub walker: Subject,
    /// Its marks, for each aspect about which it was asked.
    pub marks: RuleMarks,
    /// Number of cases about which it was asked.
    pub asked: u64,
    /// Number of cases without an answer.
    pub failed: u64,
    /// The first of them, and why there is no answer.
    pub failure: Option<(Case, String)>,
}

impl Column {
    /// The column of a walker that has not been asked yet.
    pub fn new(walker: Subject) -> Self {
        Self { walker, marks: RuleMarks::default(), asked: 0, failed: 0, failure: None }
    }

    /// Asks the walker about a case, unless it is unavailable or fails all the time. An answer has room for
    /// one access of an instruction.
    pub(super) fn add(&mut self, case: &Case, allowed: &[Alternative], deviations: &[Deviation]) {
        if case.has_source() || self.walker.unavailable.is_some() || self.walker.is_given_up() {
            return;
        }

        self.asked += 1;
        let answer = match self.walker.ask(case) {
            Ok(answer) => answer,
            Err(failure) => return self.add_failure(case, &failure),
        };

        match mark(case, allowed, &answer) {
            Mark::Right => self.add_right(case, allowed, &answer, deviations),
            Mark::Silent(_) => self.add_silent(case, &answer, deviations),
            Mark::Wrong { expected, answered } => {
                let marked_by = |way: &Deviation| way.mark(case, &answer);
                let causes = attribution::causes(deviations, marked_by, case, allowed);
                let case = case.clone();
                self.marks
                    .add_mistake(causes, Mistake { case, expected, answered, explained_by: None });
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
        let mut aspects: BTreeMap<Aspect, BTreeSet<Side>> = BTreeMap::new();
        for deviation in deviations {
            let refuted_on = aspects.entry(deviation.aspect).or_default();
            if deviation.is_refuted_by(case, answer) {
                self.marks.refute(case.mode(), deviation.cause());
            }
            let is_wrong = matches!(deviation.mark(case, answer), Mark::Wrong { .. });
            if is_wrong && !deviation.is_excused(case, answer) {
                refuted_on.insert(deviation.side);
            }
        }

        self.marks.add_right(allowed, aspects);
    }

    /// Adds an answer that leaves out what matters.
    fn add_silent(&mut self, case: &Case, answer: &Answer, deviations: &[Deviation]) {
        let unchecked = deviations.iter().filter(|way| way.is_unchecked_by(case, answer));
        self.marks.add_unchecked(unchecked.map(|way| way.aspect).collect());
        self.marks.add_silent(deviations.iter().map(|deviation| deviation.aspect).collect());
    }

    fn add_failure(&mut self, case: &Case, failure: &NoAnswer) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| (case.clone(), failure.to_string()));
    }
}
