//! `crosswalk merge`: adds up the reports of shards.

use super::failure::Failure;
use super::output_arguments::OutputArguments;
use super::publish::publish;
use crate::campaign::Summary;
use crate::campaign::journal::{Journal, Sum};
use crate::campaign::known::KnownSource;
use crate::report::{self, Resuming, RunFacts};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MergeArguments {
    /// The directories given to --report, one for each shard
    #[arg(value_name = "DIR", required = true)]
    shards: Vec<PathBuf>,
    /// The file of known findings, if the run used one
    #[arg(long, value_name = "FILE|none")]
    known: Option<KnownSource>,
    /// Write the sum into this directory, in the same form
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn run(arguments: &MergeArguments) -> Result<ExitCode, Failure> {
    let mut target = arguments.report.as_deref().map(new_journal).transpose()?;
    let (total, findings) =
        add_up(&arguments.shards, arguments.known.as_ref())?.finish().map_err(Failure::Input)?;
    if let Some(target) = &mut target {
        target.write(&total)?;
    }

    let (identity, capabilities) = total.run.machine.read().map_err(Failure::Input)?;
    let facts = RunFacts {
        identity: &identity,
        capabilities: &capabilities,
        modes: &total.run.read_modes().map_err(Failure::Input)?,
        run: &total.run,
        sources: &[],
        covered: &[],
        candidate: None,
        complete: total.progress.complete,
        resuming: Resuming::FromJournal,
        jobs: None,
        jail: None,
        cpu_seconds: total.progress.cpu_seconds,
    };
    let duration = Duration::try_from_secs_f64(total.progress.seconds).unwrap_or_default();
    let summary =
        Summary { tally: total.tally, findings, duration, breakdown: None, series: total.series };

    let cases = report::run::text::describe_cases(&total.run);
    let heading = report::run::text::heading(&identity, &capabilities, None, "merged", &cases);
    publish(&facts, &summary, &heading, arguments.output, arguments.report.as_deref())
}

/// The journal of the sum, in a directory that must not have one.
fn new_journal(directory: &Path) -> Result<Journal, Failure> {
    let journal = Journal::in_directory(directory)?;

    if journal.read()?.is_some() {
        let problem = "the directory has a run already: expected another directory";
        return Err(journal.error(None, problem.into()).into());
    }
    Ok(journal)
}

/// Adds up the journals in some directories, of which there is at least one.
fn add_up(directories: &[PathBuf], known: Option<&KnownSource>) -> Result<Sum, Failure> {
    let mut sum: Option<Sum> = None;

    for directory in directories {
        let at = |problem: String| Failure::Input(format!("{}: {problem}", directory.display()));
        if !directory.is_dir() {
            return Err(at("expected a directory given to --report".into()));
        }
        let part = Journal::read_from(directory)?;

        let sum = match &mut sum {
            Some(sum) => sum,
            none => none.insert(Sum::start(&part, known).map_err(at)?),
        };
        // Of another run it does not matter which shard it is.
        if let Some(difference) = sum.run().difference(&part.run) {
            let first =
                directories.first().map_or(String::new(), |first| first.display().to_string());
            return Err(at(format!("another run than that of {first}: {difference}")));
        }
        sum.add_shards(&part.run.shard).map_err(at)?;
        sum.add(part).map_err(at)?;
    }

    Ok(sum.expect("the command line requires a directory"))
}
