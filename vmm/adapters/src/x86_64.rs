//! rust-osdev's crate `x86_64`: `MappedPageTable`, through its trait `Translate`.
//!
//! It says where an address leads. The flags that it returns are those of the leaf entry, so they
//! claim nothing about the rights of the whole path, and it does not check reserved bits.

use crate::frames::{EntryFrames, OUTSIDE};
use crate::pages::{self, PageLookup, Reply};
use crate::registers::root_table;
use ::x86_64::structures::paging::mapper::{PageTableFrameMapping, TranslateResult};
use ::x86_64::structures::paging::page_table::PageTableFlags;
use ::x86_64::structures::paging::{MappedPageTable, PageTable, PhysFrame, Translate};
use ::x86_64::{PhysAddr, VirtAddr};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use mmu_core::PagingMode;
use mmu_core::x86::format::EntryBits;

/// The version of the library.
pub const VERSION: &str = "0.15.5";

/// The faults that it does not look for. It cannot even be asked about an address that is not
/// canonical.
const IGNORES: Ignores = Ignores::RESERVED.union(Ignores::RIGHTS);

/// The candidate.
#[derive(Debug, Default)]
pub struct X86_64 {
    frames: EntryFrames,
    /// A copy of the root table: the library borrows it exclusively, and an entry may well point
    /// back to it.
    root: PageTable,
}

impl Candidate for X86_64 {
    fn answer(&mut self, case: &Case) -> Answer {
        self.try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

impl X86_64 {
    fn try_answer(&mut self, case: &Case) -> Reply {
        pages::check(case, &[PagingMode::FourLevel])?;
        self.load(case);
        self.check_for_panic(case)?;

        pages::answer(case, IGNORES, |address| {
            let Ok(address) = VirtAddr::try_new(address) else {
                return Ok(PageLookup::NotMapped);
            };
            let lookup = match self.translate(address) {
                TranslateResult::Mapped { frame, offset, .. } => {
                    let address = frame.start_address().as_u64() + offset;
                    PageLookup::Mapped { address, rights: None }
                }
                TranslateResult::NotMapped | TranslateResult::InvalidFrameAddress(_) => {
                    PageLookup::NotMapped
                }
            };
            if self.frames.led_outside() { Err(OUTSIDE.into()) } else { Ok(lookup) }
        })
    }

    /// Refuses cases whose walk would make the library panic.
    fn check_for_panic(&self, case: &Case) -> Result<(), String> {
        let present_and_large = PageTableFlags::PRESENT | PageTableFlags::HUGE_PAGE;
        let addresses = pages::addresses(case).into_iter();
        let canonical = addresses.filter_map(|address| VirtAddr::try_new(address).ok());
        for address in canonical {
            if self.root[address.p4_index()].flags().contains(present_and_large) {
                return Err("it panics where a PML4E has PS set".into());
            }
        }
        Ok(())
    }

    fn load(&mut self, case: &Case) {
        self.frames.load(case);

        let root = self.frames.get(root_table(&case.state));
        for (entry, word) in self.root.iter_mut().zip(root.words()) {
            let value = word.get();
            let flags = PageTableFlags::from_bits_retain(value & !EntryBits::ADDRESS);
            entry.set_addr(PhysAddr::new(value & EntryBits::ADDRESS), flags);
        }
    }

    #[expect(unsafe_code, reason = "the library trusts the mapping of frames")]
    fn translate(&mut self, address: VirtAddr) -> TranslateResult {
        // SAFETY: the mapping returns a valid table for every frame, and `self.root` is borrowed
        // exclusively. Nothing is changed through the tables, so their contents do not matter.
        let mapped = unsafe { MappedPageTable::new(&mut self.root, InFrames(&self.frames)) };
        mapped.translate(address)
    }
}

/// The library's access to memory.
struct InFrames<'f>(&'f EntryFrames);

// SAFETY: the frames have the alignment and size of tables, consist of cells through which writing
// is allowed, and stay where they are while they are borrowed.
#[expect(unsafe_code, reason = "the library trusts the mapping of frames")]
unsafe impl PageTableFrameMapping for InFrames<'_> {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        let frame = self.0.get(frame.start_address().as_u64());
        std::ptr::from_ref(frame).cast_mut().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, assert_wrong, plain, set_entry, silence,
    };
    use mmu_core::VirtAddr;

    #[test]
    fn present_and_absent_pages() {
        let mut candidate = X86_64::default();
        let mut case = plain(PagingMode::FourLevel);
        assert_right(&mut candidate, &case);
        case.entries[2].value &= !1;
        assert_right(&mut candidate, &case);
        case.access.address = VirtAddr::new(0x8000_0000_0000);
        assert_right(&mut candidate, &case);
    }

    #[test]
    fn large_pages_and_their_pat_bit() {
        let mut candidate = X86_64::default();
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            // P, W, U, PS, and PAT in bit 12, which is not part of the address.
            set_entry(&mut case, level, 0x4000_0000 | 0x1087);
            assert_right(&mut candidate, &case);
        }
    }

    #[test]
    fn known_a_leaf_without_p_counts_as_mapped_unless_it_is_zero() {
        let mut candidate = X86_64::default();
        let mut case = plain(PagingMode::FourLevel);
        case.entries[3].value &= !1;
        assert_wrong(&mut candidate, &case);
        case.entries[3].value = 0;
        assert_right(&mut candidate, &case);
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
    fn tables_outside_memory_are_noticed() {
        let mut candidate = X86_64::default();
        assert_notices_tables_outside_memory(&mut candidate, PagingMode::FourLevel, |_| ());
    }

    #[test]
    fn other_modes_are_refused() {
        for mode in [PagingMode::FiveLevel, PagingMode::Pae, PagingMode::Bits32] {
            assert!(silence(&mut X86_64::default(), &plain(mode)).contains("mode"));
        }
    }
}
