//! Tests of flags that a leaf cannot have, because they are reserved, part of the address or not in
//! the entry, and of flags that the tables above forbid.

use super::Flat;
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::{Bytes, TableMemory, TableMemoryMut};
use crate::outcome::Outcome;
use crate::table::Cursor;
use crate::table::mapping::{FrameRange, MapError, Mapper, Mapping};
use crate::walk::Mmu;
use crate::x86::fault::PageFaultCode;
use crate::x86::format::{Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Pae};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::rule::Rule;
use crate::x86::semantics::Rights;
use crate::x86::state::{ControlState, Cr4, Efer, PagingMode};
use PageSize::{Size1GiB, Size2MiB, Size4KiB, Size4MiB};
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

/// The root is at 0x1000, and new tables follow from 0x2000.
type FlagMemory = Bytes<Vec<u8>>;

/// A page and a frame that are aligned for every size, and exist in every format but the flat one.
const PAGE: VirtAddr = VirtAddr::new(0x4000_0000);
const FRAME: PhysAddr = PhysAddr::new(0x8000_0000);

fn memory() -> FlagMemory {
    Bytes::new(PhysAddr::new(0), vec![0; 0x10_000])
}

/// The control state of a mode, with NXE.
fn state<F: Format>() -> ControlState {
    let long_mode = ControlState::four_level(0x1000);
    match F::MODE {
        PagingMode::Bits32 => ControlState { cr4: Cr4::PSE, efer: Efer::empty(), ..long_mode },
        PagingMode::Pae => ControlState { efer: Efer::NXE, ..long_mode },
        PagingMode::FiveLevel => ControlState { cr4: long_mode.cr4 | Cr4::LA57, ..long_mode },
        _ => long_mode,
    }
}

fn profile() -> Profile {
    Profile { vendor: Vendor::Intel, ..Profile::default() }
}

fn without(features: Features) -> Profile {
    Profile { features: Features::all() - features, ..profile() }
}

type FlagMapper<'m, F> = Mapper<'m, F, FlagMemory, FrameRange>;

fn mapper_in<F: Format>(
    state: ControlState,
    profile: Profile,
    memory: &mut FlagMemory,
) -> FlagMapper<'_, F> {
    Mapper::new(state, profile, memory, FrameRange::new(PhysAddr::new(0x2000), 8))
}

fn mapper<F: Format>(memory: &mut FlagMemory) -> FlagMapper<'_, F> {
    mapper_in(state::<F>(), profile(), memory)
}

const fn bits(bits: u64) -> EntryBits {
    EntryBits::from_bits_retain(bits)
}

/// Asserts that these flags are refused by `map`, which adds no table for them, and by `protect`.
#[track_caller]
fn assert_refused<F: Format>(
    state: ControlState,
    profile: Profile,
    size: PageSize,
    flags: EntryBits,
    error: MapError,
) {
    let mut memory = memory();
    let mut mapper = mapper_in::<F>(state, profile, &mut memory);
    assert_eq!(mapper.map(PAGE, FRAME, size, flags), Err(error), "{size:?}");
    assert_eq!(mapper.memory.read_entry(PhysAddr::new(0x2000), 8), Ok(0));

    mapper.map(PAGE, FRAME, size, EntryBits::RW).unwrap();
    assert_eq!(mapper.protect(PAGE, size, flags), Err(error), "{size:?}");
    assert_eq!(mapper.translate(PAGE).map(|page| page.rights), Ok(!Rights::USER));
}

/// SDM "Format of a Page-Table Entry that Maps a 4-KByte Page": XD is reserved while EFER.NXE is 0.
#[test]
fn code_3_execute_disable_without_nxe_is_refused() {
    fn check<F: Format>(sizes: &[PageSize]) {
        let mut state = state::<F>();
        state.efer -= Efer::NXE;
        for &size in sizes {
            let flags = EntryBits::RW | EntryBits::XD;
            let refused = MapError::Reserved(EntryBits::XD, Rule::Code3);
            assert_refused::<F>(state, profile(), size, flags, refused);
        }
    }

    check::<Pae>(&[Size4KiB, Size2MiB]);
    check::<FourLevel>(&[Size4KiB, Size2MiB, Size1GiB]);
    check::<FiveLevel>(&[Size4KiB, Size2MiB, Size1GiB]);
}

