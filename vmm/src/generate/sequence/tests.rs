//! Sequences fit the guest, keep apart, and contain every kind of action.

use super::*;
use crate::generate::tests::capabilities;
use crate::walker::Walker;
use crosswalk_case::Action;
use crosswalk_machine::batch::arena_of;
use mmu_core::{Outcome, Prediction, Reference, Ring, Rule};
use std::collections::HashSet;

const MODES: [PagingMode; 2] = [PagingMode::FourLevel, PagingMode::FiveLevel];

fn batches(count: u64) -> impl Iterator<Item = Batch> {
    MODES.into_iter().flat_map(move |mode| {
        let stream = SequenceStream::new(3, mode, capabilities(true));
        (0..count).map(move |number| stream.batch(number, usize::MAX))
    })
}

#[test]
fn they_fit_the_layout_and_are_the_same_after_their_text_form() {
    for Batch { arena, cases } in batches(9) {
        for case in cases {
            assert_eq!(arena_of(&case), Ok(arena), "{case}");
            assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
        }
    }
}

/// The list has room for 5,290: 0x1f000 bytes of 24 each.
#[test]
fn the_records_of_a_batch_fit_the_list() {
    assert_eq!(Arena::RECORDS, 5290);
    const { assert!(steps::MAX_RECORDS * MAX_SEQUENCES + 8 < Arena::RECORDS) };

    for case in batches(9).flat_map(|batch| batch.cases) {
        assert!(steps::records(&case) <= steps::MAX_RECORDS, "{case}");
    }
}

#[test]
fn no_two_sequences_of_a_batch_share_an_entry_or_a_frame() {
    for Batch { cases, .. } in batches(9) {
        let mut entries = HashSet::new();
        let mut frames = HashSet::new();
        for case in &cases {
            assert_eq!(
                ControlState { pkru: 0, ..case.state },
                ControlState { pkru: 0, ..cases[0].state }
            );
            assert!(case.entries.iter().all(|entry| entries.insert(entry.at)), "{case}");
            let own: HashSet<u64> = reached(case).into_iter().map(|at| at >> 12).collect();
            assert!(own.into_iter().all(|frame| frames.insert(frame)), "{case}");
        }
    }
}

/// The physical addresses that the accesses of a case may reach.
fn reached(case: &Case) -> Vec<u64> {
    let predictions = Reference.predict_accesses(case);
    let mut reached = Vec::new();
    for way in predictions.iter().flat_map(|prediction| &prediction.alternatives) {
        if let Outcome::Translated(spans) = &way.outcome {
            reached.extend(spans.iter().map(|span| span.address.get()));
        }
    }
    reached
}

/// Every kind of action occurs, in both rings, and in some sequences what software left stale is still open
/// (TLB-2).
#[test]
fn tlb_2_all_kinds_of_actions_occur_and_some_leave_stale_translations() {
    let cases: Vec<_> = batches(8).flat_map(|batch| batch.cases).collect();
    let count = |is_wanted: &dyn Fn(&Action) -> bool| {
        cases.iter().filter(|case| case.script().any(|action| is_wanted(&action))).count()
    };
    let counts = [
        count(&|action| matches!(action, Action::Write(_))),
        count(&|action| matches!(action, Action::Invlpg(_))),
        count(&|action| *action == Action::ReloadCr3),
        count(&|action| matches!(action, Action::WriteProtect(_))),
        count(&|action| matches!(action, Action::Pkru(_))),
        count(&|action| matches!(action, Action::Access(step) if step.access.crosses_page())),
        count(&|action| matches!(action, Action::Access(step) if step.access.ring == Ring::Zero)),
    ];
    assert!(counts.iter().all(|count| *count > 60), "{counts:?} of {}", cases.len());

    let is_open = |prediction: &Prediction| {
        let mut choices = prediction.alternatives.iter().filter_map(|way| way.choice);
        choices.any(|(rule, _)| rule == Rule::Tlb2)
    };
    let open = cases.iter().filter(|case| Reference.predict_accesses(case).iter().any(is_open));
    let share = open.count() as f64 / cases.len() as f64;
    assert!((0.15..0.6).contains(&share), "{share}");
}

/// A prediction has room for so many outcomes; more would be left out, and then look like divergences.
#[test]
fn no_access_has_more_allowed_outcomes_than_a_prediction_holds() {
    for case in batches(9).flat_map(|batch| batch.cases) {
        for prediction in Reference.predict_accesses(&case) {
            assert!(!prediction.alternatives.is_full(), "{case}");
        }
    }
}
