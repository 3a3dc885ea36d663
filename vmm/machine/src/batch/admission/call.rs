//! Calls through memory: the guest must not go where a pointer happens to lead.

use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::layout::call_target;
use crosswalk_guest::stub::Form;
use mmu_core::{Access, Alternative, AnyMmu, Prediction};

/// Checks that every call reads a pointer that the case has just stored, or none. Another pointer is hardly ever
/// canonical, as data frames are filled, so that a machine that reads one by mistake ends in a fault.
pub(super) fn check_calls(case: &Case) -> Result<(), String> {
    let is_call =
        |action: &Action| matches!(action, Action::Access(step) if step.form == Form::Call);
    if !case.script().any(|action| is_call(&action)) {
        return Ok(());
    }

    let mut alone = case.accesses().into_iter();
    let mut is_certain = true;
    let mut before: Option<(Action, Option<Case>)> = None;
    for action in case.script() {
        // What is cached of old tables could lead to another pointer.
        is_certain &= !matches!(action, Action::Write(_) | Action::Mov(_));
        let now = matches!(action, Action::Access(_)).then(|| alone.next()).flatten();
        if is_call(&action)
            && let Some(call) = &now
        {
            let is_stored = before.as_ref().is_some_and(|(_, store)| {
                store.as_ref().is_some_and(|store| stores_pointer(store, call))
            });
            if !is_certain || !(is_stored || reads_none(call)) {
                let target = call_target(call.access.ring);
                return Err(format!(
                    "a call needs a pointer: right before it the same ring stores {target:#x} to its source, \
                     and no entry or control register is written before"
                ));
            }
        }
        before = Some((action, now));
    }
    Ok(())
}

/// Whether an access stores the pointer of the call, in every outcome.
fn stores_pointer(store: &Case, call: &Case) -> bool {
    let AccessStep { access, form, value } = store.access_step();
    let is_pointer = form == Form::Store && access.size == 8 && value == call_target(access.ring);
    let is_there = access.ring == call.access.ring && access.address.get() == call.value;
    is_pointer && is_there && !predict(store, &access).alternatives.iter().any(faults)
}

/// Whether the read of the pointer faults in every outcome.
fn reads_none(call: &Case) -> bool {
    let parts = call.access_step().parts();
    parts.first().is_some_and(|read| predict(call, read).alternatives.iter().all(faults))
}

/// What is allowed for an access.
fn predict(case: &Case, access: &Access) -> Prediction {
    AnyMmu::new(case.state, case.profile).predict(case, access).unwrap_or_default()
}

fn faults(way: &Alternative) -> bool {
    way.outcome.fault().is_some()
}

#[cfg(test)]
mod tests {
    use super::super::arena_of;
    use super::super::tests::{assert_refused, plain};
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{AccessKind, PagingMode, Ring, VirtAddr};

    /// A store of the pointer, and the call.
    fn call(ring: Ring) -> Case {
        let mut case = plain(PagingMode::FourLevel, ring);
        let source = VirtAddr::new(case.access.address.get() & !0xfff | 0x200);
        let access = Access { kind: AccessKind::Write, size: 8, ..case.access };
        let store = Access { address: source, ..access };
        let value = call_target(ring);
        case.before = vec![Action::Access(AccessStep { access: store, form: Form::Store, value })];
        case.access = access;
        case.form = Form::Call;
        case.value = source.get();
        case
    }

    #[test]
    fn a_call_needs_its_pointer() {
        for ring in Ring::ALL {
            let case = call(ring);
            assert_eq!(arena_of(&case), Ok(Arena::ALL[1]), "{case}");

            let without = Case { before: Vec::new(), ..case.clone() };
            assert_refused(&without, "a call needs a pointer");
            let elsewhere = Case { value: case.value + 8, ..case.clone() };
            assert_refused(&elsewhere, "a call needs a pointer");

            // What is not readable has no pointer.
            let mut absent = without.clone();
            absent.entries[3].value &= !1;
            assert_eq!(arena_of(&absent), Ok(Arena::ALL[1]), "{absent}");
        }
    }

    /// What is stored must be stored, by the ring that calls, and tables must not change.
    #[test]
    fn a_pointer_that_may_be_another_is_refused() {
        let mut edited = call(Ring::Three);
        edited.before.insert(0, Action::Write(edited.entries[3]));
        assert_refused(&edited, "a call needs a pointer");

        let mut read_only = call(Ring::Three);
        read_only.entries[3].value &= !2;
        assert_refused(&read_only, "a call needs a pointer");

        let mut wrong = call(Ring::Three);
        let Action::Access(store) = &mut wrong.before[0] else { panic!("a store") };
        store.value += 1;
        assert_refused(&wrong, "a call needs a pointer");

        let mut other_ring = call(Ring::Three);
        other_ring.access.ring = Ring::Zero;
        assert_refused(&other_ring, "a call needs a pointer");
    }
}
