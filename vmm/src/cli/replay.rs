//! `crosswalk replay`: what machines did, held against a walker.

use super::failure::Failure;
use super::known::known_findings;
use super::output::print;
use super::output::show;
use super::parse::parse_mode;
use super::predictor::Predictor;
use super::usage::cpu_seconds;
use crate::campaign::journal::RunLine;
use crate::conformance::score::CandidateScore;
use crate::corpus::BUNDLED_NAME;
use crate::corpus::read::{CorpusError, CorpusReader};
use crate::corpus::replay::{self, ReplayPlan};
use crate::report::{RunFacts, corpus};
use indicatif::{ProgressBar, ProgressStyle};
use mmu_core::PagingMode;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReplayArguments {
    /// A corpus that `record` wrote; the one that comes with the program if not given
    #[arg(value_name = "FILE")]
    corpus: Option<PathBuf>,
    #[command(flatten)]
    what: What,
}

/// What is replayed, and how it is shown.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct What {
    /// Who predicts: reference; mutant:ID, a walker with one known mistake; ID+ID: with two; or
    /// cmd:PATH, a program that answers cases
    #[arg(long, default_value = "reference")]
    pub(super) walker: Predictor,
    /// Paging modes, separated by commas; all that were recorded if not given
    #[arg(long, value_delimiter = ',', value_parser = parse_mode)]
    pub(super) mode: Vec<PagingMode>,
    /// Stop after so many cases
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) cases: Option<u64>,
    /// A file of known findings, or none to forgive nothing [default: those for each machine]
    #[arg(long, value_name = "FILE|none")]
    pub(super) known: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Write the report into this directory, too: JSON and a page of HTML
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
}

impl From<CorpusError> for Failure {
    fn from(error: CorpusError) -> Self {
        Self::Input(error.to_string())
    }
}

pub(super) fn run(arguments: &ReplayArguments) -> Result<ExitCode, Failure> {
    match &arguments.corpus {
        None => replay(CorpusReader::bundled()?, BUNDLED_NAME, "as asked", &arguments.what),
        Some(path) => {
            let name = path.display().to_string();
            replay(CorpusReader::open(path)?, &name, "as asked", &arguments.what)
        }
    }
}

/// Replays the corpus that comes with the program.
pub(super) fn bundled(why: &str, what: &What) -> Result<ExitCode, Failure> {
    replay(CorpusReader::bundled()?, BUNDLED_NAME, why, what)
}

fn replay(
    mut reader: CorpusReader,
    name: &str,
    why: &str,
    what: &What,
) -> Result<ExitCode, Failure> {
    let walker = what.walker.judge_observation();
    let known_name = what.known.as_deref().map(|path| path.display().to_string());
    let plan = ReplayPlan { walker, modes: what.mode.clone(), cases: what.cases };
    let known = |identity: &_| {
        known_findings(known_name.as_deref(), walker, identity).map_err(|error| error.to_string())
    };
    let mut asked =
        what.walker.candidate()?.map(|candidate| (candidate, CandidateScore::default()));
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {human_pos} cases  {elapsed}");
    bar.set_style(style.expect("the template is well-formed"));
    let replayed = replay::replay(&mut reader, &plan, &known, |recorded, prediction, verdict| {
        if let Some((candidate, score)) = &mut asked {
            score.ask(candidate, &recorded.case, prediction, verdict);
        }
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let run = RunLine::replayed(
        &replayed.modes,
        what.cases,
        what.walker.to_string(),
        known_name.clone(),
        (&replayed.identity, &replayed.capabilities),
    );
    if replayed.summary.tally.cases() == 0 {
        return Err(Failure::Input(format!("{name}: no case of these modes was recorded")));
    }
    let facts = RunFacts {
        identity: &replayed.identity,
        capabilities: &replayed.capabilities,
        modes: &replayed.modes,
        run: &run,
        sources: &replayed.sources,
        covered: &replayed.covered,
        candidate: asked.as_ref().map(|(_, score)| score),
        complete: true,
        cpu_seconds: cpu_seconds(),
    };
    if !what.json {
        print(&corpus::heading(&replayed, name, why));
    }
    if let Some(directory) = &what.report {
        make(directory)?;
    }
    show(&facts, &replayed.summary, what.json, what.report.as_deref())
}

fn make(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory).map_err(|error| {
        Failure::Input(format!("{}: cannot be made: {error}", directory.display()))
    })
}
