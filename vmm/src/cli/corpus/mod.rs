//! `crosswalk corpus`: takes cases out of a corpus, for a smaller one or for tests in other languages, and counts them.

mod export;
mod filter;
mod lines;
mod selection;
mod stats;

use super::failure::Failure;
use clap::{Args, Subcommand};
use std::process::ExitCode;

#[derive(Clone, Debug, Args)]
pub(super) struct CorpusArguments {
    #[command(subcommand)]
    command: CorpusCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum CorpusCommand {
    /// Write cases as test vectors for any language: lines of JSON, each complete in itself
    Export(export::ExportArguments),
    /// Write cases as a smaller corpus, which `replay` reads
    Filter(filter::FilterArguments),
    /// Count the cases by mode, machine, rule and outcome
    Stats(stats::StatsArguments),
}

pub(super) fn run(arguments: &CorpusArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        CorpusCommand::Export(arguments) => export::run(arguments),
        CorpusCommand::Filter(arguments) => filter::run(arguments),
        CorpusCommand::Stats(arguments) => stats::run(arguments),
    }
}
