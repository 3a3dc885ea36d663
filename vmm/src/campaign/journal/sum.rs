//! Adding up the parts of a run, each from a journal of its own.

use super::{Checkpoint, RunLine, ShardLine, SmallestLine};
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::campaign::series::Series;
use crate::campaign::tally::Tally;
use crate::finding::{Finding, Findings};
use std::collections::BTreeSet;

/// The sum of the parts of a run.
pub struct Sum {
    total: Checkpoint,
    findings: Findings,
    shards: BTreeSet<u64>,
}

impl Sum {
    /// The same run as this part of it, but with nothing done. `known` is where the user says that its
    /// known findings come from.
    ///
    /// # Errors
    /// When the part is not one of a run whose parts add up, or its known findings cannot be loaded.
    pub fn start(part: &Checkpoint, known: Option<&KnownSource>) -> Result<Self, String> {
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
        total.series = Series::default();
        total.smallest.clear();

        let findings = known.collector(walker, &capabilities);
        Ok(Self { total, findings, shards: BTreeSet::new() })
    }

    /// What is run.
    pub fn run(&self) -> &RunLine {
        &self.total.run
    }

    /// Notes that shards are there.
    ///
    /// # Errors
    /// When one of them is there already.
    pub fn add_shards(&mut self, ShardLine { count, parts }: &ShardLine) -> Result<(), String> {
        for part in parts {
            if part >= count || !self.shards.insert(*part) {
                return Err(format!("expected each shard once, found shard {part}/{count} again"));
            }
        }
        Ok(())
    }

    /// Adds a part of the run. Times add up as well.
    ///
    /// # Errors
    /// When a finding of the part names something unknown.
    pub fn add(&mut self, part: Checkpoint) -> Result<(), String> {
        for saved in part.findings {
            self.findings.add_saved(saved)?;
        }

        let total = &mut self.total;
        total.progress.turn = total.progress.turn.saturating_add(part.progress.turn);
        total.progress.seconds += part.progress.seconds;
        total.progress.cpu_seconds += part.progress.cpu_seconds;
        total.progress.complete &= part.progress.complete;
        total.tally.merge(part.tally);
        total.smallest.extend(part.smallest);
        total.series.append(part.series);

        let machine = &mut total.run.machine;
        add_name(&mut machine.cpu, &part.run.machine.cpu);
        add_name(&mut machine.host_kernel, &part.run.machine.host_kernel);
        Ok(())
    }

    /// The whole run and its findings, each with the smallest example of all parts.
    ///
    /// # Errors
    /// When an example names something unknown, or the parts add up to more than a run can have.
    pub fn finish(self) -> Result<(Checkpoint, Vec<Finding>), String> {
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

        // Forged parts can each be within bounds, and their sum be a journal that nobody can read.
        total.to_string().parse::<Checkpoint>().map_err(|bad| bad.problem)?;
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
