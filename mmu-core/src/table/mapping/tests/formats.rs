//! Tests of the mapper with every format: the entries that it writes, what it refuses, and that a
//! walk finds what was mapped.

use super::{Flat, Page, is_free};
use crate::access::{Access, Ring};
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::{Bytes, TableMemory, TableMemoryMut};
use crate::outcome::Outcome;
use crate::table::mapping::{Flush, FrameRange, MapError, Mapper};
use crate::walk::Mmu;
use crate::x86::format::{Bits32, EntryBits, FiveLevel, Format, FourLevel, Linear, Pae, Unpaged};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};
use PageSize::{Size1GiB, Size2MiB, Size4KiB, Size4MiB};
use proptest::prelude::*;
use std::vec::Vec;

type FormatMemory = Bytes<Vec<u8>>;

/// Number of frames for tables, from 0x2000 up.
const FRAMES: usize = 32;

fn memory() -> FormatMemory {
    Bytes::new(PhysAddr::new(0), vec![0; (FRAMES + 2) * 0x1000])
}

fn profile() -> Profile {
    Profile { vendor: Vendor::Intel, physical_address_bits: 52, ..Profile::default() }
}

/// A control state with the root in the frame at 0x1000. The PDPTE registers are loaded from
/// memory, as MOV to CR3 does (PDPTE-1).
fn state<F: Format>(memory: &FormatMemory) -> ControlState {
    let mut state = ControlState::four_level(0x1000);
    match F::MODE {
        PagingMode::Unpaged => state.cr0 -= Cr0::PG,
        PagingMode::Bits32 => {
            state.cr4 = (state.cr4 - Cr4::PAE) | Cr4::PSE;
            state.efer -= Efer::LME | Efer::LMA;
        }
        PagingMode::Pae => {
            state.cr3 = 0x1020;
            state.efer -= Efer::LME | Efer::LMA;
            state.pdptes = [0x1020, 0x1028, 0x1030, 0x1038]
                .map(|at| memory.read_entry(PhysAddr::new(at), 8).expect("memory"));
        }
        PagingMode::FiveLevel => state.cr4 |= Cr4::LA57,
        PagingMode::FourLevel | PagingMode::Linear => {}
    }

    state
}

type FormatMapper<'m, F> = Mapper<'m, F, FormatMemory, FrameRange>;

fn mapper_for<F: Format>(profile: Profile, memory: &mut FormatMemory) -> FormatMapper<'_, F> {
    let frames = FrameRange::new(PhysAddr::new(0x2000), FRAMES);
    Mapper::new(state::<F>(memory), profile, memory, frames)
}

fn mapper<F: Format>(memory: &mut FormatMemory) -> FormatMapper<'_, F> {
    mapper_for(profile(), memory)
}

/// The outcome of a supervisor's write of one byte.
fn outcome<F: Format>(memory: &FormatMemory, address: u64) -> Outcome {
    let write = Access::write(VirtAddr::new(address), 1, Ring::Zero);
    let prediction = Mmu::<F>::new(state::<F>(memory), profile()).predict(memory, &write).unwrap();
    assert_eq!(prediction.alternatives.len(), 1);

    prediction.alternatives[0].outcome.clone()
}

fn translate<F: Format>(memory: &FormatMemory, address: u64) -> Option<u64> {
    outcome::<F>(memory, address).physical_address().map(PhysAddr::get)
}

fn map<F: Format>(
    memory: &mut FormatMemory,
    page: u64,
    frame: u64,
    size: PageSize,
) -> Result<(), MapError> {
    mapper::<F>(memory).map(VirtAddr::new(page), PhysAddr::new(frame), size, EntryBits::RW)
}

#[track_caller]
fn assert_entries(memory: &FormatMemory, bytes: u8, entries: &[(u64, u64)]) {
    for &(at, entry) in entries {
        assert_eq!(memory.read_entry(PhysAddr::new(at), bytes), Ok(entry), "at {at:#x}");
    }
}

#[test]
fn map_writes_the_entries_of_32_bit_paging() {
    let mut memory = memory();
    map::<Bits32>(&mut memory, 0x40_4000, 0x8000_0000, Size4KiB).unwrap();
    assert_entries(&memory, 4, &[(0x1004, 0x2007), (0x2010, 0x8000_0003), (0x2014, 0)]);
    map::<Bits32>(&mut memory, 0xffc0_0000, 0xc000_0000, Size4MiB).unwrap();
    assert_entries(&memory, 4, &[(0x1ffc, 0xc000_0083)]);
}

