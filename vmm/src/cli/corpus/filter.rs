//! `crosswalk corpus filter`: a smaller corpus.

use super::lines::{CaseLines, LineArguments, Out};
use crate::cli::failure::Failure;
use crate::corpus::filter::{FoundCase, RecordedMachine};
use crate::corpus::write::{SectionWriter, case_line, source_line};
use crate::report::printable;
use std::io;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct FilterArguments {
    #[command(flatten)]
    lines: LineArguments,
}

pub(super) fn run(arguments: &FilterArguments) -> Result<ExitCode, Failure> {
    arguments.lines.write(|out| SectionLines { writer: SectionWriter::new(out), section: None })?;
    Ok(ExitCode::SUCCESS)
}

/// Sections, each of which begins with the first of its cases.
struct SectionLines {
    writer: SectionWriter<Out>,
    /// The section that has begun, by its number in the corpus that is read.
    section: Option<u64>,
}

impl CaseLines for SectionLines {
    fn of_case(found: &FoundCase<'_>) -> String {
        printable(&case_line(found.recorded)).into_owned()
    }

    fn write(&mut self, machine: &RecordedMachine, line: &str) -> io::Result<()> {
        if self.section != Some(machine.section) {
            if self.section.is_some() {
                self.writer.end()?;
            }
            self.writer.begin(&printable(&source_line(&machine.source)))?;
            self.section = Some(machine.section);
        }
        self.writer.case(line)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.section.is_some() {
            self.writer.end()?;
        }
        self.writer.flush()
    }
}
