//! A TLB miss: the walk, and what it leaves in the caches.

use super::entry::{StructureEntry, TlbEntry};
use super::error::{AccessError, TranslationError};
use super::invalidation::Invalidation;
use super::mmu::CachedMmu;
use super::update::TableMemoryUpdate;
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::OutsideMemory;
use crate::walk::{Start, Step, Trace, Translation, WalkError};
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::rule::Rule;
use crate::x86::semantics::{Cause, Rights, Semantics};
use crate::x86::state::Cr4;
use arrayvec::ArrayVec;

/// How often a walk is repeated because another processor or a device changed an entry (AD-4). A real
/// processor would hold its lock, so nobody loses this often.
const MAX_RETRIES: usize = 100;

impl<F: Format, R: Semantics, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    CachedMmu<F, R, SETS, WAYS, STRUCTURES>
{
    /// Walks from where the paging-structure caches lead. If that ends badly, they may be the reason:
    /// they are dropped (TLB-3), and the walk from the root decides.
    #[inline(never)]
    pub(super) fn walk<M: TableMemoryUpdate>(
        &mut self,
        memory: &mut M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, TranslationError> {
        if let Some(start) = self.structures.start::<F>(address, self.pcid) {
            match self.walk_from(start, memory, address, access) {
                Err(
                    TranslationError::Fault(_) | TranslationError::Failed(AccessError::Outside(_)),
                ) => {
                    self.invalidate_for_fault(Invalidation::Path { address, pcid: self.pcid });
                }
                result => return result,
            }
        }

        self.walk_from(self.mmu.root(), memory, address, access)
    }

    /// Walks, sets A and D, and caches the path: in this order, since nothing is cached before its A
    /// is set (TLB-1). Starts again when it loses a race for an entry (AD-4).
    fn walk_from<M: TableMemoryUpdate>(
        &mut self,
        start: Start<F>,
        memory: &mut M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, TranslationError> {
        let mut lost_at = PhysAddr::default();

        for _ in 0..MAX_RETRIES {
            let mut path = Entries::default();
            let walked = self.mmu.walk_from(start, memory, address, access, &mut path);
            let mut translation = match walked {
                Ok(translation) => translation,
                Err(WalkError::Fault(cause)) => {
                    if matches!(cause, Cause::Entry(_)) {
                        self.decided.insert(Rule::Tlb1);
                    }
                    return Err(TranslationError::Fault(cause));
                }
                Err(WalkError::Outside(outside)) => return Err(outside.into()),
            };

            match self.set_flags(memory, access, &mut path)? {
                FlagUpdate::Done => {
                    translation.leaf = path.0.last().map_or(0, |leaf| leaf.entry);
                    self.fill(start.rights, address, &path);
                    return Ok(translation);
                }
                FlagUpdate::LostRace(at) => {
                    self.decided.insert(Rule::Ad4);
                    lost_at = at;
                }
            }
        }

        Err(TranslationError::Failed(AccessError::Contended(lost_at)))
    }

    /// Sets A in every entry of a path, and D in the leaf for a write (AD-1).
    fn set_flags<M: TableMemoryUpdate>(
        &self,
        memory: &mut M,
        access: &Access,
        path: &mut Entries,
    ) -> Result<FlagUpdate, OutsideMemory> {
        let semantics = self.mmu.semantics();

        for step in path.0.iter_mut().filter(|step| step.level.has_flags) {
            let is_leaf = step.kind == EntryKind::Leaf;
            let mut flags = EntryBits::empty();
            flags.set(EntryBits::A, semantics.sets_accessed(step.level));
            flags.set(EntryBits::D, is_leaf && semantics.sets_dirty(step.rights, access));

            let new = step.entry | flags.bits();
            let changes = new != step.entry;
            if changes && !memory.update_entry(step.at, F::ENTRY_BYTES, step.entry, new)? {
                return Ok(FlagUpdate::LostRace(step.at));
            }
            step.entry = new;
        }

        Ok(FlagUpdate::Done)
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
        let has_global_pages = self.mmu.regime().state.cr4.contains(Cr4::PGE);

        TlbEntry {
            page: address.get() >> shift,
            shift,
            pcid: self.pcid,
            global: has_global_pages && leaf.level.has_flags && leaf.has(EntryBits::G),
            frame: leaf.target,
            above,
            rights: leaf.rights,
            leaf: leaf.entry,
            dirty: leaf.has(EntryBits::D),
        }
    }
}

/// The result of setting A and D along a path.
enum FlagUpdate {
    Done,
    /// The entry at this address changed since the walk read it. This walk itself may have changed
    /// it, where one entry serves two levels (AD-6).
    LostRace(PhysAddr),
}

/// The entries on the path of a walk, without the rules.
#[derive(Default)]
struct Entries(ArrayVec<Step, MAX_LEVELS>);

impl Trace for Entries {
    const WANTED: bool = false;

    fn step(&mut self, step: Step) {
        self.0.push(step);
    }

    fn rule(&mut self, _rule: Rule) {}
}
