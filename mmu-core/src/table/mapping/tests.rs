//! Tests of the mapper with 4-level paging: the entries that it writes, what it refuses, and that a
//! walk finds what was mapped. `formats` has the tests of the other formats, `flags` those of flags
//! that an entry cannot have or that upper tables forbid.

mod flags;
mod formats;

use super::{Flush, FrameRange, MapError, Mapper};
use crate::access::{Access, Ring};
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::{Bytes, OutsideMemory, TableMemory, TableMemoryMut};
use crate::walk::Mmu;
use crate::x86::format::{EntryBits, FourLevel, Linear};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::ControlState;
use PageSize::{Size1GiB, Size2MiB, Size4KiB};
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

/// A flat table whose entries fit in one 4 KiB frame.
type Flat = Linear<20, 12, 4>;

const SIZES: [PageSize; 3] = [Size4KiB, Size2MiB, Size1GiB];

/// A page and a frame that are aligned for every size.
const PAGE: VirtAddr = VirtAddr::new(0x80_8000_0000);
const FRAME: PhysAddr = PhysAddr::new(0x1_4000_0000);

/// Memory for the root table at 0x1000 and the tables that follow it.
struct MapperMemory(Vec<u64>);

const FRAMES: usize = 32;

impl MapperMemory {
    fn new() -> Self {
        Self(vec![0; (FRAMES + 2) * 512])
    }

    fn slot(at: PhysAddr) -> usize {
        (at.get() / 8) as usize
    }
}

impl TableMemory for MapperMemory {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        self.0.get(Self::slot(at)).copied().ok_or(OutsideMemory(at))
    }
}

impl TableMemoryMut for MapperMemory {
    fn write_entry(&mut self, at: PhysAddr, _bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        *self.0.get_mut(Self::slot(at)).ok_or(OutsideMemory(at))? = entry;
        Ok(())
    }
}

fn profile() -> Profile {
    Profile { vendor: Vendor::Intel, ..Profile::default() }
}

fn state() -> ControlState {
    ControlState::four_level(0x1000)
}

type TestMapper<'m> = Mapper<'m, FourLevel, MapperMemory, FrameRange>;

fn mapper_for(profile: Profile, ram: &mut MapperMemory) -> TestMapper<'_> {
    Mapper::new(state(), profile, ram, FrameRange::new(PhysAddr::new(0x2000), FRAMES))
}

fn mapper(ram: &mut MapperMemory) -> TestMapper<'_> {
    mapper_for(profile(), ram)
}

/// The physical address of a byte, if the supervisor can read it.
fn translate(ram: &MapperMemory, address: VirtAddr) -> Option<PhysAddr> {
    let read = Access::read(address, 1, Ring::Zero);
    let mmu = Mmu::<FourLevel>::new(state(), profile());
    let prediction = mmu.predict(ram, &read).unwrap();
    assert_eq!(prediction.alternatives.len(), 1);

    prediction.alternatives[0].outcome.physical_address()
}

#[test]
fn map_writes_the_entries_of_the_path() {
    let mut ram = MapperMemory::new();
    let page = VirtAddr::new(0x80_8060_4000);
    let flags = EntryBits::RW | EntryBits::XD;
    mapper(&mut ram).map(page, FRAME, Size4KiB, flags).unwrap();

    // Tables are present, writable and user; the leaf has the flags that were passed.
    let path = [(0x1008, 0x2007), (0x2010, 0x3007), (0x3018, 0x4007)];
    for (at, entry) in path.into_iter().chain([(0x4020, 0x8000_0001_4000_0003)]) {
        assert_eq!(ram.read_entry(PhysAddr::new(at), 8), Ok(entry), "at {at:#x}");
    }

    assert_eq!(ram.0.iter().filter(|entry| **entry != 0).count(), 4);
}

#[test]
fn map_sets_the_page_size_bit_of_large_pages_only() {
    for (size, at, entry) in [
        (Size4KiB, 0x4000, 0x1_4000_0005),
        (Size2MiB, 0x3000, 0x1_4000_0085),
        (Size1GiB, 0x2010, 0x1_4000_0085),
    ] {
        let mut ram = MapperMemory::new();
        mapper(&mut ram).map(PAGE, FRAME, size, EntryBits::US).unwrap();
        assert_eq!(ram.read_entry(PhysAddr::new(at), 8), Ok(entry), "{size:?}");
    }
}

#[test]
fn a_new_table_is_cleared_before_it_is_used() {
    let mut ram = MapperMemory::new();
    ram.0[0x2000 / 8..].fill(!0);
    mapper(&mut ram).map(PAGE, FRAME, Size4KiB, EntryBits::RW).unwrap();

    // Each of the three new tables has one entry.
    let new_tables = &ram.0[0x2000 / 8..0x5000 / 8];
    assert_eq!(new_tables.iter().filter(|entry| **entry != 0).count(), 3);
    assert_eq!(translate(&ram, PAGE), Some(FRAME));
}

