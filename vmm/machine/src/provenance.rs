//! Who decides the results of a machine.

use crosswalk_case::observation::Provenance;
use mmu_core::Ring;

/// A class of results that one party decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultClass {
    /// The access completed.
    Translation,
    /// A page fault.
    PageFault,
    /// A fault of the address itself: #GP or #SS.
    AddressFault,
}

/// Who decides which results, as a probe found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenanceMap {
    /// For ring 3, in the order of [`ResultClass`]: translations, page faults, address faults.
    pub user: [Provenance; 3],
    /// For ring 0, in the same order.
    pub supervisor: [Provenance; 3],
    /// For ring 3 in compatibility mode.
    pub compatible_user: [Provenance; 3],
    /// For ring 0 in compatibility mode.
    pub compatible_supervisor: [Provenance; 3],
    /// For accesses that reached an address without memory.
    pub outside: Provenance,
    /// For a fault of loading CR0, which also loads PAE's PDPTEs.
    pub load: Provenance,
}

impl ProvenanceMap {
    /// Who decides results of this class in this ring, in compatibility mode or outside it.
    pub const fn of(&self, ring: Ring, compatibility: bool, class: ResultClass) -> Provenance {
        let deciders = match (ring, compatibility) {
            (Ring::Three, false) => &self.user,
            (Ring::Zero, false) => &self.supervisor,
            (Ring::Three, true) => &self.compatible_user,
            (Ring::Zero, true) => &self.compatible_supervisor,
        };
        deciders[class as usize]
    }

    /// A map in which one party decides everything.
    pub(crate) const fn all(provenance: Provenance) -> Self {
        Self {
            user: [provenance; 3],
            supervisor: [provenance; 3],
            compatible_user: [provenance; 3],
            compatible_supervisor: [provenance; 3],
            outside: provenance,
            load: provenance,
        }
    }
}
