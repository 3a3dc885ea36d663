//! crosswalk: the library, and the program.

use crate::pieces::{Piece, PieceRights};
use crosswalk_inspect::{
    DerivedState, Found, ImageOptions, Limits, MemoryImage, PageRange, PageRanges, StateOptions,
};
use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::semantics::Rights;
use mmu_core::{AnyMmu, Profile};
use std::error::Error;
use std::path::Path;

/// An image, and the registers of its first CPU.
pub(crate) fn open(path: &Path) -> Result<(MemoryImage, DerivedState), Box<dyn Error>> {
    let image = MemoryImage::open(path, &ImageOptions::default())?;
    let state = image.control_state(&StateOptions::default())?;
    Ok((image, state))
}

/// Every page with what its whole path allows.
pub(crate) fn pages(path: &Path) -> Result<Vec<Piece>, Box<dyn Error>> {
    let (image, derived) = open(path)?;
    let mmu = AnyMmu::new(derived.state, Profile::default());
    let pages = image.scan(&mmu, Limits::default()).filter_map(|found| match found {
        Found::Page(page) => piece(&page),
        _ => None,
    });
    Ok(pages.collect())
}

fn piece(page: &PresentEntry) -> Option<Piece> {
    let EntryMeaning::Page(physical) = page.meaning else { return None };
    let rights = PieceRights {
        writable: Some(page.rights.contains(Rights::WRITE)),
        user: Some(page.rights.contains(Rights::USER)),
        executable: Some(page.rights.contains(Rights::EXECUTE)),
    };
    let (first, last) = (page.first.get(), page.last.get());
    Some(Piece { first, last, physical: physical.get(), rights })
}

/// The work of a map, from the file to its ranges.
pub(crate) fn ranges(path: &Path) -> Result<usize, Box<dyn Error>> {
    let (image, derived) = open(path)?;
    let mmu = AnyMmu::new(derived.state, Profile::default());
    let mut ranges = PageRanges::new();
    let mut all = Vec::new();
    for found in image.scan(&mmu, Limits::default()) {
        if let Found::Page(page) = found {
            all.extend(PageRange::of(&page).and_then(|page| ranges.push(page)));
        }
    }
    all.extend(ranges.finish());
    Ok(all.len())
}
