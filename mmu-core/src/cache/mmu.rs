//! An MMU that translates through the caches.

use super::{
    Invalidation, RegisterWrite, StructureCaches, StructureEntry, TableMemoryUpdate, Tlb, TlbEntry,
    invalidated_by, pcid,
};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::OutsideMemory;
use crate::outcome::{Outcome, Span};
use crate::walk::{Mmu, Start, Step, Trace, Translation, WalkError};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::profile::Profile;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Cause, Reference, Rights, Semantics};
use crate::x86::state::{ControlState, Cr4};
use arrayvec::ArrayVec;
use core::fmt;

/// How often a walk is made again after somebody else changed an entry (AD-4) before it gives up. A
/// processor would hold its lock: no real rival wins this often.
const MAX_RETRIES: usize = 100;

/// Why an access has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// A table lies where there is no memory (OUT-1): what happens then is the machine's own work.
    Outside(OutsideMemory),
    /// The entry at this address changed again and again while A or D was to be set.
    Contended(PhysAddr),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(outside) => outside.fmt(f),
            Self::Contended(at) => write!(f, "the entry at {at} changes faster than it is read"),
        }
    }
}

impl core::error::Error for AccessError {}

impl From<OutsideMemory> for AccessError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

/// The MMU of one processor for one table format, with a TLB of `SETS` sets of `WAYS` entries and
/// paging-structure caches of `STRUCTURES` entries each.
///
/// Unlike [`Mmu::predict`] it acts: it sets A and D in memory, and of the outcomes that the manuals
/// leave open it takes the likeliest. What it answers is always among what [`Mmu::predict_stale`]
/// allows for the edits since the last invalidation (TLB-2).
///
/// A change of the paging mode drops everything, so the other mode starts with a new one.
#[derive(Clone, Debug)]
pub struct CachedMmu<
    F: Format,
    R: Semantics = Reference,
    const SETS: usize = 64,
    const WAYS: usize = 4,
    const STRUCTURES: usize = 16,
> {
    mmu: Mmu<F, R>,
    tlb: Tlb<SETS, WAYS>,
    structures: StructureCaches<STRUCTURES>,
    pcid: u16,
    decided: RuleSet,
}

impl<F: Format> CachedMmu<F> {
    /// The reference for a control state of this format and a processor, with empty caches of the
    /// default sizes.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        Self::with_semantics(Reference, state, profile)
    }
}

impl<F: Format, R: Semantics, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    CachedMmu<F, R, SETS, WAYS, STRUCTURES>
{
    /// An MMU that follows the given rules, with empty caches of any size.
    pub fn with_semantics(semantics: R, state: ControlState, profile: Profile) -> Self {
        Self {
            mmu: Mmu::with_semantics(semantics, state, profile),
            tlb: Tlb::new(),
            structures: StructureCaches::new(),
            pcid: pcid(&state),
            decided: RuleSet::default(),
        }
    }

    /// The walk beneath the caches.
    pub fn mmu(&self) -> &Mmu<F, R> {
        &self.mmu
    }

    /// The translations that are cached.
    pub fn tlb(&self) -> &Tlb<SETS, WAYS> {
        &self.tlb
    }

    /// The entries above the leaf that are cached.
    pub fn structures(&self) -> &StructureCaches<STRUCTURES> {
        &self.structures
    }

    /// The rules of caching that decided something so far.
    pub fn rules(&self) -> RuleSet {
        self.decided
    }

    /// Makes an access: the bytes it reaches, with A and D set in memory, or its fault.
    ///
    /// A crossing access that faults on its second page leaves A and D of its first page set (AD-7).
    ///
    /// # Errors
    /// When there is no outcome; see [`AccessError`].
    pub fn access<M: TableMemoryUpdate>(
        &mut self,
        memory: &mut M,
        access: &Access,
    ) -> Result<Outcome, AccessError> {
        let Some(access) = self.mmu.canonical_access(access, &mut self.decided) else {
            return Ok(Outcome::Fault(self.mmu.semantics().non_canonical_fault(access)));
        };
        let mut spans = ArrayVec::new();
        for (address, len) in Mmu::<F, R>::pages(&access) {
            match self.translate(memory, address, &access)? {
                Ok(translation) => spans.push(Span { address: translation.address, len }),
                Err(cause) => {
                    let regime = self.mmu.regime();
                    let code = self.mmu.semantics().page_fault_code(cause, &access, regime);
                    return Ok(Outcome::Fault(Fault::page_fault(code, address)));
                }
            }
        }
        Ok(Outcome::Translated(spans))
    }

