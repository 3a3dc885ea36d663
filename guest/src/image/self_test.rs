//! The self-test: the reference walk, without an operating system, once at boot, in every mode, on
//! a few entries. The host checks the result before it trusts the image.

use mmu_core::memory::SparseTables;
use mmu_core::{Access, AnyMmu, ControlState, Cr0, Cr4, Efer, Profile, Ring, VirtAddr};

/// A walk with a known result.
struct Expectation {
    /// Changes the state of 4-level paging to that of the mode.
    change: fn(&mut ControlState),
    /// Address and value of each page-table entry.
    entries: &'static [(u64, u64)],
    /// The linear address.
    address: u64,
    /// The physical address that the walk must give.
    physical: u64,
}

/// One for each mode, calculated by hand.
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

/// The number of modes in which the reference walk gives the expected result; 5 if all is well.
pub(crate) fn modes_walked() -> u64 {
    EXPECTATIONS.iter().filter(|expectation| expectation.is_met()).count() as u64
}

impl Expectation {
    fn is_met(&self) -> bool {
        let mut state = ControlState::four_level(0x1000);
        (self.change)(&mut state);
        let tables = SparseTables::new(self.entries);
        let read = Access::read(VirtAddr::new(self.address), 1, Ring::Three);

        let predicted = AnyMmu::new(state, Profile::default()).predict(&tables, &read);
        let Ok(prediction) = predicted else { return false };
        let reached = prediction.alternatives[0].outcome.physical_address();

        reached.is_some_and(|reached| reached.get() == self.physical)
    }
}
