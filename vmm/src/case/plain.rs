//! Plain cases: one page mapped as openly as can be, with nothing unusual. Probes and tests start
//! from these and change what they are about.

use super::{Case, TableEntry};
use guest::layout::{Arena, MAX_LANES};
use guest::stub::Form;
use mmu_core::format::EntryBits;
use mmu_core::{Access, ControlState, Profile, Ring, VirtAddr};

impl Case {
    /// A read of 8 bytes from a 4 KiB page that is present, writable and a user's at every level.
    /// Lane `lane` uses slot `lane + 1` of four tables of the arena, and its own data frame.
    ///
    /// # Panics
    /// When there is no such lane.
    pub fn plain(arena: Arena, lane: usize, ring: Ring, profile: Profile) -> Self {
        assert!(lane < MAX_LANES, "there are {MAX_LANES} lanes");
        let slot = lane as u64 + 1;
        let flags = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        let target = |level: usize| match level {
            3 => arena.data_frames(lane),
            _ => arena.table(level + 1),
        };
        let entries = (0..4)
            .map(|level| TableEntry {
                at: arena.table(level) + slot * 8,
                value: target(level) | flags,
            })
            .collect();
        let mut state = ControlState::long_mode(arena.table(0));
        if !profile.features.contains(mmu_core::Features::NX) {
            state.efer.remove(mmu_core::Efer::NXE);
        }
        let address = sign_extend(slot << 39 | slot << 30 | slot << 21 | slot << 12 | 0x108);
        let access = Access::read(VirtAddr::new(address), 8, ring);
        Self { profile, state, entries, access, form: Form::Load, value: 0 }
    }
}

/// Makes a 48-bit linear address canonical.
pub const fn sign_extend(address: u64) -> u64 {
    ((address << 16) as i64 >> 16) as u64
}
