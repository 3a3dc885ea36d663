//! Unusual bits: what makes an entry differ from a plain one. Bits that walkers get wrong are drawn
//! more often than others.

use crosswalk_machine::Capabilities;
use mmu_core::x86::format::{EntryBits, Level};
use mmu_core::{ControlState, Cr4, PagingMode};
use rand::{Rng, RngExt};

/// Where an entry is used.
pub(super) struct EntryPlace {
    /// The level of its table.
    pub(super) level: &'static Level,
    /// Whether it maps the page.
    pub(super) is_leaf: bool,
    /// Whether the access is a fetch.
    pub(super) is_fetch: bool,
}

impl EntryPlace {
    /// The value of an entry with one thing about it changed.
    pub(super) fn make_unusual(
        &self,
        rng: &mut impl Rng,
        state: &ControlState,
        machine: &Capabilities,
        value: u64,
    ) -> u64 {
        let is_narrow = state.mode() == PagingMode::Bits32;
        let is_large_leaf = self.is_leaf && self.level.number > 1;
        let entry_mask = if is_narrow { u32::MAX.into() } else { u64::MAX };
        let physical_bits = u32::from(machine.profile.physical_address_bits);

        let mut one_of = |low: u32, high: u32| 1_u64 << rng.random_range(low..high);
        let below_page_size = if is_large_leaf {
            let spared = self.spared_pse_36_bits(is_narrow, machine);
            one_of(13 + spared, self.level.shift.into())
        } else {
            0
        };
        let caching = one_of(3, 5);
        let ignored = one_of(9, 12);
        let high = one_of(52, 59);
        let key = one_of(59, 63);
        let above_address = if physical_bits < 52 { one_of(physical_bits, 52) } else { 0 };
        let noise: u64 = rng.random();

        match rng.random_range(0..16) {
            0 | 1 => value & !EntryBits::P.bits(),
            // Not present, and any other bit set or clear (CODE-1).
            2 => noise & entry_mask & !EntryBits::P.bits(),
            3 | 4 => value & !EntryBits::RW.bits(),
            5 | 6 => value & !EntryBits::US.bits(),
            10 if is_large_leaf => value ^ below_page_size,
            10 => value | page_size_bit(is_narrow, state, machine).bits(),
            11 => value | EntryBits::G.bits(),
            12 if is_large_leaf => value | EntryBits::LARGE_PAT.bits(),
            12 => value | caching,
            // Ignored bits: 11:9 here; 58:52, and the key where keys are off, below.
            13 => value | ignored,
            // The other changes are to the upper half, which a 32-bit entry does not have.
            _ if is_narrow && is_large_leaf => value ^ below_page_size,
            _ if is_narrow => value ^ EntryBits::RW.bits(),
            7 | 8 => value | EntryBits::XD.bits(),
            9 => value | above_address,
            14 => value | high,
            _ if self.is_leaf => value | EntryBits::with_key(1 + rng.random_range(0..15)),
            _ => value | key,
        }
    }

    /// Number of address bits of a 4 MiB page that stay as they are. PSE-36 makes them physical
    /// address bits (MODE-5). They stay if they would lead outside memory where the machine does not
    /// report such accesses, or where a fetch would find no code.
    fn spared_pse_36_bits(&self, is_narrow: bool, machine: &Capabilities) -> u32 {
        let physical_bits = u32::from(machine.profile.physical_address_bits);
        match (is_narrow && !machine.sees_outside, self.is_fetch) {
            (false, _) => 0,
            (true, false) => physical_bits.clamp(32, 40) - 32,
            (true, true) => 8,
        }
    }
}

/// PS, or G instead where PS would turn the address of a table into that of a page outside memory
/// (MODE-4), and the machine does not report such accesses.
fn page_size_bit(is_narrow: bool, state: &ControlState, machine: &Capabilities) -> EntryBits {
    let leads_outside = is_narrow && state.cr4.contains(Cr4::PSE);
    if leads_outside && !machine.sees_outside { EntryBits::G } else { EntryBits::PS }
}
