//! Who leads to a physical address: the pages that map it, and the entries that use its frame as a table.

use crate::scan::Found;
use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::{PhysAddr, VirtAddr};

/// An entry that leads to a physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadsTo {
    /// The page of this entry has it, at a linear address.
    Page {
        /// The entry.
        page: PresentEntry,
        /// The linear address of the byte.
        address: VirtAddr,
    },
    /// This entry points to the table that it is in.
    Table(PresentEntry),
}

impl LeadsTo {
    /// Whether what a scan has found leads to a physical address.
    #[inline]
    pub fn of(found: &Found, at: PhysAddr) -> Option<Self> {
        let (Found::Page(entry) | Found::Table(entry) | Found::Repeated(entry)) = found else {
            return None;
        };
        match entry.meaning {
            EntryMeaning::Page(page) => {
                let offset = at.get().checked_sub(page.get())?;
                let address = entry.first.wrapping_add(offset);
                (offset >> entry.level.shift == 0).then_some(Self::Page { page: *entry, address })
            }
            EntryMeaning::Table(table) => {
                (table.frame() == at.frame()).then_some(Self::Table(*entry))
            }
            EntryMeaning::Reserved(_) => None,
        }
    }
}
