//! Tests of the rules of caching, with every expected value taken from the manuals by hand, and
//! tests of the caches themselves.

mod any_mode;
mod invalidations;
mod races;
mod sizes;
mod stale;
mod stale_drops;
mod stale_flags;
mod stale_registers;
mod stale_rules;
mod verdicts;

use super::{CachedMmu, Invalidation, RegisterWrite};
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{
    AtomicTableMemory, Bytes, OutsideMemory, TableMemory, TableMemoryMut, Unshared,
};
use crate::outcome::Outcome;
use crate::x86::fault::{Fault, Vector};
use crate::x86::format::FourLevel;
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::rule::Rule;
use crate::x86::semantics::Reference;
use crate::x86::state::{ControlState, Cr0, Cr4};
use std::vec::Vec;

/// The bits of an entry, defined again so that the tests notice a wrong constant in the crate.
mod bit {
    pub(super) const P: u64 = 1 << 0;
    pub(super) const RW: u64 = 1 << 1;
    pub(super) const A: u64 = 1 << 5;
    pub(super) const D: u64 = 1 << 6;
    pub(super) const G: u64 = 1 << 8;
    /// Address bit 51, reserved with 48 physical address bits.
    pub(super) const RESERVED: u64 = 1 << 51;
}

/// The mapped page: entry 1 of the PML4, 2 of the PDPT, 3 of the directory, 4 of the table.
const PAGE: u64 = 0x80_8060_4000;
/// A byte in it.
const BYTE: u64 = PAGE + 0x234;
/// The next page, mapped by the same table.
const NEIGHBOUR: u64 = PAGE + 0x1000;

/// The addresses of the entries on its path, and of the neighbour's PTE.
const PML4E: u64 = 0x10_008;
const PDPTE: u64 = 0x11_010;
const PDE: u64 = 0x12_018;
const PTE: u64 = 0x13_020;
const NEXT_PTE: u64 = 0x13_028;
const PATH: [u64; 4] = [PML4E, PDPTE, PDE, PTE];

/// A caching MMU with the default sizes.
type Cached = CachedMmu<FourLevel, Reference, 64, 4, 16>;

/// Page tables in memory, and a caching MMU.
struct CacheBench {
    memory: Unshared<Bytes<Vec<u8>>>,
    mmu: Cached,
}

impl CacheBench {
    /// The page in the frame at 0x5000 and its neighbour in that at 0x6000: present, writable,
    /// user, neither accessed nor dirty. The caches of the MMU are empty. An Intel processor with
    /// 48 physical address bits.
    fn new() -> Self {
        Self::with_state(ControlState::four_level(0x10_000))
    }

    fn with_cr4(cr4: Cr4) -> Self {
        let mut state = ControlState::four_level(0x10_000);
        state.cr4 |= cr4;
        Self::with_state(state)
    }

    fn with_state(state: ControlState) -> Self {
        let profile = Profile {
            vendor: Vendor::Intel,
            physical_address_bits: 48,
            features: Features::all(),
            ..Profile::default()
        };

        let memory = Unshared::new(Bytes::new(PhysAddr::new(0x10_000), vec![0; 0x8000]));
        let mut bench = Self { memory, mmu: Cached::with_semantics(Reference, state, profile) };

        let path = [(PML4E, 0x11_007), (PDPTE, 0x12_007), (PDE, 0x13_007)];
        for (at, entry) in path.into_iter().chain([(PTE, 0x5007), (NEXT_PTE, 0x6007)]) {
            bench.set(at, entry);
        }

        bench
    }

    fn set(&mut self, at: u64, entry: u64) {
        self.memory.write_entry(PhysAddr::new(at), 8, entry).unwrap();
    }

    fn get(&self, at: u64) -> u64 {
        self.memory.read_entry(PhysAddr::new(at), 8).unwrap()
    }

    fn state(&self) -> ControlState {
        self.mmu.mmu().regime().state
    }

    /// Changes registers other than CR3.
    fn change(&mut self, change: impl Fn(&mut ControlState)) {
        let mut new = self.state();
        change(&mut new);
        self.mmu.set_state(RegisterWrite::Other, new);
    }

    fn mov_to_cr3(&mut self, value: u64) {
        let new = ControlState { cr3: value & !(1 << 63), ..self.state() };
        self.mmu.set_state(RegisterWrite::Cr3(value), new);
    }

    #[track_caller]
    fn does(&mut self, kind: AccessKind, address: u64, ring: Ring) -> Outcome {
        self.performs(&Access::new(kind, VirtAddr::new(address), 1, ring))
    }

    #[track_caller]
    fn performs(&mut self, access: &Access) -> Outcome {
        Outcome::of(self.mmu.translate(&self.memory, access)).expect("an outcome")
    }

    /// A user access reaches this physical address.
    #[track_caller]
    fn reaches(&mut self, kind: AccessKind, address: u64, expected: u64) {
        let outcome = self.does(kind, address, Ring::Three);
        assert_eq!(outcome.physical_address(), Some(PhysAddr::new(expected)), "{outcome:?}");
    }

    #[track_caller]
    fn reads(&mut self, address: u64, expected: u64) {
        self.reaches(AccessKind::Read, address, expected);
    }

    #[track_caller]
    fn writes(&mut self, address: u64, expected: u64) {
        self.reaches(AccessKind::Write, address, expected);
    }

    /// An access ends in a page fault with this error code.
    #[track_caller]
    fn faults(&mut self, kind: AccessKind, address: u64, ring: Ring, code: u32) {
        let outcome = self.does(kind, address, ring);
        let fault = outcome.fault().unwrap_or_else(|| panic!("not a fault: {outcome:?}"));
        assert_eq!((fault.vector, fault.error_code), (Vector::PageFault, code), "{fault}");
        assert_eq!(fault.cr2, Some(VirtAddr::new(address)));
    }

    /// Numbers of translations and of paging-structure entries in the caches.
    fn cached(&self) -> (usize, usize) {
        (self.mmu.tlb().iter().count(), self.mmu.structures().iter().count())
    }
}
