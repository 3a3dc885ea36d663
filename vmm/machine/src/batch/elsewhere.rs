//! Data frames outside the lanes of an arena. They have no contents until a case needs them, because
//! filling all of the data memory would take as much memory of the host.

use crosswalk_case::{Action, Case, TableEntry};
use crosswalk_guest::layout::Arena;
use mmu_core::x86::format::{self, EntryKind, levels};
use mmu_core::{PagingMode, Regime};
use std::collections::BTreeSet;

/// Size of a frame in bytes.
pub(super) const FRAME_BYTES: u64 = 0x1000;

/// The data frames outside the lanes of its arena that a case may reach: those that some value of some
/// entry maps for one of its accesses, whatever is cached.
pub(super) fn frames_elsewhere(case: &Case, arena: Arena) -> BTreeSet<u64> {
    let reached = reached_addresses(case).into_iter();
    let frames = reached.filter_map(|at| case.data_behind(at)).map(|at| at & !(FRAME_BYTES - 1));
    frames.filter(|frame| Arena::of_data(*frame) != Some(arena)).collect()
}

/// The physical addresses to which any of the entries may lead the first and the last bytes of the
/// accesses, of a source as well.
fn reached_addresses(case: &Case) -> Vec<u64> {
    let accesses = case.accesses();
    let parts = accesses.iter().flat_map(|alone| alone.access_step().parts());
    let ends = parts.flat_map(|part| [part.address, part.last_byte()]);
    if case.mode() == PagingMode::Unpaged {
        return ends.map(|end| end.truncated(32).get()).collect();
    }

    let regime = Regime::new(case.state, case.profile);
    let written = case.before.iter().filter_map(|action| match action {
        Action::Write(entry) => Some(entry),
        _ => None,
    });
    let entries = case.entries.iter().chain(written);
    let pages = entries.flat_map(|TableEntry { value, .. }| {
        levels(case.mode()).iter().filter_map(move |level| {
            let (kind, first) = format::decode(&regime, level, *value);
            (kind == EntryKind::Leaf).then_some((first, level.shift))
        })
    });

    let pages: Vec<_> = pages.collect();
    ends.flat_map(|end| pages.iter().map(move |(first, shift)| first.get() + end.offset(*shift)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::stub::Form;
    use mmu_core::{Profile, Ring, VirtAddr};

    /// The frames of lane 3 of arena 0 are those at 0x40678000 and 0x40679000: (3 * 89 + 17) % 127
    /// is 30, of 4 frames each, in an area of 2 MiB.
    #[test]
    fn only_frames_outside_the_lanes_are_elsewhere() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let arena = Arena::ALL[0];
        let mut case = Case::plain(arena, 3, Ring::Three, profile);
        assert_eq!(case.entries[3].value & !0xfff, 0x4067_8000);
        assert!(frames_elsewhere(&case, arena).is_empty());

        // The frames of the other arena, and those between.
        case.entries[3].value += 0x2000;
        assert_eq!(Vec::from_iter(frames_elsewhere(&case, arena)), [0x4067_a000]);
        case.entries[3].value += 0x2000;
        assert_eq!(Vec::from_iter(frames_elsewhere(&case, arena)), [0x4067_c000]);

        // A 2 MiB page that is written later, for an access that crosses into its next 4 KiB.
        let parent = case.entries[2];
        case.before = vec![Action::Write(TableEntry { value: 0x4160_0087, ..parent })];
        case.access.address = VirtAddr::new(case.access.address.get() & !0x1f_ffff | 0x4_4ffc);
        let frames = frames_elsewhere(&case, arena);
        for frame in [0x4067_c000, 0x4164_4000, 0x4164_5000] {
            assert!(frames.contains(&frame), "{frame:#x}");
        }

        // What the instruction copies from there.
        assert!(!frames.contains(&0x4165_0000));
        case.form = Form::MoveString;
        case.value = case.access.address.get() & !0x1f_ffff | 0x5_0010;
        assert!(frames_elsewhere(&case, arena).contains(&0x4165_0000));
    }
}
