//! Work whose instructions `ci/counts` counts beneath Callgrind: each function of `measured` once. Their
//! number does not depend on how busy or how fast the machine is.
//!
//! How long walks take, beside those of other projects, is measured by the bench `walks` of
//! crosswalk-adapters.

use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use mmu_core::cache::CachedMmu;
use mmu_core::memory::AtomicWords;
use mmu_core::table::mapping::{FrameRange, Mapper};
use mmu_core::x86::format::{EntryBits, FourLevel};
use mmu_core::{
    Access, AccessKind, ControlState, Mmu, PageSize, PhysAddr, Prediction, Profile, Ring, Vendor,
    VirtAddr,
};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

/// Number of 4 KiB pages that are mapped.
const PAGES: u64 = 4096;
/// The first of them.
const FIRST_PAGE: u64 = 0x7f12_3400_0000;
/// One that is mapped nowhere, in a table of its own.
const UNMAPPED: u64 = 0x7f92_3400_0000;
/// The first of 64 large pages.
const FIRST_LARGE_PAGE: u64 = 0x40_0000_0000;
const LARGE_PAGES: u64 = 64;
/// Physical memory: the root, and room for the other tables.
const FRAMES: usize = 64;
const ROOT: u64 = 0x1000;
/// An odd number, so that its multiples visit the pages in another order.
const STRIDE: u64 = 1579;
const CASES: usize = 64;

type Memory = AtomicWords<Vec<AtomicU64>>;

/// What the work is done with.
struct Prepared {
    memory: Memory,
    mmu: Mmu<FourLevel>,
    cached: CachedMmu<FourLevel>,
    /// An MMU of a processor about which nothing is known.
    open: Mmu<FourLevel>,
    found: Prediction,
    cases: Vec<Case>,
    texts: Vec<String>,
}

fn state() -> ControlState {
    ControlState::four_level(ROOT)
}

fn profile() -> Profile {
    Profile { vendor: Vendor::Intel, ..Profile::default() }
}

fn empty_memory() -> Memory {
    let words = (0..FRAMES * 512).map(|_| AtomicU64::new(0));
    AtomicWords::new(PhysAddr::new(0), words.collect())
}

/// The addresses of the pages, in an order that the tables do not have.
fn pages() -> impl Iterator<Item = u64> {
    (0..PAGES).map(|number| FIRST_PAGE + ((number * STRIDE % PAGES) << 12))
}

fn access(kind: AccessKind, address: u64) -> Access {
    Access::new(kind, VirtAddr::new(address), 8, Ring::Three)
}

impl Prepared {
    fn new() -> Self {
        let mut memory = empty_memory();
        let flags = EntryBits::RW | EntryBits::US;
        let frames = FrameRange::new(PhysAddr::new(ROOT + 0x1000), FRAMES - 2);
        let mut mapper = Mapper::<FourLevel, _, _>::new(state(), profile(), &mut memory, frames);
        for page in pages() {
            let frame = PhysAddr::new(page & 0xfff_f000);
            mapper.map(VirtAddr::new(page), frame, PageSize::Size4KiB, flags).expect("it is free");
        }
        for number in 0..LARGE_PAGES {
            let page = VirtAddr::new(FIRST_LARGE_PAGE + (number << 21));
            let frame = PhysAddr::new(number << 21);
            mapper.map(page, frame, PageSize::Size2MiB, flags).expect("it is free");
        }

        let lanes = 0..CASES;
        let cases = lanes.map(|lane| Case::plain(Arena::ALL[0], lane, Ring::Three, profile()));
        let cases: Vec<Case> = cases.collect();
        Self {
            memory,
            mmu: Mmu::new(state(), profile()),
            cached: CachedMmu::new(state(), profile()),
            open: Mmu::new(state(), Profile::default()),
            found: Prediction::default(),
            texts: cases.iter().map(Case::to_json).collect(),
            cases,
        }
    }

    /// The number of alternatives of one prediction after the other.
    fn predict(&mut self, accesses: impl Iterator<Item = Access>) -> usize {
        let mut sum = 0;
        for access in accesses {
            self.mmu.predict_into(&self.memory, &access, &mut self.found).expect("it has 8 bytes");
            sum += self.found.alternatives.len();
        }
        sum
    }

    /// The sum of the physical addresses that the TLB gives for pages.
    fn translate(&mut self, pages: impl Iterator<Item = u64>) -> u64 {
        let mut sum = 0;
        for page in pages {
            let translated = self.cached.translate(&self.memory, &access(AccessKind::Read, page));
            sum += translated.expect("it is mapped").address().get();
        }
        sum
    }
}

/// What is counted. `ci/counts` finds the functions by the name of the module.
mod measured {
    use super::{
        AccessKind, Case, EntryBits, FIRST_PAGE, FRAMES, FourLevel, FrameRange, Mapper, PAGES,
        PageSize, PhysAddr, Prepared, ROOT, UNMAPPED, VirtAddr, access, black_box, empty_memory,
        pages, profile, state,
    };

