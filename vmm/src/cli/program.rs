//! The user's program that predicts, as `--walker cmd:COMMAND` names it.

use super::failure::Failure;
use super::jail::JailArguments;
use crate::campaign::predictor::Predictor;
use crate::conformance::process::CommandCandidate;
use crate::conformance::score::CandidateScore;
use crate::verdict::Verdict;
use crosswalk_case::Case;
use mmu_core::Prediction;
use std::time::Duration;

/// The time a program has for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A program that is asked about every case of a run, and its score.
pub(super) struct AskedProgram {
    candidate: CommandCandidate,
    score: CandidateScore,
}

impl AskedProgram {
    /// Starts the program in a jail, if the predictor is one.
    pub(super) fn start(
        predictor: &Predictor,
        jail: JailArguments,
    ) -> Result<Option<Self>, Failure> {
        let Predictor::Program(command) = predictor else { return Ok(None) };

        let mut candidate =
            CommandCandidate::new(command.program(), command.arguments(), TIMEOUT, &jail.jail()?);
        candidate.start().map_err(|error| {
            let problem = format!("{predictor}: the program cannot be started: {error}");
            Failure::of_io(problem, &error)
        })?;

        Ok(Some(Self { candidate, score: CandidateScore::default() }))
    }

    /// Asks about a case that was run. `prediction` and `verdict` are the reference's.
    pub(super) fn ask(&mut self, case: &Case, prediction: &Prediction, verdict: &Verdict) {
        self.score.ask(&mut self.candidate, case, prediction, verdict);
    }

    /// Leaves out a case that comes after the end of the run's time.
    pub(super) const fn leave_out(&mut self) {
        self.score.not_asked_in_time += 1;
    }

    /// Ends the program. What it started, and waited for, counts as CPU time from then on.
    pub(super) fn end(&mut self) {
        self.candidate.end();
    }

    pub(super) const fn score(&self) -> &CandidateScore {
        &self.score
    }
}
