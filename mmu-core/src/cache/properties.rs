//! Properties of the caches over random sequences of edits, accesses and invalidations, in every
//! format.
//!
//! Memory is four tables of two entries each, and every table address leads to one of them: entries
//! serve several levels, tables contain themselves, and one edit touches many paths.

mod stale;

use super::{CachedMmu, RegisterWrite, TableMemoryUpdate, pcid};
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use crate::outcome::{Outcome, Prediction};
use crate::x86::format::{Bits32, FiveLevel, Format, FourLevel, Linear, Pae, Unpaged};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::semantics::Reference;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};
use proptest::prelude::*;
use std::vec::Vec;

const P: u64 = 1 << 0;
const US: u64 = 1 << 2;
const PS: u64 = 1 << 7;
const FRAME: u64 = 0xf_ffff_f000;
/// The textbook's table, with sizes unlike those of x86.
type TextbookTable = Linear<20, 12, 4>;

/// Eight entries: two in each of the tables at 0x1000, 0x2000, 0x3000 and 0x4000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EightEntries([u64; 8]);

fn slot(at: PhysAddr, bytes: u8) -> usize {
    let table = ((at.get() >> 12) + 3) & 3;
    let index = ((at.get() & 0xfff) / u64::from(bytes)) & 1;
    (table * 2 + index) as usize
}

const fn cut(entry: u64, bytes: u8) -> u64 {
    entry & (u64::MAX >> (64 - 8 * bytes as u32))
}

impl TableMemory for EightEntries {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        Ok(cut(self.0[slot(at, bytes)], bytes))
    }
}

impl TableMemoryMut for EightEntries {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, new: u64) -> Result<(), OutsideMemory> {
        let entry = &mut self.0[slot(at, bytes)];
        *entry = *entry & !cut(u64::MAX, bytes) | cut(new, bytes);
        Ok(())
    }
}

impl TableMemoryUpdate for EightEntries {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        let entry = &mut self.0[slot(at, bytes)];
        let unchanged = cut(*entry, bytes) == old;
        if unchanged {
            *entry = *entry & !cut(u64::MAX, bytes) | new;
        }
        Ok(unchanged)
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum CacheEvent {
    /// Bits of an entry flip. How software then invalidates is one of four ways.
    Edit { slot: usize, flip: u64, way: u8 },
    /// Bit n of `path` is the index into the n-th level.
    Access { path: u64, access: Access },
    /// MOV to CR3, where there are PCIDs with one of four and with any bit 63.
    Cr3 { number: u64, no_flush: bool },
    /// Registers that rights depend on.
    Registers { bits: u8, pkru: u32 },
}

fn entry() -> impl Strategy<Value = u64> {
    let present = prop::bool::weighted(0.95).prop_map(u64::from);
    let large = prop::bool::weighted(0.12).prop_map(|large| if large { PS } else { 0 });
    (present, large, any::<[u64; 4]>()).prop_map(|(present, large, [a, b, c, d])| {
        // R/W and U/S are mostly set, XD and the reserved bit 51 rarely.
        let rights = 6 & !(a & b & c);
        let rare = a & b & c & d & (1 << 63 | 1 << 51);
        let other = a & (0xf << 59 | 0x1f60);
        let frame = if large == 0 { b & 0xf_c000_7000 } else { b & 0xf_c000_0000 };
        present | large | rights | rare | (other & !FRAME) | frame
    })
}

fn flip() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![P, 2, US, 0x20, 0x40, 0x60, 0x100, PS, 1 << 59, 1 << 63]),
        any::<u64>().prop_map(|bits| bits & 0xf_c000_7000),
    ]
}

fn event() -> impl Strategy<Value = CacheEvent> {
    let access = (
        prop::sample::select(AccessKind::ALL.to_vec()),
        any::<[bool; 2]>(),
        0..0x2000_u64,
        1..=8_u16,
    );
    let access = access.prop_map(|(kind, [user, implicit], low, size)| {
        let ring = if user { Ring::Three } else { Ring::Zero };
        let implicit = implicit && kind != AccessKind::Fetch;
        // Half of them near the end of the page.
        let offset = if low < 0x1000 { low } else { low % 8 + 0xff8 };
        Access { implicit, ..Access::new(kind, VirtAddr::new(offset), size, ring) }
    });
    prop_oneof![
        3 => (0..8_usize, flip(), 0..4_u8)
            .prop_map(|(slot, flip, way)| CacheEvent::Edit { slot, flip, way }),
        6 => (0..32_u64, access).prop_map(|(path, access)| CacheEvent::Access { path, access }),
        2 => (0..4_u64, any::<bool>())
            .prop_map(|(number, no_flush)| CacheEvent::Cr3 { number, no_flush }),
        1 => (any::<u8>(), any::<u32>())
            .prop_map(|(bits, pkru)| CacheEvent::Registers { bits, pkru: pkru & pkru >> 16 }),
    ]
}

