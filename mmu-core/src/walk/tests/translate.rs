//! One answer for an access: where it goes and what it sets, or its fault, or the error of the memory.

use crate::access::{Access, AccessKind, Ring, SizeError};
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::cache::CachedMmu;
use crate::memory::{AtomicTableMemory, Bytes, TableMemory, TableMemoryMut, Unshared};
use crate::outcome::{AccessError, Translation};
use crate::table::mapping::{FrameRange, MapError, Mapper};
use crate::walk::{AnyMmu, Mmu, WalkError};
use crate::x86::control::LoadError;
use crate::x86::format::{Bits32, EntryBits, FourLevel};
use crate::x86::profile::Profile;
use crate::x86::semantics::Rights;
use crate::x86::state::{ControlState, Cr4};
use std::string::ToString;
use std::vec::Vec;

type TranslateMemory = Unshared<Bytes<Vec<u8>>>;

/// Memory with entries of 8 bytes.
fn ram(entries: &[(u64, u64)]) -> TranslateMemory {
    let mut ram = Unshared::new(Bytes::new(PhysAddr::new(0), vec![0; 0x6000]));
    for &(at, entry) in entries {
        ram.write_entry(PhysAddr::new(at), 8, entry).unwrap();
    }
    ram
}

fn entry(ram: &TranslateMemory, at: u64) -> u64 {
    ram.read_entry(PhysAddr::new(at), 8).unwrap()
}

/// Four tables, from 0x1000 on. Page 1 is in frame 9, write-through, and page 2 in frame 7; a page of
/// 2 MiB follows, with PCD and PAT.
fn four_level() -> (TranslateMemory, ControlState) {
    let entries = [
        (0x1000, 0x2007),
        (0x2000, 0x3007),
        (0x3000, 0x4007),
        (0x3008, 0x20_1097),
        (0x4008, 0x900f),
        (0x4010, 0x8000_0000_0000_7087),
    ];
    (ram(&entries), ControlState::four_level(0x1000))
}

fn user(kind: AccessKind, address: u64, size: u16) -> Access {
    Access::new(kind, VirtAddr::new(address), size, Ring::Three)
}

#[test]
fn ad_1_translate_sets_a_and_d_and_probe_does_not() {
    let (ram, state) = four_level();
    let mmu = AnyMmu::new(state, Profile::default());
    let write = user(AccessKind::Write, 0x1234, 4);

    let probed = mmu.probe(&ram, &write).unwrap();
    assert_eq!(probed.address(), PhysAddr::new(0x9234));
    assert_eq!(probed.translations()[0].leaf, 0x900f);
    assert_eq!((entry(&ram, 0x1000), entry(&ram, 0x4008)), (0x2007, 0x900f));

    let translated = mmu.translate(&ram, &write).unwrap();
    assert_eq!(translated.address(), PhysAddr::new(0x9234));
    // A is bit 5, D bit 6.
    assert_eq!(translated.translations()[0].leaf, 0x906f);
    assert_eq!((entry(&ram, 0x1000), entry(&ram, 0x4008)), (0x2027, 0x906f));
}

/// SDM "Paging and Memory Typing When the PAT is Supported": the index is 4 × PAT + 2 × PCD + PWT. PAT is
/// bit 7 of a PTE, and bit 12 of an entry that maps a large page.
#[test]
fn mode_11_a_translation_has_page_size_rights_and_memory_type() {
    let (ram, state) = four_level();
    let mut cached = CachedMmu::<FourLevel>::new(state, Profile::default());
    let mut page = |address| -> [Translation; 3] {
        let read = user(AccessKind::Read, address, 1);
        let walked = Mmu::<FourLevel>::new(state, Profile::default()).probe(&ram, &read).unwrap();
        let missed = cached.translate(&ram, &read).unwrap();
        let hit = cached.translate(&ram, &read).unwrap();
        [walked, missed, hit].map(|translated| translated.translations()[0])
    };

    let no_execute = Rights::WRITE | Rights::USER;
    for (address, frame, size, rights, index) in [
        (0x1000, 0x9000, PageSize::Size4KiB, Rights::all(), 1),
        (0x2000, 0x7000, PageSize::Size4KiB, no_execute, 4),
        (0x20_0000, 0x20_0000, PageSize::Size2MiB, Rights::all(), 6),
    ] {
        for translation in page(address) {
            assert_eq!(translation.address, PhysAddr::new(frame));
            assert_eq!(translation.page_size(), Some(size));
            assert_eq!(translation.rights, rights);
            assert_eq!(translation.pat_index(), index, "{address:#x}");
        }
    }
}

