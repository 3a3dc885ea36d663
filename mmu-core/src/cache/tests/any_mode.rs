//! A processor that changes its mode: every register write is checked, and drops what it must.

use super::{Access, Bytes, PhysAddr, Profile, Ring, TableMemoryMut, Unshared, Vec, VirtAddr};
use crate::cache::{AnyCachedMmu, RegisterWrite};
use crate::memory::OutsideMemory;
use crate::x86::control::LoadError;
use crate::x86::fault::{Fault, Vector};
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr0, PagingMode};

type AnyModeMemory = Unshared<Bytes<Vec<u8>>>;

/// Tables of three formats, which map page 1 to a frame of each.
fn memory() -> AnyModeMemory {
    let mut memory = Unshared::new(Bytes::new(PhysAddr::new(0), vec![0; 0xc000]));
    for (at, bytes, entry) in [
        // 32-bit paging: frame 0x14.
        (0x1000, 4, 0x2007),
        (0x2004, 4, 0x1_4007),
        // PAE paging: frame 0x15.
        (0x3000, 8, 0x4001),
        (0x4000, 8, 0x5007),
        (0x5008, 8, 0x1_5007),
        // 4-level paging, frame 0x16, and 5-level paging above it.
        (0xa000, 8, 0x6007),
        (0x6000, 8, 0x7007),
        (0x7000, 8, 0x8007),
        (0x8000, 8, 0x9007),
        (0x9008, 8, 0x1_6107),
    ] {
        memory.write_entry(PhysAddr::new(at), bytes, entry).unwrap();
    }
    memory
}

/// Where a read of page 1 goes.
fn reached(mmu: &mut AnyCachedMmu, memory: &AnyModeMemory) -> u64 {
    let read = Access::read(VirtAddr::new(0x1234), 1, Ring::Zero);
    mmu.translate(memory, &read).unwrap().address().get()
}

fn mode(mmu: &AnyCachedMmu) -> PagingMode {
    mmu.regime().state.mode()
}

const GP: Fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
/// PE and ET; WP and PG.
const PROTECTED: u64 = 0x11;
const PAGING: u64 = 0x8001_0011;
/// CR4.
const PAE: u64 = 1 << 5;
const PGE: u64 = 1 << 7;
const LA57: u64 = 1 << 12;
const PCIDE: u64 = 1 << 17;
/// EFER.
const LME: u64 = 1 << 8;

/// The way of an operating system that starts: SDM "Initializing IA-32e Mode".
#[test]
fn a_processor_goes_through_every_mode() {
    let memory = memory();
    let mut mmu = AnyCachedMmu::new(ControlState::unpaged(), Profile::default());
    mmu.write_cr4(&memory, 0).unwrap();
    assert_eq!(reached(&mut mmu, &memory), 0x1234);

    mmu.write_cr3(&memory, 0x1000).unwrap();
    mmu.write_cr0(&memory, PAGING).unwrap();
    assert_eq!((mode(&mmu), reached(&mut mmu, &memory)), (PagingMode::Bits32, 0x1_4234));

    // CR4.PAE may change while paging is on, outside long mode; the PDPTEs are loaded.
    mmu.write_cr3(&memory, 0x3000).unwrap();
    mmu.write_cr4(&memory, PAE).unwrap();
    assert_eq!((mode(&mmu), reached(&mut mmu, &memory)), (PagingMode::Pae, 0x1_5234));
    assert_eq!(mmu.regime().state.pdptes, [0x4001, 0, 0, 0]);

    mmu.write_cr0(&memory, PROTECTED).unwrap();
    mmu.write_cr3(&memory, 0x6000).unwrap();
    mmu.write_efer(LME).unwrap();
    mmu.write_cr0(&memory, PAGING).unwrap();
    assert_eq!((mode(&mmu), reached(&mut mmu, &memory)), (PagingMode::FourLevel, 0x1_6234));

    mmu.write_cr0(&memory, PROTECTED).unwrap();
    mmu.write_cr3(&memory, 0xa000).unwrap();
    mmu.write_cr4(&memory, PAE | LA57).unwrap();
    mmu.write_cr0(&memory, PAGING).unwrap();
    assert_eq!((mode(&mmu), reached(&mut mmu, &memory)), (PagingMode::FiveLevel, 0x1_6234));
}

