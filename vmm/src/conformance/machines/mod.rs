//! Machines beside the manuals and beside each other: what each did with its cases, rule by rule, and who
//! differs in the cases that several ran.
//!
//! The reference is the first voter: who differs from it differs from the manuals. The machines vote as
//! well, where the manuals allow all of them the same: who does not do what more than half of them do is
//! outvoted. That is no fault where the manuals leave a choice; but where every machine does the same and
//! the reference something else, the reference deserves a second look.
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

mod column;
mod outcome;
#[cfg(test)]
mod tests;
mod votes;

pub use column::MachineColumn;
pub use votes::{Disagreement, SharedExample};

use super::attribution::deviations_in;
use crate::campaign::known::KnownSource;
use crate::corpus::read::{CorpusError, CorpusItem, CorpusReader};
use crate::corpus::{CaseKey, Source};
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::MachineLine;
use mmu_core::{PagingMode, Reference};
use std::collections::BTreeMap;
use votes::{Ballot, Votes};

/// The most machines that a table has, and the most cases, all of which are in memory.
const MAX_MACHINES: usize = 26;
const MAX_CASES: usize = 2_000_000;

/// Machines, and what they did.
pub struct MachineTable {
    /// The machines, in the order in which their corpora were read.
    pub machines: Vec<MachineColumn>,
    /// Number of cases that differ in more than the processor.
    pub cases: u64,
    /// Number of those that at least two machines ran.
    pub shared: u64,
    /// Number of those in which all of these machines did the same, as the manuals allow.
    pub unanimous: u64,
    /// The others, by who differs and in what: those that are not known first, then the most frequent.
    pub disagreements: Vec<Disagreement>,
}

/// What one machine did with a case.
struct MachineRun {
    machine: usize,
    case: Case,
    attempt: Attempt,
}

/// Reads corpora and fills the table.
pub struct TableBuilder<'k> {
    known: &'k KnownSource,
    modes: Vec<PagingMode>,
    lines: Vec<MachineLine>,
    machines: Vec<MachineColumn>,
    runs: BTreeMap<CaseKey, Vec<MachineRun>>,
    count: usize,
}

impl<'k> TableBuilder<'k> {
    /// A table of these modes, or of all if there are none.
    pub fn new(known: &'k KnownSource, modes: &[PagingMode]) -> Self {
        Self {
            known,
            modes: modes.to_vec(),
            lines: Vec::new(),
            machines: Vec::new(),
            runs: BTreeMap::new(),
            count: 0,
        }
    }

    /// Reads a corpus. A machine that was recorded in several sections is one.
    ///
    /// # Errors
    /// When the corpus is damaged, or there are too many machines or cases.
    pub fn read(
        &mut self,
        mut reader: CorpusReader,
        mut note: impl FnMut(),
    ) -> Result<(), CorpusError> {
        let mut machine = 0;
        while let Some(item) = reader.next() {
            let added = match item? {
                CorpusItem::Source(source) => self.machine_of(*source).map(|index| machine = index),
                CorpusItem::Case(recorded) => {
                    note();
                    self.add(machine, recorded.case, recorded.attempt)
                }
            };
            added.map_err(|problem| reader.error(&problem))?;
        }
        Ok(())
    }

    fn machine_of(&mut self, source: Source) -> Result<usize, String> {
        if let Some(index) = self.lines.iter().position(|line| *line == source.machine) {
            return Ok(index);
        }
        if self.lines.len() >= MAX_MACHINES {
            return Err(format!("expected at most {MAX_MACHINES} machines"));
        }

        let line = source.machine;
        let column = MachineColumn::new(line.clone(), line.read()?, self.known);
        self.machines.push(column.map_err(|error| error.to_string())?);
        self.lines.push(line);
        Ok(self.lines.len().saturating_sub(1))
    }

    fn add(&mut self, machine: usize, case: Case, attempt: Attempt) -> Result<(), String> {
        if !self.modes.is_empty() && !self.modes.contains(&case.mode()) {
            return Ok(());
        }
        if self.count >= MAX_CASES {
            return Err(format!("expected at most {MAX_CASES} cases in all"));
        }

        self.count = self.count.saturating_add(1);
        let runs = self.runs.entry(CaseKey::of(&case)).or_default();
        runs.push(MachineRun { machine, case, attempt });
        Ok(())
    }

    /// Judges every case, and counts the votes. `note` is called for each.
    pub fn finish(self, mut note: impl FnMut()) -> MachineTable {
        let Self { mut machines, runs, .. } = self;
        let mut votes = Votes::default();
        let cases = runs.len() as u64;

        for runs in runs.into_values() {
            let mut ballots: Vec<Ballot> = Vec::new();
            for run in &runs {
                note();
                let Some(column) = machines.get_mut(run.machine) else { continue };
                let predictions = Reference.predict_accesses(&run.case);
                let Some(last) = predictions.last() else { continue };

                if let Some(first) = ballots.iter().find(|ballot| ballot.machine == run.machine) {
                    column.unsteady += u64::from(!first.is_alike(&run.case, &run.attempt, last));
                    continue;
                }
                let deviations = deviations_in(&run.case, &last.alternatives);
                let verdict = column.add(&run.case, &run.attempt, &predictions, &deviations);
                ballots.push(Ballot {
                    machine: run.machine,
                    case: &run.case,
                    attempt: &run.attempt,
                    predictions,
                    verdict,
                });
            }
            votes.count(&ballots, &mut machines);
        }

        machines.iter_mut().for_each(MachineColumn::finish);
        let Votes { shared, unanimous, .. } = votes;
        MachineTable { machines, cases, shared, unanimous, disagreements: votes.into_ordered() }
    }
}
