//! Writing a corpus.

use super::failure::Failure;
use super::output::replace_file;
use crate::corpus::record::Recording;
use crate::corpus::write;
use crate::report::corpus::RecordedSection;
use crosswalk_case::lines;
use std::path::Path;

/// Writes the corpus, compressed or not. Returns its size in bytes.
pub(super) fn write_corpus(out: &Path, sections: &[RecordedSection]) -> Result<usize, Failure> {
    let text = |section: &RecordedSection| {
        let Recording { source, cases, .. } = &section.recording;
        write::section(source, cases)
    };
    write_sections(out, &sections.iter().map(text).collect::<Vec<_>>())
}

/// The same of sections as text.
pub(super) fn write_sections(out: &Path, sections: &[String]) -> Result<usize, Failure> {
    let is_plain = out.extension().is_some_and(|extension| extension == "jsonl");
    let as_bytes = |section: &String| {
        if is_plain { section.clone().into_bytes() } else { lines::compressed(section.as_bytes()) }
    };
    let content: Vec<u8> = sections.iter().flat_map(as_bytes).collect();
    replace_file(out, &content)?;
    Ok(content.len())
}
