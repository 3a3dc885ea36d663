//! Writing a corpus.

use super::failure::Failure;
use super::output::replace_file;
use crate::corpus::record::Recording;
use crate::corpus::write;
use crate::report::corpus::RecordedSection;
use std::path::Path;

/// Writes the corpus, compressed or not. Returns its size in bytes.
pub(super) fn write_corpus(out: &Path, sections: &[RecordedSection]) -> Result<usize, Failure> {
    let is_plain = out.extension().is_some_and(|extension| extension == "jsonl");
    let as_bytes = |section: &RecordedSection| {
        let Recording { source, cases, .. } = &section.recording;
        if is_plain {
            write::section(source, cases).into_bytes()
        } else {
            write::compressed(source, cases)
        }
    };

    let content: Vec<u8> = sections.iter().flat_map(as_bytes).collect();

    replace_file(out, &content)?;
    Ok(content.len())
}
