//! Tests of editing what is mapped.

use super::{FrameRange, MapError, MappedPages, Mapper, Mapping};
use crate::memory::{Bytes, TableMemoryMut};
use crate::x86::format::{Bits32, EntryBits, FourLevel, Pae};
use crate::{ControlState, Cr4, Efer, PageSize, PhysAddr, Profile, VirtAddr};
use std::string::ToString;
use std::vec::Vec;

type ByteMemory = Bytes<Vec<u8>>;

fn ram() -> ByteMemory {
    Bytes::new(PhysAddr::new(0), vec![0; 0x10_0000])
}

fn frames() -> FrameRange {
    FrameRange::new(PhysAddr::new(0x2000), 64)
}

fn four_level(memory: &mut ByteMemory) -> Mapper<'_, FourLevel, ByteMemory, FrameRange> {
    Mapper::new(ControlState::long_mode(0x1000), Profile::default(), memory, frames())
}

const FLAGS: EntryBits = EntryBits::RW;

#[test]
fn protect_keeps_the_frame_and_names_what_to_flush() {
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
    };
    assert_eq!(mapper.translate(VirtAddr::new(0x4000_5abc)), Ok(expected));
}

#[test]
fn remap_keeps_the_flags_and_gives_the_old_frame_back() {
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
fn large_pat_in_a_4_kib_page_moved_the_frame_by_4_kib() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let (page, size) = (VirtAddr::new(0x4000_5000), PageSize::Size4KiB);
    let refused = MapError::FlagsInAddress(FLAGS | EntryBits::LARGE_PAT, size);
    // Where bit 12 of the address is 0, and where it is 1 and hides the mistake.
    for frame in [0x9_2000, 0x9_3000].map(PhysAddr::new) {
        let result = mapper.map(page, frame, size, FLAGS | EntryBits::LARGE_PAT);
        assert_eq!(result, Err(refused));
    }
    mapper.map(page, PhysAddr::new(0x9_2000), size, FLAGS).unwrap();
    let protected = mapper.protect(page, size, FLAGS | EntryBits::LARGE_PAT);
    assert_eq!(protected, Err(refused));
    assert_eq!(mapper.translate(page).unwrap().frame.get(), 0x9_2000);
    assert_eq!(refused.to_string(), "the flags 0x1002 are address bits of a page of 0x1000 bytes");
    // In such a page PAT is bit 7, where a large page has PS.
    mapper.protect(page, size, FLAGS | EntryBits::PS).map(|_| ()).unwrap();
    assert_eq!(mapper.translate(page).unwrap().flags, FLAGS | EntryBits::P | EntryBits::PS);
    assert_eq!(mapper.translate(page).unwrap().frame.get(), 0x9_2000);
    let mut state = ControlState::long_mode(0x1000);
    (state.cr4, state.efer) = (Cr4::PSE, Efer::empty());
    let mut memory = ram();
    let mut mapper = Mapper::<Bits32, _, _>::new(state, Profile::default(), &mut memory, frames());
    let result = mapper.map(page, PhysAddr::new(0), size, FLAGS | EntryBits::LARGE_PAT);
    assert_eq!(result, Err(refused));
}

#[test]
fn edits_of_what_is_not_mapped_are_refused_with_the_address() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0x20_0000);
    let small = PageSize::Size4KiB;
    assert_eq!(mapper.protect(page, small, FLAGS), Err(MapError::NotMapped(page)));
    assert_eq!(mapper.translate(page), Err(MapError::NotMapped(page)));
    mapper.map(page, PhysAddr::new(0x20_0000), PageSize::Size2MiB, FLAGS).unwrap();
    // A large page is no small one.
    let moved = mapper.remap(page, PhysAddr::new(0x5000), small);
    assert_eq!(moved, Err(MapError::NotMapped(page)));
    let misaligned = mapper.remap(page, PhysAddr::new(0x5000), PageSize::Size2MiB);
    assert_eq!(misaligned, Err(MapError::Misaligned(0x5000, PageSize::Size2MiB)));
}