#[test]
fn unmap_returns_the_frame() {
    for size in SIZES {
        let mut ram = MapperMemory::new();
        mapper(&mut ram).map(PAGE, FRAME, size, EntryBits::RW).unwrap();

        let last = size.bytes() - 1;
        assert_eq!(translate(&ram, PAGE.wrapping_add(last)), Some(FRAME + last), "{size:?}");
        assert_eq!(translate(&ram, PAGE.wrapping_add(last + 1)), None, "{size:?}");
        assert_eq!(mapper(&mut ram).unmap(PAGE, size), Ok((FRAME, Flush(PAGE))));
        assert_eq!(translate(&ram, PAGE), None, "{size:?}");

        // The tables stay, and the page can be mapped again.
        assert_eq!(mapper(&mut ram).map(PAGE, FRAME, size, EntryBits::RW), Ok(()));
    }
}

#[test]
fn unmap_removes_pat_and_flags_from_the_frame() {
    let mut ram = MapperMemory::new();
    let flags = EntryBits::all() - EntryBits::PS;
    mapper(&mut ram).map(PAGE, FRAME, Size2MiB, flags).unwrap();
    assert_eq!(mapper(&mut ram).unmap(PAGE, Size2MiB), Ok((FRAME, Flush(PAGE))));
}

#[test]
fn running_out_of_frames_is_an_error() {
    let mut ram = MapperMemory::new();
    // A 4 KiB page needs three tables.
    let frames = FrameRange::new(PhysAddr::new(0x2000), 2);
    let mut mapper: TestMapper<'_> = Mapper::new(state(), profile(), &mut ram, frames);
    let refused = Err(MapError::OutOfFrames);

    assert_eq!(mapper.map(PAGE, FRAME, Size4KiB, EntryBits::RW), refused);
    assert_eq!(translate(&ram, PAGE), None);
}

#[test]
fn misaligned_pages_and_frames_are_refused() {
    let mut ram = MapperMemory::new();
    let mut mapper = mapper(&mut ram);

    for size in SIZES {
        let half = size.bytes() / 2;
        let page = PAGE.wrapping_add(half);
        let bad_page = Err(MapError::Misaligned(page.get(), size));
        assert_eq!(mapper.map(page, FRAME, size, EntryBits::RW), bad_page);
        assert_eq!(mapper.unmap(page, size).map(|_| ()), bad_page);

        let frame = FRAME + half;
        let bad_frame = Err(MapError::Misaligned(frame.get(), size));
        assert_eq!(mapper.map(PAGE, frame, size, EntryBits::RW), bad_frame);
    }
}

#[test]
fn addresses_that_are_not_canonical_are_refused() {
    let mut ram = MapperMemory::new();
    let mut mapper = mapper(&mut ram);

    for page in [0x8000_0000_0000, 0xffff_7fff_c000_0000].map(VirtAddr::new) {
        let refused = Err(MapError::NotCanonical(page));
        assert_eq!(mapper.map(page, FRAME, Size4KiB, EntryBits::RW), refused);
        assert_eq!(mapper.unmap(page, Size1GiB).map(|_| ()), refused);
    }
}

#[test]
fn page_sizes_that_the_processor_lacks_are_refused() {
    let mut ram = MapperMemory::new();
    let features = Features::all() - Features::PAGE_1GB;
    let mut mapper = mapper_for(Profile { features, ..profile() }, &mut ram);
    let refused = Err(MapError::NoSuchPageSize(Size1GiB));

    assert_eq!(mapper.map(PAGE, FRAME, Size1GiB, EntryBits::RW), refused);
    assert_eq!(mapper.unmap(PAGE, Size1GiB).map(|_| ()), refused);
    assert_eq!(mapper.map(PAGE, FRAME, Size2MiB, EntryBits::RW), Ok(()));
}

#[test]
fn frames_above_maxphyaddr_are_refused() {
    let mut ram = MapperMemory::new();
    for (bits, first_bad) in [(36, 1 << 36), (48, 1 << 48), (52, 1 << 52)] {
        let profile = Profile { physical_address_bits: bits, ..profile() };
        let mut mapper = mapper_for(profile, &mut ram);
        let frame = PhysAddr::new(first_bad);

        for size in SIZES {
            let refused = Err(MapError::AboveMaxPhysical(frame));
            assert_eq!(mapper.map(PAGE, frame, size, EntryBits::RW), refused);
        }
    }

    let highest = PhysAddr::new(0xf_ffff_f000);
    let profile = Profile { physical_address_bits: 36, ..profile() };
    assert_eq!(mapper_for(profile, &mut ram).map(PAGE, highest, Size4KiB, EntryBits::RW), Ok(()));
}

