//! `crosswalk corpus export`: test vectors for any language.

use super::lines::{CaseLines, LineArguments, Out};
use crate::cli::failure::Failure;
use crate::corpus::filter::{FoundCase, RecordedMachine};
use crate::corpus::vectors::vector_line;
use crate::report::printable;
use std::io;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "docs/examples in the repository has readers in JavaScript, Go and Python, to be copied."
)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    lines: LineArguments,
}

pub(super) fn run(arguments: &ExportArguments) -> Result<ExitCode, Failure> {
    arguments.lines.write(|out| VectorLines { out })?;
    Ok(ExitCode::SUCCESS)
}

/// Vectors, each complete in itself.
struct VectorLines {
    out: Out,
}

impl CaseLines for VectorLines {
    fn of_case(found: &FoundCase<'_>) -> String {
        printable(&vector_line(found)).into_owned()
    }

    fn write(&mut self, _: &RecordedMachine, line: &str) -> io::Result<()> {
        self.out.write_all(line.as_bytes())
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
