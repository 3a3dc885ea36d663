//! The journal of a run. One that reads prints as text that reads back the same; it can be resumed and
//! merged, and what it is merged to is a journal that reads. No shard counts twice.
//!
//! Input: a byte, and lines. If the lowest bit of the byte is 0, the lines get checksums that fit, and a
//! last line that counts them.

use crosswalk::campaign::journal::{Checkpoint, Sum};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Reads a journal.
///
/// # Panics
/// When it is not read as it must be.
pub fn journal(input: &[u8]) {
    let Some(text) = text_of(input) else { return };
    let Ok(checkpoint) = text.parse::<Checkpoint>() else { return };
    let printed = checkpoint.to_string();
    let again: Checkpoint = printed.parse().expect("a printed journal reads");
    assert_eq!(again.to_string(), printed);

    merge(checkpoint);
}

/// The text that an input stands for.
pub(crate) fn text_of(input: &[u8]) -> Option<String> {
    let (mode, lines) = input.split_first()?;
    let lines = str::from_utf8(lines).ok()?;
    Some(if mode & 1 == 0 { forged(lines) } else { lines.to_owned() })
}

/// A journal of these lines. A forger can compute checksums, too.
fn forged(lines: &str) -> String {
    let mut sum = String::new();
    let mut text = String::new();

    let count = format!("{{\"lines\":{}}}", lines.lines().count());
    for line in lines.lines().chain([&*count]) {
        let digest = Sha256::new().chain_update(&sum).chain_update(line).finalize();
        sum = digest[..8].iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let _ = writeln!(text, "{{\"sum\":\"{sum}\",\"line\":{line}}}");
    }
    text
}

fn merge(part: Checkpoint) {
    let Ok(mut sum) = Sum::start(&part, None) else { return };
    assert_eq!(sum.run().difference(&part.run), None);

    if sum.add_shards(&part.run.shard).is_err() {
        return;
    }
    assert!(sum.add_shards(&part.run.shard).is_err(), "a shard counts twice");

    if sum.add(part).is_err() {
        return;
    }
    if let Ok((total, findings)) = sum.finish() {
        let _ = findings.len();
        let written = total.to_string();
        let read = written.parse::<Checkpoint>().expect("the journal of a sum reads");
        assert_eq!(read.to_string(), written);
    }
}
