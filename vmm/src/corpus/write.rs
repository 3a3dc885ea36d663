//! Writing a corpus.

use super::line::{CaseLine, EndLine, SourceLine};
use super::{Recorded, Source, codec};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// One section as text: lines of JSON.
///
/// # Panics
/// Never: a section has nothing that JSON cannot hold.
pub fn section(source: &Source, cases: &[Recorded]) -> String {
    let mut text = line(&SourceLine::from(source));
    for recorded in cases {
        text += &line(&CaseLine::of(recorded));
    }
    let sha256 = hex(&Sha256::digest(&text));
    text + &line(&EndLine { end: cases.len() as u64, sha256 })
}

/// One section as a file has it.
pub fn compressed(source: &Source, cases: &[Recorded]) -> Vec<u8> {
    codec::compressed(section(source, cases).as_bytes())
}

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