#[test]
fn tlb_5_a_live_mapping_does_not_change_its_page_size() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let page = VirtAddr::new(0x20_0000);
    mapper.map(page, PhysAddr::new(0x20_0000), PageSize::Size2MiB, FLAGS).unwrap();
    let small = mapper.map(page, PhysAddr::new(0x5000), PageSize::Size4KiB, FLAGS);
    assert_eq!(small, Err(MapError::Overlap(page)));
    // Unmapping names what to invalidate first.
    let (_, flush) = mapper.unmap(page, PageSize::Size2MiB).unwrap();
    assert_eq!(flush.0, page);
}

#[test]
fn a_range_takes_the_largest_pages_that_fit() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    // From one page below 1 GiB to one page beyond 1 GiB + 2 MiB: 4 KiB, 1 GiB, 2 MiB, 4 KiB.
    let bytes = 0x1000 + 0x4000_0000 + 0x20_0000 + 0x1000;
    let (start, frame) = (VirtAddr::new(0x3fff_f000), PhysAddr::new(0x7fff_f000));
    mapper.map_range(start, frame, bytes, FLAGS).unwrap();
    let pages: Vec<Mapping> = mapper.pages().collect::<Result<_, _>>().unwrap();
    let sizes: Vec<_> = pages.iter().map(|mapping| mapping.size).collect();
    let (small, large, huge) = (PageSize::Size4KiB, PageSize::Size2MiB, PageSize::Size1GiB);
    assert_eq!(sizes, [small, huge, large, small]);
    for mapping in pages {
        assert_eq!(mapping.frame.get() - mapping.page.get(), 0x4000_0000);
    }
}

#[test]
fn a_range_must_be_made_of_pages() {
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
fn pages_come_in_order_and_sign_extended() {
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
fn tables_that_lead_back_to_themselves_come_to_an_end() {
    let state = ControlState::long_mode(0x1000);
    // Every slot of the root points to the root: 512^4 pages, all of them "mapped".
    let root: Vec<u8> = [0x1007_u64; 512].iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let mut memory = Bytes::new(PhysAddr::new(0x1000), root);
    let mapper = Mapper::<FourLevel, _, _>::new(state, Profile::default(), &mut memory, frames());
    let first: Vec<Mapping> = mapper.pages().take(3).collect::<Result<_, _>>().unwrap();
    assert_eq!(first.iter().map(|page| page.page.get()).collect::<Vec<_>>(), [0, 0x1000, 0x2000]);
    assert!(first.iter().all(|page| page.frame.get() == 0x1000));
}

#[test]
fn a_table_outside_memory_is_an_error_and_not_the_end() {
    let mut memory = ram();
    let mut mapper = four_level(&mut memory);
    let far = VirtAddr::new(0x80_0000_0000);
    mapper.map(far, PhysAddr::new(0x8_0000), PageSize::Size4KiB, FLAGS).unwrap();
    mapper.memory.write_entry(PhysAddr::new(0x1000), 8, 0x7000_0000_0007).unwrap();
    let mut pages: MappedPages<'_, _, _> = mapper.pages();
    assert!(matches!(pages.next(), Some(Err(MapError::Outside(_)))));
    assert_eq!(pages.next().unwrap().unwrap().page, far);
}

#[test]
fn pae_and_32_bit_pages_move_too() {
    let mut memory = ram();
    let mut state = ControlState::long_mode(0x1000);
    state.efer = Efer::empty();
    let mut mapper = Mapper::<Pae, _, _>::new(state, Profile::default(), &mut memory, frames());
    let page = VirtAddr::new(0xc020_0000);
    mapper.map(page, PhysAddr::new(0x1_0000_0000), PageSize::Size2MiB, FLAGS).unwrap();
    mapper.remap(page, PhysAddr::new(0x2_0000_0000), PageSize::Size2MiB).unwrap().1.0.get();
    assert_eq!(mapper.translate(page).unwrap().frame.get(), 0x2_0000_0000);

    let mut memory = ram();
    state.cr4 = Cr4::PSE;
    let mut mapper = Mapper::<Bits32, _, _>::new(state, Profile::default(), &mut memory, frames());
    let page = VirtAddr::new(0x0040_0000);
    mapper.map(page, PhysAddr::new(0x12_3400_0000), PageSize::Size4MiB, FLAGS).unwrap();
    let mapping = mapper.translate(VirtAddr::new(0x7f_ffff)).unwrap();
    assert_eq!(mapping.frame.get(), 0x12_3400_0000);
    assert_eq!(mapping.flags, EntryBits::P | EntryBits::RW | EntryBits::PS);
}
