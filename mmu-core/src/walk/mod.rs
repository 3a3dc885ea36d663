//! The walk: from a linear address down the tables to a page, or to the reason why not.
//!
//! [`Mmu::walk`] is the only walk in this crate. What it reports on the way goes to a [`Trace`];
//! with the trace `()` it reports nothing and the compiler leaves the reporting out.

mod any_mode;
mod predict;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod trace;

pub(crate) use predict::WalkedPage;

pub use any_mode::{decode_in_mode, encode_in_mode, predict_in_mode, root_in_mode, walk_in_mode};
pub use trace::{Path, Step, Trace};

use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::format::{EntryKind, Format, Level, MAX_LEVELS};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::semantics::{Cause, Denial, EntryError, Reference, Rights, Semantics};
use crate::x86::state::{ControlState, Cr4};
use core::marker::PhantomData;

/// A completed walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address of the byte asked for.
    pub address: PhysAddr,
    /// What the whole path allows.
    pub rights: Rights,
    /// The entry that maps the page.
    pub leaf: u64,
}

/// Why a walk ended without a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// A page fault, and its cause.
    Fault(Cause),
    /// A table lies where there is no memory (OUT-1): what happens then is the machine's own work.
    Outside(OutsideMemory),
}

/// Where a walk begins: at the root, or below it with what a paging-structure cache knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// How many levels are skipped.
    pub(crate) depth: usize,
    /// The table of the first level that is not.
    pub(crate) table: PhysAddr,
    /// What the skipped entries allow.
    pub(crate) rights: Rights,
}

/// The memory-management unit of one processor in one control state, for one table format.
///
/// Making one works out the reserved bits of every level, so that a walk has only to mask.
#[derive(Clone, Copy, Debug)]
pub struct Mmu<F: Format, R: Semantics = Reference> {
    semantics: R,
    regime: Regime,
    root: PhysAddr,
    reserved: [LevelMasks; MAX_LEVELS],
    format: PhantomData<F>,
}

/// The reserved bits of a level's entries.
#[derive(Clone, Copy, Debug, Default)]
struct LevelMasks {
    table: u64,
    leaf: u64,
}

