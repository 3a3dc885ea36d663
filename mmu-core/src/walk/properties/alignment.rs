//! Properties of alignment checks (ALIGN-1): what they add to a prediction, and what they leave alone.

use super::{P, access, bit, good_slots, machine};
use crate::access::AccessKind;
use crate::outcome::Alternative;
use crate::x86::fault::{Fault, Vector};
use crate::x86::state::Cr0;
use proptest::prelude::*;
use std::vec::Vec;

/// The accessed flag: bit 5 of an entry.
const A: u64 = 1 << 5;

fn is_check(alternative: &Alternative) -> bool {
    alternative.outcome.fault().is_some_and(|fault| fault.vector == Vector::AlignmentCheck)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn a_misaligned_access_never_completes_and_others_are_as_without_am(
        mut slots in good_slots(), absent in 0..10_usize, mut machine in machine(), access in access(),
    ) {
        if let Some(slot) = slots.0.get_mut(absent) {
            *slot &= !P;
        }
        let without = machine.predict(&slots, &access);
        machine.state.cr0 |= Cr0::AM;
        let with = machine.predict(&slots, &access);
        // CR0 as a number: AM is bit 18.
        prop_assert!(bit(machine.state.cr0.bits(), 18));

        let is_user = super::is_user_mode(&access);
        let is_data = !matches!(access.kind, AccessKind::Fetch | AccessKind::Clflush);
        // Sizes are 1 to 8.
        let alignment = match access.size { 2 => 2, 4 | 6 => 4, 8 => 8, _ => 1 };
        let is_misaligned = access.address.get() % alignment != 0;
        if !(access.ac && is_user && is_data && is_misaligned) {
            prop_assert_eq!(without, with);
            return Ok(());
        }

        let checks: Vec<_> = with.alternatives.iter().filter(|way| is_check(way)).collect();
        prop_assert!(!checks.is_empty());
        for check in checks {
            prop_assert_eq!(check.outcome.fault(), Some(&Fault::ALIGNMENT_CHECK));
            for update in &check.updates {
                prop_assert_eq!((update.must_set, update.may_set & !A), (0, 0));
            }
        }

        // Every other outcome is a fault that there would be anyway.
        let others = with.alternatives.iter().filter(|alternative| !is_check(alternative));
        let others: Vec<_> = others.map(|alternative| &alternative.outcome).collect();
        let faults = without.alternatives.iter().map(|alternative| &alternative.outcome);
        let faults: Vec<_> = faults.filter(|outcome| outcome.fault().is_some()).collect();
        prop_assert_eq!(others, faults);
    }
}
