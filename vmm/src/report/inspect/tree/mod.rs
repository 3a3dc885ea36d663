//! The tables of an address space as a tree, each table once: for people and as JSON.

pub(in crate::report) mod json;
mod text;

pub use json::document;
pub use text::text;

use crosswalk_inspect::TreeTable;
use mmu_core::x86::semantics::Rights;

/// The manuals' name of a table: its entries' without the last letter. PML4Es are in a PML4.
pub(super) fn name(table: &TreeTable) -> &'static str {
    let of_entry = table.level.entry_name;
    of_entry.strip_suffix('E').unwrap_or(of_entry)
}

/// Rights that are lost, in letters.
pub(super) fn lost_letters(lost: Rights) -> String {
    let letters = [(Rights::USER, 'u'), (Rights::WRITE, 'w'), (Rights::EXECUTE, 'x')];
    letters.iter().filter(|(right, _)| lost.contains(*right)).map(|(_, letter)| letter).collect()
}
