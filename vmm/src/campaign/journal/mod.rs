//! The journal of a run: everything that is needed to resume the run after the process was killed, and
//! to add up the runs of shards. The journal is a file of JSON lines, the first of which says what is
//! run. It is rewritten every half second into a new file that then replaces the old one, so it is
//! always whole and does not grow with the run.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod bounds;
mod run;
mod stretch;
mod sum;
mod tally;
mod text;

use bounds::{check_count, check_seconds};

pub use run::{CaseSource, RunLine, RunOptions, ShardLine};
pub use sum::Sum;
pub use text::BadLine;

use crate::campaign::CampaignProgress;
use crate::campaign::series::Series;
use crate::campaign::tally::Tally;
use crate::file::{self, LockedDirectory};
use crate::finding::Finding;
use crate::finding::saved::{Saved, SavedExample};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The state of a run, from which `--resume` goes on.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What is run.
    pub run: RunLine,
    /// How far the run has come.
    pub progress: ProgressLine,
    /// All counts.
    pub tally: Tally,
    /// All findings.
    pub findings: Vec<Saved>,
    /// How the run went.
    pub series: Series,
    /// The smallest case of each finding, once the run has ended.
    pub smallest: Vec<SmallestLine>,
}

impl Checkpoint {
    /// The state of a run that is not finished. `cpu_seconds` includes child processes.
    pub fn new(
        run: &RunLine,
        progress: &CampaignProgress,
        series: &Series,
        cpu_seconds: f64,
        complete: bool,
    ) -> Self {
        Self {
            run: run.clone(),
            progress: ProgressLine {
                turn: progress.turn,
                seconds: progress.elapsed.as_secs_f64(),
                cpu_seconds,
                complete,
            },
            tally: progress.tally.clone(),
            findings: progress.findings.save(),
            series: series.clone(),
            smallest: Vec::new(),
        }
    }
}

/// The text of a journal, as [`Journal::write`] writes it.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::write(self))
    }
}

/// Reads the text of a journal. The error is about a line of it.
impl FromStr for Checkpoint {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        text::parse(text)
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressLine {
    /// The first turn that is not judged.
    pub turn: u64,
    /// The time since the first batch, in seconds.
    pub seconds: f64,
    /// CPU time in seconds, including child processes.
    pub cpu_seconds: f64,
    /// Whether nothing remains to be run.
    pub complete: bool,
}

impl ProgressLine {
    /// Checks that a run can have come this far.
    fn check(&self) -> Result<(), String> {
        check_count(self.turn)?;
        check_seconds(self.seconds)?;
        check_seconds(self.cpu_seconds)
    }
}

/// The smallest case of a finding.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmallestLine {
    /// The id of the finding.
    pub id: String,
    /// The title of the finding.
    pub title: String,
    /// The case and what was observed.
    pub example: SavedExample,
}

impl SmallestLine {
    /// A line for each finding that has an example.
    pub fn of(findings: &[Finding]) -> Vec<Self> {
        let line = |finding: &Finding| {
            let example = SavedExample::from(finding.example.as_ref()?);
            Some(Self { id: finding.id.clone(), title: finding.title.clone(), example })
        };

        findings.iter().filter_map(line).collect()
    }
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct JournalError {
    path: PathBuf,
    /// The line, from 1.
    line: Option<usize>,
    problem: String,
    is_of_host: bool,
}

impl JournalError {
    /// Whether the host failed, and neither the journal nor the directory is wrong.
    pub const fn is_of_host(&self) -> bool {
        self.is_of_host
    }
}

/// The name of the journal in a report's directory.
const FILE_NAME: &str = "journal.jsonl";

/// The longest journal that is read. A run's is a few hundred kilobytes long, whatever its cases.
const MAX_BYTES: u64 = 64 << 20;

/// The time between two checkpoints.
const PERIOD: Duration = Duration::from_millis(500);

/// The journal in a report's directory.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    written: Option<Instant>,
    _lock: LockedDirectory,
}

impl Journal {
    /// The journal of a run that writes into this directory. The directory is created if it does not
    /// exist, and no other run can write into it while this value lives.
    ///
    /// # Errors
    /// When the directory cannot be created, or another run is writing into it.
    pub fn in_directory(directory: &Path) -> Result<Self, JournalError> {
        let lock = LockedDirectory::create(directory).map_err(|error| JournalError {
            path: directory.to_owned(),
            line: None,
            problem: format!("the directory cannot be used: {error}"),
            is_of_host: file::is_of_host(&error),
        })?;

        Ok(Self { path: directory.join(FILE_NAME), written: None, _lock: lock })
    }

    /// Reads the journal in a directory into which another run may be writing.
    ///
    /// # Errors
    /// When there is no journal, or it cannot be read, or is damaged: the error names the line.
    pub fn read_from(directory: &Path) -> Result<Checkpoint, JournalError> {
        let path = directory.join(FILE_NAME);
        read(&path)?.ok_or_else(|| error_in(&path, None, "expected a journal, found none".into()))
    }

    /// An error about a line of the journal in a directory.
    pub fn error_in(directory: &Path, line: usize, problem: String) -> JournalError {
        error_in(&directory.join(FILE_NAME), Some(line), problem)
    }

    /// Whether it is time for the next checkpoint.
    pub fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= PERIOD)
    }

    /// Replaces the content of the journal.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> Result<(), JournalError> {
        file::replace(&self.path, checkpoint.to_string()).map_err(|error| JournalError {
            is_of_host: true,
            ..self.error(None, format!("cannot be written: {error}"))
        })?;

        self.written = Some(Instant::now());
        Ok(())
    }

    /// Reads the journal; `None` if the file does not exist.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged: the error names the line.
    pub fn read(&self) -> Result<Option<Checkpoint>, JournalError> {
        read(&self.path)
    }

    /// An error about this journal, or about a line of it.
    pub fn error(&self, line: Option<usize>, problem: String) -> JournalError {
        error_in(&self.path, line, problem)
    }
}

fn read(path: &Path) -> Result<Option<Checkpoint>, JournalError> {
    let content = file::read_at_most(path, MAX_BYTES).map_err(|error| JournalError {
        is_of_host: file::is_of_host(&error),
        ..error_in(path, None, format!("cannot be read: {error}"))
    })?;
    let Some(content) = content else { return Ok(None) };

    let checkpoint = content
        .parse()
        .map_err(|BadLine { number, problem }| error_in(path, Some(number), problem))?;
    Ok(Some(checkpoint))
}

fn error_in(path: &Path, line: Option<usize>, problem: String) -> JournalError {
    JournalError { path: path.to_owned(), line, problem, is_of_host: false }
}

#[cfg(test)]
mod tests;
