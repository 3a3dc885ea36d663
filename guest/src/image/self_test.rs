//! The reference walk, run where there is no operating system: once at boot, in every mode, on a
//! few entries. The host looks at the answer before it trusts the image.

use mmu_core::memory::SparseTables;
use mmu_core::walk::predict_in_mode;
use mmu_core::{Access, ControlState, Cr0, Cr4, Efer, Profile, Reference, Ring, VirtAddr};

/// Linear address, tables, and where the access must end.
struct Expectation {
    change: fn(&mut ControlState),
    entries: &'static [(u64, u64)],
    address: u64,
    physical: u64,
}

/// One for each mode, worked out by hand.
const EXPECTATIONS: [Expectation; 5] = [
    Expectation {
        change: |state| state.cr0 -= Cr0::PG,
        entries: &[],
        address: 0x1234_5678,
        physical: 0x1234_5678,
    },
    Expectation {
        // PDE 1, PTE 2.
        change: |state| (state.cr4, state.efer) = (Cr4::empty(), Efer::empty()),
        entries: &[(0x1004, 0x2007), (0x2008, 0x9007)],
        address: 0x0040_2345,
        physical: 0x9345,
    },
    Expectation {
        // PDPTE 1 in its register, PDE 2, PTE 3.
        change: |state| {
            state.efer = Efer::NXE;
            state.pdptes[1] = 0x2001;
        },
        entries: &[(0x2010, 0x3007), (0x3018, 0x9007)],
        address: 0x4040_3456,
        physical: 0x9456,
    },
    Expectation {
        // Index 1 at every level.
        change: |_| {},
        entries: &[(0x1008, 0x2007), (0x2008, 0x3007), (0x3008, 0x4007), (0x4008, 0x9007)],
        address: 0x0000_0080_4020_1567,
        physical: 0x9567,
    },
    Expectation {
        change: |state| state.cr4 |= Cr4::LA57,
        entries: &[
            (0x1008, 0x2007),
            (0x2008, 0x3007),
            (0x3008, 0x4007),
            (0x4008, 0x5007),
            (0x5008, 0x9007),
        ],
        address: 0x0001_0080_4020_1678,
        physical: 0x9678,
    },
];

/// How many modes the reference walks right: 5.
pub(crate) fn modes_walked() -> u64 {
    let walks_right = |expectation: &&Expectation| {
        let mut state = ControlState::long_mode(0x1000);
        (expectation.change)(&mut state);
        let read = Access::read(VirtAddr::new(expectation.address), 1, Ring::Three);
        let tables = SparseTables::new(expectation.entries);
        let prediction = predict_in_mode(Reference, state, Profile::default(), &tables, &read);
        let reached = prediction.alternatives[0].outcome.physical_address();
        reached.is_some_and(|reached| reached.get() == expectation.physical)
    };
    EXPECTATIONS.iter().filter(walks_right).count() as u64
}
