//! `crosswalk litmus mutants`: mistakes of processors, and the tests that find them.

use crate::cli::failure::Failure;
use crate::cli::output::finish;
use crate::report::document::VerdictWord;
use crate::report::litmus::{self, LitmusTrial};
use crosswalk_litmus::mutants::MUTANTS;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LitmusMutantsArguments {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &LitmusMutantsArguments) -> Result<ExitCode, Failure> {
    let trials = MUTANTS.iter().map(|mutant| {
        let caught = mutant.caught();
        let caught = caught.map_err(|error| Failure::machine(format!("{}: {error}", mutant.id)))?;
        Ok(LitmusTrial { mutant, caught })
    });
    let trials = trials.collect::<Result<Vec<_>, Failure>>()?;

    let is_missed = trials.iter().any(|trial| trial.caught.is_none());
    let verdict = if is_missed { VerdictWord::Missed } else { VerdictWord::Caught };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || litmus::mutants_document(&trials),
        || litmus::mutants_text(&trials),
    ))
}
