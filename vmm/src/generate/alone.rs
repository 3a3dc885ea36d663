//! Random cases that run in a batch of their own: a machine may handle them in a way that involves other
//! lanes, or give up on them.

use super::PDPTE_LOW_RESERVED_BITS;
use super::builder::{AccessTarget, CaseBuilder, outside_page};
use super::placement::FreeSlots;
use super::state::random_batch_state;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::tables;
use crosswalk_machine::{Capabilities, LeftOut};
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, PagingMode};
use rand::seq::IndexedMutRandom;
use rand::{Rng, RngExt};

/// A case to run alone. Without paging there are no such kinds, and it is an ordinary one.
pub(super) fn alone(
    rng: &mut impl Rng,
    (mode, number): (PagingMode, u64),
    arena: Arena,
    machine: &Capabilities,
) -> Case {
    let state = random_batch_state(rng, (mode, number), arena, machine);
    let mut builder = CaseBuilder::new(rng, arena, 0, machine, state);
    let mut slots = FreeSlots::new(state.table_use());
    let is_long_mode = mode.is_long_mode();

    match (mode, rng.random_range(0..4)) {
        (_, kind) if state.compatibility => {
            return compatible(rng, kind, builder, &mut slots);
        }
        (PagingMode::Unpaged | PagingMode::Linear, _) => builder.place_anywhere(rng, &mut slots),
        (PagingMode::Pae, 1) => return bad_pdpte(rng, builder, &mut slots),
        (PagingMode::Pae, 2 | 3) => return edited_pdpte(rng, builder, &mut slots),
        (_, 0) if is_long_mode && machine.sees_outside => {
            fetch_outside(rng, &mut builder, &mut slots);
        }
        (_, 0 | 1) => return table_outside(rng, builder, &mut slots),
        (_, 2) if is_long_mode && builder.place_at_upper_half(rng, &mut slots).is_some() => {}
        _ if is_long_mode => builder.straddle_canonical(rng, &mut slots),
        _ => return table_outside(rng, builder, &mut slots),
    }
    builder.finish(rng)
}

/// A case in compatibility mode to run alone.
fn compatible(
    rng: &mut impl Rng,
    kind: u32,
    mut builder: CaseBuilder<'_>,
    slots: &mut FreeSlots,
) -> Case {
    match kind {
        0 => map_1_gib(rng, builder, slots),
        1 => unusual_pdpte(rng, builder, slots),
        2 if builder.machine.sees_outside && rng.random_bool(0.5) => {
            fetch_outside(rng, &mut builder, slots);
            builder.finish(rng)
        }
        2 => table_outside(rng, builder, slots),
        _ => {
            builder.straddle_4_gib(rng, slots).expect("every slot is free");
            builder.finish(rng)
        }
    }
}

/// A fetch from an address without memory.
fn fetch_outside(rng: &mut impl Rng, builder: &mut CaseBuilder<'_>, slots: &mut FreeSlots) {
    builder.set_kind(rng, AccessKind::Fetch);
    builder.target = AccessTarget::Outside;
    builder.crosses = false;
    builder.unusual = 0;
    builder.place_anywhere(rng, slots);
}

/// A plain mapping with one table at an address without memory (OUT-1).
fn table_outside(rng: &mut impl Rng, mut builder: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    builder.crosses = false;
    builder.unusual = 0;
    builder.place_anywhere(rng, slots);

    let machine = builder.machine;
    let mode = builder.mode;
    if machine.left_out.contains(LeftOut::OUTSIDE) {
        return builder.finish(rng);
    }

    let last = builder.entries.len() - 1;
    // The guest itself may live below a PDPTE that the lanes share.
    let first = tables::shared_levels(builder.table_use()).min(last);
    if let Some(entry) = builder.entries[first..last].choose_mut(rng) {
        let flags = entry.value & 0xfff;
        entry.value = outside_page(rng, machine, mode, 12) | flags;
    }
    builder.finish(rng)
}

/// A PDPTE that is bad when it is loaded (PDPTE-2): a reserved bit is set, mostly in a present entry.
fn bad_pdpte(rng: &mut impl Rng, mut builder: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    let index = place_below_free_pdpte(rng, &mut builder, slots);
    let bits = u32::from(builder.machine.profile.physical_address_bits);
    let low = PDPTE_LOW_RESERVED_BITS[rng.random_range(0..6)];
    let bit = if rng.random_bool(0.5) { low } else { rng.random_range(bits..64) };

    let pdpte = &mut builder.state.pdptes[index];
    *pdpte |= 1 << bit;
    if rng.random_bool(0.25) {
        *pdpte &= !EntryBits::P.bits();
    }
    builder.entries[0].value = *pdpte;
    builder.finish(rng)
}

/// A PDPTE that is changed in memory after it was loaded (PDPTE-1).
fn edited_pdpte(rng: &mut impl Rng, mut builder: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    let index = place_below_free_pdpte(rng, &mut builder, slots);
    let good = builder.state.pdptes[index];
    let absent = good & !EntryBits::P.bits();
    let other = builder.state.pdptes[5 - index];
    let with_accessed = good | EntryBits::A.bits();

    let in_memory = [0, absent, other, with_accessed][rng.random_range(0..4)];
    let in_register = [good, absent][rng.random_range(0..2)];
    builder.state.pdptes[index] = in_register;
    builder.entries[0].value = in_memory;
    builder.finish(rng)
}

/// A page of 1 GiB below 4 GiB, in compatibility mode.
fn map_1_gib(rng: &mut impl Rng, mut builder: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    builder.unusual = builder.unusual.min(1);
    builder.place_1_gib(rng, slots);
    builder.vary_pdpte(rng);
    builder.finish(rng)
}

/// An unusual PDPTE in compatibility mode, which other lanes would share.
fn unusual_pdpte(rng: &mut impl Rng, mut builder: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    place_below_free_pdpte(rng, &mut builder, slots);
    builder.vary_pdpte(rng);
    builder.finish(rng)
}

/// Places a plain mapping below PDPTE 2 or 3, which the guest itself does not use, and returns the
/// index of the PDPTE.
fn place_below_free_pdpte(
    rng: &mut impl Rng,
    builder: &mut CaseBuilder<'_>,
    slots: &mut FreeSlots,
) -> usize {
    builder.unusual = builder.unusual.min(1);
    builder.crosses = false;

    loop {
        builder.entries.clear();
        builder.place_anywhere(rng, slots);
        let index = builder.address as usize >> 30;
        if index >= 2 {
            return index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::capabilities;
    use crosswalk_machine::batch::arena_of;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn cases_that_run_alone_fit_the_layout() {
        let machine = capabilities(true);
        for mode in PagingMode::ALL {
            for seed in 0..300 {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                let arena = Arena::for_batch(seed);
                let case = alone(&mut rng, (mode, seed), arena, &machine);
                assert_eq!(arena_of(&case), Ok(arena), "{case}");
            }
        }
    }
}
