//! The text of a journal: a JSON object a line.

use super::tally::TallyLine;
use super::{Checkpoint, ProgressLine, RunLine, SmallestLine};
use crate::campaign::tally::Tally;
use crate::finding::saved::Saved;
use serde::{Deserialize, Serialize};

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
    Smallest(SmallestLine),
    /// The last: the number of lines before it.
    Lines(usize),
}

/// A line that cannot be used.
#[derive(Debug)]
pub(super) struct BadLine {
    /// From 1.
    pub(super) number: usize,
    pub(super) problem: String,
}

/// Writes a checkpoint as lines.
pub(super) fn write(checkpoint: &Checkpoint) -> String {
    let Checkpoint { run, progress, tally, findings, smallest } = checkpoint;

    let mut lines = vec![JournalLine::Run(Box::new(run.clone())), JournalLine::Progress(*progress)];
    lines.extend(TallyLine::of(tally).into_iter().map(JournalLine::Tally));
    lines.extend(findings.iter().cloned().map(JournalLine::Finding));
    lines.extend(smallest.iter().cloned().map(JournalLine::Smallest));
    lines.push(JournalLine::Lines(lines.len()));

    let mut text = String::new();
    for line in &lines {
        text += &serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
    }
    text
}

/// Reads a checkpoint back.
pub(super) fn parse(text: &str) -> Result<Checkpoint, BadLine> {
    let mut parser = Parser::default();

    for line in text.lines() {
        parser.read(line).map_err(|problem| BadLine {
            number: parser.lines + 1,
            // The text of the file may end up on a terminal, which must not obey it.
            problem: problem.replace(char::is_control, "\u{fffd}"),
        })?;
        parser.lines += 1;
    }

    let number = parser.lines + 1;
    parser.finish().ok_or_else(|| BadLine {
        number,
        problem: "expected more lines: the file ends too early".into(),
    })
}

/// What has been read of a journal.
#[derive(Default)]
struct Parser {
    /// The lines read so far.
    lines: usize,
    run: Option<RunLine>,
    progress: Option<ProgressLine>,
    tally: Tally,
    findings: Vec<Saved>,
    smallest: Vec<SmallestLine>,
    is_at_end: bool,
}

impl Parser {
    fn read(&mut self, line: &str) -> Result<(), String> {
        if self.is_at_end {
            return Err("expected nothing after the line that counts the others".into());
        }

        let line: JournalLine = serde_json::from_str(line)
            .map_err(|error| format!("expected a line of a journal: {error}"))?;

        match (self.lines, line) {
            (0, JournalLine::Run(run)) => self.run = Some(*run),
            (1, JournalLine::Progress(progress)) => self.progress = Some(progress),
            (0 | 1, _) => return Err("expected \"run\" first, and \"progress\" second".into()),
            (_, JournalLine::Run(_) | JournalLine::Progress(_)) => {
                return Err("expected \"run\" and \"progress\" once".into());
            }
            (_, JournalLine::Tally(line)) => line.add_to(&mut self.tally)?,
            (_, JournalLine::Finding(saved)) => self.findings.push(saved),
            (_, JournalLine::Smallest(line)) => self.smallest.push(line),
            (lines, JournalLine::Lines(count)) if count == lines => self.is_at_end = true,
            (lines, JournalLine::Lines(count)) => {
                return Err(format!("expected {count} lines before this one, found {lines}"));
            }
        }
        Ok(())
    }

    /// The checkpoint, if all of it was read.
    fn finish(self) -> Option<Checkpoint> {
        let Self { run, progress, tally, findings, smallest, is_at_end, .. } = self;
        if !is_at_end {
            return None;
        }

        Some(Checkpoint { run: run?, progress: progress?, tally, findings, smallest })
    }
}
