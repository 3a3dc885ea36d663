//! Unusual bits: what makes an entry differ from a plain one. Bits that a walker could be wrong about
//! are drawn more often than chance would.

use crosswalk_machine::Capabilities;
use mmu_core::x86::format::{EntryBits, Level};
use mmu_core::{ControlState, Cr4, PagingMode};
use rand::{Rng, RngExt};

/// Changes one thing about an entry that is plain or was changed before.
pub(super) fn make_unusual(
    rng: &mut impl Rng,
    state: &ControlState,
    machine: &Capabilities,
    level: &Level,
    (is_leaf, is_fetch): (bool, bool),
    value: &mut u64,
) {
    let is_narrow = state.mode() == PagingMode::Bits32;
    let is_large_leaf = is_leaf && level.number > 1;
    let all = if is_narrow { 0xffff_ffff } else { u64::MAX };
    let mut one_of = |low: u32, high: u32| 1 << rng.random_range(low..high);
    let bits = machine.profile.physical_address_bits;
    // PSE-36 makes some of these address bits (MODE-5): where they lead outside memory, a machine
    // that does not show that is spared them, and the code that it would find there.
    let outside = match (is_narrow && !machine.sees_outside, is_fetch) {
        (false, _) => 0,
        (true, false) => bits.clamp(32, 40) - 32,
        (true, true) => 8,
    };
    let by_size =
        if is_large_leaf { one_of(13 + u32::from(outside), level.shift.into()) } else { 0 };
    // So does PS in an entry that points to a table, unless it is ignored (MODE-4).
    let leads_outside = is_narrow && state.cr4.contains(Cr4::PSE);
    let page_size =
        if leads_outside && !machine.sees_outside { EntryBits::G } else { EntryBits::PS }.bits();
    let caching = one_of(3, 5);
    let ignored = one_of(9, 12);
    let high = one_of(52, 59);
    let key = one_of(59, 63);
    let first_above = u32::from(bits);
    let above = if first_above < 52 { one_of(first_above, 52) } else { 0 };
    let noise: u64 = rng.random();
    match rng.random_range(0..16) {
        0 | 1 => *value &= !EntryBits::P.bits(),
        // Not present, and every other bit free (CODE-1).
        2 => *value = noise & all & !EntryBits::P.bits(),
        3 | 4 => *value &= !EntryBits::RW.bits(),
        5 | 6 => *value &= !EntryBits::US.bits(),
        10 if is_large_leaf => *value ^= by_size,
        10 => *value |= page_size,
        11 => *value |= EntryBits::G.bits(),
        12 if is_large_leaf => *value |= EntryBits::LARGE_PAT.bits(),
        12 => *value |= caching,
        // Bits that are ignored: 11:9 here, 58:52 and the key where keys are off below.
        13 => *value |= ignored,
        // An entry of 32 bits has nothing further up.
        _ if is_narrow && is_large_leaf => *value ^= by_size,
        _ if is_narrow => *value ^= EntryBits::RW.bits(),
        7 | 8 => *value |= EntryBits::XD.bits(),
        9 => *value |= above,
        14 => *value |= high,
        _ if is_leaf => *value |= EntryBits::with_key(1 + rng.random_range(0..15)),
        _ => *value |= key,
    }
}
