//! Reads and writes through tables that are written by hand.

use super::{FailureCause, VirtualMemory, VirtualMemoryError};
use mmu_core::memory::OutsideMemory;
use mmu_core::{Access, ControlState, PhysAddr, Profile, Ring, Vector, VirtAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, VolatileMemory,
};

const SIZE: usize = 0x20_0000;

/// Linear 0x1000 is physical 0x6000, 0x2000 is 0x5000 and read-only, 0x3000 has no memory, and
/// 0x4000 is not mapped.
fn memory() -> GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
    for (at, entry) in [
        (0x1000, 0x2007_u64),
        (0x2000, 0x3007),
        (0x3000, 0x4007),
        (0x4008, 0x6007),
        (0x4010, 0x5005),
        (0x4018, 0x7000_0007),
    ] {
        memory.write_obj(entry, GuestAddress(at)).unwrap();
    }
    memory
}

fn guest(memory: &GuestMemoryMmap) -> VirtualMemory<'_, GuestMemoryMmap> {
    VirtualMemory::new(memory, ControlState::four_level(0x1000), Profile::default())
}

fn word(memory: &GuestMemoryMmap, at: u64) -> u64 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn a_read_across_pages_reads_both_frames_and_sets_a() {
    let memory = memory();
    memory.write_slice(&[1, 2], GuestAddress(0x6ffe)).unwrap();
    memory.write_slice(&[3, 4], GuestAddress(0x5000)).unwrap();

    let mut bytes = [0; 4];
    guest(&memory).read(VirtAddr::new(0x1ffe), &mut bytes, Ring::Three).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4]);
    assert_eq!(word(&memory, 0x4008), 0x6027);
    assert_eq!(word(&memory, 0x4010), 0x5025);
}

#[test]
fn ad_7_a_write_that_faults_on_its_second_page_stores_nothing() {
    let memory = memory();
    let result = guest(&memory).write(VirtAddr::new(0x1ffe), &[9; 4], Ring::Three);
    let VirtualMemoryError { cause: FailureCause::Fault(fault), done: 0 } = result.unwrap_err()
    else {
        panic!("a write to a read-only page faults")
    };

    assert_eq!(fault.vector, Vector::PageFault);
    assert_eq!(fault.error_code, 7);
    assert_eq!(fault.cr2, Some(VirtAddr::new(0x2000)));
    assert_eq!(memory.read_obj::<u16>(GuestAddress(0x6ffe)).unwrap(), 0);
}

#[test]
fn a_long_write_reports_how_far_it_came() {
    let memory = memory();
    let result = guest(&memory).write(VirtAddr::new(0x1000), &[7; 0x1800], Ring::Three);
    assert_eq!(result.unwrap_err().done, 0x1000);
    assert_eq!(word(&memory, 0x6ff8), 0x0707_0707_0707_0707);
    assert_eq!(word(&memory, 0x5000), 0);
}

#[test]
fn an_unmapped_page_and_missing_memory_are_different_errors() {
    let memory = memory();
    let mut guest = guest(&memory);
    let mut cause_at = |address: u64| {
        let mut byte = [0];
        guest.read(VirtAddr::new(address), &mut byte, Ring::Zero).unwrap_err().cause
    };

    assert_eq!(cause_at(0x4000).to_string(), "#PF(0) at 0x4000");
    let outside = OutsideMemory(PhysAddr::new(0x7000_0000));
    assert_eq!(cause_at(0x3000), FailureCause::Outside(outside));
    assert_eq!(cause_at(1 << 63).to_string(), "#GP(0)");
}

#[test]
fn an_address_without_memory_is_still_translated() {
    let memory = memory();
    let read = Access::read(VirtAddr::new(0x3ffe), 2, Ring::Three);
    let translated = guest(&memory).translate(&read).unwrap();
    assert_eq!(translated.address(), PhysAddr::new(0x7000_0ffe));
    assert_eq!(word(&memory, 0x4018), 0x7000_0027);
}

#[test]
fn an_update_of_a_32_bit_entry_leaves_the_next_one_alone() {
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
    for (at, entry) in [(0x1000, 0x2007_u32), (0x1004, 0xdead_beef), (0x2004, 0x6007)] {
        memory.write_obj(entry, GuestAddress(at)).unwrap();
    }
    let state = ControlState::bits32(0x1000);
    let mut guest = VirtualMemory::new(&memory, state, Profile::default());
    guest.write(VirtAddr::new(0x1004), &[5], Ring::Zero).unwrap();
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x6004)).unwrap(), 5);
    let entries =
        [0x1000, 0x1004, 0x2004].map(|at| memory.read_obj::<u32>(GuestAddress(at)).unwrap());
    assert_eq!(entries, [0x2027, 0xdead_beef, 0x6067]);
}

#[test]
fn an_edited_entry_is_used_after_an_invalidation() {
    let memory = memory();
    memory.write_obj(1_u8, GuestAddress(0x6000)).unwrap();
    memory.write_obj(2_u8, GuestAddress(0x8000)).unwrap();
    let mut guest = guest(&memory);
    let page = VirtAddr::new(0x1000);
    let mut byte = [0];
    guest.read(page, &mut byte, Ring::Three).unwrap();

    memory.write_obj(0x8007_u64, GuestAddress(0x4008)).unwrap();
    guest.read(page, &mut byte, Ring::Three).unwrap();
    assert_eq!(byte, [1]);

    guest.mmu().invlpg(page);
    guest.read(page, &mut byte, Ring::Three).unwrap();
    assert_eq!(byte, [2]);
}

/// The tables of one region lead to those of another, and A and D count as writes.
#[test]
fn tables_lie_in_several_regions_and_their_pages_become_dirty() {
    let ranges = [(GuestAddress(0x1000), 0x1000), (GuestAddress(0x8000), 0x4000)];
    let memory = GuestMemoryMmap::<AtomicBitmap>::from_ranges(&ranges).unwrap();
    for (at, entry) in [(0x1000, 0x9007_u64), (0x9000, 0xa007), (0xa000, 0xb007), (0xb008, 0x8007)]
    {
        // This marks nothing as dirty.
        let slice = memory.get_slice(GuestAddress(at), 8).unwrap();
        slice.get_atomic_ref::<AtomicU64>(0).unwrap().store(entry, Ordering::Relaxed);
    }
    let is_dirty = |at: u64| {
        let region = memory.find_region(GuestAddress(at)).unwrap();
        region.bitmap().dirty_at((at - region.start_addr().0) as usize)
    };
    assert!(!is_dirty(0x1000));

    let mut guest =
        VirtualMemory::new(&memory, ControlState::four_level(0x1000), Profile::default());
    let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Three);
    assert_eq!(guest.translate(&read).unwrap().address(), PhysAddr::new(0x8234));
    for table in [0x1000, 0x9000, 0xa000, 0xb000] {
        assert!(is_dirty(table), "{table:#x}");
    }
    assert!(!is_dirty(0x8000));
}
