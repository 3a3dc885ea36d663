//! TLB-2 with random edits without invalidation, and random changes of the registers: everything that [`CachedMmu`] does is in the set
//! of allowed outcomes, and nothing that was never mapped is.

use super::{
    Access, Bits32, CacheEvent, CachedMmu, EightEntries, FRAME, FiveLevel, Format, FourLevel,
    OutsideMemory, PS, Pae, PhysAddr, PropertyBench, TableMemory, TextbookTable, Unpaged, Vendor,
    VirtAddr, access_in_page, address, allows, event, flip, placed, tables,
};
use crate::cache::{EditError, History, Invalidation, RegisterWrite};
use crate::memory::Unshared;
use crate::outcome::Outcome;
use crate::walk::{Mmu, Path};
use crate::x86::regime::Regime;
use crate::x86::semantics::Reference;
use crate::x86::state::{ControlState, PagingMode};
use core::cell::Cell;
use proptest::prelude::*;
use std::vec::Vec;

type EightEntryHistory = History<Unshared<EightEntries>, 12>;

/// The entries in memory.
fn entries(history: &EightEntryHistory) -> EightEntries {
    history.memory().clone().into_inner()
}

/// The entry with the address of one of the four tables, unless it always maps a large page: a history
/// knows an entry by its address, so each of the eight entries must have only one.
fn direct<F: Format>(entry: u64) -> u64 {
    // With 32-bit paging CR4.PSE decides.
    if entry & PS == 0 || F::MODE == PagingMode::Bits32 {
        entry & !FRAME | ((entry >> 12 & 3) + 1) << 12
    } else {
        entry & !0x3fff_f000
    }
}

/// The address of a slot.
fn place<F: Format>(slot: usize) -> PhysAddr {
    let table = slot as u64 / 2;
    let index = slot as u64 % 2;

    PhysAddr::new(0x1000 * (table + 1) + index * u64::from(F::ENTRY_BYTES))
}

/// The access moved to the page of a path, without the bytes for which there is no table entry:
/// only the indices 0 and 1 exist.
fn within<F: Format>(path: u64, access: &Access) -> Access {
    let access = placed::<F>(path, access);
    let is_last = path >> F::LEVELS.len().saturating_sub(1) & 1 != 0;

    if is_last { Access { size: access.bytes_in_first_page(), ..access } } else { access }
}

/// An event that the caches see, without an invalidation after an edit.
#[derive(Clone, Copy, Debug)]
enum StaleEvent {
    /// One of those in the tests of invalidation.
    Shared(CacheEvent),
    /// INVLPG of the page of a path.
    Invlpg { path: u64 },
    /// INVPCID, with a PCID and the page of a path in its descriptor.
    Invpcid { kind: u64, pcid: u64, path: u64 },
}

fn stale_event() -> impl Strategy<Value = StaleEvent> {
    prop_oneof![
        8 => event().prop_map(StaleEvent::Shared),
        1 => (0..32_u64).prop_map(|path| StaleEvent::Invlpg { path }),
        1 => (0..4_u64, 0..4_u64, 0..32_u64)
            .prop_map(|(kind, pcid, path)| StaleEvent::Invpcid { kind, pcid, path }),
    ]
}

/// An MMU with caches of `N` structure entries per level, and the history of its page tables.
struct StaleBench<F: Format, const N: usize> {
    bench: PropertyBench<F, N>,
    history: EightEntryHistory,
    vendor: Vendor,
}

impl<F: Format, const N: usize> StaleBench<F, N> {
    fn new(tables: EightEntries, vendor: Vendor, global: bool) -> Self {
        let mut bench = PropertyBench::<F, N>::new(tables, global);
        let Regime { state, mut profile, .. } = *bench.mmu.mmu().regime();
        profile.vendor = vendor;
        bench.mmu = CachedMmu::with_semantics(Reference, state, profile);

        let tables = Unshared::new(EightEntries(tables.0.map(direct::<F>)));
        Self { bench, history: EightEntryHistory::new(tables), vendor }
    }

