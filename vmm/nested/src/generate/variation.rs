//! Unusual bits in the entries and registers of a plain case.

use super::builder::{Builder, Placed, SecondKind};
use crate::NestedCase;
use mmu_core::nested::SecondLevel;
use mmu_core::x86::format::EntryBits;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Changes no, one or a few bits.
pub(super) fn vary<R: Rng>(builder: &mut Builder<'_, R>) {
    let bits = match builder.rng.random_range(0..20) {
        0..2 => 0,
        2..12 => 1,
        12..17 => 2,
        _ => 3,
    };
    for _ in 0..bits {
        flip_any(builder);
    }
}

/// Changes one bit of those that decide in each dimension, on the way of the access.
pub(super) fn decide<R: Rng>(builder: &mut Builder<'_, R>) {
    for is_guest in [true, false] {
        let Some(index) = choose(builder, is_guest) else { continue };
        let placed = *entry(builder, is_guest, index);
        let bits = deciding_bits(builder, &placed, is_guest);
        if let Some(bit) = bits.choose(builder.rng).copied() {
            entry(builder, is_guest, index).value ^= 1 << bit;
        }
    }
}

/// Changes a register: bits of the roots that are not part of an address, or above those that the processor has.
pub(super) fn vary_registers(rng: &mut impl Rng, case: &mut NestedCase) {
    // PWT and PCD: caching, not translation.
    if rng.random_ratio(1, 16) && case.mode().is_long_mode() {
        case.guest.cr3 |= 1 << rng.random_range(3..5);
    }

    let beyond = 1 << rng.random_range(u32::from(case.profile.physical_address_bits)..52);
    match &mut case.second {
        SecondLevel::Npt(host) if rng.random_ratio(1, 64) && host.mode().is_long_mode() => {
            host.cr3 |= beyond;
        }
        SecondLevel::Npt(_) if rng.random_ratio(1, 64) && case.guest.mode().is_long_mode() => {
            case.guest.cr3 |= beyond;
        }
        _ => {}
    }
}

fn flip_any<R: Rng>(builder: &mut Builder<'_, R>) {
    // The second level has more entries, and is what this is about.
    let is_guest = builder.rng.random_ratio(1, 3);
    let Some(index) = choose(builder, is_guest) else { return };

    let placed = *entry(builder, is_guest, index);
    let bits = if builder.rng.random_ratio(3, 4) {
        deciding_bits(builder, &placed, is_guest)
    } else {
        let width = if is_32_bit(builder, &placed) { 32 } else { 64 };
        (0..width).filter(|bit| !is_address(builder, &placed, *bit)).collect()
    };
    if let Some(bit) = bits.choose(builder.rng).copied() {
        entry(builder, is_guest, index).value ^= 1 << bit;
    }
}

/// Chooses an entry of a dimension on the way of the access.
fn choose<R: Rng>(builder: &mut Builder<'_, R>, is_guest: bool) -> Option<usize> {
    let entries = if is_guest { &builder.guest_entries } else { &builder.nested_entries };
    let on_the_way: Vec<usize> =
        (0..entries.len()).filter(|index| entries[*index].is_on_the_way).collect();
    on_the_way.choose(builder.rng).copied()
}

fn entry<'b, R>(builder: &'b mut Builder<'_, R>, is_guest: bool, index: usize) -> &'b mut Placed {
    if is_guest { &mut builder.guest_entries[index] } else { &mut builder.nested_entries[index] }
}

/// Whether the entry has 32 bits.
fn is_32_bit<R>(_: &Builder<'_, R>, placed: &Placed) -> bool {
    // The levels of 32-bit paging have indices of 10 bits.
    placed.level.index_bits == 10
}

/// Whether a bit is part of an address within the processor's width. It would lead anywhere.
fn is_address<R>(builder: &Builder<'_, R>, placed: &Placed, bit: u32) -> bool {
    let width = u32::from(builder.setting.profile.physical_address_bits);
    let shift = if placed.is_leaf { u32::from(placed.level.shift) } else { 12 };
    (shift..width).contains(&bit)
}

/// The bits that decide about translations: presence, rights, A and D, and what can be reserved.
fn deciding_bits<R>(builder: &Builder<'_, R>, placed: &Placed, is_guest: bool) -> Vec<u32> {
    let width = u32::from(builder.setting.profile.physical_address_bits);
    let is_ept = !is_guest && matches!(builder.setting.second, SecondKind::Ept { .. });

    let mut bits: Vec<u32> = if is_ept {
        vec![0, 1, 2, 3, 4, 7, 8, 9, 10]
    } else if placed.level.has_flags {
        vec![0, 1, 2, 5, 6, 7, 8]
    } else {
        vec![0, 1, 5]
    };
    if !is_32_bit(builder, placed) {
        bits.extend([width, 51]);
        if !is_ept {
            bits.push(EntryBits::XD.bits().trailing_zeros());
        }
    }
    if placed.is_leaf && placed.level.number > 1 {
        // The lowest of the reserved bits of a large page, and the PAT.
        bits.extend([12, 13]);
    }
    bits
}
