//! The walk: from a linear address down the tables to a page, or to the reason why not.
//!
//! [`Mmu::walk`] reports what happens on the way to a [`Trace`]. With the trace `()`, which wants no
//! reports, it first tries the way of `masks`, which is as short as it can be, and returns here for
//! whatever is not an ordinary translation.

mod alternatives;
mod any_mode;
mod batch;
mod choices;
mod entries;
mod locate;
mod masks;
mod ordinary;
mod predict;
#[cfg(test)]
mod properties;
mod range;
#[cfg(test)]
mod tests;
mod trace;
mod translate;
mod updates;

#[cfg(feature = "alloc")]
pub(crate) use alternatives::{CHECKED_16_BYTES, CHECKED_FIRST, likeliest_member};
pub(crate) use masks::{Demand, GoodEntry};
pub(crate) use predict::WalkedPage;
#[cfg(feature = "alloc")]
pub(crate) use predict::{PageEnd, rules_of_fault};
pub(crate) use translate::Entries;

pub(crate) use any_mode::in_any_mode;
pub use any_mode::{AnyMmu, PagesOfRun};
pub use entries::{
    AnyPresentEntries, EntryMeaning, PresentEntries, PresentEntry, UnreadableEntries,
};
pub use range::{PageRun, Pages};
pub use trace::{Path, Step, Trace};

use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Translation;
use crate::table::Cursor;
use crate::x86::format::{EntryKind, Format, Level, MAX_LEVELS};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::semantics::{Cause, Denial, Reference, Rights, Semantics};
use crate::x86::state::ControlState;
use core::marker::PhantomData;
use masks::Masks;

/// Why a walk ended without a translation. `E` is the error of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError<E = OutsideMemory> {
    /// A page fault, and its cause.
    Fault(Cause),
    /// An entry could not be read, for instance because a table is outside memory (OUT-1). What
    /// happens then depends on the machine.
    Memory(E),
}

/// Where a walk begins: at the root, or below it with what a paging-structure cache knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start<F: Format> {
    /// The first table to look into; `None` without paging.
    pub(crate) cursor: Option<Cursor<F>>,
    /// What the entries above it allow.
    pub(crate) rights: Rights,
}

/// The memory-management unit of one processor in one control state, for one table format.
///
/// The constructor works out the reserved bits of every level, so that a walk only has to mask.
#[derive(Clone, Copy, Debug)]
pub struct Mmu<F: Format, R: Semantics = Reference> {
    semantics: R,
    regime: Regime,
    root: PhysAddr,
    reserved: [ReservedMasks; MAX_LEVELS],
    masks: Masks,
    format: PhantomData<F>,
}

/// The reserved bits of a level's entries.
#[derive(Clone, Copy, Debug, Default)]
struct ReservedMasks {
    table: u64,
    leaf: u64,
}

impl ReservedMasks {
    const fn of(&self, kind: EntryKind) -> u64 {
        match kind {
            EntryKind::Table => self.table,
            EntryKind::Leaf => self.leaf,
        }
    }
}

