//! Plain cases: one page with every right, and nothing unusual. Probes and tests start from these,
//! and change what they are about.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "places of the layout, which no case decides"
)]

use crate::{Case, TableEntry};
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::x86::format::{EntryBits, levels};
use mmu_core::{
    Access, ControlState, Cr0, Cr4, Efer, Features, PagingMode, Profile, Ring, VirtAddr,
};

/// The offset of a plain access in its page.
const OFFSET: u64 = 0x108;

impl Case {
    /// A read of 8 bytes in 4-level paging: [`Self::plain_in`].
    ///
    /// # Panics
    /// When the arena has no such lane.
    pub fn plain(arena: Arena, lane: usize, ring: Ring, profile: Profile) -> Self {
        Self::plain_in(PagingMode::FourLevel, arena, lane, ring, profile)
    }

    /// A read of 8 bytes (4 in 32-bit code) from a 4 KiB page that is present, writable and accessible
    /// to user code at every level. Each lane has its own slot in one table of each level, and its own
    /// data frame. Without paging it reads the frame itself.
    ///
    /// ```
    /// use crosswalk_case::Case;
    /// use crosswalk_guest::layout::Arena;
    /// use mmu_core::{PagingMode, Profile, Ring};
    ///
    /// let case =
    ///     Case::plain_in(PagingMode::Pae, Arena::ALL[0], 7, Ring::Zero, Profile::default());
    /// assert_eq!(case.mode(), PagingMode::Pae);
    /// assert_eq!(case.entries.len(), 3);
    /// assert_eq!(case.unusual_bits(), 0);
    /// ```
    ///
    /// # Panics
    /// When the arena has no such lane.
    pub fn plain_in(
        mode: PagingMode,
        arena: Arena,
        lane: usize,
        ring: Ring,
        profile: Profile,
    ) -> Self {
        Self::plain_with(TableUse::of(mode), arena, lane, ring, profile)
    }

    /// The same for any use of the tables: [`Self::plain_in`], or in compatibility mode.
    ///
    /// # Panics
    /// When the arena has no such lane.
    pub fn plain_with(
        table_use: TableUse,
        arena: Arena,
        lane: usize,
        ring: Ring,
        profile: Profile,
    ) -> Self {
        assert!(lane < MAX_LANES, "there are {MAX_LANES} lanes");
        let TableUse { mode, compatibility } = table_use;
        let state = plain_state(mode, arena, profile);
        let (entries, page) = plain_mapping(table_use, arena, lane);
        let size = if Code::of(table_use) == Code::Bits64 { 8 } else { 4 };
        let read = Access::read(page.wrapping_add(OFFSET), size, ring);

        Self {
            profile,
            state,
            entries,
            before: Vec::new(),
            access: Access { compatibility, ..read },
            form: Form::Load,
            value: 0,
        }
    }
}

/// The entries of the levels that all lanes share in compatibility mode, as plain cases have them:
/// every right, and A set, so that no lane changes them. The guest itself needs the root's and the
/// first two PDPTEs. Empty for a use of the tables in which the lanes share none, and for PAE paging,
/// whose PDPTEs are in registers.
pub fn shared_entries(table_use: TableUse, arena: Arena) -> Vec<TableEntry> {
    if table_use.mode == PagingMode::Pae {
        return Vec::new();
    }

    let levels = tables::shared_levels(table_use);
    let flags = (EntryBits::P | EntryBits::RW | EntryBits::US | EntryBits::A).bits();
    let entries_of = |level: usize| {
        let first = tables::of_levels(table_use)[level + 1].clone();
        (0..).zip(first).map(move |(slot, below)| TableEntry {
            at: arena.table(level) + slot * tables::entry_bytes(table_use.mode),
            value: arena.table(below) | flags,
        })
    };
    (0..levels).flat_map(entries_of).collect()
}

/// The entries that map a lane's data frame, and the linear address of the page.
fn plain_mapping(table_use: TableUse, arena: Arena, lane: usize) -> (Vec<TableEntry>, VirtAddr) {
    let mode = table_use.mode;
    let frame = arena.data_frames(lane);
    if mode == PagingMode::Unpaged {
        return (Vec::new(), VirtAddr::new(frame));
    }

    let flags = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    let path = plain_path(table_use, lane);
    let shared = shared_entries(table_use, arena);
    let mut entries: Vec<TableEntry> = Vec::new();
    let mut address = 0;
    for (depth, (level, (table, slot))) in levels(mode).iter().zip(&path).enumerate() {
        let at = arena.table(*table) + slot * tables::entry_bytes(mode);
        let target = path.get(depth + 1).map_or(frame, |(next, _)| arena.table(*next));
        let flags = if level.has_flags { flags } else { EntryBits::P.bits() };
        let own = TableEntry { at, value: target | flags };
        entries.push(shared.iter().copied().find(|entry| entry.at == at).unwrap_or(own));
        address |= slot << level.shift;
    }

    let page = VirtAddr::new(address);
    let canonical = match mode {
        PagingMode::FourLevel => page.sign_extended(48),
        PagingMode::FiveLevel => page.sign_extended(57),
        _ => page,
    };
    (entries, canonical)
}

/// The tables and slots of a plain case, root first.
fn plain_path(table_use: TableUse, lane: usize) -> Vec<(usize, u64)> {
    let first = |level: usize| tables::of_levels(table_use)[level].start;
    let lane = lane as u64;
    let shared = tables::shared_levels(table_use);
    if shared > 0 {
        // PDPTE 2 and the table that belongs to it.
        let path = tables::shared_path(table_use, 2).map(|(table, slot)| (table, slot as u64));
        return path.chain([(first(shared) + 2, lane), (first(shared + 1), lane)]).collect();
    }

    match table_use.mode {
        PagingMode::Unpaged | PagingMode::Linear => Vec::new(),
        PagingMode::Bits32 => {
            // Lanes skip the slots that map the guest itself.
            let slot = if lane < 254 { lane + 2 } else { lane + 4 };
            vec![(first(0), slot), (first(1), slot)]
        }
        PagingMode::Pae | PagingMode::FourLevel | PagingMode::FiveLevel => {
            (0..levels(table_use.mode).len()).map(|level| (first(level), lane + 1)).collect()
        }
    }
}

/// The control state of plain cases: write protection on, execute-disable on if the processor has it,
/// everything else off.
pub fn plain_state(mode: PagingMode, arena: Arena, profile: Profile) -> ControlState {
    let mut state = ControlState::four_level(arena.table(0));
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