#[test]
fn mode_12_without_paging_there_is_no_page() {
    let read = user(AccessKind::Read, 0xffff_fffe, 4);
    let mmu = AnyMmu::new(ControlState::unpaged(), Profile::default());
    let translated = mmu.translate(&ram(&[]), &read).unwrap();

    // 32-bit addresses wrap.
    let spans: Vec<_> = translated.spans().map(|span| (span.address.get(), span.len)).collect();
    assert_eq!(spans, [(0xffff_fffe, 2), (0, 2)]);
    let first = translated.translations()[0];
    assert_eq!((first.level, first.page_size(), first.pat_index()), (None, None, 0));
}

#[test]
fn ad_7_an_access_across_pages_is_translated_as_one() {
    let (ram, state) = four_level();
    let mmu = AnyMmu::new(state, Profile::default());
    let translated = mmu.translate(&ram, &user(AccessKind::Write, 0x1ffd, 8)).unwrap();
    let spans: Vec<_> = translated.spans().map(|span| (span.address.get(), span.len)).collect();
    assert_eq!(spans, [(0x9ffd, 3), (0x7000, 5)]);
    assert_eq!(translated.translations().len(), 2);

    // Page 3 is not mapped: W and U, and CR2 has its first byte (CODE-12).
    let AccessError::Fault(fault) =
        mmu.translate(&ram, &user(AccessKind::Write, 0x2ffd, 8)).unwrap_err()
    else {
        panic!("a fault")
    };
    assert_eq!((fault.error_code, fault.cr2), (6, Some(VirtAddr::new(0x3000))));
}

#[test]
fn canon_1_translate_checks_and_masks_addresses() {
    let (ram, mut state) = four_level();
    let tagged = user(AccessKind::Read, 0x1200_0000_0000_1234, 4);
    let translate = |state, access| AnyMmu::new(state, Profile::default()).translate(&ram, access);

    let fault = translate(state, &tagged).unwrap_err();
    assert_eq!(fault.to_string(), "#GP(0)");

    // LAM for 57 bits: bits 62:57 are masked.
    state.cr3 |= 1 << 61;
    assert_eq!(translate(state, &tagged).unwrap().address(), PhysAddr::new(0x9234));

    let empty = Access { size: 0, ..tagged };
    assert_eq!(translate(state, &empty), Err(AccessError::Size(SizeError::Empty)));
}

#[test]
fn smep_and_smap_are_in_the_answer() {
    let (ram, mut state) = four_level();
    state.cr4 |= Cr4::SMEP | Cr4::SMAP;
    let mmu = AnyMmu::new(state, Profile::default());
    let code = |kind| {
        let access = Access::new(kind, VirtAddr::new(0x1000), 1, Ring::Zero);
        mmu.probe(&ram, &access).unwrap_err().to_string()
    };
    assert_eq!(code(AccessKind::Fetch), "#PF(P|I) at 0x1000");
    assert_eq!(code(AccessKind::Write), "#PF(P|W) at 0x1000");
}

/// Guest-physical memory below a hypervisor, which has not mapped all of it.
struct Guest {
    ram: TranslateMemory,
    /// The frame that causes a violation.
    unmapped: u64,
    /// Whether writes cause one everywhere.
    read_only: bool,
}

/// The violation of an access to guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EptViolation {
    at: PhysAddr,
    is_write: bool,
}

