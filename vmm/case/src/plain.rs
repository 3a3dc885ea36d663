//! Plain cases: one page mapped as openly as can be, with nothing unusual. Probes and tests start
//! from these and change what they are about.

use super::{Case, TableEntry};
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
use mmu_core::x86::format::{EntryBits, levels};
use mmu_core::{
    Access, ControlState, Cr0, Cr4, Efer, Features, PagingMode, Profile, Ring, VirtAddr,
};

impl Case {
    /// A read of 8 bytes in 4-level paging: [`Self::plain_in`].
    ///
    /// # Panics
    /// When there is no such lane.
    pub fn plain(arena: Arena, lane: usize, ring: Ring, profile: Profile) -> Self {
        Self::plain_in(PagingMode::FourLevel, arena, lane, ring, profile)
    }

    /// A read of 8 bytes (4 in 32-bit code) from a 4 KiB page that is present, writable and a user's
    /// at every level. Each lane has a slot of its own in one table of each level, and its own data
    /// frame. Without paging it reads the frame itself.
    ///
    /// # Panics
    /// When there is no such lane.
    pub fn plain_in(
        mode: PagingMode,
        arena: Arena,
        lane: usize,
        ring: Ring,
        profile: Profile,
    ) -> Self {
        assert!(lane < MAX_LANES, "there are {MAX_LANES} lanes");
        let state = plain_state(mode, arena, profile);
        let flags = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        let frame = arena.data_frames(lane);
        let mut entries: Vec<TableEntry> = Vec::new();
        let mut address = if mode == PagingMode::Unpaged { frame } else { 0 };
        let path = plain_path(mode, lane);
        for (depth, (level, (table, slot))) in levels(mode).iter().zip(&path).enumerate() {
            let at = arena.table(*table) + slot * tables::entry_bytes(mode);
            let target = path.get(depth + 1).map_or(frame, |(next, _)| arena.table(*next));
            let flags = if level.has_flags { flags } else { EntryBits::P.bits() };
            entries.push(TableEntry { at, value: target | flags });
            address |= slot << level.shift;
        }
        if mode == PagingMode::FourLevel {
            address = sign_extend(address);
        } else if mode == PagingMode::FiveLevel {
            address = VirtAddr::new(address).sign_extended(57).get();
        }
        let size = if state.efer.contains(Efer::LMA) { 8 } else { 4 };
        let access = Access::read(VirtAddr::new(address | 0x108), size, ring);
        let before = Vec::new();
        Self { profile, state, entries, before, access, form: Form::Load, value: 0 }
    }
}

/// The tables and slots of a plain case, root first.
fn plain_path(mode: PagingMode, lane: usize) -> Vec<(usize, u64)> {
    let first = |level: usize| tables::of_levels(mode)[level].start;
    let lane = lane as u64;
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => Vec::new(),
        PagingMode::Bits32 => {
            // Past the slots that map the guest itself.
            let slot = if lane < 254 { lane + 2 } else { lane + 4 };
            vec![(first(0), slot), (first(1), slot)]
        }
        // PDPTE 2 and the table that belongs to it.
        PagingMode::Pae => vec![(first(0), 2), (first(1) + 2, lane), (first(2), lane)],
        PagingMode::FourLevel | PagingMode::FiveLevel => {
            (0..levels(mode).len()).map(|level| (first(level), lane + 1)).collect()
        }
    }
}

/// The control state of plain cases: write protection and execute-disable on, the rest off.
pub fn plain_state(mode: PagingMode, arena: Arena, profile: Profile) -> ControlState {
    let mut state = ControlState::long_mode(arena.table(0));
    match mode {
        PagingMode::FourLevel | PagingMode::Linear => {}
        PagingMode::FiveLevel => state.cr4 |= Cr4::LA57,
        PagingMode::Pae => {
            state.efer = Efer::NXE;
            // All four, each with its own table (crosswalk_guest::tables).
            for (index, pdpte) in (1..).zip(&mut state.pdptes) {
                *pdpte = arena.table(index) | EntryBits::P.bits();
            }
        }
        PagingMode::Bits32 | PagingMode::Unpaged => {
            state.efer = Efer::NXE;
            state.cr4 -= Cr4::PAE;
        }
    }
    if mode == PagingMode::Unpaged {
        state.cr0 -= Cr0::PG;
    }
    if !profile.features.contains(Features::NX) {
        state.efer -= Efer::NXE;
    }
    state
}

/// Makes a 48-bit linear address canonical.
pub const fn sign_extend(address: u64) -> u64 {
    ((address << 16) as i64 >> 16) as u64
}
