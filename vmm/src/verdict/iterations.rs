//! Repeated instructions that a fault has stopped: what they did before is done (SDM, APM "REP"). The
//! operands say how much that is, so such an instruction is judged as two: one that completed, and one
//! that faulted at once.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use super::Verdict;
use crosswalk_case::observation::{EarlierAccess, Observation, ObservedFault};
use crosswalk_case::{AccessStep, Action, Case, Moved};
use crosswalk_guest::stub::Form;
use mmu_core::Access;

/// A case and its observation, in which repeated instructions are parted where a fault has stopped them.
pub(super) struct Parted {
    pub(super) case: Case,
    pub(super) seen: Observation,
    /// The actions of the case that are parted, counted from 0.
    in_two: Vec<usize>,
}

/// Parts a case; `None` if no fault has stopped an instruction in its midst.
pub(super) fn part(case: &Case, seen: &Observation) -> Option<Parted> {
    let is_repeated =
        |action: &Action| matches!(action, Action::Access(step) if step.form == Form::RepeatedMove);
    if !case.script().any(|action| is_repeated(&action)) {
        return None;
    }

    let mut script = Vec::new();
    let mut earlier = Vec::new();
    let mut in_two = Vec::new();
    let last = EarlierAccess { fault: seen.fault, value: seen.value, moved: seen.moved };
    let mut records = seen.earlier.iter().copied().chain([last]);
    for (at, action) in case.script().enumerate() {
        let Action::Access(step) = action else {
            script.push(action);
            continue;
        };
        let record = records.next()?;
        if let Some(done) = iterations_done(&step, record.fault, record.moved) {
            let [first, rest] = part_step(&step, done);
            script.extend([first, rest].map(Action::Access));
            let completed = EarlierAccess { fault: None, value: 0, moved: Some(first.moves()) };
            earlier.extend([completed, EarlierAccess { moved: Some(Moved::default()), ..record }]);
            in_two.push(at);
        } else {
            script.push(action);
            earlier.push(record);
        }
    }
    if in_two.is_empty() {
        return None;
    }

    let Action::Access(AccessStep { access, form, value }) = script.pop()? else { return None };
    let EarlierAccess { moved, .. } = earlier.pop()?;
    Some(Parted {
        case: Case { before: script, access, form, value, ..case.clone() },
        seen: Observation { earlier, moved, ..seen.clone() },
        in_two,
    })
}

/// The number of bytes that a repeated instruction has copied before its fault, if there are any and its
/// operands agree about it.
fn iterations_done(
    step: &AccessStep,
    fault: Option<ObservedFault>,
    moved: Option<Moved>,
) -> Option<u16> {
    let Moved { rsi, rdi, rcx } = moved?;
    let is_stopped = step.form == Form::RepeatedMove && fault.is_some();
    let agree = rsi == rdi && rcx == rdi.wrapping_neg();
    let done = u16::try_from(rdi).ok().filter(|_| is_stopped && agree)?;
    (1..step.access.size).contains(&done).then_some(done)
}

/// The first bytes of a repeated instruction, and the rest.
fn part_step(step: &AccessStep, done: u16) -> [AccessStep; 2] {
    let AccessStep { access, value: source, .. } = *step;
    let first = AccessStep { access: Access { size: done, ..access }, ..*step };
    let rest = AccessStep {
        access: Access {
            address: access.address.wrapping_add(done.into()),
            size: access.size.saturating_sub(done),
            ..access
        },
        value: source.wrapping_add(done.into()),
        ..*step
    };
    [first, rest]
}

impl Parted {
    /// The verdict on the case as it was: by the actions that it has.
    pub(super) fn verdict_of_whole(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Diverge { at, expected, differences } => {
                // Each parted action before it is two.
                let is_before =
                    |(number, action): &(usize, &usize)| number.saturating_add(**action) < at;
                let more = self.in_two.iter().enumerate().filter(is_before).count();
                Verdict::Diverge { at: at.saturating_sub(more), expected, differences }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::observation::Provenance;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring, VirtAddr};

    const FAULT: ObservedFault = ObservedFault {
        vector: 14,
        error_code: 6,
        cr2: 0x5000,
        cr2_before: 0,
        rip: None,
        frame: None,
    };

    fn repeated() -> Case {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        case.access = Access::write(VirtAddr::new(0x4ffe), 8, Ring::Three);
        case.form = Form::RepeatedMove;
        case.value = 0x7010;
        case
    }

    fn seen(fault: Option<ObservedFault>, done: i64) -> Observation {
        let moved = Some(Moved { rsi: done, rdi: done, rcx: -done });
        Observation { moved, ..Observation::new(fault, 0, Provenance::Tcg) }
    }

    #[test]
    fn what_was_copied_before_a_fault_is_an_instruction_of_its_own() {
        let case = repeated();
        let Parted { case: parted, seen, .. } = part(&case, &seen(Some(FAULT), 2)).unwrap();

        let [Action::Access(first)] = parted.before[..] else { panic!("one action") };
        assert_eq!(
            (first.access.address.get(), first.access.size, first.value),
            (0x4ffe, 2, 0x7010)
        );
        let rest = parted.access_step();
        assert_eq!((rest.access.address.get(), rest.access.size, rest.value), (0x5000, 6, 0x7012));
        assert_eq!(seen.earlier.len(), 1);
        assert_eq!((seen.fault, seen.moved), (Some(FAULT), Some(Moved::default())));
    }

    /// Nothing is parted where it completed, did nothing, or where its operands contradict each other.
    #[test]
    fn only_what_a_fault_stopped_in_its_midst_is_parted() {
        let case = repeated();
        assert!(part(&case, &seen(None, 8)).is_none());
        for done in [0, 8, 9, -1] {
            assert!(part(&case, &seen(Some(FAULT), done)).is_none(), "{done}");
        }
        let mut contradictory = seen(Some(FAULT), 2);
        contradictory.moved = Some(Moved { rsi: 2, rdi: 2, rcx: -1 });
        assert!(part(&case, &contradictory).is_none());
    }
}
