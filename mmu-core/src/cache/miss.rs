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
    /// Walks for an address that the TLB does not have: the short ways first.
    #[expect(clippy::inline_always, reason = "a translation handed over in memory costs as much")]
    #[inline(always)]
    pub(super) fn walk_on_miss<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        demand: Demand,
    ) -> Result<Translation, AccessError<M::Error>> {
        let start = self.structures.start::<F>(address, self.pcid);
        let start = start.unwrap_or_else(|| self.mmu.root());

        if let Some(translation) = self.walk_last_level(start, memory, address, access, demand) {
            return Ok(translation);
        }
        match self.walk_by_masks(start, memory, address, access, demand) {
            Some(translation) => Ok(translation),
            None => self.walk_in_detail(memory, address, access),
        }
    }

    /// The translation of an address whose last table is known, if the access is an ordinary one that
    /// completes.
    #[expect(clippy::inline_always, reason = "a translation handed over in memory costs as much")]
    #[inline(always)]
    fn walk_last_level<M: AtomicTableMemory + ?Sized>(
        &mut self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        demand: Demand,
    ) -> Option<Translation> {
        let table = start.cursor.filter(|cursor| cursor.is_last())?.table();
        let leaf = self.mmu.last_leaf(memory, table, start.rights, address)?;
        let GoodEntry { level, path, .. } = leaf;
        if level.has_flags && !demand.is_met(path, leaf.entry, access, self.mmu.regime()) {
            return None;
        }

        let flags = if level.has_flags { demand.leaf_flags } else { EntryBits::empty() };
        let entry = leaf.entry | flags.bits();
        if entry != leaf.entry && !self.set_flags(memory, &[], leaf, entry) {
            return None;
        }

        if WAYS > 0 {
            self.fill_tlb(address, start.rights, GoodEntry { entry, ..leaf });
        }
        Some(Mmu::<F, R>::translation(level, entry, path, address))
    }

    /// The translation of an address, if the access is an ordinary one that completes. It does what
    /// [`Self::walk_in_detail`] would do.
    #[expect(clippy::inline_always, reason = "a translation handed over in memory costs as much")]
    #[inline(always)]
    fn walk_by_masks<M: AtomicTableMemory + ?Sized>(
        &mut self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        demand: Demand,
    ) -> Option<Translation> {
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

        let flags = if level.has_flags { demand.leaf_flags } else { EntryBits::empty() };
        let entry = leaf.entry | flags.bits();
        let are_set = path.all & EntryBits::A.bits() != 0 && entry == leaf.entry;
        if !are_set && !self.set_flags(memory, &tables, leaf, entry) {
            return None;
        }

        self.fill_structures(address, &tables);
        if WAYS > 0 {
            self.fill_tlb(address, above, GoodEntry { entry, ..leaf });
        }
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

    /// Caches entries that point to tables, whose A is set (TLB-1).
    #[inline]
    fn fill_structures(&mut self, address: VirtAddr, tables: &[GoodEntry]) {
        let pcid = self.pcid;
        // A PDPTE of PAE paging is in a register, not in a cache (PDPTE-1).
        for table in tables.iter().filter(|table| table.level.has_flags) {
            let level = table.level;
            let entry = StructureEntry {
                prefix: address.get() >> level.shift,
                shift: level.shift,
                pcid,
                table: F::address(level, EntryKind::Table, table.entry),
                rights: table.path.rights(),
            };
            self.structures.insert(level, entry);
        }
    }

    /// Caches a leaf whose A is set (TLB-1). `above` is what the entries above it allow.
    #[inline(never)]
    fn fill_tlb(&mut self, address: VirtAddr, above: Rights, leaf: GoodEntry) {
        let GoodEntry { level, entry, path, .. } = leaf;
        let bits = EntryBits::from_bits_retain(entry);

        self.tlb.insert(TlbEntry {
            page: address.get() >> level.shift,
            shift: level.shift,
            pcid: self.pcid,
            global: self.has_global_pages() && level.has_flags && bits.contains(EntryBits::G),
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