#[test]
fn mode_5_a_4_mib_page_above_4_gib_can_be_mapped_walked_and_unmapped() {
    let mut memory = memory();
    map::<Bits32>(&mut memory, 0x40_0000, 0x12_3440_0000, Size4MiB).unwrap();

    // Address bits 39:32, 0x12, are bits 20:13.
    assert_entries(&memory, 4, &[(0x1004, 0x3442_4083)]);
    assert_eq!(translate::<Bits32>(&memory, 0x40_5678), Some(0x12_3440_5678));

    let unmapped = mapper::<Bits32>(&mut memory).unmap(VirtAddr::new(0x40_0000), Size4MiB);
    let flush = Flush(VirtAddr::new(0x40_0000));
    assert_eq!(unmapped, Ok((PhysAddr::new(0x12_3440_0000), flush)));
}

#[test]
fn pdpte_1_a_new_pdpte_is_not_used_until_it_is_loaded() {
    let mut memory = memory();
    let before = state::<Pae>(&memory);
    map::<Pae>(&mut memory, 0x4060_4000, 0x1_4000_0000, Size4KiB).unwrap();

    // The only flag of the PDPTE is P.
    let path = [(0x1028, 0x2001), (0x2018, 0x3007), (0x3020, 0x1_4000_0003)];
    assert_entries(&memory, 8, &path);

    let read = Access::read(VirtAddr::new(0x4060_4234), 1, Ring::Zero);
    let stale = Mmu::<Pae>::new(before, profile()).predict(&memory, &read).unwrap();
    assert_eq!(stale.alternatives[0].outcome.fault().map(|fault| fault.error_code), Some(0));
    assert_eq!(translate::<Pae>(&memory, 0x4060_4234), Some(0x1_4000_0234));
}

#[test]
fn map_writes_the_entries_of_5_level_paging() {
    let mut memory = memory();
    map::<FiveLevel>(&mut memory, 0x5_0080_8060_4000, 0x1_4000_0000, Size4KiB).unwrap();
    let tables = [(0x1028, 0x2007), (0x2008, 0x3007), (0x3010, 0x4007), (0x4018, 0x5007)];
    assert_entries(&memory, 8, &tables);
    assert_entries(&memory, 8, &[(0x5020, 0x1_4000_0003)]);
}

#[test]
fn map_writes_the_frame_number_into_a_flat_table() {
    let mut memory = memory();
    map::<Flat>(&mut memory, 0xa_b000, 0x7_7000, Size4KiB).unwrap();
    assert_entries(&memory, 4, &[(0x12ac, 0x77 << 1 | 1), (0x12a8, 0), (0x12b0, 0)]);
    assert_eq!(translate::<Flat>(&memory, 0xa_b123), Some(0x7_7123));
}

#[track_caller]
fn assert_sizes_refused<F: Format>(memory: &mut FormatMemory, sizes: &[PageSize]) {
    for &size in sizes {
        let refused = Err(MapError::NoSuchPageSize(size));
        assert_eq!(map::<F>(memory, 0, 0, size), refused, "{:?}", F::MODE);
        let unmapped = mapper::<F>(memory).unmap(VirtAddr::new(0), size);
        assert_eq!(unmapped.map(|_| ()), refused, "{:?}", F::MODE);
    }
}

#[test]
fn page_sizes_that_the_format_lacks_are_refused() {
    let mut memory = memory();
    assert_sizes_refused::<Bits32>(&mut memory, &[Size2MiB, Size1GiB]);
    assert_sizes_refused::<Pae>(&mut memory, &[Size4MiB, Size1GiB]);
    assert_sizes_refused::<FourLevel>(&mut memory, &[Size4MiB]);
    assert_sizes_refused::<FiveLevel>(&mut memory, &[Size4MiB]);
    assert_sizes_refused::<Flat>(&mut memory, &[Size2MiB, Size4MiB, Size1GiB]);
    assert_sizes_refused::<Unpaged>(&mut memory, &[Size4KiB, Size2MiB, Size4MiB, Size1GiB]);
}

