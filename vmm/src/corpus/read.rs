//! Reads a corpus line by line. Memory use is bounded whatever the file holds, and errors name the line.

use super::line::{CaseLine, EndLine, NESTED, SourceLine};
use super::write::hex;
use super::{BUNDLED, BUNDLED_NAME, Recorded, Source};
use crate::file;
use crosswalk_case::is_obeyed;
use crosswalk_case::lines::Lines;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

/// Why a corpus cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}{}: {problem}", line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct CorpusError {
    name: String,
    /// The line of the uncompressed text, from 1.
    line: Option<u64>,
    problem: String,
}

/// A form of corpora: what the first line of a section and the line of a case hold. The last line is the same in all.
pub trait CorpusForm {
    /// A recorded case.
    type Case;

    /// Reads the first line of a section.
    ///
    /// # Errors
    /// If it is not one, and what is wrong with it.
    fn read_source(text: &str) -> Result<Source, String>;

    /// Reads the line of a case.
    ///
    /// # Errors
    /// The same.
    fn read_case(text: &str) -> Result<Self::Case, String>;
}

/// The form of corpora of cases in one dimension.
#[derive(Debug)]
pub enum OneDimension {}

impl CorpusForm for OneDimension {
    type Case = Recorded;

    fn read_source(text: &str) -> Result<Source, String> {
        if text.as_bytes().starts_with(NESTED) {
            let problem =
                "this is a corpus of nested cases, which replay and conformance take alone";
            return Err(problem.into());
        }
        SourceLine::read(text)
    }

    fn read_case(text: &str) -> Result<Recorded, String> {
        CaseLine::read(text)
    }
}

/// An item of a corpus.
#[derive(Debug)]
pub enum CorpusItem<C = Recorded> {
    /// A section begins: the cases that follow come from this source.
    Source(Box<Source>),
    /// A case.
    Case(Box<C>),
}

/// Reads a corpus of some form: an iterator over its items, up to the first error.
pub struct SectionReader<F> {
    name: String,
    lines: Lines<Box<dyn Read + Send>>,
    /// The first line, if it was looked at.
    first: Option<Vec<u8>>,
    /// Number of lines read so far.
    line: u64,
    section: Option<Section>,
    is_over: bool,
    form: PhantomData<F>,
}

/// Reads a corpus of cases in one dimension.
pub type CorpusReader = SectionReader<OneDimension>;

/// The section that is being read.
struct Section {
    cases: u64,
    digest: Sha256,
}

impl CorpusReader {
    /// Opens a corpus file, or the bundled corpus if there is no path.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open_or_bundled(path: Option<&Path>) -> Result<Self, CorpusError> {
        path.map_or_else(Self::bundled, Self::open)
    }

    /// Opens the corpus that comes with the program.
    ///
    /// # Errors
    /// Never in a released program: a test reads the whole corpus.
    pub fn bundled() -> Result<Self, CorpusError> {
        Self::new(BUNDLED_NAME.into(), Box::new(BUNDLED))
    }
}

impl<F: CorpusForm> SectionReader<F> {
    /// Opens a corpus file, or standard input, which `-` names.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let name = file::input_name(path);
        match file::open_input(path) {
            Ok(file) => Self::new(name, file),
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                Err(CorpusError { name, line: None, problem })
            }
        }
    }

    /// Reads a corpus from `file`; errors call it `name`.
    ///
    /// # Errors
    /// When `file` cannot be read.
    pub fn new(name: String, file: Box<dyn Read + Send>) -> Result<Self, CorpusError> {
        match Lines::new(file) {
            Ok(lines) => Ok(Self {
                name,
                lines,
                first: None,
                line: 0,
                section: None,
                is_over: false,
                form: PhantomData,
            }),
            Err(error) => Err(CorpusError { name, line: None, problem: error.to_string() }),
        }
    }

    /// The first line, which is read again as the first item.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_line(&mut self) -> Result<&[u8], CorpusError> {
        let line = self.lines.next().map_err(|error| CorpusError {
            name: self.name.clone(),
            line: Some(1),
            problem: error.to_string(),
        })?;
        Ok(self.first.insert(line))
    }

    /// The same corpus, of which nothing but the first line was read, in another form.
    pub fn in_form<G: CorpusForm>(self) -> SectionReader<G> {
        let Self { name, lines, first, line, section, is_over, form: _ } = self;
        SectionReader { name, lines, first, line, section, is_over, form: PhantomData }
    }

    /// The name of the corpus in reports and errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error about the line that was read last.
    pub fn error(&self, problem: &str) -> CorpusError {
        const MAX_CHARS: usize = 400;

        // The text of the file may end up on a terminal, which must not obey it.
        let mut problem = problem.replace(is_obeyed, "\u{fffd}");
        if let Some((end, _)) = problem.char_indices().nth(MAX_CHARS) {
            problem.truncate(end);
            problem.push('…');
        }

        CorpusError { name: self.name.clone(), line: Some(self.line), problem }
    }

    fn read(&mut self) -> Result<Option<CorpusItem<F::Case>>, String> {
        loop {
            self.line = self.line.saturating_add(1);
            let bytes = match self.first.take() {
                Some(first) => first,
                None => self.lines.next().map_err(|error| error.to_string())?,
            };
            if bytes.is_empty() {
                return self.end_of_file().map(|()| None);
            }

            let text = str::from_utf8(&bytes).map_err(|error| format!("not UTF-8: {error}"))?;
            let is_whole = text.ends_with('\n');
            let line = text.trim_end_matches('\n');

            let Some(section) = &mut self.section else {
                let source = F::read_source(line)?;
                self.section = Some(Section { cases: 0, digest: Sha256::new_with_prefix(&bytes) });
                return Ok(Some(CorpusItem::Source(Box::new(source))));
            };

            if !is_whole {
                return Err("expected the end of the line: the file ends too early".into());
            }
            if line.starts_with("{\"end\"") {
                section.check(&EndLine::read(line)?)?;
                self.section = None;
                continue;
            }

            let recorded = F::read_case(line)?;
            section.cases = section.cases.saturating_add(1);
            section.digest.update(&bytes);
            return Ok(Some(CorpusItem::Case(Box::new(recorded))));
        }
    }

    fn end_of_file(&self) -> Result<(), String> {
        match (&self.section, self.line) {
            (Some(_), _) => {
                Err("expected the last line of the section: the file ends too early".into())
            }
            (None, 1) => Err("expected a corpus, found nothing".into()),
            (None, _) => Ok(()),
        }
    }
}

impl Section {
    /// Compares the section with what its last line says.
    fn check(&self, end: &EndLine) -> Result<(), String> {
        if end.end != self.cases {
            let expected = end.end;
            let found = self.cases;
            return Err(format!("expected {expected} cases before this line, found {found}"));
        }

        let digest = hex(&self.digest.clone().finalize());
        if end.sha256 != digest {
            return Err(format!(
                "the section was altered: its lines have SHA-256 {digest}, but this line says {:?}",
                end.sha256
            ));
        }

        Ok(())
    }
}

impl<F: CorpusForm> Iterator for SectionReader<F> {
    type Item = Result<CorpusItem<F::Case>, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }

        match self.read() {
            Ok(item) => {
                self.is_over = item.is_none();
                item.map(Ok)
            }
            Err(problem) => {
                self.is_over = true;
                Some(Err(self.error(&problem)))
            }
        }
    }
}