#[test]
fn tlb_4_a_change_of_mode_drops_everything() {
    let mut memory = memory();
    let mut mmu = AnyCachedMmu::new(ControlState::four_level(0x6000), Profile::default());
    mmu.write_cr4(&memory, PAE | PGE).unwrap();
    assert_eq!(reached(&mut mmu, &memory), 0x1_6234);
    // The PTE and three above it. The translation is global.
    assert_eq!((mmu.tlb().iter().count(), mmu.structures().iter().count()), (1, 3));

    mmu.write_cr0(&memory, PROTECTED).unwrap();
    assert_eq!((mmu.tlb().iter().count(), mmu.structures().iter().count()), (0, 0));
    assert!(mmu.rules().contains(Rule::Tlb4));

    // Back in long mode, the new entry counts.
    memory.write_entry(PhysAddr::new(0x9008), 8, 0x1_7107).unwrap();
    mmu.write_cr0(&memory, PAGING).unwrap();
    assert_eq!(reached(&mut mmu, &memory), 0x1_7234);
}

#[test]
fn tlb_4_a_write_within_a_mode_drops_what_it_must() {
    let mut memory = memory();
    let mut mmu = AnyCachedMmu::new(ControlState::four_level(0x6000), Profile::default());
    assert_eq!(reached(&mut mmu, &memory), 0x1_6234);
    memory.write_entry(PhysAddr::new(0x9008), 8, 0x1_7007).unwrap();

    // PKRU, WP: nothing. CR3: all but global translations, and CR4.PGE was 0.
    mmu.write_pkru(0);
    mmu.write_cr0(&memory, PAGING & !(1 << 16)).unwrap();
    assert_eq!(reached(&mut mmu, &memory), 0x1_6234);
    mmu.write_cr3(&memory, 0x6000).unwrap();
    assert_eq!(reached(&mut mmu, &memory), 0x1_7234);

    // With PCIDs, bit 63 keeps what is cached, and is not stored (MODE-9).
    mmu.write_cr4(&memory, PAE | PCIDE).unwrap();
    memory.write_entry(PhysAddr::new(0x9008), 8, 0x1_8007).unwrap();
    mmu.write_cr3(&memory, 1 << 63 | 0x6000).unwrap();
    assert_eq!(mmu.regime().state.cr3, 0x6000);
    assert_eq!(reached(&mut mmu, &memory), 0x1_7234);
    mmu.invpcid(2, [0, 0]).unwrap();
    assert_eq!(reached(&mut mmu, &memory), 0x1_8234);

    memory.write_entry(PhysAddr::new(0x9008), 8, 0x1_9007).unwrap();
    mmu.invlpg(VirtAddr::new(0x1000));
    assert_eq!(reached(&mut mmu, &memory), 0x1_9234);
}

/// SDM "MOV - Move to/from Control Registers", exceptions; WRMSR; INVPCID.
#[test]
fn a_write_that_faults_changes_nothing() {
    let memory = memory();
    let mut mmu = AnyCachedMmu::new(ControlState::four_level(0x6000), Profile::default());
    assert_eq!(reached(&mut mmu, &memory), 0x1_6234);
    let before = mmu.regime().state;

    // NW without CD; a reserved bit; PAE cleared in long mode; LME while paging; type 4.
    assert_eq!(mmu.write_cr0(&memory, PAGING | 1 << 29), Err(LoadError::Fault(GP)));
    assert_eq!(mmu.write_cr3(&memory, 1 << 60), Err(LoadError::Fault(GP)));
    assert_eq!(mmu.write_cr4(&memory, 0), Err(LoadError::Fault(GP)));
    assert_eq!(mmu.write_efer(0), Err(GP));
    assert_eq!(mmu.invpcid(4, [0, 0]), Err(GP));
    assert_eq!(mmu.regime().state, before);
    assert_eq!(mmu.tlb().iter().count(), 1);

    // In PAE paging there must be memory for the PDPTEs.
    let mut mmu =
        AnyCachedMmu::new(ControlState::pae(0x3000, [0x4001, 0, 0, 0]), Profile::default());
    let outside = OutsideMemory(PhysAddr::new(0x10_0000));
    assert_eq!(mmu.write_cr3(&memory, 0x10_0000), Err(LoadError::Memory(outside)));
    assert_eq!(reached(&mut mmu, &memory), 0x1_5234);
}

#[test]
fn a_snapshot_may_have_another_mode() {
    let memory = memory();
    let mut mmu = AnyCachedMmu::new(ControlState::four_level(0x6000), Profile::default());
    assert_eq!(reached(&mut mmu, &memory), 0x1_6234);

    mmu.set_state(RegisterWrite::Other, ControlState::bits32(0x1000));
    assert_eq!(reached(&mut mmu, &memory), 0x1_4234);

    let reset = ControlState { cr0: Cr0::ET, ..ControlState::unpaged() };
    mmu.set_state(RegisterWrite::Other, reset);
    assert_eq!(reached(&mut mmu, &memory), 0x1234);
}
