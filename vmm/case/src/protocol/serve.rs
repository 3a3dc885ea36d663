//! The walker's side of the line protocol.

use super::Candidate;
use crate::Case;
use std::io::{self, BufRead, Write};

/// Answers every case that comes in, a line for each line, until the input ends.
///
/// A whole program is `serve(&mut MyWalker, stdin().lock(), stdout().lock())`.
///
/// ```
/// use crosswalk_case::Case;
/// use crosswalk_case::protocol::{Answer, serve};
/// # use crosswalk_case::protocol::Candidate;
/// # struct NoPaging;
/// # impl Candidate for NoPaging {
/// #     fn answer(&mut self, case: &Case) -> Answer {
/// #         Answer::translated(case.access.address.get())
/// #     }
/// # }
/// let cases = concat!(
///     r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x620","#,
///     r#""efer":"0xd00"},"entries":[],"#,
///     r#""access":{"kind":"read","address":"0x1234","size":8,"ring":3}}"#,
///     "\n"
/// );
/// let mut answers = Vec::new();
/// serve(&mut NoPaging, cases.as_bytes(), &mut answers)?;
/// assert_eq!(answers, b"{\"translated\":{\"address\":\"0x1234\"}}\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When a line is not a case, or cannot be read or answered.
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
