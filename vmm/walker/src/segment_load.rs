//! The load of a segment: the processor reads the descriptor, and then sets its accessed bit (SDM
//! "Segment Descriptors"; "Locked Atomic Operations", "Automatic Locking"). Both are implicit accesses.

use crosswalk_guest::contents::ACCESS_BYTE;
use mmu_core::{Access, AccessKind, Alternative, Outcome, Prediction, Rule, VirtAddr};

/// What is allowed for the load of a segment whose access byte `access` writes.
pub(super) fn predict(access: &Access, predict: &dyn Fn(&Access) -> Prediction) -> Prediction {
    let store = predict(access);
    let address = VirtAddr::new(access.address.get().wrapping_sub(ACCESS_BYTE));
    let load = predict(&Access { kind: AccessKind::Read, address, size: 8, ..*access });
    combine(&load, &store, address)
}

/// Where the read faults, it ends there. Otherwise the path is accessed, and the write follows.
fn combine(load: &Prediction, store: &Prediction, descriptor: VirtAddr) -> Prediction {
    let mut found = Prediction { rules: load.rules, ..Prediction::default() };
    found.rules.extend(store.rules);

    for loaded in &load.alternatives {
        if loaded.outcome.fault().is_some() {
            found.alternatives.push(loaded.clone());
            continue;
        }
        for stored in store.alternatives.iter().filter(|way| way.choice == loaded.choice) {
            let Some(fault) = stored.outcome.fault() else {
                found.alternatives.push(stored.clone());
                continue;
            };
            for (offset, choice) in WRITES {
                let cr2 = fault.cr2.map(|_| descriptor.wrapping_add(offset));
                let outcome = Outcome::Fault(mmu_core::Fault { cr2, ..*fault });
                let choice = stored.choice.or(Some((Rule::Code12, choice)));
                let updates = loaded.updates.clone();
                found.alternatives.push(Alternative { outcome, updates, choice });
            }
        }
    }
    found
}

/// The parts of a descriptor that processors write, by their offsets: no manual says which.
const WRITES: [(u64, &str); 3] = [
    (ACCESS_BYTE, "the access byte is written"),
    (4, "the upper half of the descriptor is written"),
    (0, "the whole descriptor is written"),
];

#[cfg(test)]
mod tests {
    use crate::Walker;
    use crosswalk_case::Case;
    use crosswalk_guest::layout::Arena;
    use crosswalk_guest::stub::Form;
    use mmu_core::{Access, Cr0, Prediction, Profile, Reference, Ring};

    const A: u64 = 1 << 5;
    const D: u64 = 1 << 6;

    /// A load of a segment in ring 3 from a read-only page.
    fn read_only() -> Case {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        let address = case.access.address.wrapping_add(5);
        case.access = Access { implicit: true, ..Access::write(address, 1, Ring::Three) };
        case.form = Form::SegmentLoad;
        case.entries[3].value &= !2;
        case
    }

    fn faults(prediction: &Prediction) -> Vec<(u32, u64)> {
        let faults = prediction.alternatives.iter().filter_map(|way| way.outcome.fault());
        faults.filter_map(|fault| Some((fault.error_code, fault.cr2?.get()))).collect()
    }

    /// CODE-9, RIGHT-2: the write is the supervisor's, which CR0.WP=1 binds; the read has set A.
    #[test]
    fn right_2_an_implicit_write_obeys_write_protection() {
        let case = read_only();
        let at = case.access.address.get();
        let prediction = Reference.predict(&case);
        assert_eq!(faults(&prediction), [(3, at), (3, at - 1), (3, at - 5)]);
        let set: Vec<_> = prediction.alternatives[0].updates.iter().map(|u| u.must_set).collect();
        assert_eq!(set, [A; 4]);
    }

    #[test]
    fn right_2_an_implicit_write_needs_no_right_without_write_protection() {
        let mut case = read_only();
        case.state.cr0 -= Cr0::WP;
        let [only] = &Reference.predict(&case).alternatives[..] else { panic!("one outcome") };
        assert!(only.outcome.fault().is_none());
        let set: Vec<_> = only.updates.iter().map(|update| update.must_set).collect();
        assert_eq!(set, [A, A, A, A | D]);
    }

    /// The descriptor is read first, at its start.
    #[test]
    fn code_10_an_absent_descriptor_faults_as_a_read() {
        let mut case = read_only();
        case.entries[3].value = 0;
        let at = case.access.address.get();
        assert_eq!(faults(&Reference.predict(&case)), [(0, at - 5)]);
    }
}
