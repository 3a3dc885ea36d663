//! AD-4: another processor changes an entry between reading it and setting A and D.

use super::{
    Access, AtomicTableMemory, BYTE, Bytes, CacheBench, Outcome, OutsideMemory, PDE, PTE, PhysAddr,
    Ring, Rule, TableMemory, Unshared, Vec, VirtAddr,
};
use crate::outcome::AccessError;
use core::cell::Cell;

/// Memory in which another processor stores `value` at `at` just before each of the next `times`
/// updates of that entry.
struct Raced<'a> {
    memory: &'a Unshared<Bytes<Vec<u8>>>,
    at: u64,
    value: Cell<u64>,
    times: Cell<usize>,
    reads: Cell<usize>,
}

impl TableMemory for Raced<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read_entry(at, bytes)
    }
}

impl AtomicTableMemory for Raced<'_> {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        if at.get() == self.at && self.times.get() > 0 {
            self.times.set(self.times.get() - 1);
            let before = self.memory.read_entry(at, bytes)?;
            self.memory.compare_exchange(at, bytes, before, self.value.get())?;
            // Each store changes the value.
            self.value.set(self.value.get() ^ 1 << 52);
        }

        self.memory.compare_exchange(at, bytes, current, new)
    }
}

/// A user's write of one byte, while another processor stores `value` at `at` once: the physical
/// address or the error code, and the number of entries read.
fn write_against_one_store(
    bench: &mut CacheBench,
    at: u64,
    value: u64,
) -> (Result<u64, u32>, usize) {
    let memory = Raced {
        memory: &bench.memory,
        at,
        value: Cell::new(value),
        times: Cell::new(1),
        reads: Cell::new(0),
    };
    let write = Access::write(VirtAddr::new(BYTE), 1, Ring::Three);
    let end = match Outcome::of(bench.mmu.translate(&memory, &write)).expect("an outcome") {
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
    // Four that lose the race, and four that win.
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
    let memory = Raced {
        memory: &bench.memory,
        at: PTE,
        value: Cell::new(0x7007),
        times: Cell::new(usize::MAX),
        reads: Cell::new(0),
    };
    let write = Access::write(VirtAddr::new(BYTE), 1, Ring::Three);
    let translated = bench.mmu.translate(&memory, &write);

    assert_eq!(translated, Err(AccessError::Contended(PhysAddr::new(PTE))));
    // The walk by masks loses the race, and then a hundred walks in detail.
    assert_eq!(memory.reads.get(), 4 + 400);
    assert_eq!(bench.cached(), (0, 0));
}

#[test]
fn out_1_a_table_outside_memory_has_no_outcome() {
    let mut bench = CacheBench::new();
    bench.set(PDE, 0x7777_7007);

    let read = Access::read(VirtAddr::new(BYTE), 1, Ring::Three);
    let outside = OutsideMemory(PhysAddr::new(0x7777_7020));
    let translated = bench.mmu.translate(&bench.memory, &read);
    assert_eq!(translated, Err(AccessError::Memory(outside)));
    assert_eq!(bench.cached(), (0, 0));
}
