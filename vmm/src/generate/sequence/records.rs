//! How much room a sequence needs in the guest's list, and what is left out where there is too little.

use crosswalk_case::{Action, Case};
use crosswalk_guest::stub::Form;
use crosswalk_machine::batch::arena_of;
use mmu_core::Ring;
use mmu_core::x86::control::Mov;
use std::collections::HashSet;

/// Maximum number of records of a sequence. As many sequences as run together must fit the list.
pub(super) const MAX_RECORDS: usize = 24;

/// A sequence without as many of its first actions as it takes to fit.
pub(super) fn fitted(mut case: Case) -> Case {
    while records(&case) > MAX_RECORDS {
        case.before.remove(0);
    }
    without_lost_pointers(case)
}

/// Makes calls pushes, if what comes first in a sequence was left out, and the pointer of one with it.
fn without_lost_pointers(mut case: Case) -> Case {
    let has_call = case
        .script()
        .any(|action| matches!(action, Action::Access(step) if step.form == Form::Call));
    if !has_call || arena_of(&case).is_ok() {
        return case;
    }

    let forms = case.before.iter_mut().filter_map(|action| match action {
        Action::Access(step) => Some(&mut step.form),
        _ => None,
    });
    for form in forms.chain([&mut case.form]).filter(|form| **form == Form::Call) {
        *form = Form::Push;
    }
    case
}

/// The most records that a sequence can have: one for each action, another one for a privileged
/// instruction, two for the operands of one with a source, and those that change the ring, EFLAGS.AC and PKRU before an access, or restore control
/// registers for the next lane.
pub(super) fn records(case: &Case) -> usize {
    let steps = || {
        case.script().filter_map(|action| match action {
            Action::Access(step) => Some(step),
            _ => None,
        })
    };
    let accesses = || steps().map(|step| step.access);
    let uses_keys =
        case.state.pkru != 0 || case.before.iter().any(|action| matches!(action, Action::Pkru(_)));
    let movs = case.before.iter().filter_map(|action| action.mov(&case.state));
    let moved: HashSet<&str> = movs.map(Mov::register).collect();
    let privileged = case.before.iter().filter(|action| action.is_privileged());

    let mut count = case.script().count() + privileged.count();
    count += 2 * steps().filter(|step| step.form.has_source()).count();
    if uses_keys {
        count += accesses().count() + 1;
    }
    if accesses().any(|access| access.ac) {
        count += accesses().count() + 1;
    }
    // From one ring to the other it takes one record or two. The lane before may have ended in either.
    let rings: Vec<Ring> = accesses().map(|access| access.ring).collect();
    count += 2 * (1 + rings.windows(2).filter(|pair| pair[0] != pair[1]).count());
    count + 2 * moved.len()
}
