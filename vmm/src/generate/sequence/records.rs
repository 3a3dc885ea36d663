//! How much room a sequence needs in the guest's list.

use crosswalk_case::{Action, Case};
use mmu_core::Ring;
use mmu_core::x86::control::Mov;
use std::collections::HashSet;

/// Maximum number of records of a sequence. As many sequences as run together must fit the list.
pub(super) const MAX_RECORDS: usize = 24;
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