impl<F: Format> Mmu<F> {
    /// The reference for a control state and a processor.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        Self::with_semantics(Reference, state, profile)
    }
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// An MMU that decides as `semantics` does.
    pub fn with_semantics(semantics: R, state: ControlState, profile: Profile) -> Self {
        Self::with_regime(semantics, Regime::new(state, profile))
    }

    pub(crate) fn with_regime(semantics: R, regime: Regime) -> Self {
        const { assert!(F::LEVELS.len() <= MAX_LEVELS, "no format has more levels") };

        let mut reserved = [ReservedMasks::default(); MAX_LEVELS];
        for (masks, level) in reserved.iter_mut().zip(F::LEVELS) {
            masks.table = semantics.reserved_bits::<F>(level, EntryKind::Table, &regime);
            masks.leaf = semantics.reserved_bits::<F>(level, EntryKind::Leaf, &regime);
        }

        let root = semantics.root::<F>(&regime);
        let masks = if R::IS_REFERENCE { Masks::of::<F>(&regime, &reserved) } else { Masks::NONE };
        Self { semantics, regime, root, reserved, masks, format: PhantomData }
    }

    /// The control state, processor and choices of this MMU.
    pub const fn regime(&self) -> &Regime {
        &self.regime
    }

    /// The decisions that this MMU follows.
    pub(crate) fn semantics(&self) -> &R {
        &self.semantics
    }

    /// The start of a walk that no cache shortens.
    pub(crate) fn root(&self) -> Start<F> {
        Start { cursor: Cursor::at_root(self.root), rights: Rights::all() }
    }

    /// Walks the tables to the page that holds `address`, and judges the rights of `access`.
    ///
    /// The address must be canonical. The size of the access plays no part. With the trace `()`, entries
    /// are read once if the access completes, and a second time for the cause if it does not.
    ///
    /// # Errors
    /// The cause of the page fault, or the error of the memory.
    #[inline]
    pub fn walk<M: TableMemory + ?Sized, T: Trace>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        trace: &mut T,
    ) -> Result<Translation, WalkError<M::Error>> {
        if R::IS_REFERENCE
            && !T::LISTENS
            && let Some(translation) = self.walk_by_masks(memory, address, access, |_, _| {})
        {
            return Ok(translation);
        }
        self.walk_in_detail(memory, address, access, trace)
    }

    #[inline(never)]
    fn walk_in_detail<M: TableMemory + ?Sized, T: Trace>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        trace: &mut T,
    ) -> Result<Translation, WalkError<M::Error>> {
        self.walk_from(self.root(), memory, address, access, trace)
    }

    /// The same from any level on (SDM "4-Level Paging and 5-Level Paging", "32-Bit Paging", "PAE
    /// Paging").
    pub(crate) fn walk_from<M: TableMemory + ?Sized, T: Trace>(
        &self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        trace: &mut T,
    ) -> Result<Translation, WalkError<M::Error>> {
        // Without paging the linear address is the physical address.
        let Some(mut cursor) = start.cursor else {
            trace.rule(Rule::Mode12);
            let address = PhysAddr::new(address.truncated(F::ADDRESS_BITS).get());
            return Ok(Translation { address, rights: Rights::all(), leaf: 0, level: None });
        };

        // The root table is at CR3, less the bits that are not part of its address.
        if self.root.get() != self.regime.state.cr3 {
            trace.rule(Rule::Mode8);
        }

        let mut rights = start.rights;
        loop {
            let level = cursor.level();

            // 1. Bits of the linear address select an entry of the table.
            let index = self.semantics.index(level, address);
            let at = cursor.entry_at(index);
            let entry = self.read_entry(cursor, index, memory, trace)?;

            // 2. The entry either maps a page or points to the next table.
            let kind = if self.semantics.is_leaf::<F>(level, entry, &self.regime) {
                EntryKind::Leaf
            } else {
                EntryKind::Table
            };
            let target = self.semantics.address::<F>(level, kind, entry);

            // 3. It must be present and have no reserved bit set (CODE-1).
            let reserved = self.reserved[cursor.depth()].of(kind);
            if let Some(error) = self.semantics.entry_error(level, kind, entry, reserved) {
                trace.step(Step { level, kind, at, entry, target, rights, error: Some(error) });
                self.trace_entry_error(level, kind, error, rights, access, trace);
                return Err(WalkError::Fault(Cause::Entry(error)));
            }

            // 4. A path allows what all of its entries allow (RIGHT-1).
            let above = rights;
            if level.has_flags {
                rights = self.semantics.combine(above, entry);
            }
            trace.step(Step { level, kind, at, entry, target, rights, error: None });
            self.trace_good_entry(level, kind, entry, trace);

            // 5. Go down to the next table,
            if kind == EntryKind::Table
                && let Some(below) = cursor.below(target)
            {
                let denial = self.semantics.denial_on_the_way(rights, access, &self.regime);
                if !denial.is_empty() {
                    return Err(WalkError::Fault(Cause::Denied(denial)));
                }
                cursor = below;
                continue;
            }

            // 6. or end at the page, if the rights of the whole path allow the access (CODE-2).
            self.judge_rights(level, above, rights, entry, access, trace)?;
            let address = target + address.offset(level.shift);
            return Ok(Translation { address, rights, leaf: entry, level: Some(level) });
        }
    }

    /// Reads an entry: from memory, or from the register that holds it (PDPTE-1).
    #[inline]
    fn read_entry<M: TableMemory + ?Sized, T: Trace>(
        &self,
        cursor: Cursor<F>,
        index: u64,
        memory: &M,
        trace: &mut T,
    ) -> Result<u64, WalkError<M::Error>> {
        if let Some(entry) = self.semantics.register::<F>(cursor.level(), index, &self.regime) {
            trace.rule(Rule::Pdpte1);
            return Ok(entry);
        }

        cursor.read(memory, cursor.entry_at(index)).map_err(WalkError::Memory)
    }

    /// Judges an access by the rights of the whole path and of the path above its leaf.
    #[inline]
    fn judge_rights<T: Trace, E>(
        &self,
        level: &Level,
        above: Rights,
        rights: Rights,
        leaf: u64,
        access: &Access,
        trace: &mut T,
    ) -> Result<(), WalkError<E>> {
        // The entries of a flat table have no rights.
        let denial = if level.has_flags {
            self.semantics.denial(above, rights, leaf, access, &self.regime)
        } else {
            Denial::empty()
        };
        self.trace_leaf(level, leaf, rights, denial, access, trace);

        if denial.is_empty() { Ok(()) } else { Err(WalkError::Fault(Cause::Denied(denial))) }
    }
}
