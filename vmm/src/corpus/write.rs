//! Writes a corpus.

use super::line::{CaseLine, EndLine, SourceLine};
use super::{Recorded, Source};
use crosswalk_case::lines;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{self, Write};

/// A section as text: lines of JSON.
///
/// # Panics
/// Never: a section holds nothing that JSON cannot represent.
pub fn section(source: &Source, cases: &[Recorded]) -> String {
    section_of(&source_line(source), cases.iter().map(case_line))
}

/// A section of these lines, which have their line feeds.
#[cfg_attr(not(test), expect(clippy::expect_used, reason = "memory takes every byte"))]
pub(super) fn section_of(first: &str, cases: impl IntoIterator<Item = String>) -> String {
    let mut writer = SectionWriter::new(Vec::new());
    let write = || -> io::Result<()> {
        writer.begin(first)?;
        cases.into_iter().try_for_each(|case| writer.case(&case))?;
        writer.end()
    };
    write().expect("memory takes every byte");
    String::from_utf8(writer.out).expect("lines are text")
}

/// The first line of a section, with its line feed.
pub fn source_line(source: &Source) -> String {
    line(&SourceLine::from(source))
}

/// The line of a case, with its line feed.
pub fn case_line(recorded: &Recorded) -> String {
    line(&CaseLine::of(recorded))
}

/// Writes sections line by line.
pub struct SectionWriter<W> {
    out: W,
    /// Of the section that has begun.
    digest: Sha256,
    cases: u64,
}

impl<W: Write> SectionWriter<W> {
    /// A writer that has written nothing.
    pub fn new(out: W) -> Self {
        Self { out, digest: Sha256::new(), cases: 0 }
    }

    /// Begins a section with its first line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&mut self, line: &str) -> io::Result<()> {
        self.digest = Sha256::new();
        self.cases = 0;
        self.write(line)
    }

    /// Writes the line of a case.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn case(&mut self, line: &str) -> io::Result<()> {
        self.cases = self.cases.saturating_add(1);
        self.write(line)
    }

    /// Ends the section.
    ///
    /// # Errors
    /// When its last line cannot be written.
    pub fn end(&mut self) -> io::Result<()> {
        let sha256 = hex(&self.digest.clone().finalize());
        self.out.write_all(line(&EndLine { end: self.cases, sha256 }).as_bytes())
    }

    /// Flushes what is beneath.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.digest.update(line);
        self.out.write_all(line.as_bytes())
    }
}

/// A section as a corpus file holds it: a zstd frame.
pub fn compressed(source: &Source, cases: &[Recorded]) -> Vec<u8> {
    lines::compressed(section(source, cases).as_bytes())
}

#[cfg_attr(not(test), expect(clippy::expect_used, reason = "a line is plain data"))]
pub(super) fn line(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("a line is plain data") + "\n"
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
