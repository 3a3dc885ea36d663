//! Nested translation: the walk in two dimensions. A guest has page tables of its own, and a second level
//! of tables, AMD's nested page tables (NPT) or Intel's extended page tables (EPT), translates every
//! address that the guest calls physical, those of its tables included.
//!
//! Both dimensions are walked by [`Mmu::walk`](crate::Mmu::walk). The guest's tables are read from a memory
//! that walks the second level first, so the first failure in the order of the walk wins by itself. NPT is
//! walked in the format of the host's mode; EPT is one more [`Format`].
//!
//! Left out are whatever else a second level can have: #VE, page-modification logging, sub-page
//! permissions, HLAT, guest-mode execute trap, its shadow-stack bits, encryption, and memory types.
//!
//! - `level`: the second level as the hypervisor sets it up;
//! - `semantics`: every decision, one method each;
//! - `second`, `page`: the walk of the second level, and the walk of both for one page;
//! - `outcome`, `exit`, `updates`: what a prediction says, and how it comes about in `predict`;
//! - `walk`: one answer, with every reference to memory;
//! - `rule`: the ids of the rules.
//!
//! ```
//! use mmu_core::memory::SparseTables;
//! use mmu_core::nested::{NestedEnd, NestedExit, NestedMmu, SecondLevel};
//! use mmu_core::{Access, ControlState, Profile, Ring, Vendor, VirtAddr};
//!
//! // A guest without paging; nested tables of 32-bit paging map its second page, read-only.
//! let memory = SparseTables::new(&[(0x10_000, 0x11_067), (0x11_004, 0x50_065)]);
//! let profile = Profile { vendor: Vendor::Amd, ..Profile::default() };
//! let host = ControlState::bits32(0x10_000);
//! let mmu = NestedMmu::new(ControlState::unpaged(), SecondLevel::Npt(host), profile);
//!
//! let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Zero);
//! let prediction = mmu.predict(&memory, &read)?;
//! assert_eq!(prediction.alternatives[0].end.physical_address().unwrap().get(), 0x50_234);
//!
//! let write = Access::write(VirtAddr::new(0x1234), 4, Ring::Zero);
//! let prediction = mmu.predict(&memory, &write)?;
//! let Some(NestedExit::NestedPageFault { info1, info2, .. }) = prediction.alternatives[0].end.exit()
//! else {
//!     panic!("a write to a read-only page leaves the guest");
//! };
//! assert_eq!((*info1, *info2), (0x1_0000_0007, 0x1234)); // final address; P, W and U
//! # Ok::<(), mmu_core::access::SizeError>(())
//! ```

mod exit;
mod level;
mod outcome;
mod page;
mod predict;
#[cfg(test)]
mod properties;
mod rule;
mod second;
mod semantics;
#[cfg(test)]
mod tests;
mod updates;
mod walk;

pub use level::{Ept, EptCapabilities, SecondLevel};
pub use outcome::{
    Dimension, NestedAlternative, NestedEnd, NestedExit, NestedPrediction, NestedUpdate,
};
pub use rule::{AnyRule, NestedRule, NestedRuleSet};
pub use semantics::{
    Answer, NestedAccess, NestedReference, NestedRights, NestedSemantics, Purpose, SecondFault,
};
pub use walk::{EntryReference, NestedError, NestedWalk, ReferenceRights};

use crate::access::{Access, SizeError};
use crate::memory::{OutsideMemory, TableMemory};
use crate::walk::{AnyMmu, Mmu};
use crate::x86::format::Format;
use crate::x86::profile::{Pin, Pins, Profile};
use crate::x86::state::ControlState;
use page::Dimensions;
use predict::GLOBAL_RESERVED;
use second::SecondMmu;

/// The memory-management unit of a processor that runs a guest: the guest's control state, and the second
/// level below it.
#[derive(Clone, Copy, Debug)]
pub struct NestedMmu<N: NestedSemantics = NestedReference> {
    nested: N,
    guest: AnyMmu,
    level: SecondLevel,
    profile: Profile,
    second: SecondMmu<N>,
}

/// Does the same with the guest's MMU of any mode.
macro_rules! in_guest_mode {
    ($self:expr, $mmu:ident => $result:expr) => {
        match &$self.guest {
            AnyMmu::Unpaged($mmu) => $result,
            AnyMmu::Bits32($mmu) => $result,
            AnyMmu::Pae($mmu) => $result,
            AnyMmu::FourLevel($mmu) => $result,
            AnyMmu::FiveLevel($mmu) => $result,
        }
    };
}

pub(crate) use in_guest_mode;

impl NestedMmu {
    /// The reference for a guest's control state, the second level, and the processor.
    ///
    /// A PAE guest's PDPTE registers count under EPT only (NEST-13). The guest has the processor's
    /// MAXPHYADDR and features (NEST-4).
    pub fn new(guest: ControlState, second: SecondLevel, profile: Profile) -> Self {
        Self::with_semantics(NestedReference, guest, second, profile)
    }
}

impl<N: NestedSemantics> NestedMmu<N> {
    /// An MMU that decides as `nested` does.
    pub fn with_semantics(
        nested: N,
        guest: ControlState,
        level: SecondLevel,
        profile: Profile,
    ) -> Self {
        // Both manuals settle here what PDPTE-4 leaves open.
        let pdptes_are_walked = Some(nested.walks_guest_pdptes(&level));
        let pins = Pins { pdptes_are_walked, ..profile.pins };

        let guest = AnyMmu::new(guest, Profile { pins, ..profile });
        let second = SecondMmu::new(nested, level, profile, None);
        Self { nested, guest, level, profile, second }
    }

    /// The guest's MMU.
    pub const fn guest(&self) -> &AnyMmu {
        &self.guest
    }

    /// The second level.
    pub const fn second_level(&self) -> &SecondLevel {
        &self.level
    }

    /// Every way in which the access may go, and what it does to the entries of both dimensions.
    ///
    /// The memory is the host's, and only read. The tables of both dimensions are taken as they are before
    /// the access: an entry that is part of both dimensions' tables is predicted as if it were two.
    ///
    /// # Errors
    /// When no instruction makes an access of this size.
    pub fn predict<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<NestedPrediction, SizeError> {
        in_guest_mode!(self, guest => self.predict_for(guest, memory, access))
    }

    fn predict_for<F: Format, M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        guest: &Mmu<F>,
        memory: &M,
        access: &Access,
    ) -> Result<NestedPrediction, SizeError> {
        Mmu::<F>::check_size(access)?;

        let mut found = NestedPrediction::default();
        let both = Dimensions { nested: self.nested, guest, second: &self.second };
        both.predict(memory, access, None, &mut found);

        // CODE-7 leaves G in a PML4E of NPT open where the vendor is not known.
        let is_npt = matches!(self.level, SecondLevel::Npt(_));
        if is_npt && self.profile.global_in_pml4e_is_reserved() == Pin::Open {
            let second = SecondMmu::new(self.nested, self.level, self.profile, Some(true));
            let both = Dimensions { second: &second, ..both };
            both.predict(memory, access, Some(GLOBAL_RESERVED), &mut found);
        }
        found.name_first_member();
        Ok(found)
    }
}
