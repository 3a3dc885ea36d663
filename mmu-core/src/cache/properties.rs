//! Properties of the caches over random sequences of edits, accesses and invalidations, in every
//! format.
//!
//! Memory is four tables of two entries each, and every table address leads to one of them: an
//! entry is used at several levels, tables contain themselves, and one edit changes many paths.

mod shortcuts;
mod stale;

use super::{CachedMmu, RegisterWrite, TlbEntry, pcid};
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory, TableMemoryMut, Unshared};
use crate::outcome::{Outcome, Prediction};
use crate::x86::format::{Bits32, FiveLevel, Format, FourLevel, Linear, Pae, Unpaged};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::semantics::{Reference, Semantics};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};
use proptest::prelude::*;
use std::vec::Vec;

const P: u64 = 1 << 0;
const US: u64 = 1 << 2;
const PS: u64 = 1 << 7;
const FRAME: u64 = 0xf_ffff_f000;
/// A flat table as in textbooks, with sizes unlike those of x86.
type TextbookTable = Linear<20, 12, 4>;

/// Eight entries: two in each of the tables at 0x1000, 0x2000, 0x3000 and 0x4000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EightEntries([u64; 8]);

/// The index in [`EightEntries`] of the entry at an address.
fn slot(at: PhysAddr, bytes: u8) -> usize {
    let table = ((at.get() >> 12) + 3) & 3;
    let index = ((at.get() & 0xfff) / u64::from(bytes)) & 1;

    (table * 2 + index) as usize
}

/// The lowest bytes of an entry.
const fn truncated(entry: u64, bytes: u8) -> u64 {
    entry & (u64::MAX >> (64 - 8 * bytes as u32))
}

impl TableMemory for EightEntries {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        Ok(truncated(self.0[slot(at, bytes)], bytes))
    }
}

impl TableMemoryMut for EightEntries {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, new: u64) -> Result<(), OutsideMemory> {
        let entry = &mut self.0[slot(at, bytes)];
        *entry = *entry & !truncated(u64::MAX, bytes) | truncated(new, bytes);
        Ok(())
    }
}

/// How software invalidates everything that an edit may have changed.
#[derive(Clone, Copy, Debug)]
enum InvalidationMethod {
    /// INVPCID of everything.
    InvpcidAll,
    /// INVPCID of every PCID but the current one, and INVLPG of every page.
    InvpcidContexts,
    /// With global pages, CR4.PGE is cleared and set. Without them, INVPCID of all but global
    /// pages.
    Pge,
    /// INVPCID of every page in every PCID, and INVLPG of every page.
    InvpcidPages,
}

/// An event that the caches see.
#[derive(Clone, Copy, Debug)]
enum CacheEvent {
    /// Software flips bits of an entry and, in the tests of invalidation, invalidates.
    Edit { slot: usize, flip: u64, method: InvalidationMethod },
    /// An access to the page with index bit n of `path` at level n, counted from the root.
    Access { path: u64, access: Access },
    /// MOV to CR3, with this PCID and bit 63 if there are PCIDs.
    Cr3 { number: u64, no_flush: bool },
    /// A change of the registers on which rights depend.
    Registers { bits: u8, pkru: u32 },
}

