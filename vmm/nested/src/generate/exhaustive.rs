//! Every combination of the bits of one entry of L2 and one of the second level, for every access and both rings.

use super::builder::{Builder, Placed, Setting, Shape};
use super::state::{self, HostSetting};
use crate::NestedCase;
use crate::places::Places;
use crate::stubs;
use crosswalk_guest::contents::CODE_OFFSETS;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, Ring, VirtAddr};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

const KINDS: [AccessKind; 4] =
    [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite, AccessKind::Fetch];
/// Number of bits of an entry that are combined.
const BITS: u64 = 7;
/// The most entries on the way of an access, of each dimension.
const GUEST_ENTRIES: u64 = 5;
const NESTED_ENTRIES: u64 = 24;
/// Number of guest states.
const STATES: u64 = 4;

/// Number of combinations under one second level.
const COMBINATIONS: u64 =
    KINDS.len() as u64 * 2 * (1 << BITS) * (1 << BITS) * GUEST_ENTRIES * NESTED_ENTRIES * STATES;

/// Number of batches for all second levels.
pub(super) fn batches(settings: &[HostSetting]) -> u64 {
    // The batches of the second level with the fewest lanes end last.
    COMBINATIONS.div_ceil(crate::places::lanes(5) as u64) * settings.len() as u64
}

/// The case with this index; without its unusual bits if `is_plain`.
pub(super) fn lane(setting: Setting, places: Places, index: u64, is_plain: bool) -> NestedCase {
    let mut rest = index % COMBINATIONS;
    let mut digit = |base: u64| {
        let digit = rest % base;
        rest /= base;
        digit
    };
    let kind = KINDS[digit(KINDS.len() as u64) as usize];
    let ring = [Ring::Zero, Ring::Three][digit(2) as usize];
    let nested_bits = digit(1 << BITS);
    let guest_bits = digit(1 << BITS);
    let nested_entry = digit(NESTED_ENTRIES);
    let guest_entry = digit(GUEST_ENTRIES);
    let state = digit(STATES);

    // Places and the rest of the state are those of the lane.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(state << 8 | places.lane() as u64);
    let guest = state::guest(&mut random, &setting);
    let (size, offset) = match kind {
        AccessKind::Fetch => (stubs::FETCHED_FRAME, CODE_OFFSETS.start + 8),
        _ => (4, 0x348),
    };
    let shape = Shape { guest_leaf: 1, nested_leaf: 1, table_leaf: 1, frame: 0, offset };
    let mut builder = Builder::new(&mut random, setting, places, guest);
    let mut case = builder.build(shape, Access::new(kind, VirtAddr::new(0), size, ring));

    if !is_plain {
        set(&mut builder.guest_entries, guest_entry, guest_bits, false, setting);
        set(&mut builder.nested_entries, nested_entry, nested_bits, true, setting);
    }
    builder.fill(&mut case);
    case
}

/// Combines the bits of an entry on the way of the access.
fn set(entries: &mut [Placed], number: u64, bits: u64, is_nested: bool, setting: Setting) {
    let mut on_the_way: Vec<&mut Placed> =
        entries.iter_mut().filter(|placed| placed.is_on_the_way).collect();
    let count = on_the_way.len() as u64;
    if count == 0 {
        return;
    }
    let placed = &mut *on_the_way[(number % count) as usize];

    let width = u32::from(setting.profile.physical_address_bits);
    let bits_of_entry: [u32; BITS as usize] = if is_nested && setting.second.is_ept() {
        [0, 1, 2, 8, 9, 10, width]
    } else if !placed.level.has_flags {
        [0, 1, 2, 5, 7, 8, width]
    } else if placed.level.index_bits == 10 {
        [0, 1, 2, 5, 6, 8, 9]
    } else {
        [0, 1, 2, 5, 6, EntryBits::XD.bits().trailing_zeros(), width]
    };
    for (number, bit) in bits_of_entry.into_iter().enumerate() {
        placed.value = placed.value & !(1 << bit) | (bits >> number & 1) << bit;
    }
}