    /// Translates one address, which must be canonical, for an access; only the page is looked at,
    /// not the size. The inner error is the cause of a page fault.
    ///
    /// # Errors
    /// When there is no outcome; see [`AccessError`].
    #[inline]
    pub fn translate<M: TableMemoryUpdate>(
        &mut self,
        memory: &mut M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Result<Translation, Cause>, AccessError> {
        let Some(entry) = self.tlb.lookup(address, self.pcid) else {
            return self.walk(memory, address, access);
        };
        let (semantics, regime) = (self.mmu.semantics(), self.mmu.regime());
        // The registers may have changed since the entry was made: the verdict is formed anew.
        let denial = semantics.denial(entry.above, entry.rights, entry.leaf, access, regime);
        let sets_dirty = !entry.dirty && semantics.sets_dirty(entry.rights, access);
        if denial.is_empty() && !sets_dirty {
            let (rights, leaf) = (entry.rights, entry.leaf);
            return Ok(Ok(Translation { address: entry.physical_address(address), rights, leaf }));
        }
        let forgotten = Invalidation::Path { address, pcid: self.pcid };
        if denial.is_empty() {
            // D has to be set in memory, where the entry may be another by now.
            self.tlb.invalidate(forgotten);
        } else {
            self.fault_drops(forgotten);
        }
        self.walk(memory, address, access)
    }

    /// Walks from where the paging-structure caches lead. If that ends badly, it may be their fault:
    /// they are dropped (TLB-3) and the walk from the root decides.
    #[inline(never)]
    fn walk<M: TableMemoryUpdate>(
        &mut self,
        memory: &mut M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Result<Translation, Cause>, AccessError> {
        if let Some(start) = self.structures.start::<F>(address, self.pcid) {
            match self.walk_from(start, memory, address, access) {
                Ok(Err(_)) | Err(AccessError::Outside(_)) => {
                    self.fault_drops(Invalidation::Path { address, pcid: self.pcid });
                }
                done => return done,
            }
        }
        self.walk_from(self.mmu.root(), memory, address, access)
    }

    /// TLB-3.
    fn fault_drops(&mut self, forgotten: Invalidation) {
        self.decided.insert(Rule::Tlb3);
        self.tlb.invalidate(forgotten);
        self.structures.invalidate(forgotten);
    }

    /// Walks, sets A and D, and caches what was found: in this order, since nothing is cached before
    /// its A is set (TLB-1). After a lost race it starts again (AD-4).
    fn walk_from<M: TableMemoryUpdate>(
        &mut self,
        start: Start,
        memory: &mut M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Result<Translation, Cause>, AccessError> {
        let mut lost_at = PhysAddr::default();
        for _ in 0..MAX_RETRIES {
            let mut path = Entries::default();
            match self.mmu.walk_from(start, memory, address, access, &mut path) {
                Ok(mut found) => {
                    let Err(at) = self.set_flags(memory, access, &mut path)? else {
                        found.leaf = path.0.last().map_or(0, |leaf| leaf.entry);
                        self.remember(start.rights, address, &path);
                        return Ok(Ok(found));
                    };
                    lost_at = at;
                    self.decided.insert(Rule::Ad4);
                }
                Err(WalkError::Fault(cause)) => {
                    if matches!(cause, Cause::Entry(_)) {
                        self.decided.insert(Rule::Tlb1);
                    }
                    return Ok(Err(cause));
                }
                Err(WalkError::Outside(outside)) => return Err(outside.into()),
            }
        }
        Err(AccessError::Contended(lost_at))
    }

    /// Sets A in every entry of a path, and D in the leaf for a write (AD-1). The inner error is
    /// where a race was lost; also against oneself, when one entry serves two levels (AD-6).
    fn set_flags<M: TableMemoryUpdate>(
        &self,
        memory: &mut M,
        access: &Access,
        path: &mut Entries,
    ) -> Result<Result<(), PhysAddr>, OutsideMemory> {
        let semantics = self.mmu.semantics();
        for step in path.0.iter_mut().filter(|step| step.level.has_flags) {
            let mut flags = EntryBits::empty();
            flags.set(EntryBits::A, semantics.sets_accessed(step.level));
            let is_leaf = step.kind == EntryKind::Leaf;
            flags.set(EntryBits::D, is_leaf && semantics.sets_dirty(step.rights, access));
            let new = step.entry | flags.bits();
            if new != step.entry
                && !memory.update_entry(step.at, F::ENTRY_BYTES, step.entry, new)?
            {
                return Ok(Err(step.at));
            }
            step.entry = new;
        }
        Ok(Ok(()))
    }

    /// Caches the entries of a completed walk.
    fn remember(&mut self, above_start: Rights, address: VirtAddr, path: &Entries) {
        let pcid = self.pcid;
        let mut above = above_start;
        for step in &path.0 {
            let (level, entry, rights) = (step.level, step.entry, step.rights);
            let bits = EntryBits::from_bits_retain(entry);
            // TLB-1.
            if level.has_flags && !bits.contains(EntryBits::A) {
                return;
            }
            let (prefix, shift) = (address.get() >> level.shift, level.shift);
            match step.kind {
                // PDPTE-1: an entry without flags is PAE's, and in a register.
                EntryKind::Table if !level.has_flags => {}
                EntryKind::Table => {
                    let table = step.target;
                    let entry = StructureEntry { prefix, shift, pcid, table, rights };
                    self.structures.insert(level, entry);
                }
                EntryKind::Leaf => {
                    let global = level.has_flags
                        && bits.contains(EntryBits::G)
                        && self.mmu.regime().state.cr4.contains(Cr4::PGE);
                    let dirty = !level.has_flags || bits.contains(EntryBits::D);
                    let (frame, leaf) = (step.target, entry);
                    let page = prefix;
                    self.tlb.insert(TlbEntry {
                        page,
                        shift,
                        pcid,
                        global,
                        frame,
                        above,
                        rights,
                        leaf,
                        dirty,
                    });
                }
            }
            above = rights;
        }
    }

    /// Drops a part of the caches.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        if invalidation != Invalidation::Nothing {
            self.decided.insert(Rule::Tlb4);
            self.tlb.invalidate(invalidation);
            self.structures.invalidate(invalidation);
        }
    }

    /// INVLPG; with AMD's EFER.TCE it drops as little as it may.
    pub fn invlpg(&mut self, address: VirtAddr) {
        let [invalidation, ..] = Invalidation::invlpg::<F>(&self.mmu.regime().state, address)[..]
        else {
            return;
        };
        if invalidation == Invalidation::Nothing {
            self.decided.insert(Rule::Canon3);
        }
        self.invalidate(invalidation);
    }

    /// INVPCID of a type, with a descriptor of two times 64 bits, the low ones first.
    ///
    /// # Errors
    /// #GP(0), and nothing is dropped; see [`Invalidation::invpcid`].
    pub fn invpcid(&mut self, kind: u64, descriptor: [u64; 2]) -> Result<(), Fault> {
        let invalidation = Invalidation::invpcid::<F>(&self.mmu.regime().state, kind, descriptor)?;
        self.invalidate(invalidation);
        Ok(())
    }

    /// Takes over a new control state of the same paging mode, and drops what the write that led to
    /// it drops ([`invalidated_by`]).
    pub fn set_state(&mut self, write: RegisterWrite, new: ControlState) {
        let regime = *self.mmu.regime();
        self.invalidate(invalidated_by(write, &regime.state, &new));
        self.mmu = Mmu::with_semantics(*self.mmu.semantics(), new, regime.profile);
        self.pcid = pcid(&new);
    }
}

/// The entries of a walk, and nothing about the rules.
#[derive(Default)]
struct Entries(ArrayVec<Step, MAX_LEVELS>);

impl Trace for Entries {
    const WANTED: bool = false;
    fn step(&mut self, step: Step) {
        self.0.push(step);
    }
    fn rule(&mut self, _rule: Rule) {}
}
