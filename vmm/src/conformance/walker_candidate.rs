//! The built-in walkers as candidates: a walker answers with the likeliest outcome that it allows.

use crate::walker::Walker;
use crosswalk_case::protocol::{Answer, Candidate, Faulted, Translated};
use crosswalk_case::{Case, TableEntry};
use mmu_core::{Alternative, Outcome, VirtAddr};

/// A built-in walker as a candidate.
pub(super) struct WalkerCandidate(pub(super) &'static dyn Walker);

impl Candidate for WalkerCandidate {
    fn answer(&mut self, case: &Case) -> Answer {
        match self.0.predict(case).alternatives.first() {
            Some(likeliest) => answer(likeliest),
            None => Answer::Silent("it allows no outcome".into()),
        }
    }
}

/// The complete answer for an outcome. Flags that need not be set are clear.
fn answer(way: &Alternative) -> Answer {
    let entries = way
        .updates
        .iter()
        .map(|update| TableEntry { at: update.at.get(), value: update.before | update.must_set })
        .collect();
    let entries = Some(entries);

    match &way.outcome {
        Outcome::Translated(spans) => Answer::Translated(Translated {
            address: spans.first().map_or(0, |span| span.address.get()),
            second: spans.get(1).map(|span| span.address.get()),
            entries,
            ..Translated::default()
        }),
        Outcome::Fault(fault) => Answer::Fault(Faulted {
            vector: Some(fault.vector as u8),
            error_code: Some(fault.error_code),
            cr2: fault.cr2.map(VirtAddr::get),
            entries,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::mark::{Mark, mark};
    use crosswalk_case::protocol::MAX_ANSWER_BYTES;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{PagingMode, Profile, Reference, Ring};

    #[test]
    fn the_reference_gives_right_answers_that_survive_their_text_form() {
        for mode in PagingMode::ALL.into_iter().filter(|mode| *mode != PagingMode::Linear) {
            let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default());

            // First a completed access, then one whose last entry is not present.
            for _ in 0..2 {
                let answer = WalkerCandidate(&Reference).answer(&case);
                let allowed = Reference.predict(&case).alternatives;
                assert_eq!(mark(&case, &allowed, &answer), Mark::Right, "{mode}");

                let line = answer.to_line();
                assert!(line.len() < MAX_ANSWER_BYTES);
                assert_eq!(Answer::from_line(&line).unwrap(), answer);

                if let Some(leaf) = case.entries.last_mut() {
                    leaf.value = 0;
                }
            }
        }
    }
}
