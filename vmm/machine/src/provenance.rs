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
    /// A misaligned access: #AC, which ring 0 never raises.
    AlignmentFault,
}

/// Who decides each class of results, in the order of [`ResultClass`].
pub type Deciders = [Provenance; 4];

/// Who decides which results, as a probe found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenanceMap {
    /// For ring 3.
    pub user: Deciders,
    /// For ring 0.
    pub supervisor: Deciders,
    /// For ring 3 in compatibility mode.
    pub compatible_user: Deciders,
    /// For ring 0 in compatibility mode.
    pub compatible_supervisor: Deciders,
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
            user: [provenance; 4],
            supervisor: [provenance; 4],
            compatible_user: [provenance; 4],
            compatible_supervisor: [provenance; 4],
            outside: provenance,
            load: provenance,
        }
    }
}
