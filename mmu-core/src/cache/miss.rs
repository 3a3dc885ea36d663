//! A TLB miss: the walk, and what it leaves in the caches.

use super::entry::{StructureEntry, TlbEntry};
use super::mmu::CachedMmu;
use crate::access::Access;
use crate::address::VirtAddr;
use crate::memory::AtomicTableMemory;
use crate::outcome::{AccessError, Translation};
use crate::walk::{Demand, Entries, GoodEntry, Mmu, Start, Step};
use crate::x86::fault::PageFaultCode;
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::rule::Rule;
use crate::x86::semantics::{Rights, Semantics};
use crate::x86::state::Cr4;
use arrayvec::ArrayVec;

impl<F: Format, R: Semantics, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    CachedMmu<F, R, SETS, WAYS, STRUCTURES>
{
    /// The translation of an address that the TLB does not have, if the access is an ordinary one that
    /// completes. It does what [`Self::walk_in_detail`] would do.
    #[inline]
    pub(super) fn walk_by_masks<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Option<Translation> {
        if !R::IS_REFERENCE {
            return None;
        }
        let demand = Demand::of(access, self.mmu.regime())?;
        let start = self.structures.start::<F>(address, self.pcid);
        let start = start.unwrap_or_else(|| self.mmu.root());

        let mut tables = ArrayVec::<_, MAX_LEVELS>::new();
        let mut above = start.rights;
        let leaf = self.mmu.leaf_from(start, memory, address, |table| {
            above = table.path.rights();
            tables.push(table);
        })?;
        let GoodEntry { level, path, .. } = leaf;
        if level.has_flags && !demand.is_met(path, leaf.entry, access, self.mmu.regime()) {
            return None;
        }

        let flags = match access.kind.writes() {
            _ if !level.has_flags => EntryBits::empty(),
            true => EntryBits::A | EntryBits::D,
            false => EntryBits::A,
        };
        let entry = leaf.entry | flags.bits();
        let are_set = path.all & EntryBits::A.bits() != 0 && entry == leaf.entry;
        if !are_set && !self.set_flags(memory, &tables, leaf, entry) {
            return None;
        }

        self.fill_by_masks(address, &tables, above, GoodEntry { entry, ..leaf });
        Some(Mmu::<F, R>::translation(level, entry, path, address))
    }

    /// Sets A in entries that point to tables, and replaces their leaf. `false` if that is not possible:
    /// because an entry has changed (AD-4), or for a reason that the detailed walk tells.
    #[inline(never)]
    fn set_flags<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        tables: &[GoodEntry],
        leaf: GoodEntry,
        new_leaf: u64,
    ) -> bool {
        let tables = tables.iter().filter(|table| table.level.has_flags);
        let tables = tables.map(|table| (table, table.entry | EntryBits::A.bits()));

        for (GoodEntry { at, entry, .. }, new) in tables.chain([(&leaf, new_leaf)]) {
            if new == *entry {
                continue;
            }
            match memory.compare_exchange(*at, F::ENTRY_BYTES, *entry, new) {
                Ok(true) => {}
                Ok(false) => {
                    self.decided.insert(Rule::Ad4);
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Caches the entries of a walk whose A is set (TLB-1). `above` is what those above the leaf allow.
    #[inline]
    fn fill_by_masks(
        &mut self,
        address: VirtAddr,
        tables: &[GoodEntry],
        above: Rights,
        leaf: GoodEntry,
    ) {
        let pcid = self.pcid;
        // A PDPTE of PAE paging is in a register, not in a cache (PDPTE-1).
        for &GoodEntry { level, entry, path, .. } in tables.iter().filter(|it| it.level.has_flags) {
            let shift = level.shift;
            let prefix = address.get() >> shift;
            let table = F::address(level, EntryKind::Table, entry);
            let rights = path.rights();
            self.structures.insert(level, StructureEntry { prefix, shift, pcid, table, rights });
        }

        let GoodEntry { level, entry, path, .. } = leaf;
        let bits = EntryBits::from_bits_retain(entry);
        self.tlb.insert(TlbEntry {
            page: address.get() >> level.shift,
            shift: level.shift,
            pcid,
            global: self.has_global_pages() && level.has_flags && bits.contains(EntryBits::G),
            frame: F::address(level, EntryKind::Leaf, entry),
            above,
            rights: path.rights(),
            leaf: entry,
            dirty: !level.has_flags || bits.contains(EntryBits::D),
        });
    }

    /// Walks from where the paging-structure caches lead. If that ends badly, they may be the reason:
    /// they are dropped (TLB-3), and the walk from the root decides.
    #[inline(never)]
    pub(super) fn walk_in_detail<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        if let Some(start) = self.structures.start::<F>(address, self.pcid) {
            match self.walk_from(start, memory, address, access) {
                Err(AccessError::Fault(_) | AccessError::Memory(_)) => {
                    self.invalidate_for_fault(self.path(address));
                }
                result => return result,
            }
        }

        self.walk_from(self.mmu.root(), memory, address, access)
    }

    /// Walks, sets A and D, and caches the path: in this order, since nothing is cached before its A
    /// is set (TLB-1).
    fn walk_from<M: AtomicTableMemory + ?Sized>(
        &mut self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        let mut path = Entries::default();
        let decided = &mut self.decided;
        let walked =
            self.mmu.walk_and_set_flags(start, memory, address, access, &mut path, decided);

        match &walked {
            Ok(_) => self.fill(start.rights, address, &path),
            Err(AccessError::Fault(fault)) => {
                let code = PageFaultCode::from_bits_retain(fault.error_code);
                let by_entry =
                    !code.contains(PageFaultCode::P) || code.contains(PageFaultCode::RSVD);
                if by_entry {
                    self.decided.insert(Rule::Tlb1);
                }
            }
            Err(_) => {}
        }
        walked
    }

    /// Caches the entries of a completed walk.
    fn fill(&mut self, above_start: Rights, address: VirtAddr, path: &Entries) {
        let mut above = above_start;

        for step in &path.0 {
            // Nothing is cached before its A is set (TLB-1).
            if !step.has(EntryBits::A) {
                return;
            }
            match step.kind {
                EntryKind::Leaf => self.tlb.insert(self.tlb_entry(step, above, address)),
                // A table entry without flags is a PDPTE of PAE paging, in a register (PDPTE-1).
                EntryKind::Table if !step.level.has_flags => {}
                EntryKind::Table => {
                    self.structures.insert(step.level, self.structure_entry(step, address));
                }
            }
            above = step.rights;
        }
    }

    fn structure_entry(&self, step: &Step, address: VirtAddr) -> StructureEntry {
        let shift = step.level.shift;

        StructureEntry {
            prefix: address.get() >> shift,
            shift,
            pcid: self.pcid,
            table: step.target,
            rights: step.rights,
        }
    }

    fn tlb_entry(&self, leaf: &Step, above: Rights, address: VirtAddr) -> TlbEntry {
        let shift = leaf.level.shift;

        TlbEntry {
            page: address.get() >> shift,
            shift,
            pcid: self.pcid,
            global: self.has_global_pages() && leaf.level.has_flags && leaf.has(EntryBits::G),
            frame: leaf.target,
            above,
            rights: leaf.rights,
            leaf: leaf.entry,
            dirty: leaf.has(EntryBits::D),
        }
    }

    const fn has_global_pages(&self) -> bool {
        self.mmu.regime().state.cr4.contains(Cr4::PGE)
    }
}
