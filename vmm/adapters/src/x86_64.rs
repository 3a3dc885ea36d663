//! rust-osdev's crate `x86_64`: `MappedPageTable`, through its trait `Translate`.
//!
//! It says where an address leads. The flags that it returns are the leaf's alone, so they claim
//! nothing of the rights of the whole path, and it does not look at reserved bits.

use crate::frames::{EntryFrames, OUTSIDE};
use crate::pages::{self, FoundPage, Said};
use ::x86_64::structures::paging::mapper::{PageTableFrameMapping, TranslateResult};
use ::x86_64::structures::paging::page_table::PageTableFlags;
use ::x86_64::structures::paging::{MappedPageTable, PageTable, PhysFrame, Translate};
use ::x86_64::{PhysAddr, VirtAddr};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use mmu_core::PagingMode;

/// The version of the library.
pub const VERSION: &str = "0.15.5";

/// What it does not look for. Addresses that are not canonical it cannot even be asked for.
const IGNORES: Ignores = Ignores::RESERVED.union(Ignores::RIGHTS);

/// Bits 51:12, which the library takes for an entry's address.
const ADDRESS: u64 = mmu_core::x86::format::EntryBits::ADDRESS;

/// The candidate.
#[derive(Debug, Default)]
pub struct X86_64 {
    frames: EntryFrames,
    /// A copy of the root table: the library wants to have that one for itself, and another entry
    /// may well lead back to it.
    root: PageTable,
}

impl Candidate for X86_64 {
    fn answer(&mut self, case: &Case) -> Answer {
        self.say(case).unwrap_or_else(Answer::Silent)
    }
}

impl X86_64 {
    fn say(&mut self, case: &Case) -> Said {
        pages::check(case, &[PagingMode::FourLevel])?;
        self.load(case);
        let addresses = pages::addresses(case);
        let present_and_large = PageTableFlags::PRESENT | PageTableFlags::HUGE_PAGE;
        for address in addresses.into_iter().filter_map(|address| VirtAddr::try_new(address).ok()) {
            if self.root[address.p4_index()].flags().contains(present_and_large) {
                return Err("it panics where a PML4E has PS set".into());
            }
        }
        pages::answer(case, IGNORES, |address| {
            let Ok(address) = VirtAddr::try_new(address) else { return Ok(FoundPage::Nothing) };
            let found = match self.translate(address) {
                TranslateResult::Mapped { frame, offset, .. } => {
                    let address = frame.start_address().as_u64() + offset;
                    FoundPage::Page { address, rights: None }
                }
                TranslateResult::NotMapped | TranslateResult::InvalidFrameAddress(_) => {
                    FoundPage::Nothing
                }
            };
            if self.frames.led_outside() { Err(OUTSIDE.into()) } else { Ok(found) }
        })
    }

    fn load(&mut self, case: &Case) {
        self.frames.load(case);
        let root = self.frames.get(case.state.cr3 & ADDRESS);
        for (entry, word) in self.root.iter_mut().zip(root.words()) {
            let value = word.get();
            let flags = PageTableFlags::from_bits_retain(value & !ADDRESS);
            entry.set_addr(PhysAddr::new(value & ADDRESS), flags);
        }
    }

    fn translate(&mut self, address: VirtAddr) -> TranslateResult {
        // SAFETY: the mapping gives a valid table for every frame, and the root is nobody else's.
        // Whether the tables make sense does not matter, since nothing is changed through them.
        let mapped = unsafe { MappedPageTable::new(&mut self.root, InFrames(&self.frames)) };
        mapped.translate(address)
    }
}

struct InFrames<'f>(&'f EntryFrames);

// SAFETY: the frames are aligned as tables are, as large, made of cells through which writing is
// allowed, and stay where they are while they are borrowed.
unsafe impl PageTableFrameMapping for InFrames<'_> {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        let frame = self.0.get(frame.start_address().as_u64());
        std::ptr::from_ref(frame).cast_mut().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{is_right, is_wrong, leaf, plain, silence, with_tables_everywhere};
    use mmu_core::VirtAddr;

    #[test]
    fn a_plain_page_and_one_that_is_not_there() {
        let mut candidate = X86_64::default();
        let mut case = plain(PagingMode::FourLevel);
        assert!(is_right(&mut candidate, &case));
        case.entries[2].value &= !1;
        assert!(is_right(&mut candidate, &case));
        case.access.address = VirtAddr::new(0x8000_0000_0000);
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    fn large_pages_and_their_pat_bit() {
        let mut candidate = X86_64::default();
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            // P, W, U, PS, and PAT at bit 12, which is no address.
            leaf(&mut case, level, 0x4000_0000 | 0x1087);
            assert!(is_right(&mut candidate, &case), "level {level}");
        }
    }

    #[test]
    fn known_a_leaf_without_p_counts_as_mapped_unless_it_is_zero() {
        let mut candidate = X86_64::default();
        let mut case = plain(PagingMode::FourLevel);
        case.entries[3].value &= !1;
        assert!(is_wrong(&mut candidate, &case));
        case.entries[3].value = 0;
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    #[should_panic(expected = "level 4 entry has huge page bit set")]
    fn known_a_pml4e_with_ps_panics() {
        let mut candidate = X86_64::default();
        let mut case = plain(PagingMode::FourLevel);
        case.entries[0].value |= 0x80;
        assert!(silence(&mut candidate, &case).contains("panics"));
        candidate.load(&case);
        candidate.translate(::x86_64::VirtAddr::new(case.access.address.get()));
    }

    #[test]
    fn tables_may_lie_anywhere() {
        let mut candidate = X86_64::default();
        for case in with_tables_everywhere(PagingMode::FourLevel) {
            assert_eq!(silence(&mut candidate, &case), OUTSIDE);
        }
        assert!(is_right(&mut candidate, &plain(PagingMode::FourLevel)));
        for mode in [PagingMode::FiveLevel, PagingMode::Pae, PagingMode::Bits32] {
            assert!(silence(&mut candidate, &plain(mode)).contains("mode"));
        }
    }
}
