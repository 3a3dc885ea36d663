//! Tests of changing what is mapped, of mapping ranges, and of listing pages.

use super::{FrameRange, MapError, MappedPages, Mapper, Mapping};
use crate::memory::{Bytes, TableMemoryMut};
use crate::x86::format::{Bits32, EntryBits, FourLevel, Pae};
use crate::x86::semantics::Rights;
use crate::{ControlState, Cr4, Efer, PageSize, PhysAddr, Profile, VirtAddr};
use std::string::ToString;
use std::vec::Vec;

type EditedMemory = Bytes<Vec<u8>>;

fn ram() -> EditedMemory {
    Bytes::new(PhysAddr::new(0), vec![0; 0x10_0000])
}

fn frames() -> FrameRange {
    FrameRange::new(PhysAddr::new(0x2000), 64)
}

fn four_level(memory: &mut EditedMemory) -> Mapper<'_, FourLevel, EditedMemory, FrameRange> {
    Mapper::new(ControlState::four_level(0x1000), Profile::default(), memory, frames())
}

fn bits32(memory: &mut EditedMemory) -> Mapper<'_, Bits32, EditedMemory, FrameRange> {
    let mut state = ControlState::four_level(0x1000);
    state.cr4 = Cr4::PSE;
    state.efer = Efer::empty();
    Mapper::new(state, Profile::default(), memory, frames())
}

fn pae(memory: &mut EditedMemory) -> Mapper<'_, Pae, EditedMemory, FrameRange> {
    let mut state = ControlState::four_level(0x1000);
    state.efer = Efer::empty();
    Mapper::new(state, Profile::default(), memory, frames())
}

const FLAGS: EntryBits = EntryBits::RW;

#[test]
fn protect_keeps_the_frame_and_returns_the_page_to_flush() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0x4000_5000);
    mapper.map(page, PhysAddr::new(0x9_3000), PageSize::Size4KiB, FLAGS).unwrap();

    let flush = mapper.protect(page, PageSize::Size4KiB, EntryBits::US | EntryBits::XD).unwrap();
    assert_eq!(flush.0, page);

    let expected = Mapping {
        page,
        frame: PhysAddr::new(0x9_3000),
        size: PageSize::Size4KiB,
        flags: EntryBits::P | EntryBits::US | EntryBits::XD,
        rights: Rights::USER,
    };
    assert_eq!(mapper.translate(VirtAddr::new(0x4000_5abc)), Ok(expected));
}

#[test]
fn remap_keeps_the_flags_and_returns_the_old_frame() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0xffff_8000_0020_0000);
    let flags = EntryBits::RW | EntryBits::LARGE_PAT | EntryBits::G;
    mapper.map(page, PhysAddr::new(0x4000_0000), PageSize::Size2MiB, flags).unwrap();

    let (old, flush) = mapper.remap(page, PhysAddr::new(0x60_0000), PageSize::Size2MiB).unwrap();
    assert_eq!((old.get(), flush.0), (0x4000_0000, page));

    let mapping = mapper.translate(page).unwrap();
    assert_eq!(mapping.frame.get(), 0x60_0000);
    assert_eq!(mapping.flags, flags | EntryBits::P | EntryBits::PS);
}

#[test]
fn large_pat_in_a_4_kib_page_is_refused() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0x4000_5000);
    let size = PageSize::Size4KiB;
    let refused = MapError::FlagsInAddress(FLAGS | EntryBits::LARGE_PAT, size);

    // LARGE_PAT is bit 12, which would move the first frame by 4 KiB. In the second it is set
    // already.
    for frame in [0x9_2000, 0x9_3000].map(PhysAddr::new) {
        let result = mapper.map(page, frame, size, FLAGS | EntryBits::LARGE_PAT);
        assert_eq!(result, Err(refused));
    }

    mapper.map(page, PhysAddr::new(0x9_2000), size, FLAGS).unwrap();
    let protected = mapper.protect(page, size, FLAGS | EntryBits::LARGE_PAT);
    assert_eq!(protected, Err(refused));
    assert_eq!(mapper.translate(page).unwrap().frame.get(), 0x9_2000);
    assert_eq!(refused.to_string(), "the flags 0x1002 are address bits of a page of 0x1000 bytes");

    // In a 4 KiB page PAT is bit 7, which is PS in a large page.
    mapper.protect(page, size, FLAGS | EntryBits::PS).map(|_| ()).unwrap();
    assert_eq!(mapper.translate(page).unwrap().flags, FLAGS | EntryBits::P | EntryBits::PS);
    assert_eq!(mapper.translate(page).unwrap().frame.get(), 0x9_2000);

    let mut memory_32 = ram();
    let result =
        bits32(&mut memory_32).map(page, PhysAddr::new(0), size, FLAGS | EntryBits::LARGE_PAT);
    assert_eq!(result, Err(refused));
}

#[test]
fn edits_of_pages_that_are_not_mapped_are_refused() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0x20_0000);
    let small = PageSize::Size4KiB;

    assert_eq!(mapper.protect(page, small, FLAGS), Err(MapError::NotMapped(page)));
    assert_eq!(mapper.translate(page), Err(MapError::NotMapped(page)));

    // A large page is not a small page.
    mapper.map(page, PhysAddr::new(0x20_0000), PageSize::Size2MiB, FLAGS).unwrap();
    let moved = mapper.remap(page, PhysAddr::new(0x5000), small);
    assert_eq!(moved, Err(MapError::NotMapped(page)));

    let misaligned = mapper.remap(page, PhysAddr::new(0x5000), PageSize::Size2MiB);
    assert_eq!(misaligned, Err(MapError::Misaligned(0x5000, PageSize::Size2MiB)));
}