#[test]
fn mode_4_there_are_no_4_mib_pages_without_pse() {
    let mut memory = memory();
    let mut state = state::<Bits32>(&memory);
    state.cr4 -= Cr4::PSE;
    let frames = FrameRange::new(PhysAddr::new(0x2000), FRAMES);
    let mut mapper: FormatMapper<'_, Bits32> = Mapper::new(state, profile(), &mut memory, frames);
    let page = VirtAddr::new(0x40_0000);
    let refused = Err(MapError::NoSuchPageSize(Size4MiB));

    assert_eq!(mapper.map(page, PhysAddr::new(0), Size4MiB, EntryBits::RW), refused);
    assert_eq!(mapper.map(page, PhysAddr::new(0), Size4KiB, EntryBits::RW), Ok(()));
}

/// Frames are refused from `first_bad` up, and the frame below it is not.
#[track_caller]
fn assert_first_refused<F: Format>(profile: Profile, size: PageSize, first_bad: u64) {
    let mut memory = memory();
    let mut mapper = mapper_for::<F>(profile, &mut memory);

    for bad in [first_bad, 1 << 52, 1 << 63] {
        let bad = PhysAddr::new(bad);
        let refused = Err(MapError::AboveMaxPhysical(bad));
        assert_eq!(mapper.map(VirtAddr::new(0), bad, size, EntryBits::RW), refused);
    }

    let good = PhysAddr::new(first_bad - size.bytes());
    assert_eq!(mapper.map(VirtAddr::new(0), good, size, EntryBits::RW), Ok(()));
    assert_eq!(mapper.unmap(VirtAddr::new(0), size).map(|(frame, _)| frame), Ok(good));
}

#[test]
fn frames_above_maxphyaddr_are_refused_in_32_bit_entries() {
    for width in [32, 36, 40, 52] {
        let profile = Profile { physical_address_bits: width, ..profile() };
        // A PTE has address bits 31:12, whatever MAXPHYADDR is.
        assert_first_refused::<Bits32>(profile, Size4KiB, 1 << 32);

        // With PSE-36 there are at most 40 address bits (MODE-5), without it 32 (MODE-6).
        assert_first_refused::<Bits32>(profile, Size4MiB, 1 << width.min(40));

        let features = Features::all() - Features::PSE36;
        assert_first_refused::<Bits32>(Profile { features, ..profile }, Size4MiB, 1 << 32);
    }
}

#[test]
fn frames_above_maxphyaddr_are_refused_in_64_bit_entries() {
    for width in [32, 36, 40, 52] {
        let profile = Profile { physical_address_bits: width, ..profile() };
        for size in [Size4KiB, Size2MiB] {
            assert_first_refused::<Pae>(profile, size, 1 << width);
            assert_first_refused::<FiveLevel>(profile, size, 1 << width);
        }
        assert_first_refused::<FiveLevel>(profile, Size1GiB, 1 << width);
    }
}

#[test]
fn frame_numbers_that_do_not_fit_in_a_flat_entry_are_refused() {
    // The frame number has 31 bits in an entry of 4 bytes, and 7 in one of 1 byte.
    assert_first_refused::<Flat>(profile(), Size4KiB, 1 << (31 + 12));
    assert_first_refused::<Linear<20, 12, 1>>(profile(), Size4KiB, 1 << (7 + 12));
}

#[test]
fn a_table_to_which_an_entry_cannot_point_is_refused() {
    // The walk would look for it at another address.
    let mut memory = memory();
    let state = state::<Bits32>(&memory);
    let high = PhysAddr::new(0x1_0000_0000);
    let frames = FrameRange::new(high, 2);
    let mut mapper: FormatMapper<'_, Bits32> = Mapper::new(state, profile(), &mut memory, frames);
    let refused = mapper.map(VirtAddr::new(0), PhysAddr::new(0), Size4KiB, EntryBits::RW);

    assert_eq!(refused, Err(MapError::AboveMaxPhysical(high)));
    assert_entries(&memory, 4, &[(0x1000, 0)]);
}

#[track_caller]
fn assert_addresses_refused<F: Format>(pages: &[u64]) {
    let mut memory = memory();
    for &page in pages {
        let refused = Err(MapError::NotCanonical(VirtAddr::new(page)));
        assert_eq!(map::<F>(&mut memory, page, 0, Size4KiB), refused);
    }
}

#[test]
fn addresses_that_the_format_lacks_are_refused() {
    assert_addresses_refused::<Bits32>(&[1 << 32, 0xffff_ffff_0000_0000, 1 << 63]);
    assert_addresses_refused::<Pae>(&[1 << 32, 0xffff_ffff_0000_0000, 1 << 63]);
    assert_addresses_refused::<FiveLevel>(&[1 << 56, 0xfeff_ffff_ffff_f000, 1 << 63]);
    assert_addresses_refused::<Flat>(&[1 << 20, 1 << 32]);
}