/// SDM "Format of a Page-Directory Entry that Maps a 2-MByte Page" and "Format of a
/// Page-Directory-Pointer-Table Entry that Maps a 1-GByte Page": bits 20:13 and 29:13 are reserved,
/// bit 12 is PAT.
#[test]
fn code_6_bits_in_the_address_of_a_large_page_are_refused() {
    for (size, bad) in [(Size2MiB, 13), (Size2MiB, 20), (Size1GiB, 13), (Size1GiB, 29)] {
        let refused = MapError::Reserved(bits(1 << bad), Rule::Code6);
        let flags = EntryBits::RW | bits(1 << bad);
        assert_refused::<FourLevel>(state::<FourLevel>(), profile(), size, flags, refused);
        if size == Size2MiB {
            assert_refused::<Pae>(state::<Pae>(), profile(), size, flags, refused);
        }
    }

    // Above the offset, the bits are those of the frame.
    let flags = bits(1 << 21);
    let refused = MapError::FlagsInAddress(flags, Size2MiB);
    assert_refused::<FourLevel>(state::<FourLevel>(), profile(), Size2MiB, flags, refused);
}

/// SDM "Format of a 32-Bit Page-Directory Entry that Maps a 4-MByte Page": bit 21 is reserved, with PSE-36 and without.
/// Bits 20:13 are address bits 39:32.
#[test]
fn mode_5_and_6_bits_in_the_address_of_a_4_mib_page_are_refused() {
    for (profile, rule) in [(profile(), Rule::Mode5), (without(Features::PSE36), Rule::Mode6)] {
        let state = state::<Bits32>();
        let refused = MapError::Reserved(bits(1 << 21), rule);
        assert_refused::<Bits32>(state, profile, Size4MiB, bits(1 << 21), refused);

        let refused = MapError::FlagsInAddress(bits(1 << 13), Size4MiB);
        assert_refused::<Bits32>(state, profile, Size4MiB, bits(1 << 13), refused);
    }
}

/// SDM "PAE Paging": bits 62:MAXPHYADDR are reserved. "4-Level Paging and 5-Level Paging": bits 62:59
/// of a leaf are the protection key, bits 58:52 are ignored.
#[test]
fn code_4_a_protection_key_is_refused_in_pae_and_kept_in_long_mode() {
    let key = bits(EntryBits::with_key(5));
    for flags in [key, bits(1 << 52)] {
        let refused = MapError::Reserved(flags, Rule::Code4);
        assert_refused::<Pae>(state::<Pae>(), profile(), Size4KiB, flags, refused);
        assert_refused::<Pae>(state::<Pae>(), profile(), Size2MiB, flags, refused);
    }

    let mut memory = memory();
    mapper::<FourLevel>(&mut memory).map(PAGE, FRAME, Size2MiB, key | EntryBits::RW).unwrap();
    // P, R/W and PS, the frame, and key 5 in bits 62:59.
    assert_eq!(memory.read_entry(PhysAddr::new(0x3000), 8), Ok(0x2800_0000_8000_0083));
}

/// SDM "32-Bit Paging": entries have 32 bits, and there is no XD.
#[test]
fn bits_that_an_entry_of_4_bytes_does_not_have_are_refused() {
    for (size, missing) in [(Size4KiB, 1 << 63), (Size4MiB, 1 << 63), (Size4KiB, 1 << 32)] {
        let refused = MapError::NoSuchFlags(bits(missing));
        let flags = EntryBits::RW | bits(missing);
        assert_refused::<Bits32>(state::<Bits32>(), profile(), size, flags, refused);
    }
}

