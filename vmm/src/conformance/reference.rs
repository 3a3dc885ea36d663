//! Our own walkers as candidates: the likeliest outcome that one allows is its answer.

use crate::walker::Walker;
use crosswalk_case::protocol::{Answer, Candidate, Faulted, Translated};
use crosswalk_case::{Case, TableEntry};
use mmu_core::{Alternative, Outcome, VirtAddr};

/// A walker of ours.
pub struct WalkerCandidate(pub &'static dyn Walker);

impl Candidate for WalkerCandidate {
    fn answer(&mut self, case: &Case) -> Answer {
        match self.0.predict(case).alternatives.first() {
            Some(likeliest) => answer(likeliest),
            None => Answer::Silent("it allows nothing".into()),
        }
    }
}

/// The answer that says all of an outcome, with no flag set that need not be.
fn answer(way: &Alternative) -> Answer {
    let entries = way
        .updates
        .iter()
        .map(|update| TableEntry { at: update.at.get(), value: update.before | update.must_set });
    let entries = Some(entries.collect());
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
    fn the_reference_is_right_by_its_own_rules_in_its_text_form_too() {
        for mode in PagingMode::ALL.into_iter().filter(|mode| *mode != PagingMode::Linear) {
            let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default());
            for _ in 0..2 {
                let answer = WalkerCandidate(&Reference).answer(&case);
                let ways = Reference.predict(&case).alternatives;
                assert_eq!(mark(&case, &ways, &answer), Mark::Right, "{mode}");
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