impl<F: Format> Mmu<F> {
    /// The reference for a control state and a processor.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        Self::with_semantics(Reference, state, profile)
    }
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// An MMU that follows the given rules.
    pub fn with_semantics(semantics: R, state: ControlState, profile: Profile) -> Self {
        Self::with_regime(semantics, Regime::new(state, profile))
    }

    pub(crate) fn with_regime(semantics: R, regime: Regime) -> Self {
        let mut reserved = [LevelMasks::default(); MAX_LEVELS];
        for (masks, level) in reserved.iter_mut().zip(F::LEVELS) {
            masks.table = semantics.reserved_bits::<F>(level, EntryKind::Table, &regime);
            masks.leaf = semantics.reserved_bits::<F>(level, EntryKind::Leaf, &regime);
        }
        let root = semantics.root::<F>(&regime);
        Self { semantics, regime, root, reserved, format: PhantomData }
    }

    /// The control state, processor and choices it was made for.
    pub fn regime(&self) -> &Regime {
        &self.regime
    }

    /// The decisions it follows.
    pub(crate) fn semantics(&self) -> &R {
        &self.semantics
    }

    /// The start of a walk that no cache shortens.
    pub(crate) fn root(&self) -> Start {
        Start { depth: 0, table: self.root, rights: Rights::all() }
    }

    /// Walks the tables for the page that holds `address`, judging the rights of `access`.
    ///
    /// The address must be canonical; only the page is looked at, not the size of the access.
    ///
    /// # Errors
    /// The cause of the page fault, or that a table lies outside memory.
    pub fn walk<M: TableMemory, T: Trace>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        trace: &mut T,
    ) -> Result<Translation, WalkError> {
        self.walk_from(self.root(), memory, address, access, trace)
    }

    /// The same from any level on.
    pub(crate) fn walk_from<M: TableMemory, T: Trace>(
        &self,
        start: Start,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        trace: &mut T,
    ) -> Result<Translation, WalkError> {
        if F::LEVELS.is_empty() {
            trace.rule(Rule::Mode12);
            let address = PhysAddr::new(address.truncated(F::ADDRESS_BITS).get());
            return Ok(Translation { address, rights: Rights::all(), leaf: 0 });
        }
        if self.root.get() != self.regime.state.cr3 {
            trace.rule(Rule::Mode8);
        }
        let Start { depth, mut table, mut rights } = start;
        for (level, masks) in F::LEVELS.iter().zip(&self.reserved).skip(depth) {
            let index = self.semantics.index(level, address);
            let at = table + index * u64::from(F::ENTRY_BYTES);
            let register = self.semantics.register::<F>(level, index, &self.regime);
            let entry = if let Some(entry) = register {
                trace.rule(Rule::Pdpte1);
                entry
            } else {
                memory.read_entry(at, F::ENTRY_BYTES).map_err(|outside| {
                    trace.rule(Rule::Out1);
                    WalkError::Outside(outside)
                })?
            };
            let is_leaf = self.semantics.is_leaf::<F>(level, entry, &self.regime);
            let (kind, reserved) = if is_leaf {
                (EntryKind::Leaf, masks.leaf)
            } else {
                (EntryKind::Table, masks.table)
            };
            let target = self.semantics.address::<F>(level, kind, entry);
            if let Some(error) = self.semantics.entry_error(entry, reserved) {
                trace.step(Step { level, kind, at, entry, target, rights, error: Some(error) });
                self.trace_entry_error(level, kind, error, rights, access, trace);
                return Err(WalkError::Fault(Cause::Entry(error)));
            }
            let above = rights;
            if level.has_flags {
                rights = self.semantics.combine(above, entry);
            }
            trace.step(Step { level, kind, at, entry, target, rights, error: None });
            if T::WANTED
                && let Some(rule) = F::rule_at_work(level, kind, entry, &self.regime)
            {
                trace.rule(rule);
            }
            if !is_leaf {
                table = target;
                continue;
            }
            // A flat table has no rights to judge.
            let denial = if level.has_flags {
                self.semantics.denial(above, rights, entry, access, &self.regime)
            } else {
                Denial::empty()
            };
            self.trace_leaf(level, entry, rights, denial, access, trace);
            if !denial.is_empty() {
                return Err(WalkError::Fault(Cause::Denied(denial)));
            }
            let address = target + address.offset(level.shift);
            return Ok(Translation { address, rights, leaf: entry });
        }
        unreachable!("the last level of every format is a leaf")
    }

    /// Which rules a bad entry brought into play.
    #[inline]
    fn trace_entry_error<T: Trace>(
        &self,
        level: &Level,
        kind: EntryKind,
        error: EntryError,
        rights: Rights,
        access: &Access,
        trace: &mut T,
    ) {
        if !T::WANTED {
            return;
        }
        match error {
            EntryError::NotPresent => trace.rule(Rule::Code1),
            EntryError::Reserved(bits) => {
                for (group, rule) in F::reserved_bits(level, kind, &self.regime) {
                    if group & bits != 0 {
                        trace.rule(rule);
                    }
                }
            }
        }
        // The rights so far would have denied the access, had rights been judged on the way. Only
        // these count: SMEP, SMAP and the key wait for the entries below.
        let final_already = Denial::SUPERVISOR_PAGE | Denial::READ_ONLY | Denial::EXECUTE_DISABLED;
        if self.semantics.denial(rights, rights, 0, access, &self.regime).intersects(final_already)
        {
            trace.rule(Rule::Code2);
        }
    }

    /// Which rules the leaf and the rights brought into play.
    #[inline]
    fn trace_leaf<T: Trace>(
        &self,
        level: &Level,
        leaf: u64,
        rights: Rights,
        denial: Denial,
        access: &Access,
        trace: &mut T,
    ) {
        if !T::WANTED {
            return;
        }
        let state = &self.regime.state;
        let pat = if level.number == 1 { 1 << 7 } else { 1 << 12 };
        let ordinary = Denial::SUPERVISOR_PAGE | Denial::READ_ONLY | Denial::EXECUTE_DISABLED;
        // CR0.WP decides, one way or the other.
        let up_to_wp =
            self.semantics.is_write(access) && !rights.contains(Rights::WRITE) && !access.is_user();
        let excused_by_ac = state.ac
            && state.cr4.contains(Cr4::SMAP)
            && rights.contains(Rights::USER)
            && !access.is_user()
            && !access.implicit
            && access.kind != crate::AccessKind::Fetch;
        let keys = (state.cr4.contains(Cr4::PKE) && state.pkru != 0)
            || (state.cr4.contains(Cr4::PKS) && state.pkrs != 0);
        let keys = keys && F::IS_LONG_MODE;
        for (decided, rule) in [
            (level.has_flags && leaf & pat != 0, Rule::Mode11),
            (denial.intersects(ordinary), Rule::Right1),
            (up_to_wp, Rule::Right2),
            (denial.contains(Denial::SMEP), Rule::Right3),
            (denial.contains(Denial::SMAP) || excused_by_ac, Rule::Right4),
            (keys, Rule::Right5),
            (denial.contains(Denial::KEY), Rule::Right6),
            (access.shadow_stack, Rule::Right7),
            (access.kind == crate::AccessKind::Clflush, Rule::Right8),
        ] {
            if decided {
                trace.rule(rule);
            }
        }
    }
}