    fn perform(&mut self, event: StaleEvent) -> Result<(), TestCaseError> {
        let old = self.bench.state();

        match event {
            StaleEvent::Shared(CacheEvent::Edit { slot, flip, .. }) => self.edit(slot, flip),
            StaleEvent::Shared(CacheEvent::Access { path, access }) => {
                self.access(&within::<F>(path, &access))?;
            }
            StaleEvent::Shared(CacheEvent::Cr3 { number, no_flush }) => {
                let bit_63 = self.bench.mov_to_cr3(number, no_flush);
                let value = self.bench.state().cr3 | u64::from(bit_63) << 63;
                self.record_write(RegisterWrite::Cr3(value), &old);
            }
            StaleEvent::Shared(CacheEvent::Registers { bits, pkru }) => {
                self.bench.change_registers(bits, pkru);
                self.record_write(RegisterWrite::Other, &old);
            }
            StaleEvent::Invlpg { path } => {
                let page = VirtAddr::new(address::<F>(path));
                let profile = self.bench.mmu.mmu().regime().profile;
                self.bench.mmu.invlpg(page);
                self.history.invlpg::<F>(&old, &profile, page);
            }
            StaleEvent::Invpcid { kind, pcid, path } => {
                let profile = self.bench.mmu.mmu().regime().profile;
                let pcid = if F::IS_LONG_MODE { pcid } else { 0 };
                let descriptor = [pcid, address::<F>(path)];
                let dropped = Invalidation::invpcid::<F>(&old, &profile, kind, descriptor);
                self.bench.mmu.invpcid(kind, descriptor).unwrap();
                self.history.invalidate(dropped.unwrap());
            }
        }
        Ok(())
    }

    /// Flips bits of an entry without an invalidation, unless the history is full.
    fn edit(&mut self, slot: usize, flip: u64) {
        let new = direct::<F>(entries(&self.history).0[slot] ^ flip);
        let stored = self.history.edit(place::<F>(slot), F::ENTRY_BYTES, new);
        self.invalidate_if_full(stored.map_err(|error| error == EditError::Full));
    }

    /// Records that the registers have changed.
    fn record_write(&mut self, write: RegisterWrite, old: &ControlState) {
        let recorded = self.history.write_register(write, old, &self.bench.state(), self.vendor);
        self.invalidate_if_full(recorded.map_err(|error| error == EditError::Full));
    }

    fn invalidate_if_full(&mut self, recorded: Result<(), bool>) {
        if recorded == Err(true) {
            self.bench.mmu.invalidate(Invalidation::Everything);
            self.history.forget_all();
        }
    }

    /// An access, whose outcome must be one of those allowed.
    fn access(&mut self, access: &Access) -> Result<(), TestCaseError> {
        let before = self.history.clone();
        let outcome = Outcome::of(self.bench.mmu.translate(&self.history, access));
        let outcome = outcome.expect("an outcome");

        let after = &self.history;
        let changed = [entries(&before), entries(after)];
        let mut is_allowed = false;
        self.bench
            .mmu
            .mmu()
            .predict_stale(&before, access, |prediction| {
                is_allowed |= allows::<F>(prediction, &outcome, &changed[0], &changed[1]);
            })
            .unwrap();
        prop_assert!(is_allowed, "{access:?}: {outcome:?} of {before:?}, now {after:?}");

        if let Some(address) = outcome.fault().and_then(|fault| fault.cr2) {
            self.history.page_fault(&self.bench.state(), address);
        }

        Ok(())
    }
}

/// Everything that an MMU with caches does after edits without invalidation is allowed.
fn is_allowed<F: Format, const N: usize>(
    tables: EightEntries,
    (vendor, global): (Vendor, bool),
    events: &[StaleEvent],
) -> Result<(), TestCaseError> {
    let mut bench = StaleBench::<F, N>::new(tables, vendor, global);
    events.iter().try_for_each(|event| bench.perform(*event))
}

/// Memory in which the n-th read sees moment `when[n]` of a history.
struct Moments<'a> {
    history: &'a [EightEntries],
    when: &'a [usize],
    reads: Cell<usize>,
}