/// Every page of a flat table can be read, written and executed by all; its entries have no flags.
#[test]
fn flags_that_a_flat_table_does_not_have_are_refused() {
    let mut memory = memory();
    let mut mapper = mapper::<Flat>(&mut memory);
    let page = VirtAddr::new(0x5000);

    for missing in [EntryBits::XD, EntryBits::A, EntryBits::G, bits(1 << 9)] {
        let refused = mapper.map(page, FRAME, Size4KiB, EntryBits::RW | missing);
        assert_eq!(refused, Err(MapError::NoSuchFlags(missing)));
    }

    let all = EntryBits::P | EntryBits::RW | EntryBits::US;
    mapper.map(page, FRAME, Size4KiB, all).unwrap();
    assert_eq!(mapper.translate(page).map(|page| page.rights), Ok(Rights::all()));
}

/// SDM "32-Bit Paging" and "PAE Paging": without PAT its bits are reserved, in 32-bit paging while
/// CR4.PSE=1.
#[test]
fn mode_7_pat_on_a_processor_without_it_is_refused() {
    let old = without(Features::PAT);
    let small = MapError::Reserved(EntryBits::PS, Rule::Mode7);
    let large = MapError::Reserved(EntryBits::LARGE_PAT, Rule::Mode7);
    let pat = EntryBits::LARGE_PAT;

    assert_refused::<Bits32>(state::<Bits32>(), old, Size4KiB, EntryBits::PS, small);
    assert_refused::<Bits32>(state::<Bits32>(), old, Size4MiB, pat, large);
    assert_refused::<Pae>(state::<Pae>(), old, Size4KiB, EntryBits::PS, small);
    assert_refused::<Pae>(state::<Pae>(), old, Size2MiB, pat, large);

    let mut memory = memory();
    let state = ControlState { cr4: Cr4::empty(), ..state::<Bits32>() };
    let mapped =
        mapper_in::<Bits32>(state, old, &mut memory).map(PAGE, FRAME, Size4KiB, EntryBits::PS);
    assert_eq!(mapped, Ok(()));
}

/// Sets or clears bits of the PML4E of [`PAGE`].
fn change_pml4e(memory: &mut FlagMemory, set: EntryBits, clear: EntryBits) {
    let at = PhysAddr::new(0x1000);
    let entry = bits(memory.read_entry(at, 8).unwrap());
    memory.write_entry(at, 8, ((entry - clear) | set).bits()).unwrap();
}

/// SDM "Access Rights": R/W and U/S count if they are 1 in every entry, XD if it is 1 in any.
#[test]
fn right_1_rights_that_the_tables_above_forbid_are_refused() {
    let other = PAGE.wrapping_add(0x5000);
    for (set, clear, forbidden, text) in [
        (EntryBits::empty(), EntryBits::RW, Rights::WRITE, "written"),
        (EntryBits::empty(), EntryBits::US, Rights::USER, "used by the user"),
        (EntryBits::XD, EntryBits::empty(), Rights::EXECUTE, "executed"),
        (EntryBits::XD, EntryBits::US, !Rights::WRITE, "used by the user or executed"),
    ] {
        let mut memory = memory();
        let all = EntryBits::RW | EntryBits::US;
        mapper::<FourLevel>(&mut memory).map(PAGE, FRAME, Size4KiB, all).unwrap();
        change_pml4e(&mut memory, set, clear);

        // What is mapped already has the flags of its leaf, and fewer rights.
        let mut mapper = mapper::<FourLevel>(&mut memory);
        let found = Mapping {
            page: PAGE,
            frame: FRAME,
            size: Size4KiB,
            flags: all | EntryBits::P,
            rights: !forbidden,
        };
        assert_eq!(mapper.translate(PAGE), Ok(found));
        assert_eq!(mapper.pages().collect::<Vec<_>>(), [Ok(found)]);

        let refused = MapError::Forbidden(other, forbidden);
        assert_eq!(mapper.map(other, FRAME, Size4KiB, all), Err(refused));
        let refused_there = MapError::Forbidden(PAGE, forbidden);
        assert_eq!(mapper.protect(PAGE, Size4KiB, all), Err(refused_there));
        assert_eq!(
            refused.to_string(),
            std::format!("the tables above 0x40005000 forbid it to be {text}")
        );

        // Flags that do not ask for these rights fit.
        let fitting = (all - clear) | set;
        assert_eq!(mapper.map(other, FRAME, Size4KiB, fitting), Ok(()));
        assert_eq!(mapper.translate(other).map(|page| page.rights), Ok(!forbidden));
    }
}

