//! The line protocol, the program's side.

use super::Candidate;
use crate::Case;
use std::io::{self, BufRead, Write};

/// Answers every case that comes in, a line for a line, until there are no more.
///
/// A whole program is `serve(&mut MyWalker, stdin().lock(), stdout().lock())`.
///
/// # Errors
/// When a line is no case, or cannot be read or answered.
pub fn serve(
    candidate: &mut dyn Candidate,
    cases: impl BufRead,
    mut answers: impl Write,
) -> io::Result<()> {
    for line in cases.lines() {
        let case = Case::from_json(&line?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let answer = candidate.answer(&case).to_line();
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}
