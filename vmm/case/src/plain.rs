//! Plain cases: one page with every right, and nothing unusual. Probes and tests start from these,
//! and change what they are about.

use crate::{Case, TableEntry};
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
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
        assert!(lane < MAX_LANES, "there are {MAX_LANES} lanes");
        let state = plain_state(mode, arena, profile);
        let (entries, page) = plain_mapping(mode, arena, lane);
        let size = if state.efer.contains(Efer::LMA) { 8 } else { 4 };

        Self {
            profile,
            state,
            entries,
            before: Vec::new(),
            access: Access::read(page.wrapping_add(OFFSET), size, ring),
            form: Form::Load,
            value: 0,
        }
    }
}

/// The entries that map a lane's data frame, and the linear address of the page.
fn plain_mapping(mode: PagingMode, arena: Arena, lane: usize) -> (Vec<TableEntry>, VirtAddr) {
    let frame = arena.data_frames(lane);
    if mode == PagingMode::Unpaged {
        return (Vec::new(), VirtAddr::new(frame));
    }

    let flags = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    let path = plain_path(mode, lane);
    let mut entries: Vec<TableEntry> = Vec::new();
    let mut address = 0;
    for (depth, (level, (table, slot))) in levels(mode).iter().zip(&path).enumerate() {
        let at = arena.table(*table) + slot * tables::entry_bytes(mode);
        let target = path.get(depth + 1).map_or(frame, |(next, _)| arena.table(*next));
        let flags = if level.has_flags { flags } else { EntryBits::P.bits() };
        entries.push(TableEntry { at, value: target | flags });
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
fn plain_path(mode: PagingMode, lane: usize) -> Vec<(usize, u64)> {
    let first = |level: usize| tables::of_levels(mode)[level].start;
    let lane = lane as u64;
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => Vec::new(),
        PagingMode::Bits32 => {
            // Lanes skip the slots that map the guest itself.
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

/// The control state of plain cases: write protection on, execute-disable on if the processor has it,
/// everything else off.
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