/// SDM "Format of a PML4 Entry (PML4E)": bit 7 is reserved. The walk ends there with RSVD.
#[test]
fn code_5_a_table_entry_with_a_reserved_bit_leads_nowhere() {
    let mut memory = memory();
    let far = VirtAddr::new(0x80_4000_0000);
    let mut mapper = mapper::<FourLevel>(&mut memory);
    mapper.map(PAGE, FRAME, Size4KiB, EntryBits::RW).unwrap();
    mapper.map(far, FRAME, Size4KiB, EntryBits::RW).unwrap();
    change_pml4e(mapper.memory, EntryBits::PS, EntryBits::empty());

    let reserved = MapError::Reserved(EntryBits::PS, Rule::Code5);
    let other = PAGE.wrapping_add(0x5000);
    assert_eq!(mapper.map(other, FRAME, Size4KiB, EntryBits::RW), Err(reserved));
    assert_eq!(mapper.translate(PAGE), Err(reserved));
    assert_eq!(mapper.unmap(PAGE, Size4KiB), Err(reserved));

    // The list names the entry, and goes on behind it.
    let listed: Vec<_> = mapper.pages().map(|page| page.map(|page| page.page)).collect();
    assert_eq!(listed, [Err(reserved), Ok(far)]);
    assert_eq!(reserved.to_string(), "the bits 0x80 of an entry are reserved (CODE-5)");
}

/// A leaf that the mapper would not write maps nothing. It can be replaced and removed.
#[test]
fn code_6_a_leaf_with_a_reserved_bit_maps_nothing() {
    let mut memory = memory();
    let mut mapper = mapper::<FourLevel>(&mut memory);
    mapper.map(PAGE, FRAME, Size2MiB, EntryBits::RW).unwrap();

    let leaf = PhysAddr::new(0x3000);
    mapper.memory.write_entry(leaf, 8, 0x8000_2083).unwrap();
    let reserved = MapError::Reserved(bits(1 << 13), Rule::Code6);
    assert_eq!(mapper.translate(PAGE), Err(reserved));
    assert_eq!(mapper.pages().collect::<Vec<_>>(), [Err(reserved)]);
    assert_eq!(mapper.remap(PAGE, PhysAddr::new(0), Size2MiB), Err(reserved));

    assert!(mapper.protect(PAGE, Size2MiB, EntryBits::RW).is_ok());
    assert_eq!(mapper.memory.read_entry(leaf, 8), Ok(0x8000_0083));

    mapper.memory.write_entry(leaf, 8, 0x8000_2083).unwrap();
    assert_eq!(mapper.unmap(PAGE, Size2MiB).map(|(frame, _)| frame), Ok(FRAME));
    assert_eq!(mapper.memory.read_entry(leaf, 8), Ok(0));
}

/// The outcome of an access to [`PAGE`]. PDPTE registers are loaded from memory first (PDPTE-1).
fn access<F: Format>(
    state: ControlState,
    profile: Profile,
    memory: &FlagMemory,
    kind: AccessKind,
    ring: Ring,
) -> Outcome {
    let pdptes = [0x1000, 0x1008, 0x1010, 0x1018]
        .map(|at| memory.read_entry(PhysAddr::new(at), 8).expect("memory"));
    let mmu = Mmu::<F>::new(ControlState { pdptes, ..state }, profile);
    let prediction = mmu.predict(memory, &Access::new(kind, PAGE, 1, ring));
    prediction.unwrap().alternatives[0].outcome.clone()
}

