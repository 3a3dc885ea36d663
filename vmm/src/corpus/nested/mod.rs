//! Corpora of nested cases: what machines did with the accesses of a guest in a guest. Their sections have the shape of
//! other corpora, and another first line, by which they are told apart.

mod line;
mod observed;
pub mod record;
pub mod replay;
mod select;
#[cfg(test)]
mod tests;

use super::Source;
use super::line::NESTED;
use super::read::{CorpusError, CorpusForm, CorpusReader, SectionReader};
use super::write::{line, section_of};
use crosswalk_nested::NestedCase;
use crosswalk_nested::generate::NestedName;
use crosswalk_nested::observation::NestedAttempt;
use line::{CaseLine, SourceLine};
use std::path::Path;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The corpus of nested cases that comes with the program, compressed.
pub const BUNDLED: &[u8] = include_bytes!("../../../corpus/nested.jsonl.zst");

/// Its name in reports and errors.
pub const BUNDLED_NAME: &str = "the bundled corpus of nested cases";

/// A recorded case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedNested {
    /// The name of the case, from which the generator makes it again on the same machine.
    pub name: NestedName,
    /// The case.
    pub case: NestedCase,
    /// What the machine did.
    pub attempt: NestedAttempt,
    /// The ids of the rules that decided the case.
    pub rules: Vec<String>,
    /// The ids of the mutants that the case catches.
    pub catches: Vec<String>,
}

/// The form of such corpora.
#[derive(Debug)]
pub enum Nested {}

impl CorpusForm for Nested {
    type Case = RecordedNested;

    fn read_source(text: &str) -> Result<Source, String> {
        SourceLine::read(text)
    }

    fn read_case(text: &str) -> Result<RecordedNested, String> {
        CaseLine::read(text)
    }
}

/// Reads a corpus of nested cases.
pub type NestedCorpusReader = SectionReader<Nested>;

impl NestedCorpusReader {
    /// Opens the corpus of nested cases that comes with the program.
    ///
    /// # Errors
    /// Never in a released program: a test reads the whole corpus.
    pub fn bundled() -> Result<Self, CorpusError> {
        Self::new(BUNDLED_NAME.into(), Box::new(BUNDLED))
    }
}

/// A corpus of either form.
pub enum AnyCorpusReader {
    /// Of cases in one dimension.
    OneDimension(CorpusReader),
    /// Of nested cases.
    Nested(NestedCorpusReader),
}

impl AnyCorpusReader {
    /// Opens a corpus file, or a corpus that comes with the program if there is no path. The first line of a file says
    /// which form it has.
    ///
    /// # Errors
    /// When the file cannot be read, or is of one dimension where nested cases are asked for.
    pub fn open(path: Option<&Path>, is_nested: bool) -> Result<Self, CorpusError> {
        let Some(path) = path else {
            return Ok(if is_nested {
                Self::Nested(NestedCorpusReader::bundled()?)
            } else {
                Self::OneDimension(CorpusReader::bundled()?)
            });
        };

        let mut reader = CorpusReader::open(path)?;
        let first = reader.first_line()?;
        Ok(if is_nested || first.starts_with(NESTED) {
            Self::Nested(reader.in_form())
        } else {
            Self::OneDimension(reader)
        })
    }
}

/// A section as text: lines of JSON.
pub fn section(source: &Source, cases: &[RecordedNested]) -> String {
    let cases = cases.iter().map(|recorded| line(&CaseLine::of(recorded)));
    section_of(&line(&SourceLine::from(source)), cases)
}
