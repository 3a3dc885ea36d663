//! The text of a journal: a JSON object a line, with a checksum that also covers the lines before it.
//! So a line that was changed, lost, or moved is noticed, whether by a disk or by an editor.

use super::bounds::check_count;
use super::run::FORMAT;
use super::stretch;
use super::tally::TallyLine;
use super::{Checkpoint, ProgressLine, RunLine, SmallestLine};
use crate::campaign::series::{Series, Stretch};
use crate::campaign::tally::Tally;
use crate::finding::saved::Saved;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A line with its checksum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SummedLine<'t> {
    sum: String,
    #[serde(borrow)]
    line: &'t RawValue,
}

/// The checksum of all lines so far: of each its text, and the checksum before it.
#[derive(Default)]
pub(super) struct Checksum(String);

impl Checksum {
    pub(super) fn add(&mut self, line: &str) -> &str {
        let digest = Sha256::new().chain_update(&self.0).chain_update(line).finalize();
        self.0.clear();
        for byte in digest.iter().take(8) {
            let _ = write!(self.0, "{byte:02x}");
        }
        &self.0
    }
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum JournalLine {
    /// The first.
    Run(Box<RunLine>),
    /// The second.
    Progress(ProgressLine),
    Tally(TallyLine),
    Finding(Saved),
    Stretch(Stretch),
    Smallest(SmallestLine),
    /// The last: the number of lines before it.
    Lines(usize),
}

/// A line of a journal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("line {number}: {problem}")]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong.
    pub problem: String,
}

/// Writes a checkpoint as lines.
#[cfg_attr(not(test), expect(clippy::expect_used, reason = "strings and numbers are JSON"))]
pub(super) fn write(checkpoint: &Checkpoint) -> String {
    let Checkpoint { run, progress, tally, findings, series, smallest } = checkpoint;

    let mut lines = vec![JournalLine::Run(Box::new(run.clone())), JournalLine::Progress(*progress)];
    lines.extend(TallyLine::of(tally).into_iter().map(JournalLine::Tally));
    lines.extend(findings.iter().cloned().map(JournalLine::Finding));
    lines.extend(series.stretches().cloned().map(JournalLine::Stretch));
    lines.extend(smallest.iter().cloned().map(JournalLine::Smallest));
    lines.push(JournalLine::Lines(lines.len()));

    let mut text = String::new();
    let mut checksum = Checksum::default();
    for line in &lines {
        let line = serde_json::to_string(line).expect("a line is plain data");
        let sum = checksum.add(&line);
        let _ = writeln!(text, "{{\"sum\":\"{sum}\",\"line\":{line}}}");
    }
    text
}

/// Reads a checkpoint back.
pub(super) fn parse(text: &str) -> Result<Checkpoint, BadLine> {
    let mut parser = Parser::default();

    let mut number: usize = 1;
    for line in text.lines() {
        parser.read(line).map_err(|problem| BadLine { number, problem })?;
        parser.lines = number;
        number = number.saturating_add(1);
    }

    parser.finish().ok_or_else(|| BadLine {
        number,
        problem: "expected more lines: the file ends too early".into(),
    })
}

/// Checks the format that the first line names, if it names one, before anything else in it is
/// understood. Lines had no checksums in format 1.
fn check_format(line: &str) -> Result<(), String> {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let format = line.pointer("/line/run/format").or_else(|| line.pointer("/run/format"));

    match format {
        Some(format) if *format != FORMAT => {
            Err(format!("expected format {FORMAT} of a journal, found {format}"))
        }
        _ => Ok(()),
    }
}

/// What has been read of a journal.
#[derive(Default)]
struct Parser {
    /// The lines read so far.
    lines: usize,
    checksum: Checksum,
    run: Option<RunLine>,
    progress: Option<ProgressLine>,
    tally: Tally,
    findings: Vec<Saved>,
    series: Series,
    smallest: Vec<SmallestLine>,
    is_at_end: bool,
}

impl Parser {
    fn read(&mut self, line: &str) -> Result<(), String> {
        if self.is_at_end {
            return Err("expected nothing after the line that counts the others".into());
        }

        match (self.lines, self.unsummed(line)?) {
            (0, JournalLine::Run(run)) => {
                run.check()?;
                self.run = Some(*run);
            }
            (1, JournalLine::Progress(progress)) => {
                progress.check()?;
                self.progress = Some(progress);
            }
            (0 | 1, _) => return Err("expected \"run\" first, and \"progress\" second".into()),
            (_, JournalLine::Run(_) | JournalLine::Progress(_)) => {
                return Err("expected \"run\" and \"progress\" once".into());
            }
            (_, JournalLine::Tally(line)) => line.add_to(&mut self.tally)?,
            (_, JournalLine::Finding(saved)) => {
                check_count(saved.count())?;
                self.findings.push(saved);
            }
            (_, JournalLine::Stretch(stretch)) => stretch::add(&mut self.series, stretch)?,
            (_, JournalLine::Smallest(line)) => self.smallest.push(line),
            (lines, JournalLine::Lines(count)) if count == lines => self.is_at_end = true,
            (lines, JournalLine::Lines(count)) => {
                return Err(format!("expected {count} lines before this one, found {lines}"));
            }
        }
        Ok(())
    }

    /// What a line says, if its checksum fits.
    fn unsummed(&mut self, line: &str) -> Result<JournalLine, String> {
        if self.lines == 0 {
            check_format(line)?;
        }
        let SummedLine { sum, line } = serde_json::from_str(line)
            .map_err(|error| format!("expected a line of a journal: {error}"))?;
        let line = line.get();

        if self.checksum.add(line) != sum {
            return Err("its checksum does not fit: this line or one before it was changed".into());
        }
        serde_json::from_str(line).map_err(|error| format!("expected a line of a journal: {error}"))
    }

    /// The checkpoint, if all of it was read.
    fn finish(self) -> Option<Checkpoint> {
        let Self { run, progress, tally, findings, series, smallest, is_at_end, .. } = self;
        if !is_at_end {
            return None;
        }

        Some(Checkpoint { run: run?, progress: progress?, tally, findings, series, smallest })
    }
}