    /// 4,096 walks to pages of 4 KiB.
    #[inline(never)]
    pub(super) fn walk(prepared: &mut Prepared) {
        let mut sum = 0;
        for page in pages() {
            let access = access(AccessKind::Read, page);
            let walked = prepared.mmu.walk(&prepared.memory, access.address, &access, &mut ());
            sum += walked.expect("it is mapped").address.get();
        }
        black_box(sum);
    }

    /// 4,096 walks that end at an entry that is not present.
    #[inline(never)]
    pub(super) fn walk_to_a_fault(prepared: &mut Prepared) {
        let mut sum = 0;
        for page in pages() {
            let access = access(AccessKind::Read, page + UNMAPPED - FIRST_PAGE);
            let walked = prepared.mmu.walk(&prepared.memory, access.address, &access, &mut ());
            sum += u64::from(walked.is_err());
        }
        assert_eq!(sum, PAGES);
    }

    /// 4,096 predictions for accesses that complete.
    #[inline(never)]
    pub(super) fn predict(prepared: &mut Prepared) {
        let sum = prepared.predict(pages().map(|page| access(AccessKind::Read, page)));
        assert_eq!(sum as u64, PAGES);
    }

    /// 4,096 predictions for accesses to two pages, the last of which is mapped nowhere.
    #[inline(never)]
    pub(super) fn predict_two_pages(prepared: &mut Prepared) {
        let sum = prepared.predict(pages().map(|page| access(AccessKind::Write, page + 0xffc)));
        assert_eq!(sum as u64, PAGES);
    }

    /// 4,096 predictions of a page fault.
    #[inline(never)]
    pub(super) fn predict_a_fault(prepared: &mut Prepared) {
        let unmapped = pages().map(|page| page + UNMAPPED - FIRST_PAGE);
        let sum = prepared.predict(unmapped.map(|page| access(AccessKind::Write, page)));
        assert_eq!(sum as u64, PAGES);
    }

    /// 4,096 predictions of a page fault for a processor of which nothing is known.
    #[inline(never)]
    pub(super) fn predict_an_open_fault(prepared: &mut Prepared) {
        let mut sum = 0;
        for page in pages() {
            let access = access(AccessKind::Write, page + UNMAPPED - FIRST_PAGE);
            let Prepared { open, memory, found, .. } = prepared;
            open.predict_into(memory, &access, found).expect("it has 8 bytes");
            sum += found.alternatives.len() as u64;
        }
        assert_eq!(sum, PAGES);
    }

    /// 4,096 translations, of which the TLB has none.
    #[inline(never)]
    pub(super) fn tlb_misses(prepared: &mut Prepared) {
        black_box(prepared.translate(pages()));
    }

    /// 4,096 translations of 64 pages.
    #[inline(never)]
    pub(super) fn tlb_hits(prepared: &mut Prepared) {
        let pages = (0..PAGES).map(|number| FIRST_PAGE + ((number % 64) << 12));
        black_box(prepared.translate(pages));
    }

    /// 4,096 pages and 8 tables for them.
    #[inline(never)]
    pub(super) fn map(prepared: &mut Prepared) {
        prepared.memory = empty_memory();
        let frames = FrameRange::new(PhysAddr::new(ROOT + 0x1000), FRAMES - 2);
        let memory = &mut prepared.memory;
        let mut mapper = Mapper::<FourLevel, _, _>::new(state(), profile(), memory, frames);
        for page in pages() {
            let frame = PhysAddr::new(page & 0xfff_f000);
            let page = VirtAddr::new(page);
            mapper.map(page, frame, PageSize::Size4KiB, EntryBits::RW).expect("it is free");
        }
    }

    /// 64 cases as text.
    #[inline(never)]
    pub(super) fn write_cases(prepared: &mut Prepared) {
        let texts: Vec<String> = prepared.cases.iter().map(Case::to_json).collect();
        assert_eq!(texts, prepared.texts);
    }

    /// The same from text.
    #[inline(never)]
    pub(super) fn read_cases(prepared: &mut Prepared) {
        for (text, case) in prepared.texts.iter().zip(&prepared.cases) {
            assert_eq!(Case::from_json(text).expect("it was written"), *case);
        }
    }
}

fn main() {
    let mut prepared = Prepared::new();
    let work = [
        measured::walk,
        measured::walk_to_a_fault,
        measured::predict,
        measured::predict_two_pages,
        measured::predict_a_fault,
        measured::predict_an_open_fault,
        measured::tlb_misses,
        measured::tlb_hits,
        measured::write_cases,
        measured::read_cases,
        measured::map,
    ];
    for measured in work {
        measured(black_box(&mut prepared));
    }
}