impl TableMemory for Moments<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let read = self.reads.replace(self.reads.get() + 1);
        self.history[self.when[read]].read_entry(at, bytes)
    }
}

/// Whether a walk can reach this address if no entry is newer than the entry below it. `when` is
/// filled from the root down with moments that do not decrease.
fn is_reachable<F: Format>(
    mmu: &Mmu<F>,
    history: &[EightEntries],
    when: &mut Vec<usize>,
    access: &Access,
    expected: PhysAddr,
) -> bool {
    if when.len() == F::LEVELS.len() {
        let memory = Moments { history, when, reads: 0.into() };
        // A walk that reports reads every entry once.
        let walked = mmu.walk(&memory, access.address, access, &mut Path::default());
        return walked.is_ok_and(|translation| translation.address == expected);
    }

    let earliest = when.last().copied().unwrap_or(0);
    (earliest..history.len()).any(|moment| {
        when.push(moment);
        let is_reached = is_reachable(mmu, history, when, access, expected);
        when.pop();
        is_reached
    })
}

/// Every address that is allowed is one that old upper entries and newer lower entries lead to,
/// found here by moments rather than by values. After an invalidation only the prediction is
/// allowed.
fn is_bounded<F: Format>(
    tables: EightEntries,
    edits: &[(usize, u64)],
    (path, access): (u64, Access),
) -> Result<(), TestCaseError> {
    let mmu: Mmu<F> = *PropertyBench::<F, 0>::new(tables, true).mmu.mmu();
    let access = Access { size: 1, ..placed::<F>(path, &access) };

    let mut history =
        EightEntryHistory::new(Unshared::new(EightEntries(tables.0.map(direct::<F>))));
    let mut moments = vec![entries(&history)];

    for (slot, flip) in edits {
        let new = direct::<F>(entries(&history).0[*slot] ^ flip);
        history.edit(place::<F>(*slot), F::ENTRY_BYTES, new).expect("the history has room");
        moments.push(entries(&history));
    }

    let mut reached = Vec::new();
    mmu.predict_stale(&history, &access, |prediction| {
        let outcomes = prediction.alternatives.iter().map(|known| &known.outcome);
        reached.extend(outcomes.filter_map(Outcome::physical_address));
    })
    .unwrap();

    for address in reached {
        let is_known = is_reachable(&mmu, &moments, &mut Vec::new(), &access, address);
        prop_assert!(is_known, "{address} was never mapped");
    }

    history.forget_all();
    let mut all = Vec::new();
    mmu.predict_stale(&history, &access, |prediction| all.push(prediction.alternatives.clone()))
        .unwrap();
    let expected = mmu.predict(history.memory(), &access).unwrap().alternatives;
    prop_assert_eq!(all.as_slice(), core::slice::from_ref(&expected));
    Ok(())
}

fn vendor() -> impl Strategy<Value = Vendor> {
    prop::sample::select(Vendor::ALL.to_vec())
}

fn access() -> impl Strategy<Value = (u64, Access)> {
    (0..32_u64, access_in_page())
}

macro_rules! in_every_format {
    ($($name:ident: $format:ty,)+) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn tlb_2_a_tlb_does_what_is_allowed(
                    tables in tables(),
                    vendor in vendor(),
                    global in any::<bool>(),
                    events in prop::collection::vec(stale_event(), 1..40),
                ) {
                    is_allowed::<$format, 0>(tables, (vendor, global), &events)?;
                }

                #[test]
                fn tlb_2_structure_caches_do_what_is_allowed(
                    tables in tables(),
                    vendor in vendor(),
                    global in any::<bool>(),
                    events in prop::collection::vec(stale_event(), 1..40),
                ) {
                    is_allowed::<$format, 2>(tables, (vendor, global), &events)?;
                }

                #[test]
                fn tlb_2_what_is_allowed_was_mapped_at_some_moment(
                    tables in tables(),
                    edits in prop::collection::vec((0..8_usize, flip()), 0..6),
                    access in access(),
                ) {
                    is_bounded::<$format>(tables, &edits, access)?;
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
