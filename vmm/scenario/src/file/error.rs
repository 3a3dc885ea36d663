//! What is wrong with a file.

use crosswalk_case::is_obeyed;
use std::fmt;
use std::ops::Range;

/// Why a file is no scenario, with its name and the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: line {line}: {problem}")]
pub struct ScenarioFileError {
    /// The name of the file.
    pub name: String,
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong there, and what was expected.
    pub problem: String,
}

/// A problem and where it is, in bytes from the start of the text.
#[derive(Debug)]
pub(super) struct FileError {
    place: Range<usize>,
    problem: String,
}

impl FileError {
    pub(super) fn new(place: Range<usize>, problem: impl fmt::Display) -> Self {
        Self { place, problem: problem.to_string() }
    }

    /// The error in a text that has a name.
    pub(super) fn within(self, name: &str, text: &str) -> ScenarioFileError {
        let line = line_of(text, &self.place);
        // A parser may quote what it found.
        let problem = self.problem.replace(is_obeyed, " ");
        ScenarioFileError { name: name.to_owned(), line, problem }
    }
}

/// The number of the line in which a place begins.
pub(super) fn line_of(text: &str, place: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..place.start).unwrap_or_default();
    before.split(|byte| *byte == b'\n').count()
}
