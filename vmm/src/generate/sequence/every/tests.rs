//! Every short sequence fits the guest and comes once.

use super::*;
use crate::generate::tests::capabilities;
use crate::generate::{CaseName, Generator};
use crosswalk_machine::batch::arena_of;
use std::collections::HashSet;

fn stream(mode: PagingMode) -> EverySequenceStream {
    EverySequenceStream::new(mode, capabilities(true))
}

/// Batches from all sections, the first and the last among them.
fn some_batches(stream: &EverySequenceStream) -> Vec<Batch> {
    let last = stream.batches() - 1;
    let numbers = [0, 1, 5, last / 7, last / 3, last / 2, last - 1, last];
    numbers.map(|number| stream.batch(number, usize::MAX)).into()
}

#[test]
fn they_fit_the_layout_and_share_nothing() {
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        for Batch { arena, cases } in some_batches(&stream(mode)) {
            let mut entries = HashSet::new();
            for case in &cases {
                assert_eq!(arena_of(case), Ok(arena), "{case}");
                assert_eq!(Case::from_json(&case.to_json()).unwrap(), *case);
                assert!(case.entries.iter().all(|entry| entries.insert(entry.at)), "{case}");
                assert!((1..=3).contains(&case.before.len()), "{case}");
            }
        }
    }
}

/// The first batch has sequences of two actions, and the last one of four.
#[test]
fn short_sequences_come_first() {
    let stream = stream(PagingMode::FourLevel);
    let lengths = |number| {
        let cases = stream.batch(number, usize::MAX).cases;
        cases.iter().map(|case| case.before.len()).collect::<HashSet<_>>()
    };
    assert_eq!(lengths(0), [1].into());
    assert_eq!(lengths(stream.batches() - 1), [3].into());
}

/// No two cases of a section are the same but for where they are: the first two sections have all pairs
/// of actions with every mapping.
#[test]
fn every_index_is_another_case_and_is_found_again() {
    let stream = stream(PagingMode::FourLevel);
    let pairs = stream.words.count(2) * PAGE_KINDS.len() as u64;
    assert_eq!(stream.sections().next().map(|section| section.cases), Some(pairs));

    for index in [0, 1, 191, 192, pairs - 1, pairs, stream.cases() - 1] {
        let (batch, lane) = stream.locate(index).expect("there is such a case");
        assert_eq!(stream.cases_before(batch) + lane as u64, index);

        let name =
            CaseName { generator: Generator::EverySequence, mode: PagingMode::FourLevel, index };
        assert_eq!(name.to_string(), format!("every-sequence:4level:{index}"));
        assert_eq!(name.to_string().parse(), Ok(name));
        let named = name.case(&capabilities(true)).expect("there is such a case");
        assert_eq!(named, stream.batch(batch, usize::MAX).cases[lane]);
    }
    assert_eq!(stream.locate(stream.cases()), None);
}
