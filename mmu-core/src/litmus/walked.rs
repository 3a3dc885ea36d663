//! One walk of a test's tables, from the root or from what is cached.

use super::cached_path::{CachedEnd, CachedPath};
use super::memory::{BelowCached, Sight};
use crate::access::Access;
use crate::address::PhysAddr;
use crate::memory::OutsideMemory;
use crate::walk::{AnyMmu, Path, Step, WalkError};
use crate::x86::fault::PageFaultCode;
use crate::x86::format::{EntryBits, EntryKind};
use crate::x86::profile::Profile;
use crate::x86::semantics::{Cause, Reference, Semantics};
use crate::x86::state::{ControlState, Cr4};
use arrayvec::ArrayVec;

/// A walk, and where it led.
pub(super) struct Walked {
    path: Path,
    /// The physical address of the access, or why it faults.
    pub(super) end: Result<PhysAddr, Cause>,
    /// Number of steps that came out of a register or a cache.
    known: usize,
}

impl Walked {
    /// Walks for an access, beginning with the entries of `start`, if any.
    pub(super) fn new(
        state: &ControlState,
        profile: Profile,
        sight: Sight<'_>,
        start: Option<&CachedPath>,
        access: &Access,
    ) -> Result<Self, OutsideMemory> {
        let state = start.map_or(*state, |start| start.walking_state(state));
        let cached = start.map_or(&[][..], CachedPath::entries);

        let mmu = AnyMmu::new(state, profile);
        let memory = BelowCached::new(sight, cached);
        let mut path = Path::default();
        let end = match mmu.walk(&memory, access.address, access, &mut path) {
            Ok(translation) => Ok(translation.address),
            Err(WalkError::Fault(cause)) => Err(cause),
            Err(WalkError::Memory(error)) => return Err(error),
        };

        let in_registers = path.steps.len() - memory.reads();
        Ok(Self { path, end, known: in_registers + cached.len() })
    }

    /// The error code of the fault.
    pub(super) fn code(
        &self,
        state: &ControlState,
        profile: Profile,
        access: &Access,
    ) -> Option<PageFaultCode> {
        let cause = self.end.err()?;
        let mmu = AnyMmu::new(*state, profile);
        Some(Reference.page_fault_code(cause, access, mmu.regime()))
    }

    /// The entries that were read from memory.
    pub(super) fn read(&self) -> &[Step] {
        self.path.steps.get(self.known..).unwrap_or_default()
    }

    /// All entries, and whether each came out of memory.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Step, bool)> {
        self.path.steps.iter().enumerate().map(|(number, step)| (step, number >= self.known))
    }

    /// The entry that maps the page.
    pub(super) fn leaf(&self) -> Option<&Step> {
        self.path.steps.last().filter(|step| step.kind == EntryKind::Leaf && step.error.is_none())
    }

    /// What can be cached of it: the path down to each entry that was read from memory, the upper ones first,
    /// as far as they are good and have A (TLB-1).
    pub(super) fn cacheable(
        &self,
        start: Option<&CachedPath>,
        state: &ControlState,
        access: &Access,
        (absent_too, before_accessed): (bool, bool),
    ) -> impl Iterator<Item = CachedPath> {
        let mut entries: ArrayVec<u64, 5> =
            start.map(|start| start.entries().iter().copied().collect()).unwrap_or_default();
        let mut is_broken = false;
        let of_start = CachedPath::above(start, state, access.address);

        self.read().iter().map_while(move |step| {
            if is_broken {
                return None;
            }
            let has_accessed = before_accessed || step.has(EntryBits::A);
            let is_absent = step.entry & EntryBits::P.bits() == 0;
            let is_good = step.error.is_none() && has_accessed;
            if !(is_good || is_absent && absent_too) {
                return None;
            }

            is_broken = !is_good;
            let _ = entries.try_push(step.entry);
            let is_leaf = step.kind == EntryKind::Leaf;
            let end = match step.kind {
                _ if is_absent => CachedEnd::Absent,
                EntryKind::Leaf => CachedEnd::Page,
                EntryKind::Table => CachedEnd::Table,
            };
            let global = is_leaf
                && state.cr4.contains(Cr4::PGE)
                && step.has(EntryBits::G)
                && step.level.has_flags;
            Some(CachedPath {
                entries: entries.clone(),
                end,
                shift: step.level.shift,
                global,
                ..of_start.clone()
            })
        })
    }
}

/// The error code of a fault by an entry that is not present.
pub(super) fn code_of_absent(
    state: &ControlState,
    profile: Profile,
    access: &Access,
) -> PageFaultCode {
    let mmu = AnyMmu::new(*state, profile);
    let cause = Cause::Entry(crate::x86::semantics::EntryError::NotPresent);
    Reference.page_fault_code(cause, access, mmu.regime())
}
