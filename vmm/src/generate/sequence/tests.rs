//! Sequences fit the guest, keep apart, and contain every kind of action.

use super::*;
use crate::generate::tests::capabilities;
use crate::walker::Walker;
use crosswalk_case::{AccessStep, Action};
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
use crosswalk_machine::batch::arena_of;
use mmu_core::x86::control::Mov;
use mmu_core::{Access, Outcome, Prediction, Reference, Ring, Rule};
use std::collections::HashSet;

const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

/// Batches of every mode: two run alone, and one is in compatibility mode where there is one.
fn batches() -> impl Iterator<Item = Batch> {
    MODES.into_iter().flat_map(batches_of)
}

fn batches_of(mode: PagingMode) -> impl Iterator<Item = Batch> {
    let stream = SequenceStream::new(3, mode, capabilities(true));
    (4..12).map(move |number| stream.batch(number, usize::MAX))
}

/// Sequences of PAE paging that run alone.
fn alone_in_pae(count: u64) -> impl Iterator<Item = Batch> {
    let stream = SequenceStream::new(3, PagingMode::Pae, capabilities(true));
    (0..count).map(move |number| stream.batch(16 * number + 7, usize::MAX))
}

#[test]
fn they_fit_the_layout_and_are_the_same_after_their_text_form() {
    for Batch { arena, cases } in batches().chain(alone_in_pae(200)) {
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
    const { assert!(records::MAX_RECORDS * MAX_SEQUENCES + 8 < Arena::RECORDS) };

    for case in batches().flat_map(|batch| batch.cases) {
        assert!(records::records(&case) <= records::MAX_RECORDS, "{case}");
    }
}

#[test]
fn no_two_sequences_of_a_batch_share_an_entry_or_a_frame() {
    for Batch { cases, .. } in batches() {
        let mut entries = HashSet::new();
        let mut frames = HashSet::new();
        for case in &cases {
            assert_eq!(
                ControlState { pkru: 0, ..case.state },
                ControlState { pkru: 0, ..cases[0].state }
            );
            let shared = tables::shared_levels(case.table_use());
            let own = case.entries.iter().filter(|entry| {
                Arena::ALL
                    .iter()
                    .all(|arena| arena.table_at(entry.at).is_none_or(|at| at >= shared))
            });
            assert!(own.into_iter().all(|entry| entries.insert(entry.at)), "{case}");
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
    let cases: Vec<_> = batches().flat_map(|batch| batch.cases).collect();
    let count = |is_wanted: &dyn Fn(&Action) -> bool| {
        cases.iter().filter(|case| case.script().any(|action| is_wanted(&action))).count()
    };
    let counts = [
        count(&|action| matches!(action, Action::Write(_))),
        count(&|action| matches!(action, Action::Invlpg(_))),
        count(&|action| *action == Action::ReloadCr3),
        count(&|action| matches!(action, Action::WriteProtect(_))),
        count(&|action| matches!(action, Action::Mov(Mov::Cr3(_)))),
        count(&|action| matches!(action, Action::Mov(Mov::Cr3(root)) if *root >> 36 & 0xff != 0)),
        count(&|action| matches!(action, Action::Mov(Mov::Cr4(_)))),
        count(&|action| matches!(action, Action::Mov(Mov::Cr0(_) | Mov::Efer(_)))),
        count(&|action| matches!(action, Action::Invpcid(_))),
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

/// In each use of the tables: legacy modes, 64-bit mode and compatibility mode.
#[test]
fn the_actions_of_every_mode_occur() {
    for mode in MODES {
        let all: Vec<_> = batches_of(mode).flat_map(|batch| batch.cases).collect();
        for compatibility in [false, true] {
            let cases = all.iter().filter(|case| case.access.compatibility == compatibility);
            let cases: Vec<_> = cases.collect();
            if cases.is_empty() {
                assert!(compatibility && !mode.is_long_mode(), "{mode}");
                continue;
            }

            let count = |is_wanted: &dyn Fn(&Action) -> bool| {
                cases.iter().filter(|case| case.script().any(|action| is_wanted(&action))).count()
            };
            let counts = [
                count(&|action| matches!(action, Action::Write(_))),
                count(&|action| matches!(action, Action::Invlpg(_))),
                count(&|action| *action == Action::ReloadCr3),
                count(&|action| matches!(action, Action::WriteProtect(_))),
                count(
                    &|action| matches!(action, Action::Access(step) if step.access.crosses_page()),
                ),
                count(&|action| matches!(action, Action::Access(step) if step.form == Form::Jump)),
            ];
            assert!(counts.iter().all(|count| *count > 3), "{mode}: {counts:?} of {}", cases.len());
        }
    }
}

/// Each within a page, and across the end of one with its source or its address.
#[test]
fn instructions_with_a_source_occur_in_every_shape() {
    let stream = SequenceStream::new(3, PagingMode::FourLevel, capabilities(true));
    let cases: Vec<_> = (0..64).flat_map(|number| stream.batch(number, usize::MAX).cases).collect();
    let steps = || {
        let actions = cases.iter().flat_map(Case::script);
        actions.filter_map(|action| match action {
            Action::Access(step) => Some(step),
            _ => None,
        })
    };

    let of_wide = |form: Form, size: u16| {
        steps().filter(|step| step.form == form && step.access.size == size).count()
    };
    let wide = [(Form::Enter, 24), (Form::Fxsave, 512), (Form::FailingCompare, 16)];
    let counts = wide.map(|(form, size)| of_wide(form, size));
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");

    // What ENTER pushes is aligned.
    let copies = |form: &Form| form.has_source() && *form != Form::Enter;
    for form in Form::ALL.into_iter().filter(copies) {
        let of_form = || steps().filter(|step| step.form == form);
        let source_crosses = |step: &AccessStep| {
            let source = step.source().expect("the form has one");
            Access { address: source, ..step.access }.crosses_page()
        };
        let counts = [
            of_form().filter(|step| step.access.ring == Ring::Three).count(),
            of_form().filter(|step| step.access.ring == Ring::Zero).count(),
            of_form().filter(|step| step.access.crosses_page()).count(),
            of_form().filter(source_crosses).count(),
        ];
        assert!(counts.iter().all(|count| *count > 2), "{form:?}: {counts:?}");
    }
}

/// 32-bit code has three of them.
#[test]
fn instructions_with_a_source_occur_in_32_bit_code() {
    for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
        let stream = SequenceStream::new(3, mode, capabilities(true));
        let cases = (0..32).flat_map(|number| stream.batch(number, usize::MAX).cases);
        let steps: Vec<_> = cases
            .flat_map(|case| case.script().collect::<Vec<_>>())
            .filter_map(|action| match action {
                Action::Access(step) if step.form.has_source() => Some(step),
                _ => None,
            })
            .filter(|step| mode != PagingMode::FourLevel || step.access.compatibility)
            .collect();

        for form in [Form::MoveString, Form::RepeatedMove, Form::CompareStrings] {
            let count = steps.iter().filter(|step| step.form == form).count();
            assert!(count > 5, "{mode}, {form:?}: {count}");
        }
        assert!(steps.iter().all(|step| !step.form.moves_stack()), "{mode}");
    }
}

/// EFLAGS.AC is about SMAP here; ring 3 checks no alignment. What is made again in ring 3 has none either.
#[test]
fn ring_3_has_no_ac() {
    let stream = SequenceStream::new(3, PagingMode::FourLevel, capabilities(true));
    for case in (0..128).flat_map(|number| stream.batch(number, usize::MAX).cases) {
        let has_it = |access: &Access| access.ring == Ring::Three && access.ac;
        assert!(!case.accesses().iter().any(|alone| has_it(&alone.access)), "{case}");
    }
}

/// PDPTE-1: after a store into a PDPTE there may be a load of CR3, an INVLPG or nothing.
#[test]
fn pdpte_1_pdptes_are_edited_and_then_loaded_or_not() {
    let cases: Vec<_> = alone_in_pae(200).flat_map(|batch| batch.cases).collect();
    let is_store = |case: &Case, action: &Action| matches!(action, Action::Write(entry) if case.pdpte_at(entry.at).is_some());
    let after_store = |is_wanted: &dyn Fn(Option<&Action>) -> bool| {
        let has = |case: &&Case| {
            let place = case.before.iter().position(|action| is_store(case, action));
            place.is_some_and(|place| is_wanted(case.before.get(place + 1)))
        };
        cases.iter().filter(has).count()
    };
    let counts = [
        after_store(&|next| next == Some(&Action::ReloadCr3)),
        after_store(&|next| matches!(next, Some(Action::Invlpg(_)))),
        after_store(&|next| matches!(next, None | Some(Action::Access(_)))),
    ];
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

/// A prediction has room for so many outcomes; more would be left out, and then look like divergences.
#[test]
fn no_access_has_more_allowed_outcomes_than_a_prediction_holds() {
    for case in batches().chain(alone_in_pae(200)).flat_map(|batch| batch.cases) {
        for prediction in Reference.predict_accesses(&case) {
            assert!(!prediction.alternatives.is_full(), "{case}");
        }
    }
}
