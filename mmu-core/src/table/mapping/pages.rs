//! All mapped pages of an address space, one after the other.

use super::edit::{Mapping, mapping};
use super::mapper::MapError;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::regime::Regime;
use arrayvec::ArrayVec;

/// Iterates over the mapped pages, lowest linear address first. It goes down the tables as a walk
/// does, never deeper than the format, so tables that lead back to themselves come to an end.
#[derive(Clone, Debug)]
pub struct MappedPages<'m, F: Format, M: TableMemory> {
    regime: Regime,
    memory: &'m M,
    /// The tables on the way, root first: where each lies, the next index to look at, and the first
    /// linear address it maps.
    path: ArrayVec<(PhysAddr, u64, u64), MAX_LEVELS>,
    format: core::marker::PhantomData<F>,
}

impl<'m, F: Format, M: TableMemory> MappedPages<'m, F, M> {
    pub(super) fn new(regime: Regime, root: PhysAddr, memory: &'m M) -> Self {
        let mut path = ArrayVec::new();
        if !F::LEVELS.is_empty() {
            path.push((root, 0, 0));
        }
        Self { regime, memory, path, format: core::marker::PhantomData }
    }
}

impl<F: Format, M: TableMemory> Iterator for MappedPages<'_, F, M> {
    type Item = Result<Mapping, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let depth = self.path.len().checked_sub(1)?;
            let level = &F::LEVELS[depth];
            let (table, index, start) = &mut self.path[depth];
            if *index >> level.index_bits != 0 {
                self.path.pop();
                continue;
            }
            let at = *table + *index * u64::from(F::ENTRY_BYTES);
            let linear = *start | *index << level.shift;
            *index += 1;
            let entry = match self.memory.read_entry(at, F::ENTRY_BYTES) {
                Ok(entry) => entry,
                Err(outside) => {
                    // There is nothing more to be read in this table.
                    self.path.pop();
                    return Some(Err(outside.into()));
                }
            };
            if entry & EntryBits::P.bits() == 0 {
                continue;
            }
            if F::is_leaf(level, entry, &self.regime) {
                let linear = VirtAddr::new(linear);
                let address =
                    if F::IS_LONG_MODE { linear.sign_extended(F::ADDRESS_BITS) } else { linear };
                if let Some(mapping) = mapping::<F>(level, address, entry) {
                    return Some(Ok(mapping));
                }
                continue;
            }
            self.path.push((F::address(level, EntryKind::Table, entry), 0, linear));
        }
    }
}