#[test]
fn overlapping_pages_are_refused() {
    for mapped in SIZES {
        let mut ram = MapperMemory::new();
        let mut mapper = mapper(&mut ram);
        mapper.map(PAGE, FRAME, mapped, EntryBits::RW).unwrap();

        for size in SIZES {
            let again = mapper.map(PAGE, FRAME, size, EntryBits::RW);
            assert_eq!(again, Err(MapError::Overlap(PAGE)), "{size:?} over {mapped:?}");
        }
    }
}

#[test]
fn pages_that_are_not_mapped_cannot_be_unmapped() {
    let mut ram = MapperMemory::new();
    let mut mapper = mapper(&mut ram);
    let refused = Err(MapError::NotMapped(PAGE));

    for size in SIZES {
        assert_eq!(mapper.unmap(PAGE, size), refused);
    }

    // A page of another size is not this page.
    mapper.map(PAGE, FRAME, Size2MiB, EntryBits::RW).unwrap();
    assert_eq!(mapper.unmap(PAGE, Size4KiB), refused);
    assert_eq!(mapper.unmap(PAGE, Size1GiB), refused);
    assert_eq!(mapper.unmap(PAGE, Size2MiB), Ok((FRAME, Flush(PAGE))));
    assert_eq!(mapper.unmap(PAGE, Size2MiB), refused);
}

#[test]
fn tables_outside_memory_are_an_error() {
    let mut no_memory = Bytes::new(PhysAddr::new(0), [0_u8; 0]);
    let frames = FrameRange::new(PhysAddr::new(0x2000), FRAMES);
    let mut mapper = Mapper::<FourLevel, _, _>::new(state(), profile(), &mut no_memory, frames);
    let refused = Err(MapError::Memory(OutsideMemory(PhysAddr::new(0x1008))));

    assert_eq!(mapper.map(PAGE, FRAME, Size4KiB, EntryBits::RW), refused);
    assert_eq!(mapper.unmap(PAGE, Size4KiB).map(|_| ()), refused);
}

#[test]
fn errors_name_the_address_and_the_reason() {
    for (error, text) in [
        (MapError::Overlap(PAGE), "0x8080000000 is mapped already"),
        (
            MapError::Misaligned(0x1234, Size2MiB),
            "0x1234 is not a multiple of the page size 0x200000",
        ),
        (
            MapError::Memory(OutsideMemory(FRAME)),
            "there is no memory at physical address 0x140000000",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

/// A page, its size and its frame.
type Page = (u64, PageSize, u64);

/// Pages that are close together, so that many overlap, each with a frame aligned for its size.
fn pages() -> impl Strategy<Value = Vec<Page>> {
    let half = prop::sample::select(vec![0, 0xffff_8000_0000_0000_u64]);
    let place = (half, 0..2_u64, 0..3_u64, 0..3_u64, prop::sample::select(SIZES.to_vec()));
    let page =
        (place, 0..0x1_0000_0000_0000_u64).prop_map(|((half, gib, mib, kib, size), frame)| {
            let align = |address: u64| address & !(size.bytes() - 1);
            (align(half + (gib << 30) + (mib << 21) + (kib << 12)), size, align(frame))
        });

    prop::collection::vec(page, 1..16)
}

/// Whether a page overlaps none of the mapped pages.
fn is_free(mapped: &[Page], page: u64, size: PageSize) -> bool {
    let last_byte = |page: u64, size: PageSize| page + (size.bytes() - 1);

    mapped.iter().all(|&(other, other_size, _)| {
        last_byte(page, size) < other || last_byte(other, other_size) < page
    })
}

proptest! {
    #[test]
    fn mapped_pages_translate_to_their_frames_and_other_pages_do_not(pages in pages()) {
        let mut ram = MapperMemory::new();
        let mut mapper = mapper(&mut ram);
        let mut mapped: Vec<Page> = Vec::new();

        for (page, size, frame) in pages {
            let is_free = is_free(&mapped, page, size);
            let at = VirtAddr::new(page);
            let result = mapper.map(at, PhysAddr::new(frame), size, EntryBits::RW);
            prop_assert_eq!(result, if is_free { Ok(()) } else { Err(MapError::Overlap(at)) });

            if is_free {
                mapped.push((page, size, frame));
            }
        }

        for &(page, size, frame) in &mapped {
            for offset in [0, size.bytes() / 2, size.bytes() - 1] {
                let found = translate(&ram, VirtAddr::new(page + offset));
                prop_assert_eq!(found, Some(PhysAddr::new(frame + offset)));
            }
        }

        for &(page, size, frame) in &mapped {
            let page = VirtAddr::new(page);
            let unmapped = self::mapper(&mut ram).unmap(page, size);
            prop_assert_eq!(unmapped, Ok((PhysAddr::new(frame), Flush(page))));
            prop_assert_eq!(translate(&ram, page), None);
        }

        prop_assert!(mapped.iter().all(|page| translate(&ram, VirtAddr::new(page.0)).is_none()));
    }
}