/// The start of an address: its offset is the access's, its indices are given.
fn address<F: Format>(path: u64) -> u64 {
    F::LEVELS
        .iter()
        .zip(0..)
        .fold(0, |address, (level, n)| address | (path >> n & 1) << level.shift)
}

/// Tables, registers and an MMU with caches of `N` structure entries per level.
struct PropertyBench<F: Format, const N: usize> {
    tables: EightEntries,
    mmu: CachedMmu<F, Reference, 2, 2, N>,
    /// With global pages there is one root for all PCIDs, otherwise each has its own.
    global: bool,
}

impl<F: Format, const N: usize> PropertyBench<F, N> {
    fn new(tables: EightEntries, global: bool) -> Self {
        let mut state = ControlState::long_mode(0x1000);
        match F::MODE {
            PagingMode::Unpaged => state.cr0 -= Cr0::PG,
            PagingMode::Bits32 => state.cr4 = Cr4::PSE,
            PagingMode::FiveLevel => state.cr4 |= Cr4::LA57,
            _ => {}
        }
        if F::IS_LONG_MODE {
            state.cr4 |= Cr4::PCIDE | Cr4::PKE;
        } else if F::MODE != PagingMode::Linear {
            state.efer = Efer::NXE;
        }
        state.cr4.set(Cr4::PGE, global);
        state.pdptes = [0x1001, 0x2001, 0x3001, 0x4001];
        let features = Features::all();
        let profile = Profile {
            vendor: Vendor::Intel,
            physical_address_bits: 48,
            features,
            ..Profile::default()
        };
        Self { tables, mmu: CachedMmu::with_semantics(Reference, state, profile), global }
    }

    fn state(&self) -> ControlState {
        self.mmu.mmu().regime().state
    }

    fn mov_to_cr3(&mut self, number: u64, no_flush: bool) -> u64 {
        let mut new = self.state();
        let root = if self.global { 0x1000 } else { 0x1000 * (number + 1) };
        new.cr3 = if F::IS_LONG_MODE { root | number } else { root };
        if !self.global {
            new.pdptes.rotate_left(number as usize);
        }
        let no_flush = no_flush && F::IS_LONG_MODE;
        let value = new.cr3 | u64::from(no_flush) << 63;
        self.mmu.set_state(RegisterWrite::Cr3(value), new);
        value
    }

    fn change_registers(&mut self, bits: u8, pkru: u32) {
        let mut new = self.state();
        let bit = |n: u8| bits >> n & 1 != 0;
        (new.pkru, new.ac) = (pkru, bit(0));
        new.cr0.set(Cr0::WP, bit(1));
        new.cr4.set(Cr4::SMEP, bit(2) && bit(3));
        new.cr4.set(Cr4::SMAP, bit(4) && bit(5));
        if F::MODE == PagingMode::Bits32 {
            new.cr4.set(Cr4::PSE, bit(6));
        } else {
            new.efer.set(Efer::NXE, bit(7) || bit(6));
        }
        self.mmu.set_state(RegisterWrite::Other, new);
    }

