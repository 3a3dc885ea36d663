//! A corpus, plain or compressed: it is read and replayed. Whatever the file holds, memory is bounded,
//! an error has no control characters, and every case that is replayed is counted once.
//!
//! Input: a byte, and the file. If the lowest bit of the byte is 0, the file is text, and gets a last
//! line whose checksum fits. The other bits choose what is replayed.

use crosswalk::campaign::known::KnownSource;
use crosswalk::corpus::read::CorpusReader;
use crosswalk::corpus::replay::{ReplayPlan, replay};
use crosswalk::walker::{MUTANTS, WalkerSpec};
use mmu_core::PagingMode;
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::ops::ControlFlow;

/// Reads and replays a corpus.
///
/// # Panics
/// When it is not read as it must be.
pub fn corpus(input: &[u8]) {
    let Some((choices, file)) = input.split_first() else { return };
    let file = if choices & 1 == 0 { with_end(file) } else { file.to_vec() };

    let plan = ReplayPlan {
        walker: if choices & 2 == 0 {
            WalkerSpec::Reference
        } else {
            let id = MUTANTS[usize::from(choices >> 4) % MUTANTS.len()].id;
            format!("mutant:{id}").parse().expect("there is such a mutant")
        },
        known: if choices & 4 == 0 { KnownSource::Shipped } else { KnownSource::Unforgiven },
        modes: if choices & 8 == 0 { Vec::new() } else { vec![PagingMode::FourLevel] },
        cases: (choices & 0xf0 == 0xf0).then_some(1),
    };

    let mut visited = 0;
    let mut reader = CorpusReader::new("input".to_owned(), Box::new(Cursor::new(file)))
        .expect("bytes can be read");
    let visit = |_: &_, _: &_, _: &_| {
        visited += 1;
        ControlFlow::Continue(())
    };
    match replay(&mut reader, &plan, visit) {
        Ok(replayed) => {
            let tally = &replayed.summary.tally;
            let of_sections: u64 = replayed.sources.iter().map(|(_, cases)| cases).sum();
            assert_eq!(tally.cases(), visited);
            assert_eq!(of_sections, visited);
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}

/// The text as one section, with its last line.
fn with_end(text: &[u8]) -> Vec<u8> {
    let mut section = text.to_vec();
    if !section.ends_with(b"\n") {
        section.push(b'\n');
    }

    let cases = section.split(|byte| *byte == b'\n').count() - 2;
    let digest = Sha256::digest(&section);
    let hex = digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    section.extend(format!("{{\"end\":{cases},\"sha256\":\"{hex}\"}}\n").into_bytes());
    section
}
