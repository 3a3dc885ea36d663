//! AD-4: others change the entry between its reading and the setting of A and D.

use super::{
    Access, BYTE, Bytes, CacheBench, OutsideMemory, PDE, PTE, PhysAddr, Ring, Rule, TableMemory,
    TableMemoryMut, TableMemoryUpdate, Vec, VirtAddr,
};
use crate::cache::AccessError;
use core::cell::Cell;

/// Memory in which somebody else stores `value` at `at` just before an update of that entry.
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
            // Every rival's value differs from the one before.
            self.value ^= 1 << 52;
        }
        self.memory.update_entry(at, bytes, old, new)
    }
}

fn race(bench: &mut CacheBench, at: u64, value: u64, times: usize) -> (Result<u64, u32>, usize) {
    let memory = &mut bench.memory;
    let mut memory = Raced { memory, at, value, times, reads: Cell::new(0) };
    let write = Access::write(VirtAddr::new(BYTE), 1, Ring::Three);
    let outcome = bench.mmu.access(&mut memory, &write);
    let reads = memory.reads.get();
    let outcome = outcome.expect("an outcome");
    let fault = outcome.fault().map(|fault| fault.error_code);
    (outcome.physical_address().map(PhysAddr::get).ok_or_else(|| fault.unwrap()), reads)
}

#[test]
fn ad_4_a_lost_race_reads_the_entry_again_p_included() {
    for at in [PDE, PTE] {
        let mut bench = CacheBench::new();
        let (outcome, _) = race(&mut bench, at, 0, 1);
        assert_eq!(outcome, Err(4 + 2), "#PF with P=0");
        assert_eq!(bench.get(at), 0, "A and D are not set in what is not present");
        assert_eq!(bench.mmu.tlb().iter().count(), 0);
        assert!(bench.mmu.rules().contains(Rule::Ad4));
    }
}

#[test]
fn ad_4_a_lost_race_uses_what_the_winner_stored() {
    let mut bench = CacheBench::new();
    let (outcome, reads) = race(&mut bench, PTE, 0x7007, 1);
    assert_eq!((outcome, reads), (Ok(0x7234), 8));
    assert_eq!(bench.get(PTE), 0x7067);
    bench.reads(BYTE, 0x7234);
}

#[test]
fn ad_4_a_race_on_a_clean_cached_leaf() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);
    let (outcome, reads) = race(&mut bench, PTE, 0x5025, 1);
    // The winner made it read-only. From the PDE cache twice, then from the root: 1 + 1 + 4.
    assert_eq!((outcome, reads), (Err(4 + 2 + 1), 6));
    assert_eq!(bench.get(PTE), 0x5025);
}

#[test]
fn ad_4_reads_are_bounded_against_any_rival() {
    let mut bench = CacheBench::new();
    let memory = &mut bench.memory;
    let (at, value, times) = (PTE, 0x7007, usize::MAX);
    let mut memory = Raced { memory, at, value, times, reads: Cell::new(0) };
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