#[test]
fn tlb_5_the_page_size_of_a_live_mapping_cannot_change() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0x20_0000);
    mapper.map(page, PhysAddr::new(0x20_0000), PageSize::Size2MiB, FLAGS).unwrap();

    let small = mapper.map(page, PhysAddr::new(0x5000), PageSize::Size4KiB, FLAGS);
    assert_eq!(small, Err(MapError::Overlap(page)));

    // Unmapping returns the page to invalidate first.
    let (_, flush) = mapper.unmap(page, PageSize::Size2MiB).unwrap();
    assert_eq!(flush.0, page);
}

#[test]
fn a_range_is_mapped_with_the_largest_pages_that_fit() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);

    // One page below 1 GiB, 1 GiB from there, 2 MiB, and one more page.
    let bytes = 0x1000 + 0x4000_0000 + 0x20_0000 + 0x1000;
    let start = VirtAddr::new(0x3fff_f000);
    let frame = PhysAddr::new(0x7fff_f000);
    mapper.map_range(start, frame, bytes, FLAGS).unwrap();

    let pages: Vec<Mapping> = mapper.pages().collect::<Result<_, _>>().unwrap();
    let sizes: Vec<_> = pages.iter().map(|mapping| mapping.size).collect();
    assert_eq!(
        sizes,
        [PageSize::Size4KiB, PageSize::Size1GiB, PageSize::Size2MiB, PageSize::Size4KiB]
    );

    for mapping in pages {
        assert_eq!(mapping.frame.get() - mapping.page.get(), 0x4000_0000);
    }
}

#[test]
fn a_range_must_consist_of_whole_pages() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    for (start, frame, bytes, bad) in
        [(0x1001, 0, 0x1000, 0x1001), (0, 0x2002, 0x1000, 0x2002), (0, 0, 0x1003, 0x1003)]
    {
        let result = mapper.map_range(VirtAddr::new(start), PhysAddr::new(frame), bytes, FLAGS);
        assert_eq!(result, Err(MapError::Misaligned(bad, PageSize::Size4KiB)));
    }
}

#[test]
fn pages_are_listed_in_order_and_sign_extended() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let wanted = [0x1000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000];

    for page in wanted.into_iter().rev() {
        let page = VirtAddr::new(page);
        mapper.map(page, PhysAddr::new(0x8_0000), PageSize::Size4KiB, FLAGS).unwrap();
    }

    let pages = mapper.pages().map(|mapping| mapping.unwrap().page.get());
    assert_eq!(pages.collect::<Vec<_>>(), wanted);
}

#[test]
fn tables_that_point_to_themselves_can_be_listed() {
    let state = ControlState::four_level(0x1000);
    // Every entry of the root points to the root, which maps 512^4 pages.
    let root: Vec<u8> = [0x1007_u64; 512].iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let mut memory = Bytes::new(PhysAddr::new(0x1000), root);
    let mapper = Mapper::<FourLevel, _, _>::new(state, Profile::default(), &mut memory, frames());
    let first: Vec<Mapping> = mapper.pages().take(3).collect::<Result<_, _>>().unwrap();

    assert_eq!(first.iter().map(|page| page.page.get()).collect::<Vec<_>>(), [0, 0x1000, 0x2000]);
    assert!(first.iter().all(|page| page.frame.get() == 0x1000));
}

#[test]
fn a_table_outside_memory_does_not_end_the_list() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let far = VirtAddr::new(0x80_0000_0000);
    mapper.map(far, PhysAddr::new(0x8_0000), PageSize::Size4KiB, FLAGS).unwrap();
    mapper.memory.write_entry(PhysAddr::new(0x1000), 8, 0x7000_0000_0007).unwrap();

    let mut pages: MappedPages<'_, _, _> = mapper.pages();
    assert!(matches!(pages.next(), Some(Err(MapError::Memory(_)))));
    assert_eq!(pages.next().unwrap().unwrap().page, far);
}

#[test]
fn remap_moves_pages_of_pae_paging_too() {
    let mut memory = ram();
    let mut mapper = pae(&mut memory);
    let page = VirtAddr::new(0xc020_0000);
    mapper.map(page, PhysAddr::new(0x1_0000_0000), PageSize::Size2MiB, FLAGS).unwrap();

    let (_, flush) = mapper.remap(page, PhysAddr::new(0x2_0000_0000), PageSize::Size2MiB).unwrap();
    assert_eq!(flush.0, page);
    assert_eq!(mapper.translate(page).unwrap().frame.get(), 0x2_0000_0000);
}

#[test]
fn mode_5_translate_returns_the_frame_of_a_4_mib_page_above_4_gib() {
    let mut memory = ram();
    let mut mapper = bits32(&mut memory);
    let page = VirtAddr::new(0x0040_0000);
    mapper.map(page, PhysAddr::new(0x12_3400_0000), PageSize::Size4MiB, FLAGS).unwrap();

    let mapping = mapper.translate(VirtAddr::new(0x7f_ffff)).unwrap();
    assert_eq!(mapping.frame.get(), 0x12_3400_0000);
    assert_eq!(mapping.flags, EntryBits::P | EntryBits::RW | EntryBits::PS);
}
