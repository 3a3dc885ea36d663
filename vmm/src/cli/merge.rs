//! `crosswalk merge`: adds up the reports of shards.

use super::failure::Failure;
use super::output::{print, publish};
use crate::campaign::Summary;
use crate::campaign::journal::{Checkpoint, Journal, ShardLine, SmallestLine};
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::campaign::tally::Tally;
use crate::finding::{Finding, Findings};
use crate::report::{self, RunFacts};
use std::collections::BTreeSet;
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
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
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
        jail: None,
        cpu_seconds: total.progress.cpu_seconds,
    };
    let duration = Duration::try_from_secs_f64(total.progress.seconds).unwrap_or_default();
    let summary = Summary { tally: total.tally, findings, duration };

    if !arguments.json {
        let cases = report::run::text::describe_cases(&total.run);
        print(&report::run::text::heading(&identity, &capabilities, None, "merged", &cases));
    }
    publish(&facts, &summary, arguments.json, arguments.report.as_deref())
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
        sum.add_shards(&part.run.shard).map_err(at)?;
        if let Some(difference) = sum.total.run.difference(&part.run) {
            return Err(
                Journal::error_in(directory, 1, format!("another run: {difference}")).into()
            );
        }
        sum.add(part).map_err(at)?;
    }

    Ok(sum.expect("the command line requires a directory"))
}

/// The sum of the parts of a run.
struct Sum {
    total: Checkpoint,
    findings: Findings,
    shards: BTreeSet<u64>,
}

impl Sum {
    /// The same run as this part of it, but with nothing done.
    fn start(part: &Checkpoint, known: Option<&KnownSource>) -> Result<Self, String> {
        let (identity, capabilities) = part.run.machine.read()?;
        let Predictor::BuiltIn(walker) = part.run.walker else {
            let walker = &part.run.walker;
            return Err(format!("expected a run of a built-in walker, found {walker}"));
        };
        let known = known_findings(&part.run.known, known)?;
        let known = known.load(walker, &identity).map_err(|error| error.to_string())?;

        let mut total = part.clone();
        total.progress.turn = 0;
        total.progress.seconds = 0.0;
        total.progress.cpu_seconds = 0.0;
        total.progress.complete = true;
        total.tally = Tally::default();
        total.findings.clear();
        total.smallest.clear();

        let findings = known.collector(walker, &capabilities);
        Ok(Self { total, findings, shards: BTreeSet::new() })
    }

    /// Notes that shards are there. None may be there already.
    fn add_shards(&mut self, ShardLine { count, parts }: &ShardLine) -> Result<(), String> {
        for part in parts {
            if part >= count || !self.shards.insert(*part) {
                return Err(format!("expected each shard once, found shard {part}/{count} again"));
            }
        }
        Ok(())
    }

    /// Adds a part of the run. Times add up as well.
    fn add(&mut self, part: Checkpoint) -> Result<(), String> {
        for saved in part.findings {
            self.findings.add_saved(saved)?;
        }

        let total = &mut self.total;
        total.progress.turn += part.progress.turn;
        total.progress.seconds += part.progress.seconds;
        total.progress.cpu_seconds += part.progress.cpu_seconds;
        total.progress.complete &= part.progress.complete;
        total.tally.merge(part.tally);
        total.smallest.extend(part.smallest);

        let machine = &mut total.run.machine;
        add_name(&mut machine.cpu, &part.run.machine.cpu);
        add_name(&mut machine.host_kernel, &part.run.machine.host_kernel);
        Ok(())
    }

    /// The whole run and its findings, each with the smallest example of all parts.
    fn finish(self) -> Result<(Checkpoint, Vec<Finding>), String> {
        let Self { mut total, findings, shards } = self;

        total.run.shard.parts = shards.into_iter().collect();
        total.progress.complete &= total.run.shard.missing().is_empty();
        total.findings = findings.save();

        let mut findings = findings.finish();
        for SmallestLine { id, title, example } in std::mem::take(&mut total.smallest) {
            let is_same = |finding: &&mut Finding| finding.id == id && finding.title == title;
            if let Some(finding) = findings.iter_mut().find(is_same) {
                finding.offer(example.read()?);
            }
        }
        total.smallest = SmallestLine::of(&findings);

        Ok((total, findings))
    }
}

/// The source of a run's known findings. A file is opened only if the user names it: a journal comes
/// from elsewhere, and may name any.
fn known_findings<'k>(
    in_journal: &'k KnownSource,
    given: Option<&'k KnownSource>,
) -> Result<&'k KnownSource, String> {
    match (in_journal, given) {
        (KnownSource::File(path), None) => {
            Err(format!("the run used the known findings of {path:?}: name the file with --known"))
        }
        (KnownSource::File(_), Some(given @ KnownSource::File(_))) => Ok(given),
        (_, None) => Ok(in_journal),
        (_, Some(given)) if given == in_journal => Ok(given),
        _ => Err("the run did not use the known findings that --known names".into()),
    }
}

/// Adds a name to those in a list such as `one; another`.
fn add_name(list: &mut String, name: &str) {
    if !list.split("; ").any(|known| known == name) {
        *list = format!("{list}; {name}");
    }
}
