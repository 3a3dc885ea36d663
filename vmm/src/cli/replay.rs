//! `crosswalk replay`: compares what recorded machines did with a walker.

mod nested;

use super::cpu_time::cpu_seconds;
use super::failure::Failure;
use super::jail::JailArguments;
use super::number::parse_count;
use super::output_arguments::OutputArguments;
use super::program::AskedProgram;
use super::progress;
use super::publish::{lock_report, publish};
use super::stop_flag::{goes_on, stop_flag};
use crate::campaign::journal::{RunLine, RunOptions};
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::corpus::nested::AnyCorpusReader;
use crate::corpus::read::CorpusReader;
use crate::corpus::replay::{ReplayPlan, replay};
use crate::report::{Resuming, RunFacts, corpus};
use mmu_core::PagingMode;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReplayArguments {
    /// A corpus that `record` wrote, or - for standard input [default: the corpus that comes with the program]
    #[arg(value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Replay nested cases (NPT, EPT): without FILE those that come with the program
    #[arg(long)]
    nested: bool,
    #[command(flatten)]
    options: ReplayOptions,
}

/// What to replay of a corpus, and how to report it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReplayOptions {
    /// Who predicts: reference; mutant:ID, a walker with one known mistake; ID+ID: with two; or
    /// cmd:COMMAND, a program that answers cases, with its arguments: 'cmd:node w.mjs'
    #[arg(long, default_value = "reference")]
    pub(super) walker: Predictor,
    /// Paging modes, separated by commas [default: all that were recorded]
    #[arg(long, value_delimiter = ',')]
    pub(super) mode: Vec<PagingMode>,
    /// Stop after this number of cases
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) cases: Option<u64>,
    /// A file of known findings, or none to forgive nothing [default: the file for each machine]
    #[arg(long, value_name = "FILE|none")]
    pub(super) known: Option<KnownSource>,
    #[command(flatten)]
    pub(super) output: OutputArguments,
    /// Write the report into this directory as JSON and HTML
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
    #[command(flatten)]
    pub(super) jail: JailArguments,
}

pub(super) fn run(arguments: &ReplayArguments) -> Result<ExitCode, Failure> {
    match AnyCorpusReader::open(arguments.corpus.as_deref(), arguments.nested)? {
        AnyCorpusReader::Nested(reader) => nested::run(reader, &arguments.options),
        AnyCorpusReader::OneDimension(reader) => {
            arguments.options.check_one_dimension()?;
            run_reader(reader, "as asked", &arguments.options)
        }
    }
}

/// Replays the corpus that comes with the program; `why` is the reason for it.
pub(super) fn run_bundled(why: &str, options: &ReplayOptions) -> Result<ExitCode, Failure> {
    run_reader(CorpusReader::bundled()?, why, options)
}

impl ReplayOptions {
    /// Refuses what is of nested paging.
    fn check_one_dimension(&self) -> Result<(), Failure> {
        match &self.walker {
            Predictor::Nested(mutant) => Err(Failure::Input(format!(
                "--walker: mutant:{} is one of nested paging, the corpus is not: --nested",
                mutant.id
            ))),
            _ => Ok(()),
        }
    }
}

fn run_reader(
    mut reader: CorpusReader,
    why: &str,
    options: &ReplayOptions,
) -> Result<ExitCode, Failure> {
    let plan = ReplayPlan {
        walker: options.walker.judge(),
        known: options.known.clone().unwrap_or_default(),
        modes: options.mode.clone(),
        cases: options.cases,
    };
    // Before the replay, whose result would be lost.
    let _lock = options.report.as_deref().map(lock_report).transpose()?;
    let mut program = AskedProgram::start(&options.walker, options.jail)?;

    let stop = stop_flag()?;
    let counter = progress::case_counter();
    let replayed = replay(&mut reader, &plan, |recorded, prediction, verdict| {
        if let Some(program) = &mut program {
            program.ask(&recorded.case, prediction, verdict);
        }
        counter.inc(1);
        goes_on(&stop)
    })?;
    counter.finish_and_clear();
    if let Some(program) = &mut program {
        program.end();
    }

    let is_complete = goes_on(&stop).is_continue();
    let name = reader.name();
    if !is_complete && replayed.summary.tally.cases() == 0 {
        return Err(Failure::Stopped);
    }
    if replayed.summary.tally.cases() == 0 {
        return Err(Failure::Input(format!("{name}: no case of these modes was recorded")));
    }

    let run_options = RunOptions {
        modes: &replayed.modes,
        modes_by_name: !options.mode.is_empty(),
        cases: options.cases,
        walker: &options.walker,
        known: &plan.known,
    };
    let facts = RunFacts {
        identity: &replayed.identity,
        capabilities: &replayed.capabilities,
        modes: &replayed.modes,
        run: &RunLine::replayed(run_options, &replayed.identity, &replayed.capabilities),
        sources: &replayed.sources,
        covered: &replayed.covered,
        candidate: program.as_ref().map(AskedProgram::score),
        complete: is_complete,
        resuming: Resuming::Never,
        jobs: None,
        jail: None,
        cpu_seconds: cpu_seconds(),
    };

    publish(
        &facts,
        &replayed.summary,
        &corpus::heading(&replayed, name, why),
        options.output,
        options.report.as_deref(),
    )
}
