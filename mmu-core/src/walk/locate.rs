//! Where an address leads, for those who do not ask who may go there.

use super::{Mmu, WalkError};
use crate::access::{Access, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::x86::format::{EntryKind, Format};
use crate::x86::regime::Regime;
use crate::x86::semantics::Reference;
use crate::x86::state::Cr4;

impl<F: Format> Mmu<F> {
    /// The physical address of a linear address, whatever the rights of its page: present entries without
    /// reserved bits are enough. Debuggers and memory forensics want to know this.
    ///
    /// The address must be canonical.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::walk::WalkError;
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::x86::semantics::{Cause, EntryError};
    /// use mmu_core::{ControlState, Mmu, PhysAddr, Profile, VirtAddr};
    ///
    /// let tables = SparseTables::new(&[(0, 0x1001), (0x1004, 0x5001), (0x1008, 0)]);
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    /// assert_eq!(mmu.locate(&tables, VirtAddr::new(0x1234)), Ok(PhysAddr::new(0x5234)));
    /// let not_present = WalkError::Fault(Cause::Entry(EntryError::NotPresent));
    /// assert_eq!(mmu.locate(&tables, VirtAddr::new(0x2345)), Err(not_present));
    /// ```
    ///
    /// # Errors
    /// The bad entry, or the error of the memory.
    #[inline]
    pub fn locate<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
    ) -> Result<PhysAddr, WalkError<M::Error>> {
        match self.leaf_by_masks(memory, address, |_, _| {}) {
            Some((level, leaf, _)) => {
                Ok(F::address(level, EntryKind::Leaf, leaf) + address.offset(level.shift))
            }
            None => self.locate_in_detail(memory, address),
        }
    }

    /// The same by a walk in detail: for a read of the supervisor's, where nothing is protected from it.
    #[inline(never)]
    fn locate_in_detail<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
    ) -> Result<PhysAddr, WalkError<M::Error>> {
        let mut regime: Regime = self.regime;
        regime.state.cr4 -= Cr4::SMAP | Cr4::PKE | Cr4::PKS;

        let mmu = Self::with_regime(Reference, regime);
        let read = Access::read(address, 1, Ring::Zero);
        mmu.walk(memory, address, &read, &mut ()).map(|translation| translation.address)
    }
}
