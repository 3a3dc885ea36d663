//! `crosswalk conformance`: which rules the walkers that people use get right.

use super::failure::Failure;
use super::output::print;
use super::predictor::Predictor;
use crate::conformance::{AdaptersError, Subject, Table, adapters, beside_this_program};
use crate::corpus::BUNDLED_NAME;
use crate::corpus::read::{CorpusItem, CorpusReader};
use crate::report::conformance;
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use indicatif::{ProgressBar, ProgressStyle};
use mmu_core::Reference;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConformanceArguments {
    /// The corpus whose cases are asked; the one that comes with the program if not given
    #[arg(value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Ask these walkers beside the adapters: cmd:PATH, a program that answers cases, or mutant:ID
    #[arg(long)]
    walker: Vec<Predictor>,
    /// The program of the adapters [default: crosswalk-adapters beside this program]
    #[arg(long, value_name = "PATH", conflicts_with = "no_adapters")]
    adapters: Option<PathBuf>,
    /// Ask no adapters, only the walkers that are named
    #[arg(long)]
    no_adapters: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Write the table as a page of Markdown, too
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

impl From<AdaptersError> for Failure {
    fn from(error: AdaptersError) -> Self {
        Self::Input(error.to_string())
    }
}

/// 0 when the table is there, whatever it says.
pub(super) fn run(arguments: &ConformanceArguments) -> Result<ExitCode, Failure> {
    let mut walkers = vec![Subject::own(WalkerSpec::Reference)];
    walkers.extend(named_adapters(arguments)?);
    walkers.extend(arguments.walker.iter().map(|walker| match walker {
        Predictor::Own(choice) => Subject::own(*choice),
        Predictor::Program(path) => Subject::program(path),
    }));
    let (name, reader) = match &arguments.corpus {
        None => (BUNDLED_NAME.to_owned(), CorpusReader::bundled()?),
        Some(path) => (path.display().to_string(), CorpusReader::open(path)?),
    };
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {human_pos} cases  {elapsed}");
    bar.set_style(style.expect("the template is well-formed"));
    let mut table = Table::new(walkers);
    for item in reader {
        if let CorpusItem::Case(recorded) = item? {
            let by_reference = verdict::judge(&Reference, &recorded.case, &recorded.run);
            table.add(&recorded.case, matches!(by_reference, Verdict::Agree { .. }));
            bar.inc(1);
        }
    }
    table.finish();
    bar.finish_and_clear();
    if let Some(page) = &arguments.page {
        std::fs::write(page, conformance::page(&name, &table)).map_err(|error| {
            Failure::Input(format!("{}: cannot be written: {error}", page.display()))
        })?;
    }
    print(&if arguments.json {
        conformance::document(&name, &table)
    } else {
        conformance::text(&name, &table)
    });
    Ok(ExitCode::SUCCESS)
}

fn named_adapters(arguments: &ConformanceArguments) -> Result<Vec<Subject>, Failure> {
    if arguments.no_adapters {
        return Ok(Vec::new());
    }
    let program = arguments.adapters.clone().or_else(beside_this_program).ok_or_else(|| {
        let problem = "there is no crosswalk-adapters beside this program: build it with `cargo \
                       build --release --package crosswalk-adapters`, or ask without it by \
                       --no-adapters";
        Failure::Input(problem.into())
    })?;
    Ok(adapters(&program)?)
}
