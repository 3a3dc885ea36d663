//! A run that has ended, with everything that its report says.

use crate::campaign::Summary;
use crate::campaign::journal::RunLine;
use crate::cli::program::AskedProgram;
use crate::report::{Resuming, RunFacts};
use crosswalk_machine::jail::JailReport;
use crosswalk_machine::{Capabilities, Identity, ModeOffer};

/// A run that has ended.
pub(super) struct FinishedRun {
    pub(super) identity: Identity,
    pub(super) capabilities: Capabilities,
    pub(super) modes: Vec<ModeOffer>,
    pub(super) run: RunLine,
    /// The user's program that was asked about every case, if there was one.
    pub(super) program: Option<AskedProgram>,
    pub(super) is_complete: bool,
    /// Whether it has a journal.
    pub(super) has_journal: bool,
    /// Number of machines that ran.
    pub(super) machines: usize,
    pub(super) jail: JailReport,
    pub(super) cpu_seconds: f64,
    pub(super) summary: Summary,
}

impl FinishedRun {
    /// What its report says besides the results.
    pub(super) fn facts(&self) -> RunFacts<'_> {
        RunFacts {
            identity: &self.identity,
            capabilities: &self.capabilities,
            modes: &self.modes,
            run: &self.run,
            sources: &[],
            covered: &[],
            candidate: self.program.as_ref().map(AskedProgram::score),
            complete: self.is_complete,
            resuming: match (&self.program, self.has_journal) {
                (Some(_), _) => Resuming::OfProgram,
                (None, true) => Resuming::FromJournal,
                (None, false) => Resuming::NoReport,
            },
            jobs: Some(self.machines),
            jail: Some(&self.jail),
            cpu_seconds: self.cpu_seconds,
        }
    }
}
