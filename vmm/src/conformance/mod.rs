//! Conformance: which rules the walkers that people use get right, by what machines did.
//!
//! A case is about a rule when a mutant or an omission of the rule predicts otherwise. A walker gets
//! the rule right there if its answer is allowed, and would not be if the rule were left out; it gets
//! it wrong if its answer is allowed only then. What is allowed either way says nothing of the rule.

mod blame;
mod walkers;

pub use blame::{Row, rows};
pub use walkers::{Adapter, AdaptersError, Named, adapters, beside_this_program};

use crate::candidate::command::NoAnswer;
use crate::candidate::mark::{Mark, mark};
use crate::case::Case;
use crate::finding::size_of_case;
use crate::walker::Walker;
use blame::{Deviation, deviations_in};
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
    pub walker: Named,
    /// What it made of each row.
    pub cells: BTreeMap<Row, Cell>,
    /// Cases that it was asked.
    pub asked: u64,
    /// Cases without an answer, and what became of the first.
    pub failed: u64,
    /// The first of them, and why.
    pub failure: Option<(Case, String)>,
    in_a_row: u32,
}

/// After so many failures in a row a walker is not asked again.
const MOST_FAILURES: u32 = 20;

impl Column {
    /// The column of a walker that was asked nothing yet.
    pub fn new(walker: Named) -> Self {
        Self { walker, cells: BTreeMap::new(), asked: 0, failed: 0, failure: None, in_a_row: 0 }
    }

    fn add(&mut self, case: &Case, allowed: &[Alternative], about: &[Deviation]) {
        if self.walker.unavailable.is_some() || self.in_a_row >= MOST_FAILURES {
            return;
        }
        self.asked += 1;
        let answer = match self.walker.ask(case) {
            Ok(answer) => answer,
            Err(failure) => return self.fail(case, &failure),
        };
        self.in_a_row = 0;
        let marked = mark(case, allowed, &answer);
        let mut by_row: BTreeMap<Row, Seen> = BTreeMap::new();
        for deviation in about {
            let beside = mark(case, &deviation.allowed, &answer);
            let seen = match (&marked, &beside) {
                (Mark::Right, Mark::Wrong { .. }) => Seen::Right,
                (Mark::Wrong { .. }, Mark::Right) => Seen::Wrong(Some(deviation.instead)),
                (Mark::Right | Mark::Silent(_), _) => Seen::Silent,
                (Mark::Wrong { .. }, _) => continue,
            };
            let known = by_row.entry(deviation.row).or_insert(Seen::Silent);
            *known = (*known).max(seen);
        }
        if let Mark::Wrong { expected, answered } = marked {
            by_row.retain(|_, seen| matches!(seen, Seen::Wrong(_)));
            blame::narrow(&mut by_row, case, allowed);
            for (row, seen) in by_row {
                let Seen::Wrong(explained_by) = seen else { continue };
                let mistake = Mistake {
                    case: case.clone(),
                    expected: expected.clone(),
                    answered: answered.clone(),
                    explained_by: explained_by.map(Into::into),
                };
                self.cells.entry(row).or_default().add_mistake(mistake);
            }
            return;
        }
        for (row, seen) in by_row {
            let cell = self.cells.entry(row).or_default();
            match seen {
                Seen::Right => cell.right += 1,
                _ => cell.silent += 1,
            }
        }
    }

    fn fail(&mut self, case: &Case, failure: &NoAnswer) {
        self.failed += 1;
        self.in_a_row += 1;
        self.failure.get_or_insert_with(|| (case.clone(), failure.to_string()));
    }
}

/// What one case says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Silent,
    Right,
    Wrong(Option<&'static str>),
}

impl Cell {
    fn add_mistake(&mut self, mistake: Mistake) {
        self.wrong += 1;
        let size = |mistake: &Mistake| size_of_case(&mistake.case);
        if self.mistake.as_ref().is_none_or(|known| size(&mistake) < size(known)) {
            self.mistake = Some(mistake);
        }
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
    pub fn new(walkers: Vec<Named>) -> Self {
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
}