/// Maps a page with these flags, below tables with the rights `tables`. If that succeeds, the walk
/// finds the frame with exactly the rights of the flags.
fn a_mapped_page_has_the_rights_of_its_flags<F: Format>(
    state: ControlState,
    profile: Profile,
    size: PageSize,
    flags: EntryBits,
    tables: Option<EntryBits>,
) -> Result<(), TestCaseError> {
    let mut memory = memory();
    let mut mapper = mapper_in::<F>(state, profile, &mut memory);

    if let Some(root_bits) = tables {
        // A table at 0x8000 below the root, with other rights than a new one has.
        let root = Cursor::<F>::at_root(mapper.root).unwrap();
        let table = PhysAddr::new(0x8000);
        let entry = F::entry(root.level(), EntryKind::Table, table, root_bits | EntryBits::P);
        mapper.memory.write_entry(root.entry_for(PAGE), F::ENTRY_BYTES, entry).unwrap();
    }
    if mapper.map(PAGE, FRAME, size, flags).is_err() {
        return Ok(());
    }

    let completes = |kind, ring| {
        let outcome = access::<F>(state, profile, &memory, kind, ring);
        if let Some(fault) = outcome.fault() {
            let code = PageFaultCode::from_bits_retain(fault.error_code);
            // The translation exists: what denies the access is a right.
            assert!(code.contains(PageFaultCode::P) && !code.contains(PageFaultCode::RSVD));
        }
        outcome.physical_address() == Some(FRAME)
    };

    prop_assert!(completes(AccessKind::Read, Ring::Zero));
    prop_assert_eq!(completes(AccessKind::Write, Ring::Zero), flags.contains(EntryBits::RW));
    prop_assert_eq!(completes(AccessKind::Read, Ring::Three), flags.contains(EntryBits::US));
    prop_assert_eq!(completes(AccessKind::Fetch, Ring::Zero), !flags.contains(EntryBits::XD));
    Ok(())
}

proptest! {
    #[test]
    fn what_is_mapped_is_walked_with_the_rights_of_its_flags(
        flag_bits in prop::collection::vec(0..64_u32, 0..4),
        size in prop::sample::select(vec![Size4KiB, Size2MiB, Size4MiB, Size1GiB]),
        has_nxe in any::<bool>(),
        has_pse in any::<bool>(),
        features in prop::sample::select(vec![
            Features::empty(), Features::PAT, Features::PSE36, Features::PAGE_1GB,
        ]),
        physical_address_bits in prop::sample::select(vec![36_u8, 40, 48, 52]),
        table_bits in prop::option::of(prop::collection::vec(
            prop::sample::select(vec![1_u32, 2, 5, 7, 8, 63]), 0..4,
        )),
    ) {
        let combined = |bits: &[u32]| bits.iter().fold(EntryBits::empty(), |all, bit| {
            all | EntryBits::from_bits_retain(1 << bit)
        });
        let flags = combined(&flag_bits);
        let tables = table_bits.map(|bits| combined(&bits));
        let profile = Profile { physical_address_bits, ..without(features) };

        let change = |mut state: ControlState| {
            if !has_nxe {
                state.efer -= Efer::NXE;
            }
            if !has_pse {
                state.cr4 -= Cr4::PSE;
            }
            state
        };
        let check = a_mapped_page_has_the_rights_of_its_flags::<Bits32>;
        check(change(state::<Bits32>()), profile, size, flags, tables)?;
        let check = a_mapped_page_has_the_rights_of_its_flags::<Pae>;
        check(change(state::<Pae>()), profile, size, flags, tables)?;
        let check = a_mapped_page_has_the_rights_of_its_flags::<FourLevel>;
        check(change(state::<FourLevel>()), profile, size, flags, tables)?;
        let check = a_mapped_page_has_the_rights_of_its_flags::<FiveLevel>;
        check(change(state::<FiveLevel>()), profile, size, flags, tables)?;
    }
}
