//! The mapped pages of an address space, in order.

use super::entry::{MapTarget, Mapping, check_reserved, rights_below};
use super::error::MapError;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::table::{Cursor, limits};
use crate::x86::format::{EntryKind, Format, MAX_LEVELS};
use crate::x86::regime::Regime;
use crate::x86::semantics::Rights;
use arrayvec::ArrayVec;

/// Iterates over the mapped pages, lowest linear address first. A table that cannot be read yields
/// an error, and so does an entry with reserved bits; the iteration goes on behind it.
#[derive(Clone, Debug)]
pub struct MappedPages<'m, F: Format, M: TableMemory> {
    regime: Regime,
    memory: &'m M,
    /// The tables on the way down, root first.
    path: ArrayVec<OpenTable<F>, MAX_LEVELS>,
}

/// A table of which some entries have been visited.
#[derive(Clone, Copy, Debug)]
struct OpenTable<F: Format> {
    cursor: Cursor<F>,
    /// The index of the next entry to visit.
    next: u64,
    /// The first linear address that the table maps, without sign extension.
    start: u64,
    /// What the tables down to this one allow.
    above: Rights,
}

impl<'m, F: Format, M: TableMemory> MappedPages<'m, F, M> {
    pub(super) fn new(regime: Regime, root: PhysAddr, memory: &'m M) -> Self {
        let mut pages = Self { regime, memory, path: ArrayVec::new() };
        pages.open(Cursor::at_root(root), 0, Rights::all());
        pages
    }

    /// Visits a table next, if there is one.
    fn open(&mut self, cursor: Option<Cursor<F>>, start: u64, above: Rights) {
        self.path.extend(cursor.map(|cursor| OpenTable { cursor, next: 0, start, above }));
    }
}

impl<F: Format, M: TableMemory> Iterator for MappedPages<'_, F, M> {
    type Item = Result<Mapping, MapError<M::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let OpenTable { cursor, next, start, above } = self.path.last_mut()?;
            let cursor = *cursor;
            let above = *above;
            let level = cursor.level();

            if *next >> level.index_bits != 0 {
                self.path.pop();
                continue;
            }
            let index = *next;
            let address = *start | index << level.shift;
            *next += 1;

            let entry = match cursor.read(self.memory, cursor.entry_at(index)) {
                Ok(entry) => entry,
                Err(outside) => {
                    // The rest of this table cannot be read either.
                    self.path.pop();
                    return Some(Err(outside.into()));
                }
            };

            let target = MapTarget::of::<F>(level, entry, &self.regime);
            let kind = match target {
                MapTarget::Nothing => continue,
                MapTarget::Table(_) => EntryKind::Table,
                MapTarget::Page => EntryKind::Leaf,
            };
            if let Err(reserved) = check_reserved::<F, _>(level, kind, entry, &self.regime) {
                return Some(Err(reserved));
            }

            match target {
                MapTarget::Nothing => {}
                MapTarget::Table(table) => {
                    self.open(cursor.below(table), address, rights_below(level, above, entry));
                }
                MapTarget::Page => {
                    let page = limits::extended::<F>(VirtAddr::new(address));
                    if let Some(mapping) = Mapping::of_leaf::<F>(level, page, above, entry) {
                        return Some(Ok(mapping));
                    }
                }
            }
        }
    }
}
