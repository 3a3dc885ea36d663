//! AD-4: another processor changes an entry between reading it and setting A and D.

use super::{
    Access, BYTE, Bytes, CacheBench, Outcome, OutsideMemory, PDE, PTE, PhysAddr, Ring, Rule,
    TableMemory, TableMemoryMut, TableMemoryUpdate, Vec, VirtAddr,
};
use crate::cache::AccessError;
use core::cell::Cell;

/// Memory in which another processor stores `value` at `at` just before each of the next `times`
/// updates of that entry.
struct Raced<'a> {
    memory: &'a mut Bytes<Vec<u8>>,
    at: u64,
    value: u64,
    times: usize,
    reads: Cell<usize>,
}

impl TableMemory for Raced<'_> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read_entry(at, bytes)
    }
}

impl TableMemoryUpdate for Raced<'_> {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        if at.get() == self.at && self.times > 0 {
            self.times -= 1;
            self.memory.write_entry(at, bytes, self.value)?;
            // Each store changes the value.
            self.value ^= 1 << 52;
        }

        self.memory.update_entry(at, bytes, old, new)
    }
}

/// A user's write of one byte, while another processor stores `value` at `at` once: the physical
/// address or the error code, and the number of entries read.
fn write_against_one_store(
    bench: &mut CacheBench,
    at: u64,
    value: u64,
) -> (Result<u64, u32>, usize) {
    let mut memory = Raced { memory: &mut bench.memory, at, value, times: 1, reads: Cell::new(0) };
    let write = Access::write(VirtAddr::new(BYTE), 1, Ring::Three);
    let end = match bench.mmu.access(&mut memory, &write).expect("an outcome") {
        Outcome::Translated(spans) => Ok(spans[0].address.get()),
        Outcome::Fault(fault) => Err(fault.error_code),
    };

    (end, memory.reads.get())
}

#[test]
fn ad_4_after_a_lost_race_the_entry_is_read_again() {
    for at in [PDE, PTE] {
        let mut bench = CacheBench::new();
        let (outcome, _) = write_against_one_store(&mut bench, at, 0);
        assert_eq!(outcome, Err(4 + 2), "#PF with P=0");
        assert_eq!(bench.get(at), 0, "A and D are not set in an absent entry");
        assert_eq!(bench.mmu.tlb().iter().count(), 0);
        assert!(bench.mmu.rules().contains(Rule::Ad4));
    }
}

#[test]
fn ad_4_after_a_lost_race_the_new_value_is_used() {
    let mut bench = CacheBench::new();
    let (outcome, reads) = write_against_one_store(&mut bench, PTE, 0x7007);
    assert_eq!((outcome, reads), (Ok(0x7234), 8));
    assert_eq!(bench.get(PTE), 0x7067);
    bench.reads(BYTE, 0x7234);
}

#[test]
fn ad_4_a_race_on_a_leaf_that_is_cached_clean() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);

    let (outcome, reads) = write_against_one_store(&mut bench, PTE, 0x5025);
    // The new PTE is read-only. The PTE is read twice by way of the cached PDE, then the walk
    // starts at the root: 1 + 1 + 4.
    assert_eq!((outcome, reads), (Err(4 + 2 + 1), 6));
    assert_eq!(bench.get(PTE), 0x5025);
}

#[test]
fn ad_4_the_number_of_reads_is_bounded() {
    let mut bench = CacheBench::new();
    let mut memory = Raced {
        memory: &mut bench.memory,
        at: PTE,
        value: 0x7007,
        times: usize::MAX,
        reads: Cell::new(0),
    };
    let write = Access::write(VirtAddr::new(BYTE), 1, Ring::Three);
    let outcome = bench.mmu.access(&mut memory, &write);

    assert_eq!(outcome, Err(AccessError::Contended(PhysAddr::new(PTE))));
    assert_eq!(memory.reads.get(), 400);
    assert_eq!(bench.cached(), (0, 0));
}

#[test]
fn out_1_a_table_outside_memory_has_no_outcome() {
    let mut bench = CacheBench::new();
    bench.set(PDE, 0x7777_7007);

    let read = Access::read(VirtAddr::new(BYTE), 1, Ring::Three);
    let outside = OutsideMemory(PhysAddr::new(0x7777_7020));
    let outcome = bench.mmu.access(&mut bench.memory, &read);
    assert_eq!(outcome, Err(AccessError::Outside(outside)));
    assert_eq!(bench.cached(), (0, 0));
}