#[test]
fn misaligned_and_overlapping_4_mib_pages_are_refused() {
    let mut memory = memory();
    let half = 0x20_0000;
    assert_eq!(
        map::<Bits32>(&mut memory, half, 0, Size4MiB),
        Err(MapError::Misaligned(half, Size4MiB))
    );
    assert_eq!(
        map::<Bits32>(&mut memory, 0, half, Size4MiB),
        Err(MapError::Misaligned(half, Size4MiB))
    );
    map::<Bits32>(&mut memory, 0x40_0000, 0, Size4MiB).unwrap();

    let inside = 0x7f_f000;
    let overlap = Err(MapError::Overlap(VirtAddr::new(inside)));
    assert_eq!(map::<Bits32>(&mut memory, inside, 0, Size4KiB), overlap);
    map::<Bits32>(&mut memory, 0x80_0000, 0, Size4KiB).unwrap();

    let page = VirtAddr::new(0x80_0000);
    assert_eq!(map::<Bits32>(&mut memory, 0x80_0000, 0, Size4MiB), Err(MapError::Overlap(page)));

    let not_mapped = Err(MapError::NotMapped(page));
    assert_eq!(mapper::<Bits32>(&mut memory).unmap(page, Size4MiB).map(|_| ()), not_mapped);
}

/// The addresses of the bytes in which two memories differ.
fn changed(before: &FormatMemory, after: &FormatMemory) -> Vec<u64> {
    let byte = |memory: &FormatMemory, at| memory.read_entry(PhysAddr::new(at), 1).unwrap();
    let all = 0..(FRAMES as u64 + 2) * 0x1000;
    all.filter(|&at| byte(before, at) != byte(after, at)).collect()
}

/// Mapping and unmapping change the bytes of one entry, and never its neighbours.
fn an_edit_changes_one_entry<F: Format>() {
    let bytes = u64::from(F::ENTRY_BYTES);
    let page = 0x5000;
    let frame = 0x2a_5000;

    // Tables that map the page before, and the entry that maps this page.
    let mut tables = memory();
    map::<F>(&mut tables, page - 0x1000, 0x3000, Size4KiB).unwrap();
    let mut mapped = tables.clone();
    map::<F>(&mut mapped, page, frame, Size4KiB).unwrap();
    let slot = changed(&tables, &mapped)[0] & !(bytes - 1);

    let before = with_noise::<F>(tables, slot);
    let mut edited = before.clone();
    map::<F>(&mut edited, page, frame, Size4KiB).unwrap();

    let edits = changed(&before, &edited);
    assert!(!edits.is_empty());
    assert!(edits.iter().all(|at| (slot..slot + bytes).contains(at)), "{:?}", F::MODE);

    let unmapped = mapper::<F>(&mut edited).unmap(VirtAddr::new(page), Size4KiB);
    assert_eq!(unmapped.map(|(frame, _)| frame), Ok(PhysAddr::new(frame)));
    assert_eq!(changed(&before, &edited), []);
}

/// The tables with every zero entry but that at `slot` replaced by noise with P=0.
fn with_noise<F: Format>(mut tables: FormatMemory, slot: u64) -> FormatMemory {
    for at in (0..(FRAMES as u64 + 2) * 0x1000).step_by(F::ENTRY_BYTES.into()) {
        let is_zero = tables.read_entry(PhysAddr::new(at), F::ENTRY_BYTES) == Ok(0);
        if at != slot && is_zero {
            let noise = 0xa4a4_a4a4_a4a4_a4a4;
            tables.write_entry(PhysAddr::new(at), F::ENTRY_BYTES, noise).unwrap();
        }
    }

    tables
}

#[test]
fn mapping_a_4_mib_page_changes_4_bytes() {
    let mut memory = Bytes::new(PhysAddr::new(0), vec![0xa5; (FRAMES + 2) * 0x1000]);
    memory.write_entry(PhysAddr::new(0x1004), 4, 0).unwrap();

    let before = memory.clone();
    map::<Bits32>(&mut memory, 0x40_0000, 0xffc0_0000, Size4MiB).unwrap();
    assert_eq!(memory.read_entry(PhysAddr::new(0x1000), 8), Ok(0xffc0_0083_a5a5_a5a5));
    assert_eq!(memory.read_entry(PhysAddr::new(0x1008), 8), Ok(0xa5a5_a5a5_a5a5_a5a5));
    assert!(changed(&before, &memory).iter().all(|at| (0x1004..0x1008).contains(at)));
}

