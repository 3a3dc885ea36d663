//! What the kernel prepares for a nested batch, before ring 0 runs guests of its own (nested.s).

use core::slice;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::mailbox::Header;
use crosswalk_guest::nested::{PERMISSION_BYTES, TABLES, Virtualizer};

/// Number of words in a page.
const PAGE_WORDS: usize = 512;

/// Writes the nested tables, the code page and the permission maps of a batch, if it is a nested one.
pub(crate) fn prepare(arena: Arena, header: &Header) {
    if header.virtualizer == Virtualizer::None as u64 {
        return;
    }

    for index in 0..(header.nested_tables as usize).min(TABLES) {
        let image = page(arena.nested_table_image(index));
        page_mut(arena.nested_table(index)).copy_from_slice(image);
    }

    // QEMU sees what the guest itself writes over code that it has translated, but not what the host does.
    let code = page(arena.nested_code_image());
    if page(arena.nested_code()) != code {
        page_mut(arena.nested_code()).copy_from_slice(code);
    }

    for offset in (0..PERMISSION_BYTES).step_by(0x1000) {
        page_mut(arena.permission_maps() + offset).fill(u64::MAX);
    }
}

/// A page of an arena that nothing writes to as long as the caller has it.
fn page(at: u64) -> &'static [u64; PAGE_WORDS] {
    // SAFETY: callers pass pages of an arena, which are mapped and aligned; no batch runs meanwhile, and no one
    // has a mutable reference.
    unsafe { &*(at as *const [u64; PAGE_WORDS]) }
}

/// A page of an arena to write to.
fn page_mut(at: u64) -> &'static mut [u64] {
    // SAFETY: as for `page`; each caller has the only reference to the page.
    unsafe { slice::from_raw_parts_mut(at as *mut u64, PAGE_WORDS) }
}
