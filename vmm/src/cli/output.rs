//! What commands print and write.

use super::failure::Failure;
use crate::campaign::Summary;
use crate::report::{self, RunFacts};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints to standard output. If the pipe is closed, the program ends quietly.
pub(super) fn print(text: &str) {
    if io::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a file.
pub(super) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(|error| cannot_write(path, &error))
}

/// Writes a file whole or not at all.
pub(super) fn replace_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");

    std::fs::write(&next, content)
        .and_then(|()| std::fs::rename(&next, path))
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Input(format!("{}: cannot be written: {error}", path.display()))
}

/// Prints the report of a run, and writes it into a directory if there is one. Returns the exit code:
/// 1 if the machine or the walker is wrong, else 0.
pub(super) fn publish(
    facts: &RunFacts<'_>,
    summary: &Summary,
    json: bool,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let document = report::run::json::document(facts, summary);
    if let Some(directory) = directory {
        write_file(&directory.join("report.json"), &document)?;
        write_file(&directory.join("index.html"), report::run::html::page(facts, summary))?;
    }

    print(&if json { document } else { report::run::text::summary(facts, summary) });

    let is_candidate_wrong = facts.candidate.is_some_and(|score| !score.is_clean());
    let failed = summary.has_unknown_divergence() || is_candidate_wrong;
    Ok(ExitCode::from(u8::from(failed)))
}
