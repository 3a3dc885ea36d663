//! Accesses with bytes on both sides of 4 GiB, in 32-bit and PAE paging: linear addresses wrap. The case
//! brings the table of linear page 0, and runs alone.

use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
use crosswalk_machine::Capabilities;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, PagingMode, Ring, Segment, VirtAddr};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Keeps what is drawn here apart from the cases of the same seed.
const SALT: u64 = 0x3b60_0000_0000_0000;

/// The case that runs alone in a batch with this seed: one that wraps in place of another, now and then.
pub(super) fn or_wrapped(case: Case, seed: u64, arena: Arena, machine: &Capabilities) -> Case {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ SALT);
    let is_legacy = matches!(case.mode(), PagingMode::Bits32 | PagingMode::Pae);
    if !is_legacy || !rng.random_bool(0.2) {
        return case;
    }
    wrapped(&mut rng, case.mode(), arena, machine)
}

fn wrapped(rng: &mut impl Rng, mode: PagingMode, arena: Arena, machine: &Capabilities) -> Case {
    let lane = rng.random_range(0..250);
    let by = if rng.random_bool(0.3) { Ring::Zero } else { Ring::Three };
    let mut case = Case::plain_in(mode, arena, lane, by, machine.profile);

    let frames = arena.data_frames(lane);
    case.entries = entries(mode, arena, frames);
    if rng.random_bool(0.4) {
        // One of the pages is absent, read-only, or the supervisor's.
        let leaf = if rng.random_bool(0.5) { 1 } else { 3 };
        let rights = [EntryBits::P, EntryBits::RW, EntryBits::US];
        case.entries[leaf].value &= !rights[rng.random_range(0..3)].bits();
    }

    let size = 1 << rng.random_range(1..3);
    let before_4_gib = rng.random_range(1..size);
    let (kind, form) = match rng.random_range(0..4) {
        0 | 1 => (AccessKind::Read, Form::Load),
        2 => (AccessKind::Write, Form::Store),
        _ => (AccessKind::ReadModifyWrite, Form::Exchange),
    };
    let address = VirtAddr::new(0x1_0000_0000 - before_4_gib);
    let segment = if rng.random_bool(0.25) { Segment::Stack } else { Segment::Data };
    case.access = Access { segment, ..Access::new(kind, address, size as u16, by) };
    case.form = form;
    case.value = value(rng, frames, before_4_gib);
    case
}

/// Maps the last page to the second frame, and page 0 to the first one.
fn entries(mode: PagingMode, arena: Arena, frames: u64) -> Vec<TableEntry> {
    let flags = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    // The directories of the last page and of page 0, and a page table for each.
    let [last_directory, first_directory, last_table, first_table] = match mode {
        PagingMode::Pae => [4, 1, 5, 6],
        _ => [0, 0, 1, 2],
    }
    .map(|table| arena.table(table));
    let last = 0x1000 - tables::entry_bytes(mode);

    [
        (last_directory + last, last_table),
        (last_table + last, frames + 0x1000),
        (first_directory, first_table),
        (first_table, frames),
    ]
    .map(|(at, target)| TableEntry { at, value: target | flags })
    .to_vec()
}

/// A value of which no byte is what memory has in its place.
fn value(rng: &mut impl Rng, frames: u64, before_4_gib: u64) -> u64 {
    let last = frames + 0x2000 - before_4_gib..frames + 0x2000;
    let places = last.chain(frames..);
    let mut value = [0; 8];
    for (byte, at) in value.iter_mut().zip(places) {
        *byte = contents::byte(at).wrapping_add(rng.random_range(1..=255));
    }
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::capabilities;
    use crosswalk_machine::batch::arena_of;
    use mmu_core::{AnyMmu, Outcome};

    /// Every case fits the layout, and most reach both frames.
    #[test]
    fn canon_2_the_bytes_past_4_gib_are_in_page_0() {
        let machine = capabilities(true);
        for mode in [PagingMode::Bits32, PagingMode::Pae] {
            let mut both = 0;
            for seed in 0..200 {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                let arena = Arena::for_batch(seed);
                let case = wrapped(&mut rng, mode, arena, &machine);
                assert_eq!(arena_of(&case), Ok(arena), "{case}");

                let mmu = AnyMmu::new(case.state, case.profile);
                let outcome = &mmu.predict(&case, &case.access).unwrap().alternatives[0].outcome;
                if let Outcome::Translated(spans) = outcome {
                    assert_eq!(spans[0].address.get() >> 12, spans[1].address.get() / 0x1000 + 1);
                    both += 1;
                }
            }
            assert!(both > 100, "{mode}: {both}");
        }
    }
}
