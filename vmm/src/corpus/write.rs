//! Writes a corpus.

use super::line::{CaseLine, EndLine, SourceLine};
use super::{Recorded, Source, codec};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A section as text: lines of JSON.
///
/// # Panics
/// Never: a section holds nothing that JSON cannot represent.
pub fn section(source: &Source, cases: &[Recorded]) -> String {
    let mut text = line(&SourceLine::from(source));
    for recorded in cases {
        text += &line(&CaseLine::of(recorded));
    }

    let sha256 = hex(&Sha256::digest(&text));
    text + &line(&EndLine { end: cases.len() as u64, sha256 })
}

/// A section as a corpus file holds it: a zstd frame.
pub fn compressed(source: &Source, cases: &[Recorded]) -> Vec<u8> {
    codec::compressed(section(source, cases).as_bytes())
}

#[cfg_attr(not(test), expect(clippy::expect_used, reason = "a line is plain data"))]
fn line(line: &impl Serialize) -> String {
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