fn entry() -> impl Strategy<Value = u64> {
    let present = prop::bool::weighted(0.95).prop_map(u64::from);
    let large = prop::bool::weighted(0.12).prop_map(|large| if large { PS } else { 0 });
    (present, large, any::<[u64; 4]>()).prop_map(|(present, large, [a, b, c, d])| {
        // R/W and U/S are set in most cases, XD and the reserved bit 51 rarely.
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

prop_compose! {
    /// An access to the page at 0, half of the time near its end.
    fn access_in_page()(
        kind in prop::sample::select(AccessKind::ALL.to_vec()),
        [user, implicit, ac] in any::<[bool; 3]>(),
        offset in prop_oneof![0..0x1000_u64, 0xff8..0x1000_u64],
        size in 1..=8_u16,
    ) -> Access {
        let ring = if user { Ring::Three } else { Ring::Zero };
        let implicit = implicit && kind != AccessKind::Fetch;

        Access { implicit, ac, ..Access::new(kind, VirtAddr::new(offset), size, ring) }
    }
}

fn event() -> impl Strategy<Value = CacheEvent> {
    let method = prop::sample::select(vec![
        InvalidationMethod::InvpcidAll,
        InvalidationMethod::InvpcidContexts,
        InvalidationMethod::Pge,
        InvalidationMethod::InvpcidPages,
    ]);

    prop_oneof![
        3 => (0..8_usize, flip(), method)
            .prop_map(|(slot, flip, method)| CacheEvent::Edit { slot, flip, method }),
        6 => (0..32_u64, access_in_page())
            .prop_map(|(path, access)| CacheEvent::Access { path, access }),
        2 => (0..4_u64, any::<bool>())
            .prop_map(|(number, no_flush)| CacheEvent::Cr3 { number, no_flush }),
        1 => (any::<u8>(), any::<u32>())
            .prop_map(|(bits, pkru)| CacheEvent::Registers { bits, pkru: pkru & pkru >> 16 }),
    ]
}

/// The address of the page with index bit n of `path` at level n, counted from the root.
fn address<F: Format>(path: u64) -> u64 {
    F::LEVELS
        .iter()
        .zip(0..)
        .fold(0, |address, (level, n)| address | (path >> n & 1) << level.shift)
}

/// Page tables, and an MMU with caches of `N` structure entries per level.
struct PropertyBench<F: Format, const N: usize, R: Semantics = Reference> {
    tables: EightEntries,
    mmu: CachedMmu<F, R, 2, 2, N>,
    /// Whether there are global pages. All PCIDs then use the same root; otherwise each has its
    /// own.
    global: bool,
}

impl<F: Format, const N: usize> PropertyBench<F, N> {
    fn new(tables: EightEntries, global: bool) -> Self {
        Self::with_semantics(Reference, tables, global)
    }
}

impl<F: Format, const N: usize, R: Semantics> PropertyBench<F, N, R> {
    fn with_semantics(semantics: R, tables: EightEntries, global: bool) -> Self {
        let mut state = ControlState::four_level(0x1000);
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

        let profile = Profile {
            vendor: Vendor::Intel,
            physical_address_bits: 48,
            features: Features::all(),
            ..Profile::default()
        };
        Self { tables, mmu: CachedMmu::with_semantics(semantics, state, profile), global }
    }

    fn state(&self) -> ControlState {
        self.mmu.mmu().regime().state
    }

    /// MOV to CR3. Returns whether bit 63 of its value was set.
    fn mov_to_cr3(&mut self, number: u64, no_flush: bool) -> bool {
        let mut new = self.state();
        let root = if self.global { 0x1000 } else { 0x1000 * (number + 1) };
        new.cr3 = if F::IS_LONG_MODE { root | number } else { root };
        if !self.global {
            new.pdptes.rotate_left(number as usize);
        }

        let bit_63 = no_flush && F::IS_LONG_MODE;
        let value = new.cr3 | u64::from(bit_63) << 63;
        self.mmu.set_state(RegisterWrite::Cr3(value), new);
        bit_63
    }

    fn translations(&self) -> Vec<TlbEntry> {
        self.mmu.tlb().iter().collect()
    }

    fn change_registers(&mut self, bits: u8, pkru: u32) {
        let mut new = self.state();
        let bit = |n: u8| bits >> n & 1 != 0;

        new.pkru = pkru;
        new.cr0.set(Cr0::AM, bit(0));
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

    /// Invalidates everything that an edit of any entry may have changed.
    fn invalidate(&mut self, method: InvalidationMethod) {
        let pcids = if F::IS_LONG_MODE { 0..4 } else { 0..1 };
        // An access that crosses a page reaches the next page too.
        let pages = (0..1 << F::LEVELS.len()).map(address::<F>);
        let pages_and_next = pages.flat_map(|page| [page, page + 0x1000]);

        match method {
            InvalidationMethod::InvpcidAll => self.mmu.invpcid(2, [0, 0]).unwrap(),
            InvalidationMethod::InvpcidContexts => {
                let current = u64::from(pcid(&self.state()));
                for pcid in pcids.filter(|pcid| *pcid != current) {
                    self.mmu.invpcid(1, [pcid, 0]).unwrap();
                }
                pages_and_next.for_each(|page| self.mmu.invlpg(VirtAddr::new(page)));
            }
            InvalidationMethod::Pge if !self.global => self.mmu.invpcid(3, [0, 0]).unwrap(),
            InvalidationMethod::Pge => {
                for pge in [false, true] {
                    let mut new = self.state();
                    new.cr4.set(Cr4::PGE, pge);
                    self.mmu.set_state(RegisterWrite::Other, new);
                }
            }
            InvalidationMethod::InvpcidPages => {
                for page in pages_and_next {
                    for pcid in pcids.clone() {
                        self.mmu.invpcid(0, [pcid, page]).unwrap();
                    }
                    self.mmu.invlpg(VirtAddr::new(page));
                }
            }
        }
    }

    fn access(&mut self, access: &Access) -> Outcome {
        let tables = Unshared::new(&mut self.tables);
        Outcome::of(self.mmu.translate(&tables, access)).expect("an outcome")
    }
}

/// The access moved to the page of a path.
fn placed<F: Format>(path: u64, access: &Access) -> Access {
    Access { address: VirtAddr::new(address::<F>(path) | access.address.get()), ..*access }
}

/// Whether an alternative has this outcome and allows this change of the tables.
fn allows<F: Format>(
    prediction: &Prediction,
    outcome: &Outcome,
    before: &EightEntries,
    after: &EightEntries,
) -> bool {
    let mut with_outcome = prediction.alternatives.iter().filter(|known| known.outcome == *outcome);

    with_outcome.any(|alternative| {
        let mut must_set = [0; 8];
        let mut may_set = [0; 8];
        for update in &alternative.updates {
            let slot = slot(update.at, F::ENTRY_BYTES);
            must_set[slot] |= update.must_set;
            may_set[slot] |= update.must_set | update.may_set;
        }

        (0..8).all(|n| {
            let cleared = before.0[n] & !after.0[n];
            let set = after.0[n] & !before.0[n];
            cleared == 0 && must_set[n] & !after.0[n] == 0 && set & !may_set[n] == 0
        })
    })
}

/// MOV to CR3 drops the translations of the new PCID that are not global, or none with bit 63 set.
fn check_mov_to_cr3<F: Format, const N: usize>(
    bench: &mut PropertyBench<F, N>,
    number: u64,
    no_flush: bool,
) -> Result<(), TestCaseError> {
    let before = bench.translations();
    let keeps_all = bench.mov_to_cr3(number, no_flush);

    let current = pcid(&bench.state());
    let is_kept = |entry: &TlbEntry| keeps_all || entry.global || entry.pcid != current;
    let kept: Vec<_> = before.into_iter().filter(is_kept).collect();
    prop_assert_eq!(bench.translations(), kept);
    Ok(())
}

/// The outcome of an access and the changes of A and D are allowed without caches.
fn check_access<F: Format, const N: usize>(
    bench: &mut PropertyBench<F, N>,
    access: &Access,
) -> Result<(), TestCaseError> {
    let before = bench.tables;
    let prediction = bench.mmu.mmu().predict(&before, access).unwrap();
    let outcome = bench.access(access);

    let after = &bench.tables;
    let is_allowed = allows::<F>(&prediction, &outcome, &before, after);
    prop_assert!(is_allowed, "{outcome:?}, {after:?}, without caches {prediction:?}");
    Ok(())
}

/// With an invalidation after every edit, the caches are invisible.
fn invisible<F: Format>(
    tables: EightEntries,
    global: bool,
    events: &[CacheEvent],
) -> Result<(), TestCaseError> {
    let mut bench = PropertyBench::<F, 2>::new(tables, global);

    for event in events {
        match *event {
            CacheEvent::Edit { slot, flip, method } => {
                bench.tables.0[slot] ^= flip;
                bench.invalidate(method);
            }
            CacheEvent::Cr3 { number, no_flush } => {
                check_mov_to_cr3(&mut bench, number, no_flush)?;
            }
            CacheEvent::Registers { bits, pkru } => bench.change_registers(bits, pkru),
            CacheEvent::Access { path, access } => {
                check_access(&mut bench, &placed::<F>(path, &access))?;
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