    /// Every way to invalidate all that an edit anywhere can have changed.
    fn invalidate(&mut self, way: u8) {
        let pcids = if F::IS_LONG_MODE { 0..4 } else { 0..1 };
        // A crossing access may reach the page after each.
        let pages = (0..1 << F::LEVELS.len()).map(address::<F>);
        let pages = pages.flat_map(|page| [page, page + 0x1000]);
        match way {
            0 => self.mmu.invpcid(2, [0, 0]).unwrap(),
            1 => {
                // The current PCID is left to INVLPG.
                let current = u64::from(pcid(&self.state()));
                for pcid in pcids.filter(|pcid| *pcid != current) {
                    self.mmu.invpcid(1, [pcid, 0]).unwrap();
                }
                pages.for_each(|page| self.mmu.invlpg(VirtAddr::new(page)));
            }
            2 if !self.global => self.mmu.invpcid(3, [0, 0]).unwrap(),
            2 => {
                for pge in [false, true] {
                    let mut new = self.state();
                    new.cr4.set(Cr4::PGE, pge);
                    self.mmu.set_state(RegisterWrite::Other, new);
                }
            }
            _ => {
                for page in pages {
                    for pcid in pcids.clone() {
                        self.mmu.invpcid(0, [pcid, page]).unwrap();
                    }
                    self.mmu.invlpg(VirtAddr::new(page));
                }
            }
        }
    }

    fn access(&mut self, access: &Access) -> Outcome {
        self.mmu.access(&mut self.tables, access).expect("an outcome")
    }
}

fn placed<F: Format>(path: u64, access: &Access) -> Access {
    Access { address: VirtAddr::new(address::<F>(path) | access.address.get()), ..*access }
}

/// Whether an alternative has this outcome and allows what happened to the tables.
fn allows<F: Format>(
    prediction: &Prediction,
    outcome: &Outcome,
    before: &EightEntries,
    after: &EightEntries,
) -> bool {
    prediction.alternatives.iter().filter(|known| known.outcome == *outcome).any(|found| {
        let (mut must, mut may) = ([0; 8], [0; 8]);
        for update in &found.updates {
            must[slot(update.at, F::ENTRY_BYTES)] |= update.must_set;
            may[slot(update.at, F::ENTRY_BYTES)] |= update.must_set | update.may_set;
        }
        // No bit is cleared, each is set that must be, and no other.
        (0..8).all(|n| {
            let (before, after) = (before.0[n], after.0[n]);
            before & !after == 0 && must[n] & !after == 0 && after & !before & !may[n] == 0
        })
    })
}

/// With an invalidation after every edit the caches are not to be seen: every outcome, and all that
/// happens to A and D, is what the manuals allow without caches. MOV to CR3 drops what it must and
/// spares the rest.
fn invisible<F: Format>(
    tables: EightEntries,
    global: bool,
    events: &[CacheEvent],
) -> Result<(), TestCaseError> {
    let mut bench = PropertyBench::<F, 2>::new(tables, global);
    for event in events {
        match *event {
            CacheEvent::Edit { slot, flip, way } => {
                bench.tables.0[slot] ^= flip;
                bench.invalidate(way);
            }
            CacheEvent::Cr3 { number, no_flush } => {
                let before: Vec<_> = bench.mmu.tlb().iter().copied().collect();
                let value = bench.mov_to_cr3(number, no_flush);
                let (current, kept) = (pcid(&bench.state()), value >> 63 != 0);
                let after: Vec<_> = bench.mmu.tlb().iter().copied().collect();
                let spared = before.into_iter();
                let spared: Vec<_> =
                    spared.filter(|e| kept || e.global || e.pcid != current).collect();
                prop_assert_eq!(after, spared);
            }
            CacheEvent::Registers { bits, pkru } => bench.change_registers(bits, pkru),
            CacheEvent::Access { path, access } => {
                let access = placed::<F>(path, &access);
                let before = bench.tables;
                let prediction = bench.mmu.mmu().predict(&before, &access);
                let outcome = bench.access(&access);
                let after = &bench.tables;
                let found = allows::<F>(&prediction, &outcome, &before, after);
                prop_assert!(found, "{outcome:?}, {after:?}, without caches {prediction:?}");
            }
        }
    }
    Ok(())
}

fn tables() -> impl Strategy<Value = EightEntries> {
    prop::array::uniform8(entry()).prop_map(EightEntries)
}

macro_rules! in_every_format {
    ($($name:ident: $format:ty,)+) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn with_invalidation_caches_are_invisible(
                    tables in tables(),
                    global in any::<bool>(),
                    events in prop::collection::vec(event(), 1..40),
                ) {
                    invisible::<$format>(tables, global, &events)?;
                }
            }
        }
    )+};
}
in_every_format! {
    unpaged: Unpaged,
    bits32: Bits32,
    pae: Pae,
    four_level: FourLevel,
    five_level: FiveLevel,
    textbook: TextbookTable,
}
