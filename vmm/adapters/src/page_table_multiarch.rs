//! The crate `page_table_multiarch` of `ArceOS`: `PageTable64::query`.
//!
//! It says where an address leads. The flags that it returns are those of the leaf entry, so they
//! claim nothing about the rights of the whole path; it checks neither reserved bits nor whether the
//! address is canonical.

use crate::frames::{EntryFrames, OUTSIDE};
use crate::pages::{self, PageLookup, Reply};
use crate::registers::root_table;
use ::page_table_multiarch::PagingHandler;
use ::page_table_multiarch::x86_64::X64PageTable;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use memory_addr::{PhysAddr, VirtAddr};
use mmu_core::PagingMode;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;

/// The version of the library.
pub const VERSION: &str = "0.6.2";

/// The faults that it does not look for.
const IGNORES: Ignores = Ignores::RESERVED.union(Ignores::RIGHTS).union(Ignores::ADDRESS);

/// The candidate. Its frames belong to the thread, since the library asks a type for them, not a
/// value.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageTableMultiarch;

thread_local! {
    static FRAMES: RefCell<EntryFrames> = RefCell::default();
    static ROOT: Cell<u64> = const { Cell::new(0) };
}

impl Candidate for PageTableMultiarch {
    fn answer(&mut self, case: &Case) -> Answer {
        try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

fn try_answer(case: &Case) -> Reply {
    pages::check(case, &[PagingMode::FourLevel])?;
    let table = table_of(case)?;

    pages::answer(case, IGNORES, |address| {
        let lookup = match table.query(VirtAddr::from(address as usize)) {
            Ok((physical, _, _)) => {
                PageLookup::Mapped { address: usize::from(physical) as u64, rights: None }
            }
            Err(_) => PageLookup::NotMapped,
        };
        let led_outside = FRAMES.with_borrow(EntryFrames::led_outside);
        if led_outside { Err(OUTSIDE.into()) } else { Ok(lookup) }
    })
}

/// The case's tables in the library's type. Dropping it would free every table that it reaches, and
/// it owns nothing else, so it is never dropped.
fn table_of(case: &Case) -> Result<ManuallyDrop<X64PageTable<Handler>>, String> {
    ROOT.set(root_table(&case.state));

    // `try_new` clears the root table, so the entries are written afterwards.
    FRAMES.with_borrow_mut(EntryFrames::clear);
    let table = X64PageTable::try_new().map_err(|error| format!("{error:?}"))?;
    FRAMES.with_borrow_mut(|frames| frames.load(case));
    Ok(ManuallyDrop::new(table))
}

/// The library's access to memory.
struct Handler;

impl PagingHandler for Handler {
    /// Asked once, for the root table.
    fn alloc_frames(_: usize, _: usize) -> Option<PhysAddr> {
        Some(PhysAddr::from(ROOT.get() as usize))
    }

    fn dealloc_frames(_: PhysAddr, _: usize) {}

    /// Every address has a frame, which stays where it is until the next case.
    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        FRAMES.with_borrow(|frames| {
            let frame = frames.get(usize::from(address) as u64);
            VirtAddr::from(std::ptr::from_ref(frame).expose_provenance())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, assert_wrong, plain, set_entry, silence,
    };

    #[test]
    fn present_and_absent_pages() {
        let mut case = plain(PagingMode::FourLevel);
        assert_right(&mut PageTableMultiarch, &case);
        case.entries[3].value &= !1;
        assert_right(&mut PageTableMultiarch, &case);
        case.entries[2].value = 0;
        assert_right(&mut PageTableMultiarch, &case);
    }

    #[test]
    fn known_p_counts_in_the_leaf_only() {
        for entry in 0..3 {
            let mut case = plain(PagingMode::FourLevel);
            case.entries[entry].value &= !1;
            assert_wrong(&mut PageTableMultiarch, &case);
        }
    }

    #[test]
    fn known_the_pat_bit_stays_in_large_addresses() {
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            // P, W, U, PS; then PAT in bit 12, which is not part of the address.
            set_entry(&mut case, level, 0x4000_0087);
            assert_right(&mut PageTableMultiarch, &case);
            set_entry(&mut case, level, 0x4000_1087);
            assert_wrong(&mut PageTableMultiarch, &case);
        }
    }

    #[test]
    fn known_a_table_in_frame_0_counts_as_absent() {
        let mut case = plain(PagingMode::FourLevel);
        let slot = case.entries[3].at & 0xfff;
        case.entries[2].value &= 0xfff;
        case.entries[3].at = slot;
        assert_wrong(&mut PageTableMultiarch, &case);
    }

    #[test]
    fn tables_outside_memory_are_noticed() {
        let candidate = &mut PageTableMultiarch;
        assert_notices_tables_outside_memory(candidate, PagingMode::FourLevel, |_| ());
    }

    #[test]
    fn other_modes_are_refused() {
        for mode in [PagingMode::FiveLevel, PagingMode::Pae, PagingMode::Bits32] {
            assert!(silence(&mut PageTableMultiarch, &plain(mode)).contains("mode"));
        }
    }
}
