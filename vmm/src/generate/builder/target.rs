//! What a mapping leads to: the lane's data frames, or an address without memory.

use crosswalk_guest::high;
use crosswalk_guest::layout::{HOLE_BASE, LOW_HOLE};
use crosswalk_guest::table_windows::TableWindow;
use crosswalk_machine::Capabilities;
use mmu_core::PagingMode;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// What the access should reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::generate) enum AccessTarget {
    /// The lane's own data frames.
    Data,
    /// The same frames where they appear at a high physical address.
    High(u64),
    /// An address without memory.
    Outside,
}

impl AccessTarget {
    /// A target that a leaf at this depth can map.
    pub(super) fn random(
        rng: &mut impl Rng,
        machine: &Capabilities,
        mode: PagingMode,
        leaf_level: usize,
    ) -> Self {
        let high: Vec<_> = high_places(machine, mode, leaf_level).collect();
        match high.choose(rng) {
            Some(place) if rng.random_bool(0.1) => Self::High(*place),
            _ if machine.sees_outside && rng.random_bool(0.04) => Self::Outside,
            _ => Self::Data,
        }
    }
}

/// The high addresses at which a leaf at this depth can reach the data memory.
fn high_places(
    machine: &Capabilities,
    mode: PagingMode,
    leaf_level: usize,
) -> impl Iterator<Item = u64> {
    let address_bits = match mode {
        _ if !machine.high_memory => 0,
        // In pages of 4 MiB only (MODE-5).
        PagingMode::Bits32 if leaf_level == 0 => 40,
        PagingMode::Unpaged | PagingMode::Linear | PagingMode::Bits32 => 0,
        PagingMode::Pae | PagingMode::FourLevel | PagingMode::FiveLevel => 52,
    };
    let places = high::places(machine.profile.physical_address_bits);
    places.filter(move |place| *place < 1 << address_bits)
}

/// The start of a page of 2^`shift` bytes without memory.
pub(in crate::generate) fn outside_page(
    rng: &mut impl Rng,
    machine: &Capabilities,
    mode: PagingMode,
    shift: u8,
) -> u64 {
    let bits = machine.profile.physical_address_bits;
    let range = match mode {
        PagingMode::Bits32 if shift == 12 => LOW_HOLE,
        PagingMode::Bits32 => HOLE_BASE..1 << bits.min(40),
        _ => HOLE_BASE..1 << bits,
    };

    loop {
        let page = rng.random_range(range.clone()) & !((1 << shift) - 1);
        let last_byte = page + (1 << shift) - 1;

        let is_pse_36 = mode == PagingMode::Bits32 && shift > 12;
        if is_pse_36 && !stays_outside(page, bits) {
            continue;
        }
        let has_no_data = |at: u64| high::data_behind(at, bits).is_none();
        let has_tables = |window: TableWindow| {
            page < window.start() + TableWindow::SIZE && window.start() <= last_byte
        };
        let has_no_memory = has_no_data(page)
            && has_no_data(last_byte)
            && !TableWindow::ALL.into_iter().any(has_tables);
        if page >= range.start && has_no_memory {
            return page;
        }
    }
}

/// Whether a 4 MiB page stays outside memory if an unusual bit changes one of the address bits that
/// PSE-36 adds: such a bit must lead neither to a high address of the data memory nor below 4 GiB.
fn stays_outside(page: u64, physical_address_bits: u8) -> bool {
    (page >> 32).count_ones() >= u32::from(physical_address_bits - 32).min(4)
        && page & 0xc000_0000 == 0xc000_0000
}
