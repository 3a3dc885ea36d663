//! TLB-2 over random edits without invalidation: whatever [`CachedMmu`] does is in the set of what is
//! allowed, and what nobody ever stored is not.

use super::{
    Access, Bits32, CacheEvent, CachedMmu, EightEntries, FRAME, FiveLevel, Format, FourLevel,
    OutsideMemory, PS, Pae, PhysAddr, PropertyBench, TableMemory, TextbookTable, Unpaged, Vendor,
    VirtAddr, address, allows, event, flip, placed, tables,
};
use crate::cache::{EditError, History, Invalidation};
use crate::outcome::Outcome;
use crate::walk::Mmu;
use crate::x86::semantics::Reference;
use core::cell::Cell;
use proptest::prelude::*;
use std::vec::Vec;

type Remembered = History<EightEntries, 12>;

/// An entry that leads to one of the four tables by its own address, unless it is large: a history
/// knows an entry by its place, and every place must be one of the eight.
fn direct(entry: u64) -> u64 {
    if entry & PS == 0 {
        entry & !FRAME | ((entry >> 12 & 3) + 1) << 12
    } else {
        entry & !0x3fff_f000
    }
}

/// Where a slot of the tables lies.
fn place<F: Format>(slot: usize) -> PhysAddr {
    let (table, index) = (slot as u64 / 2, slot as u64 % 2);
    PhysAddr::new(0x1000 * (table + 1) + index * u64::from(F::ENTRY_BYTES))
}

/// The mapped part of an access: only the indices 0 and 1 exist.
fn within<F: Format>(path: u64, access: &Access) -> Access {
    let access = placed::<F>(path, access);
    let is_last = path >> F::LEVELS.len().saturating_sub(1) & 1 != 0;
    if is_last { Access { size: access.bytes_in_first_page(), ..access } } else { access }
}

/// Runs events without invalidations, but for some, through caches of `N` structure entries, and looks
/// each outcome up in the set.
fn is_member<F: Format, const N: usize>(
    tables: EightEntries,
    vendor: Vendor,
    events: &[CacheEvent],
) -> Result<(), TestCaseError> {
    let mut bench = PropertyBench::<F, N>::new(tables, true);
    let regime = *bench.mmu.mmu().regime();
    let mut profile = regime.profile;
    profile.vendor = vendor;
    bench.mmu = CachedMmu::with_semantics(Reference, regime.state, profile);
    let mut history = Remembered::new(EightEntries(tables.0.map(direct)));
    for event in events {
        match *event {
            CacheEvent::Edit { slot, flip, .. } => {
                let new = direct(history.memory().0[slot] ^ flip);
                let stored = history.edit(place::<F>(slot), F::ENTRY_BYTES, new);
                if stored == Err(EditError::Full) {
                    bench.mmu.invalidate(Invalidation::Everything);
                    history.forget_all();
                }
            }
            CacheEvent::Cr3 { number, no_flush: true } => {
                let page = VirtAddr::new(address::<F>(number));
                bench.mmu.invlpg(page);
                history.forget(page);
            }
            // Global pages stay, and which those are a history does not know: no MOV to CR3.
            CacheEvent::Cr3 { .. } => {}
            // Not NXE nor PSE: the walks use the registers as they are.
            CacheEvent::Registers { bits, pkru } => bench.change_registers(bits | 0xc0, pkru),
            CacheEvent::Access { path, access } => {
                let access = within::<F>(path, &access);
                let before = history.clone();
                let outcome = bench.mmu.access(&mut history, &access).expect("an outcome");
                let mut found = false;
                bench.mmu.mmu().predict_stale(&before, &access, |prediction| {
                    let (before, after) = (before.memory(), history.memory());
                    found |= allows::<F>(prediction, &outcome, before, after);
                });
                prop_assert!(found, "{access:?}: {outcome:?} of {before:?}, now {history:?}");
                if let Some(address) = outcome.fault().and_then(|fault| fault.cr2) {
                    history.forget(address);
                }
            }
        }
    }
    Ok(())
}

