//! The linear address of an access: the pages that it is in, and the parts that it is split into.

use crosswalk_case::Case;
use mmu_core::walk::{Path, Step};
use mmu_core::x86::format::{EntryKind, levels};
use mmu_core::x86::semantics::EntryError;
use mmu_core::{PagingMode, VirtAddr};

/// A part of a linear address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressField {
    /// What it selects: the name of a table, `offset`, or `sign` for the bits that repeat the highest one.
    pub name: String,
    /// Its highest and its lowest bit.
    pub bits: (u8, u8),
    /// Its value, as it is written: an index as a decimal number, other parts in hex.
    pub value: String,
}

impl AddressField {
    /// Its bits as the manuals write them: `47:39`.
    pub fn range(&self) -> String {
        let (high, low) = self.bits;
        format!("{high}:{low}")
    }
}

/// The parts of an address, as far as the walk went.
pub fn split(mode: PagingMode, address: VirtAddr, path: Option<&Path>) -> Vec<AddressField> {
    let levels = levels(mode);
    let address = if mode.is_long_mode() { address } else { address.truncated(32) };
    let mut fields = Vec::new();
    let mut shift = levels.first().map_or(32, |level| level.shift + level.index_bits);
    if mode.is_long_mode() {
        let digits = 2 + usize::from(64 - shift).div_ceil(4);
        let value = format!("{:#0digits$x}", address.get() >> shift);
        fields.push(AddressField { name: "sign".into(), bits: (63, shift), value });
    }

    // A large page ends the split early. A walk that stops says nothing about the bits below.
    let is_leaf =
        |step: &Step| step.kind == EntryKind::Leaf && step.error != Some(EntryError::NotPresent);
    let large_at = path.and_then(|path| path.steps.iter().position(is_leaf));
    let met = large_at.map_or(levels.len(), |index| index + 1);
    for level in &levels[..met] {
        fields.push(AddressField {
            name: level.entry_name.trim_end_matches('E').to_owned(),
            bits: (level.shift + level.index_bits - 1, level.shift),
            value: address.index(level.shift, level.index_bits).to_string(),
        });
        shift = level.shift;
    }

    let value = format!("{:#x}", address.offset(shift));
    fields.push(AddressField { name: "offset".into(), bits: (shift - 1, 0), value });
    fields
}

/// The address of the first byte in each page that the case's instruction touches, with the case as if it
/// made that access alone; each page once for each kind of access.
pub fn pages(case: &Case) -> Vec<(Case, VirtAddr)> {
    let mut pages: Vec<(Case, VirtAddr)> = Vec::new();
    for part in case.access_step().parts() {
        for page in part.pages().map(|page| page.address) {
            let is_same = |(known, address): &(Case, VirtAddr)| {
                known.access.kind == part.kind
                    && known.access.segment == part.segment
                    && address.get() >> 12 == page.get() >> 12
            };
            if !pages.iter().any(is_same) {
                pages.push((Case { access: part, ..case.clone() }, page));
            }
        }
    }
    pages
}
