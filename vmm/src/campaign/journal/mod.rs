//! The journal of a run: everything that it takes to go on after the process was killed, and to add
//! the runs of shards. A file of JSON lines, the first of which says what is run; it is written anew
//! every half second and then takes the place of the one before, so that it is always whole and
//! never grows.

mod run;
mod tally;

pub use run::{RunLine, ShardLine};

use crate::campaign::tally::Tally;
use crate::finding::Finding;
use crate::finding::saved::{Saved, SavedExample};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tally::TallyLine;

/// What a journal holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What is run.
    pub run: RunLine,
    /// How far it came.
    pub progress: ProgressLine,
    /// All counts.
    pub tally: Tally,
    /// All that was found.
    pub findings: Vec<Saved>,
    /// The smallest case of each finding, once the run has ended.
    pub smallest: Vec<SmallestLine>,
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressLine {
    /// The first turn that is not judged.
    pub turn: u64,
    /// From the first batch on.
    pub seconds: f64,
    /// CPU time, with that of child processes.
    pub cpu_seconds: f64,
    /// Whether nothing remains to be done.
    pub complete: bool,
}

/// The smallest case of a finding: its id, its title, and the case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmallestLine {
    /// The id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The case and what was seen.
    pub example: SavedExample,
}

impl SmallestLine {
    /// One for each finding that has a case.
    pub fn of(findings: &[Finding]) -> Vec<Self> {
        let line = |finding: &Finding| {
            let example = SavedExample::from(finding.example.as_ref()?);
            Some(Self { id: finding.id.clone(), title: finding.title.clone(), example })
        };
        findings.iter().filter_map(line).collect()
    }
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum JournalLine {
    Run(Box<RunLine>),
    Progress(ProgressLine),
    Tally(TallyLine),
    Finding(Saved),
    Smallest(SmallestLine),
    /// The last: how many lines come before it.
    Lines(usize),
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct JournalError {
    path: PathBuf,
    /// The line, from 1.
    line: Option<usize>,
    problem: String,
}

/// The file in a report's directory.
const NAME: &str = "journal.jsonl";

/// How often it is written.
const EVERY: Duration = Duration::from_millis(500);

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    written: Option<Instant>,
}

impl Journal {
    /// The journal in a directory, which is made if there is none.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(NAME);
        fs::create_dir_all(directory).map_err(|error| JournalError {
            path: directory.to_owned(),
            line: None,
            problem: format!("the directory cannot be made: {error}"),
        })?;
        Ok(Self { path, written: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is time to write again.
    pub fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= EVERY)
    }

    /// Writes a record in place of what is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, record: &Checkpoint) -> Result<(), JournalError> {
        let next = self.path.with_extension("jsonl.next");
        let written = fs::write(&next, text(record)).and_then(|()| fs::rename(&next, &self.path));
        written.map_err(|error| self.error(None, format!("cannot be written: {error}")))?;
        self.written = Some(Instant::now());
        Ok(())
    }

    /// What it holds; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged: the error names the line.
    pub fn read(&self) -> Result<Option<Checkpoint>, JournalError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(None, format!("cannot be read: {error}"))),
        };
        parse(&text).map(Some).map_err(|(line, problem)| self.error(Some(line), problem))
    }

    /// An error about a line of this journal.
    pub fn error(&self, line: Option<usize>, problem: String) -> JournalError {
        JournalError { path: self.path.clone(), line, problem }
    }
}

fn text(record: &Checkpoint) -> String {
    let mut lines = vec![
        JournalLine::Run(Box::new(record.run.clone())),
        JournalLine::Progress(record.progress),
    ];
    lines.extend(TallyLine::of(&record.tally).into_iter().map(JournalLine::Tally));
    lines.extend(record.findings.iter().cloned().map(JournalLine::Finding));
    lines.extend(record.smallest.iter().cloned().map(JournalLine::Smallest));
    lines.push(JournalLine::Lines(lines.len()));
    let mut text = String::new();
    for line in &lines {
        text += &serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
    }
    text
}

/// The record, or the number of the bad line and what is wrong with it.
fn parse(text: &str) -> Result<Checkpoint, (usize, String)> {
    let mut run = None;
    let mut progress = None;
    let mut tally = Tally::default();
    let (mut findings, mut smallest) = (Vec::new(), Vec::new());
    let mut last = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let told = |problem: String| (number, problem.replace(char::is_control, "\u{fffd}"));
        if last.is_some() {
            return Err(told("expected nothing after the line that counts the others".into()));
        }
        let line = serde_json::from_str(line)
            .map_err(|error| told(format!("expected a line of a journal: {error}")))?;
        match line {
            JournalLine::Run(line) if index == 0 => run = Some(*line),
            JournalLine::Progress(line) if index == 1 => progress = Some(line),
            _ if index < 2 => {
                return Err(told("expected \"run\" first, and \"progress\" second".into()));
            }
            JournalLine::Run(_) | JournalLine::Progress(_) => {
                return Err(told("expected \"run\" and \"progress\" once".into()));
            }
            JournalLine::Tally(line) => line.add_to(&mut tally).map_err(told)?,
            JournalLine::Finding(saved) => findings.push(saved),
            JournalLine::Smallest(line) => smallest.push(line),
            JournalLine::Lines(count) if count == index => last = Some(count),
            JournalLine::Lines(count) => {
                return Err(told(format!("expected {count} lines before this one, found {index}")));
            }
        }
    }
    let end = text.lines().count() + 1;
    let (Some(run), Some(progress), Some(_)) = (run, progress, last) else {
        return Err((end, "expected more lines: the file ends too early".into()));
    };
    Ok(Checkpoint { run, progress, tally, findings, smallest })
}

#[cfg(test)]
mod tests;