/// Each read of a walk sees a moment of its own.
struct Moments<'a> {
    history: &'a [EightEntries],
    when: &'a [usize],
    reads: Cell<usize>,
}

impl TableMemory for Moments<'_> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let read = self.reads.replace(self.reads.get() + 1);
        self.history[self.when[read]].read_entry(at, bytes)
    }
}

/// Whether a walk gives this address if each level may be older than the next: `when` is filled
/// from the root down with moments that do not decrease.
fn is_mixture<F: Format>(
    mmu: &Mmu<F>,
    history: &[EightEntries],
    when: &mut Vec<usize>,
    access: &Access,
    expected: PhysAddr,
) -> bool {
    if when.len() == F::LEVELS.len() {
        let memory = Moments { history, when, reads: 0.into() };
        let walked = mmu.walk(&memory, access.address, access, &mut ());
        return walked.is_ok_and(|translation| translation.address == expected);
    }
    let earliest = when.last().copied().unwrap_or(0);
    (earliest..history.len()).any(|moment| {
        when.push(moment);
        let found = is_mixture(mmu, history, when, access, expected);
        when.pop();
        found
    })
}

/// The set has no more than the mixtures: found here in another way, by moments and not by values.
/// Without edits it is the prediction.
fn is_bounded<F: Format>(
    tables: EightEntries,
    edits: &[(usize, u64)],
    (path, access): (u64, Access),
) -> Result<(), TestCaseError> {
    let mmu: Mmu<F> = *PropertyBench::<F, 0>::new(tables, true).mmu.mmu();
    let access = Access { size: 1, ..placed::<F>(path, &access) };
    let mut history = Remembered::new(EightEntries(tables.0.map(direct)));
    let mut moments = vec![*history.memory()];
    for (slot, flip) in edits {
        let new = direct(history.memory().0[*slot] ^ flip);
        history.edit(place::<F>(*slot), F::ENTRY_BYTES, new).expect("few edits");
        moments.push(*history.memory());
    }
    let mut reached = Vec::new();
    mmu.predict_stale(&history, &access, |prediction| {
        let outcomes = prediction.alternatives.iter().map(|known| &known.outcome);
        reached.extend(outcomes.filter_map(Outcome::physical_address));
    });
    for address in reached {
        let known = is_mixture(&mmu, &moments, &mut Vec::new(), &access, address);
        prop_assert!(known, "{address} was never mapped");
    }
    history.forget_all();
    let mut all = Vec::new();
    mmu.predict_stale(&history, &access, |prediction| all.push(prediction.alternatives.clone()));
    prop_assert_eq!(all, [mmu.predict(history.memory(), &access).alternatives]);
    Ok(())
}

fn access() -> impl Strategy<Value = (u64, Access)> {
    event().prop_filter_map("accesses only", |event| match event {
        CacheEvent::Access { path, access } => Some((path, access)),
        _ => None,
    })
}

macro_rules! in_every_format {
    ($($name:ident: $format:ty,)+) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn tlb_2_what_a_tlb_does_is_allowed(
                    tables in tables(),
                    amd in any::<bool>(),
                    events in prop::collection::vec(event(), 1..40),
                ) {
                    let vendor = if amd { Vendor::Amd } else { Vendor::Intel };
                    is_member::<$format, 0>(tables, vendor, &events)?;
                }

                #[test]
                fn tlb_2_what_structure_caches_do_is_allowed(
                    tables in tables(),
                    amd in any::<bool>(),
                    events in prop::collection::vec(event(), 1..40),
                ) {
                    let vendor = if amd { Vendor::Amd } else { Vendor::Intel };
                    is_member::<$format, 2>(tables, vendor, &events)?;
                }

                #[test]
                fn tlb_2_what_is_allowed_was_mapped_at_some_moment_of_each_level(
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
