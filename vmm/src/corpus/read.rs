//! Reading a corpus, line by line: whatever it holds, memory is bounded, and what is wrong is told with
//! its line.

use super::codec::Lines;
use super::line::{CaseLine, EndLine, SourceLine};
use super::write::hex;
use super::{BUNDLED, BUNDLED_NAME, Recorded, Source};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why a corpus cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}{}: {problem}", line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct CorpusError {
    name: String,
    /// The line, from 1, of the text that is compressed.
    line: Option<u64>,
    problem: String,
}

/// What comes next in a corpus.
#[derive(Debug)]
pub enum CorpusItem {
    /// A section begins: what follows was recorded from this.
    Source(Box<Source>),
    /// A case.
    Case(Box<Recorded>),
}

/// A corpus that is being read: an iterator over what it holds, up to the first error.
pub struct CorpusReader {
    name: String,
    lines: Lines<Box<dyn Read + Send>>,
    /// The lines so far.
    line: u64,
    section: Option<Section>,
    is_over: bool,
}

/// The section that is being read.
struct Section {
    cases: u64,
    digest: Sha256,
}

impl CorpusReader {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(name, Box::new(file)),
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                Err(CorpusError { name, line: None, problem })
            }
        }
    }

    /// Reads the corpus that comes with the program.
    ///
    /// # Errors
    /// None in a program that was built as it should be: a test reads it.
    pub fn bundled() -> Result<Self, CorpusError> {
        Self::new(BUNDLED_NAME.into(), Box::new(BUNDLED))
    }

    /// Reads what a reader gives; `name` is what errors call it.
    ///
    /// # Errors
    /// When it gives nothing.
    pub fn new(name: String, file: Box<dyn Read + Send>) -> Result<Self, CorpusError> {
        match Lines::new(file) {
            Ok(lines) => Ok(Self { name, lines, line: 0, section: None, is_over: false }),
            Err(error) => Err(CorpusError { name, line: None, problem: error.to_string() }),
        }
    }

    /// An error about the line that was read last.
    pub fn error(&self, problem: &str) -> CorpusError {
        // What somebody wrote is shown, but a terminal must not obey it.
        let problem: String = problem.replace(char::is_control, "\u{fffd}");
        let most = 400;
        let problem = match problem.char_indices().nth(most) {
            Some((at, _)) => format!("{}…", &problem[..at]),
            None => problem,
        };
        CorpusError { name: self.name.clone(), line: Some(self.line), problem }
    }

    fn read(&mut self) -> Result<Option<CorpusItem>, String> {
        loop {
            self.line += 1;
            let bytes = self.lines.next().map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                return self.end_of_file().map(|()| None);
            }
            let text = str::from_utf8(&bytes).map_err(|error| format!("no UTF-8: {error}"))?;
            let is_whole = text.ends_with('\n');
            let text = text.trim_end_matches('\n');
            let Some(section) = &mut self.section else {
                let source = SourceLine::read(text)?;
                self.section = Some(Section { cases: 0, digest: Sha256::new_with_prefix(&bytes) });
                return Ok(Some(CorpusItem::Source(Box::new(source))));
            };
            if !is_whole {
                return Err("expected the end of the line: the file ends too early".into());
            }
            if text.starts_with("{\"end\"") {
                section.check(&EndLine::read(text)?)?;
                self.section = None;
                continue;
            }
            let recorded = CaseLine::read(text)?;
            section.cases += 1;
            section.digest.update(&bytes);
            return Ok(Some(CorpusItem::Case(Box::new(recorded))));
        }
    }

    fn end_of_file(&self) -> Result<(), String> {
        match (&self.section, self.line) {
            (Some(_), _) => Err("expected the line that ends the section: the file ends too \
                                 early"
                .into()),
            (None, 1) => Err("expected a corpus, found nothing".into()),
            (None, _) => Ok(()),
        }
    }
}

impl Section {
    fn check(&self, end: &EndLine) -> Result<(), String> {
        if end.end != self.cases {
            let (expected, found) = (end.end, self.cases);
            return Err(format!("expected {expected} cases before this line, found {found}"));
        }
        let digest = hex(&self.digest.clone().finalize());
        if end.sha256 != digest {
            return Err(format!(
                "the section was altered: its lines have SHA-256 {digest}, and this one says {:?}",
                end.sha256
            ));
        }
        Ok(())
    }
}

impl Iterator for CorpusReader {
    type Item = Result<CorpusItem, CorpusError>;

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