/// Number of address bits that the frame of a page can have.
fn frame_bits<F: Format>(size: PageSize) -> u32 {
    match (F::MODE, size) {
        (PagingMode::Bits32, Size4KiB) => 32,
        (PagingMode::Bits32, _) => 40,
        (PagingMode::Linear, _) => 43,
        _ => 52,
    }
}

/// The page aligned for its size, with an address and a frame that the format has.
fn fitted<F: Format>((address, size, frame): Page) -> Page {
    let address = VirtAddr::new(address);
    let address_of_format = if F::IS_LONG_MODE {
        address.sign_extended(F::ADDRESS_BITS)
    } else {
        address.truncated(F::ADDRESS_BITS)
    };

    let align = |address: u64| address & !(size.bytes() - 1);
    let frame_of_format = frame & ((1 << frame_bits::<F>(size)) - 1);
    (align(address_of_format.get()), size, align(frame_of_format))
}

/// Maps the pages that do not overlap earlier ones, and returns them.
fn map_all<F: Format>(
    memory: &mut FormatMemory,
    pages: &[Page],
) -> Result<Vec<Page>, TestCaseError> {
    let mut mapper = mapper::<F>(memory);
    let mut known = Vec::new();

    for &page in pages {
        let (address, size, frame) = fitted::<F>(page);
        let is_free = is_free(&known, address, size);

        let at = VirtAddr::new(address);
        let result = mapper.map(at, PhysAddr::new(frame), size, EntryBits::RW);
        prop_assert_eq!(result, if is_free { Ok(()) } else { Err(MapError::Overlap(at)) });

        if is_free {
            known.push((address, size, frame));
        }
    }

    Ok(known)
}

/// A walk takes every mapped page to its frame. A page that is unmapped faults, and the others do
/// not.
fn mapped_pages_are_walked_to_their_frames<F: Format>(pages: &[Page]) -> Result<(), TestCaseError> {
    let mut memory = memory();
    let mut mapped = map_all::<F>(&mut memory, pages)?;

    while let Some(&(page, size, frame)) = mapped.last() {
        for &(page, size, frame) in &mapped {
            for offset in [0, size.bytes() / 2 + 0x123, size.bytes() - 1] {
                prop_assert_eq!(translate::<F>(&memory, page + offset), Some(frame + offset));
            }
        }

        let at = VirtAddr::new(page);
        let unmapped = mapper::<F>(&mut memory).unmap(at, size);
        prop_assert_eq!(unmapped, Ok((PhysAddr::new(frame), Flush(at))));

        for offset in [0, size.bytes() - 1] {
            // The error code of a write to a page that is not present.
            let code = outcome::<F>(&memory, page + offset).fault().map(|fault| fault.error_code);
            prop_assert_eq!(code, Some(2));
        }

        mapped.pop();
    }

    Ok(())
}

/// Pages of these sizes, at random addresses or close together.
fn pages(sizes: &[PageSize]) -> impl Strategy<Value = Vec<Page>> + use<> {
    let near = (0..4_u64, 0..3_u64, 0..3_u64)
        .prop_map(|(gib, mib, kib)| gib << 30 | mib << 21 | kib << 12);
    let address = prop_oneof![any::<u64>(), near];
    let page = (address, prop::sample::select(sizes.to_vec()), any::<u64>());
    prop::collection::vec(page, 1..8)
}

macro_rules! for_every_format {
    ($($name:ident: $format:ty, $sizes:expr;)+) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn mapped_pages_are_walked_to_their_frames(pages in pages($sizes)) {
                    super::mapped_pages_are_walked_to_their_frames::<$format>(&pages)?;
                }
            }

            #[test]
            fn an_edit_changes_one_entry() {
                super::an_edit_changes_one_entry::<$format>();
            }
        }
    )+};
}

for_every_format! {
    bits32: Bits32, &[Size4KiB, Size4MiB];
    pae: Pae, &[Size4KiB, Size2MiB];
    four_level: FourLevel, &[Size4KiB, Size2MiB, Size1GiB];
    five_level: FiveLevel, &[Size4KiB, Size2MiB, Size1GiB];
    flat: Flat, &[Size4KiB];
}
