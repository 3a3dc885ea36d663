//! The table: what each walker made of the cases about each rule.

use super::attribution::{self, Deviation, KnownMistake, deviations_in};
use super::mark::{Mark, mark};
use super::process::NoAnswer;
use super::subjects::Subject;
use crate::walker::Walker;
use crosswalk_case::{Case, size_of_case};
use mmu_core::{Alternative, Reference};
use std::collections::BTreeMap;

/// What a walker made of the cases about a rule.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Cases that it gets right as far as they are about the rule.
    pub right: u64,
    /// Cases that it gets wrong as if the rule were not there.
    pub wrong: u64,
    /// Cases of which its answer says nothing about the rule.
    pub silent: u64,
    /// The simplest case of those that it gets wrong.
    pub mistake: Option<Mistake>,
}

/// A case that a walker gets wrong.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The case.
    pub case: Case,
    /// What is allowed, in words.
    pub expected: String,
    /// What the walker said, in words.
    pub answered: String,
    /// What explains the answer: the mistake of a mutant, or what an omission does instead.
    pub explained_by: Option<String>,
}

/// A walker's column of the table.
#[derive(Debug)]
pub struct Column {
    /// The walker.
    pub walker: Subject,
    /// What it made of each row.
    pub cells: BTreeMap<KnownMistake, Cell>,
    /// Cases that it was asked.
    pub asked: u64,
    /// Cases without an answer, and what became of the first.
    pub failed: u64,
    /// The first of them, and why.
    pub failure: Option<(Case, String)>,
    in_a_row: u32,
    /// Its mistakes by everything that explains them.
    wrong: BTreeMap<Vec<ConformanceCause>, (u64, Mistake)>,
    /// How many right answers speak against a cause.
    refuted: BTreeMap<ConformanceCause, i64>,
}

/// After so many failures in a row a walker is not asked again.
pub(super) const MAX_FAILURES: u32 = 20;

impl Column {
    /// The column of a walker that was asked nothing yet.
    pub fn new(walker: Subject) -> Self {
        let (cells, wrong, refuted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { walker, cells, asked: 0, failed: 0, failure: None, in_a_row: 0, wrong, refuted }
    }

    fn add(&mut self, case: &Case, allowed: &[Alternative], about: &[Deviation]) {
        if self.walker.unavailable.is_some() || self.in_a_row >= MAX_FAILURES {
            return;
        }
        self.asked += 1;
        let answer = match self.walker.ask(case) {
            Ok(answer) => answer,
            Err(failure) => return self.fail(case, &failure),
        };
        self.in_a_row = 0;
        match mark(case, allowed, &answer) {
            Mark::Wrong { expected, answered } => {
                let by = |way: &Deviation| mark(case, &way.allowed, &answer);
                let causes = attribution::causes(about, by, case, allowed);
                let mistake =
                    Mistake { case: case.clone(), expected, answered, explained_by: None };
                keep(self.wrong.entry(causes).or_insert((0, mistake.clone())), mistake, 1);
            }
            marked => {
                // Of a row with several deviations one that tells is enough.
                let mut told: BTreeMap<KnownMistake, bool> = BTreeMap::new();
                for way in about {
                    let tells =
                        marked == Mark::Right && is_wrong(&mark(case, &way.allowed, &answer));
                    if tells {
                        *self.refuted.entry((way.row, Some(way.instead))).or_default() += 1;
                    }
                    *told.entry(way.row).or_default() |= tells;
                }
                for (row, is_right) in told {
                    let cell = self.cells.entry(row).or_default();
                    *(if is_right { &mut cell.right } else { &mut cell.silent }) += 1;
                }
            }
        }
    }

    /// Says of every mistake what it is about: where several causes explain it, the one that explains
    /// most of the walker's mistakes, less the right answers that speak against it.
    fn finish(&mut self) {
        let mut left = std::mem::take(&mut self.wrong);
        while !left.is_empty() {
            let mut explained: BTreeMap<ConformanceCause, i64> = BTreeMap::new();
            for (causes, (count, _)) in &left {
                for cause in causes {
                    *explained.entry(*cause).or_default() += i64::try_from(*count).unwrap_or(0);
                }
            }
            let refuted = |cause: &ConformanceCause| self.refuted.get(cause).copied().unwrap_or(0);
            let most = explained.into_iter().max_by_key(|(cause, count)| count - refuted(cause));
            let Some((cause, _)) = most else { return };
            let (row, instead) = cause;
            let cell = self.cells.entry(row).or_default();
            left.retain(|causes, (count, mistake)| {
                if !causes.contains(&cause) {
                    return true;
                }
                let mistake = Mistake { explained_by: instead.map(Into::into), ..mistake.clone() };
                let known = cell.mistake.take().unwrap_or_else(|| mistake.clone());
                let mut met = (cell.wrong, known);
                keep(&mut met, mistake, *count);
                (cell.wrong, cell.mistake) = (met.0, Some(met.1));
                false
            });
        }
    }

    fn fail(&mut self, case: &Case, failure: &NoAnswer) {
        self.failed += 1;
        self.in_a_row += 1;
        self.failure.get_or_insert_with(|| (case.clone(), failure.to_string()));
    }
}

/// What a wrong answer is about, and what is done instead, if that is known.
pub(super) type ConformanceCause = (KnownMistake, Option<&'static str>);

pub(super) const fn is_wrong(mark: &Mark) -> bool {
    matches!(mark, Mark::Wrong { .. })
}

/// Counts more mistakes of a kind, and keeps the simplest.
pub(super) fn keep((count, simplest): &mut (u64, Mistake), mistake: Mistake, more: u64) {
    *count += more;
    if size_of_case(&mistake.case) < size_of_case(&simplest.case) {
        *simplest = mistake;
    }
}

/// The table: a column for each walker.
#[derive(Debug)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// Cases that count: those on which the machine does what is allowed.
    pub cases: u64,
    /// Cases that do not: the machine differs from the manuals itself, or could not run them.
    pub not_counted: u64,
}

impl Table {
    /// A table of walkers that were asked nothing yet.
    pub fn new(walkers: Vec<Subject>) -> Self {
        Self { columns: walkers.into_iter().map(Column::new).collect(), cases: 0, not_counted: 0 }
    }

    /// Asks every walker about a case, if the machine did what is allowed there.
    pub fn add(&mut self, case: &Case, machine_agrees: bool) {
        if !machine_agrees {
            self.not_counted += 1;
            return;
        }
        self.cases += 1;
        let allowed = Reference.predict(case).alternatives;
        let about = deviations_in(case, &allowed);
        for column in &mut self.columns {
            column.add(case, &allowed, &about);
        }
    }

    /// Says of every mistake what it is about: to be called when all cases were asked.
    pub fn finish(&mut self) {
        self.columns.iter_mut().for_each(Column::finish);
    }
}
