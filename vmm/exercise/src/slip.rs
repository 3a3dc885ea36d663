//! The slips of a student who walks tables by hand: walkers with one decision overridden.

use mmu_core::x86::format::{EntryKind, Format, Level};
use mmu_core::{PhysAddr, Semantics, VirtAddr};

/// A slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// At the level with this number, the index of another level is used.
    OtherIndex(u8, &'static Level),
    /// The lowest index is used first, and the highest last.
    FromTheLowest(&'static [Level]),
    /// The flags of the leaf stay in the address.
    FlagsKept,
}

impl Slip {
    /// Every slip that can be made in a format.
    pub(crate) fn all<F: Format>() -> impl Iterator<Item = Self> {
        let neighbours = F::LEVELS.windows(2).flat_map(|pair| {
            [Self::OtherIndex(pair[0].number, &pair[1]), Self::OtherIndex(pair[1].number, &pair[0])]
        });
        let others = [Self::FromTheLowest(F::LEVELS), Self::FlagsKept];
        neighbours.chain(others)
    }

    /// What went wrong, in a format.
    pub(crate) fn why<F: Format>(self) -> String {
        let name = |number: u8| {
            let level = F::LEVELS.iter().find(|level| level.number == number);
            level.map_or("table", |level| level.entry_name)
        };
        match self {
            Self::OtherIndex(number, other) => format!(
                "For the {} you used the index of the {}, the {}.",
                name(number),
                if other.number < number { "next level" } else { "level before" },
                other.entry_name
            ),
            Self::FromTheLowest(_) => {
                "You went from the lowest index up. The root uses the highest bits.".into()
            }
            Self::FlagsKept => {
                "The flags of the entry are still in the address: only the frame's bits count."
                    .into()
            }
        }
    }
}

impl Semantics for Slip {
    fn index(&self, level: &Level, address: VirtAddr) -> u64 {
        let used = match *self {
            Self::OtherIndex(number, other) if number == level.number => other,
            Self::FromTheLowest(levels) => &levels[usize::from(level.number) - 1],
            _ => level,
        };
        address.index(used.shift, used.index_bits)
    }

    fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        match (self, kind) {
            (Self::FlagsKept, EntryKind::Leaf) if level.has_flags => PhysAddr::new(entry),
            // The valid bit of a textbook's entry becomes a bit of the frame number.
            (Self::FlagsKept, EntryKind::Leaf) => PhysAddr::new(entry << level.shift),
            _ => F::address(level, kind, entry),
        }
    }
}
