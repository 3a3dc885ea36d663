//! `crosswalk corpus stats`: what a corpus consists of.

use super::selection::SelectionArguments;
use crate::cli::failure::Failure;
use crate::cli::output::finish;
use crate::corpus::statistics::CorpusStatistics;
use crate::report::document::VerdictWord;
use crate::report::statistics;
use std::ops::ControlFlow;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct StatsArguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &StatsArguments) -> Result<ExitCode, Failure> {
    let mut reader = arguments.selection.open()?;
    let mut counts = CorpusStatistics::default();
    arguments.selection.visit(&mut reader, |found| {
        counts.add(&found);
        Ok::<_, Failure>(ControlFlow::Continue(()))
    })?;

    Ok(finish(
        arguments.json,
        VerdictWord::Done.into(),
        || statistics::document(reader.name(), &counts),
        || statistics::text(reader.name(), &counts),
    ))
}
