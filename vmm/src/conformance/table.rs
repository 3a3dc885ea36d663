//! The table: a column for each walker, a row for each rule.

use super::attribution::deviations_in;
use super::column::Column;
use super::subjects::Subject;
use crate::walker::Walker;
use crosswalk_case::Case;
use mmu_core::Reference;

/// The table of walkers and rules.
#[derive(Debug)]
pub struct Table {
    /// A column for each walker.
    pub columns: Vec<Column>,
    /// Number of cases that count: the machine did what is allowed.
    pub cases: u64,
    /// Number of cases that do not count: the machine itself differs from the manuals, or could not
    /// run the case.
    pub not_counted: u64,
}

impl Table {
    /// A table of walkers that have not been asked yet.
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
        let deviations = deviations_in(case, &allowed);
        for column in &mut self.columns {
            column.add(case, &allowed, &deviations);
        }
    }

    /// Attributes every mistake to a rule. To be called once, after all cases.
    pub fn finish(&mut self) {
        self.columns.iter_mut().for_each(|column| column.marks.finish());
    }
}
