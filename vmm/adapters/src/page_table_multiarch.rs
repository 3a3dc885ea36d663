//! The crate `page_table_multiarch` of `ArceOS`: `PageTable64::query`.
//!
//! It says where an address leads. The flags that it returns are the leaf's alone, so they claim
//! nothing of the rights of the whole path; it looks neither at reserved bits nor at whether the
//! address is canonical.

use crate::frames::{EntryFrames, OUTSIDE};
use crate::pages::{self, FoundPage, Said};
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

/// What it does not look for.
const IGNORES: Ignores = Ignores::RESERVED.union(Ignores::RIGHTS).union(Ignores::ADDRESS);

/// The candidate. Its frames belong to the thread, since the library asks a type for them and not a
/// value.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageTableMultiarch;

thread_local! {
    static FRAMES: RefCell<EntryFrames> = RefCell::default();
    static ROOT: Cell<u64> = const { Cell::new(0) };
}

impl Candidate for PageTableMultiarch {
    fn answer(&mut self, case: &Case) -> Answer {
        say(case).unwrap_or_else(Answer::Silent)
    }
}

fn say(case: &Case) -> Said {
    pages::check(case, &[PagingMode::FourLevel])?;
    let table = table_of(case)?;
    pages::answer(case, IGNORES, |address| {
        let found = match table.query(VirtAddr::from(address as usize)) {
            Ok((address, _, _)) => {
                FoundPage::Page { address: usize::from(address) as u64, rights: None }
            }
            Err(_) => FoundPage::Nothing,
        };
        let led_outside = FRAMES.with_borrow(EntryFrames::led_outside);
        if led_outside { Err(OUTSIDE.into()) } else { Ok(found) }
    })
}

/// The case's tables as the library holds them. It is never dropped, as it would free every table
/// that it can reach, and owns nothing else.
fn table_of(case: &Case) -> Result<ManuallyDrop<X64PageTable<Handler>>, String> {
    ROOT.set(case.state.cr3 & mmu_core::x86::format::EntryBits::ADDRESS);
    // It makes an empty root where it is told to; what is there in the end is written afterwards.
    FRAMES.with_borrow_mut(EntryFrames::clear);
    let table = X64PageTable::try_new().map_err(|error| format!("{error:?}"))?;
    FRAMES.with_borrow_mut(|frames| frames.load(case));
    Ok(ManuallyDrop::new(table))
}

struct Handler;

impl PagingHandler for Handler {
    fn alloc_frames(_: usize, _: usize) -> Option<PhysAddr> {
        Some(PhysAddr::from(ROOT.get() as usize))
    }

    fn dealloc_frames(_: PhysAddr, _: usize) {}

    /// Every address gets a frame, and one that stays where it is until the next case.
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
    use crate::testing::{is_right, is_wrong, leaf, plain, silence, with_tables_everywhere};

    #[test]
    fn a_plain_page_and_one_that_is_not_there() {
        let mut case = plain(PagingMode::FourLevel);
        assert!(is_right(&mut PageTableMultiarch, &case));
        case.entries[3].value &= !1;
        assert!(is_right(&mut PageTableMultiarch, &case));
        case.entries[2].value = 0;
        assert!(is_right(&mut PageTableMultiarch, &case));
    }

    #[test]
    fn known_p_counts_in_the_leaf_only() {
        for entry in 0..3 {
            let mut case = plain(PagingMode::FourLevel);
            case.entries[entry].value &= !1;
            assert!(is_wrong(&mut PageTableMultiarch, &case), "entry {entry}");
        }
    }

    #[test]
    fn known_the_pat_bit_stays_in_large_addresses() {
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            // P, W, U, PS; then PAT at bit 12, which is no address.
            leaf(&mut case, level, 0x4000_0087);
            assert!(is_right(&mut PageTableMultiarch, &case), "level {level}");
            leaf(&mut case, level, 0x4000_1087);
            assert!(is_wrong(&mut PageTableMultiarch, &case), "level {level}");
        }
    }

    #[test]
    fn known_a_table_in_frame_0_is_taken_for_none() {
        let mut case = plain(PagingMode::FourLevel);
        let slot = case.entries[3].at & 0xfff;
        case.entries[2].value &= 0xfff;
        case.entries[3].at = slot;
        assert!(is_wrong(&mut PageTableMultiarch, &case));
    }

    #[test]
    fn tables_may_lie_anywhere() {
        for case in with_tables_everywhere(PagingMode::FourLevel) {
            assert_eq!(silence(&mut PageTableMultiarch, &case), OUTSIDE);
        }
        assert!(is_right(&mut PageTableMultiarch, &plain(PagingMode::FourLevel)));
        for mode in [PagingMode::FiveLevel, PagingMode::Pae, PagingMode::Bits32] {
            assert!(silence(&mut PageTableMultiarch, &plain(mode)).contains("mode"));
        }
    }
}