impl Guest {
    fn check(&self, at: PhysAddr, is_write: bool) -> Result<(), EptViolation> {
        let is_mapped = at.frame().get() != self.unmapped && !(is_write && self.read_only);
        if is_mapped { Ok(()) } else { Err(EptViolation { at, is_write }) }
    }
}

impl TableMemory for Guest {
    type Error = EptViolation;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, EptViolation> {
        self.check(at, false)?;
        self.ram.read_entry(at, bytes).map_err(|_| EptViolation { at, is_write: false })
    }
}

impl TableMemoryMut for Guest {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), EptViolation> {
        self.check(at, true)?;
        self.ram.write_entry(at, bytes, entry).map_err(|_| EptViolation { at, is_write: true })
    }
}

impl AtomicTableMemory for Guest {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, EptViolation> {
        self.check(at, true)?;
        let exchanged = self.ram.compare_exchange(at, bytes, current, new);
        exchanged.map_err(|_| EptViolation { at, is_write: true })
    }
}

#[test]
fn out_1_the_error_of_a_memory_passes_through() {
    let (ram, state) = four_level();
    let mut guest = Guest { ram, unmapped: 0x4000, read_only: false };
    let violation = |at, is_write| EptViolation { at: PhysAddr::new(at), is_write };
    let read = user(AccessKind::Read, 0x1234, 4);
    let profile = Profile::default();
    let mmu = Mmu::<FourLevel>::new(state, profile);
    let mut cached = CachedMmu::<FourLevel>::new(state, profile);

    let pte = violation(0x4008, false);
    assert_eq!(mmu.walk(&guest, read.address, &read, &mut ()), Err(WalkError::Memory(pte)));
    assert_eq!(mmu.translate(&guest, &read), Err(AccessError::Memory(pte)));
    assert_eq!(cached.translate(&guest, &read), Err(AccessError::Memory(pte)));
    assert_eq!(cached.probe(&guest, &read), Err(AccessError::Memory(pte)));
    let frames = FrameRange::new(PhysAddr::new(0x5000), 1);
    let mapper = Mapper::<FourLevel, _, _>::new(state, profile, &mut guest, frames);
    assert_eq!(mapper.translate(read.address), Err(MapError::Memory(pte)));

    // Setting A is a write to the table.
    guest.unmapped = 0;
    guest.read_only = true;
    let pml4e = violation(0x1000, true);
    assert_eq!(mmu.translate(&guest, &read), Err(AccessError::Memory(pml4e)));
    assert_eq!(cached.translate(&guest, &read), Err(AccessError::Memory(pml4e)));
    assert_eq!(mmu.probe(&guest, &read).unwrap().address(), PhysAddr::new(0x9234));

    // MOV to CR3 reads four PDPTEs (PDPTE-1).
    guest.unmapped = 0x3000;
    let loaded = ControlState::pae(0, [0; 4]).load_cr3(0x3000, profile, &guest);
    assert_eq!(loaded, Err(LoadError::Memory(violation(0x3000, false))));
}

#[test]
fn a_mapper_writes_where_a_walk_reads() {
    let mut guest = Guest { ram: ram(&[]), unmapped: u64::MAX, read_only: false };
    let state = ControlState::bits32(0x1000);
    let frames = FrameRange::new(PhysAddr::new(0x2000), 1);
    let mut mapper = Mapper::<Bits32, _, _>::new(state, Profile::default(), &mut guest, frames);
    let page = VirtAddr::new(0x40_1000);
    mapper.map(page, PhysAddr::new(0x5000), PageSize::Size4KiB, EntryBits::US).unwrap();

    let translated = AnyMmu::new(state, Profile::default())
        .translate(&guest, &user(AccessKind::Fetch, 0x40_1002, 2))
        .unwrap();
    assert_eq!(translated.address(), PhysAddr::new(0x5002));
    assert_eq!(guest.read_entry(PhysAddr::new(0x2004), 4), Ok(0x5025));
}
