//! Images made by hand, in every format and paging mode, whole and damaged.

mod compressed;
mod findings;
mod formats;
mod monitor;
mod mutations;
mod pieces;
mod registers;
mod scans;
mod trees;

use crate::{Found, ImageOptions, Limits, MemoryImage, MemoryImageError, StateOptions};
use mmu_core::walk::EntryMeaning;
use mmu_core::{AnyMmu, Profile};
use std::io::Write;
use tempfile::NamedTempFile;

/// A file with these contents.
fn file(contents: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn open_with(contents: &[u8], options: &ImageOptions) -> Result<MemoryImage, MemoryImageError> {
    MemoryImage::open(file(contents).path(), options)
}

fn open(contents: &[u8]) -> Result<MemoryImage, MemoryImageError> {
    open_with(contents, &ImageOptions::default())
}

/// The raw memory of a file that begins at address 0.
fn raw(contents: &[u8]) -> MemoryImage {
    let ram = vec![format!("0:{}@0", contents.len()).parse().unwrap()];
    open_with(contents, &ImageOptions { format: None, ram }).unwrap()
}

/// All that a scan finds, in the control state that the image and the options give.
fn scan(image: &MemoryImage, options: &StateOptions, limits: Limits) -> Vec<Found> {
    let state = image.control_state(options).unwrap().state;
    let mmu = AnyMmu::new(state, Profile { physical_address_bits: 52, ..Profile::default() });
    image.scan(&mmu, limits).collect()
}

/// The first address of each page, its physical address, and the bits of its rights: 1 for write, 2 for user, 4
/// for execute.
fn pages(found: &[Found]) -> Vec<(u64, u64, u8)> {
    let page = |found: &Found| match found {
        Found::Page(page) => {
            let EntryMeaning::Page(address) = page.meaning else { panic!("{page:?}") };
            Some((page.first.get(), address.get(), page.rights.bits()))
        }
        _ => None,
    };
    found.iter().filter_map(page).collect()
}
