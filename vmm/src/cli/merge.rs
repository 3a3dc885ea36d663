//! `crosswalk merge`: the reports of shards, added up.

use super::failure::Failure;
use super::known::known_findings;
use super::output::print;
use super::output::show;
use crate::campaign::Summary;
use crate::campaign::journal::{Checkpoint, Journal, SmallestLine};
use crate::campaign::tally::Tally;
use crate::finding::Findings;
use crate::report::{self, RunFacts};
use crate::walker::WalkerSpec;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MergeArguments {
    /// The directories that --report was given, one for each shard
    #[arg(value_name = "DIR", required = true)]
    shards: Vec<PathBuf>,
    /// Write the sum into this directory, in the same form
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &MergeArguments) -> Result<ExitCode, Failure> {
    let mut target = arguments.report.as_deref().map(Journal::new).transpose()?;
    if let Some(target) = target.as_ref().filter(|target| target.path().exists()) {
        let problem = "there is a run already: expected another directory".to_owned();
        return Err(target.error(None, problem).into());
    }
    let (mut sum, findings) = add_up(&arguments.shards)?;
    let in_journal = |problem: String| Failure::Input(problem);
    let (identity, capabilities) = sum.run.machine.read().map_err(in_journal)?;
    let modes = sum.run.read_modes().map_err(in_journal)?;
    sum.findings = findings.save();
    let mut findings = findings.finish();
    for line in &sum.smallest {
        let is_its = |id: &str, title: &str| (id, title) == (&line.id, &line.title);
        let found = findings.iter_mut().find(|finding| is_its(&finding.id, &finding.title));
        if let Some(finding) = found {
            finding.offer(line.example.clone().read().map_err(in_journal)?);
        }
    }
    sum.smallest = SmallestLine::of(&findings);
    if let Some(target) = &mut target {
        target.write(&sum)?;
    }
    let facts = RunFacts {
        identity: &identity,
        capabilities: &capabilities,
        modes: &modes,
        run: &sum.run,
        sources: &[],
        covered: &[],
        candidate: None,
        complete: sum.progress.complete,
        cpu_seconds: sum.progress.cpu_seconds,
    };
    let duration = Duration::try_from_secs_f64(sum.progress.seconds).unwrap_or_default();
    let summary = Summary { tally: sum.tally, findings, duration };
    if !arguments.json {
        let cases = report::run::text::describe_cases(&sum.run);
        print(&report::run::text::heading(&identity, &capabilities, "merged", &cases));
    }
    show(&facts, &summary, arguments.json, arguments.report.as_deref())
}

/// The sum of the journals in some directories. Times add up, too.
fn add_up(directories: &[PathBuf]) -> Result<(Checkpoint, Findings), Failure> {
    let mut sum: Option<(Checkpoint, Findings)> = None;
    let mut parts = BTreeSet::new();
    for directory in directories {
        let at = |problem: String| Failure::Input(format!("{}: {problem}", directory.display()));
        if !directory.is_dir() {
            return Err(at("expected a directory that --report was given".into()));
        }
        let journal = Journal::new(directory)?;
        let record = journal.read()?;
        let mut record = record.ok_or_else(|| at("expected a journal.jsonl, found none".into()))?;
        for part in &record.run.shard.parts {
            if *part >= record.run.shard.count || !parts.insert(*part) {
                let count = record.run.shard.count;
                return Err(at(format!(
                    "expected each shard once, found shard {part}/{count} again"
                )));
            }
        }
        if sum.is_none() {
            sum = Some((emptied(&record), nothing_found(&record).map_err(at)?));
        }
        let (total, findings) = sum.as_mut().expect("it was just made");
        if let Some(difference) = total.run.difference(&record.run) {
            return Err(journal.error(Some(1), format!("another run: {difference}")).into());
        }
        for saved in record.findings.drain(..) {
            findings.add_saved(saved).map_err(at)?;
        }
        add(total, record);
    }
    let (mut total, findings) = sum.expect("there is a directory");
    total.run.shard.parts = parts.into_iter().collect();
    total.progress.complete &= total.run.shard.missing().is_empty();
    Ok((total, findings))
}

/// The same run with nothing done.
fn emptied(record: &Checkpoint) -> Checkpoint {
    let mut empty = record.clone();
    empty.progress.turn = 0;
    (empty.progress.seconds, empty.progress.cpu_seconds) = (0.0, 0.0);
    empty.progress.complete = true;
    empty.tally = Tally::default();
    empty.findings.clear();
    empty.smallest.clear();
    empty
}

fn nothing_found(record: &Checkpoint) -> Result<Findings, String> {
    let (identity, capabilities) = record.run.machine.read()?;
    let walker: WalkerSpec = record.run.walker.parse()?;
    let (known, forgives) = known_findings(record.run.known.as_deref(), walker, &identity)
        .map_err(|failure| failure.to_string())?;
    Ok(Findings::new(walker, known, forgives, &capabilities))
}

fn add(total: &mut Checkpoint, part: Checkpoint) {
    total.progress.turn += part.progress.turn;
    total.progress.seconds += part.progress.seconds;
    total.progress.cpu_seconds += part.progress.cpu_seconds;
    total.progress.complete &= part.progress.complete;
    for (all, one) in [
        (&mut total.run.machine.cpu, part.run.machine.cpu),
        (&mut total.run.machine.host_kernel, part.run.machine.host_kernel),
    ] {
        if !all.split("; ").any(|known| known == one) {
            *all = format!("{all}; {one}");
        }
    }
    total.tally.merge(part.tally);
    total.smallest.extend(part.smallest);
}
