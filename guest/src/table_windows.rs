//! Page tables above 4 GiB: windows of memory for the tables of both arenas. Cut to 32 bits, the address of
//! a table there is that of the table with the same index in low memory, which is another one.

use crate::layout::{Arena, LOW_MEMORY_END, TABLE_WINDOWS};

/// Memory for tables above 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableWindow(u8);

/// The start of the arenas in low memory.
const LOW_START: u64 = Arena::ALL[0].base();

/// Where the kernel maps the tables of the windows, one after the other: the linear addresses below its
/// image are not in use.
const LINEAR: u64 = 0x2_0000;
/// Number of pages there for the tables of one arena in one window.
const PAGES_PER_ARENA: u64 = 16;

impl TableWindow {
    /// All windows.
    pub const ALL: [Self; 2] = [Self(0), Self(1)];
    /// Size of a window in bytes.
    pub const SIZE: u64 = LOW_MEMORY_END - LOW_START;

    /// The windows of a machine with this MAXPHYADDR.
    ///
    /// ```
    /// use crosswalk_guest::table_windows::TableWindow;
    /// assert_eq!([36, 39, 40, 52].map(|bits| TableWindow::within(bits).count()), [0, 1, 2, 2]);
    /// ```
    pub fn within(physical_address_bits: u8) -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(move |window| window.is_within(physical_address_bits))
    }

    /// Whether a machine with this MAXPHYADDR has it. For another, the address bits there are reserved.
    pub const fn is_within(self, physical_address_bits: u8) -> bool {
        self.start() >> physical_address_bits == 0
    }

    /// The physical address of its start.
    pub const fn start(self) -> u64 {
        self.distance() + LOW_START
    }

    /// What it adds to the address of a low table.
    pub const fn distance(self) -> u64 {
        TABLE_WINDOWS[self.0 as usize]
    }

    /// Whether it contains a physical address.
    pub const fn contains(self, address: u64) -> bool {
        address >= self.start() && address - self.start() < Self::SIZE
    }

    /// The tables in it.
    pub fn tables(self) -> impl Iterator<Item = (Arena, TablePlace)> {
        Arena::ALL.into_iter().flat_map(move |arena| {
            (0..Arena::TABLES).map(move |index| (arena, TablePlace { index, window: Some(self) }))
        })
    }
}

/// The place of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// Its index in the arena, which decides about its level.
    pub index: usize,
    /// Its window, unless it is in low memory.
    pub window: Option<TableWindow>,
}

impl TablePlace {
    /// The place in low memory.
    pub const fn low(index: usize) -> Self {
        Self { index, window: None }
    }

    /// The place of the table of an arena that contains a physical address.
    ///
    /// ```
    /// use crosswalk_guest::layout::Arena;
    /// use crosswalk_guest::table_windows::TablePlace;
    /// let arena = Arena::ALL[0];
    /// assert_eq!(TablePlace::at(arena, 0x44_5048), Some(TablePlace::low(5)));
    /// let high = TablePlace::at(arena, 0x40_0044_5048).unwrap();
    /// assert_eq!((high.index, high.address(arena)), (5, 0x40_0044_5000));
    /// assert_eq!(TablePlace::at(arena, 0x1_0044_5048), None);
    /// ```
    pub fn at(arena: Arena, address: u64) -> Option<Self> {
        let window = TableWindow::ALL.into_iter().find(|window| window.contains(address));
        let low = address - window.map_or(0, TableWindow::distance);
        Some(Self { index: arena.table_at(low)?, window })
    }

    /// Its physical address in an arena.
    pub fn address(self, arena: Arena) -> u64 {
        arena.table(self.index) + self.window.map_or(0, TableWindow::distance)
    }

    /// The linear address at which the kernel writes it.
    pub fn linear(self, arena: Arena) -> u64 {
        let Some(TableWindow(window)) = self.window else { return arena.table(self.index) };
        let first = (u64::from(window) * 2 + arena.index() as u64) * PAGES_PER_ARENA;
        LINEAR + (first + self.index as u64) * 0x1000
    }

    /// The place as a word of the protocol.
    pub fn word(self) -> u64 {
        let window = self.window.map_or(0, |window| u64::from(window.0) + 1);
        window * PAGES_PER_ARENA + self.index as u64
    }

    /// The place of a word; `None` if it is none.
    pub fn of_word(word: u64) -> Option<Self> {
        let index = (word % PAGES_PER_ARENA) as usize;
        let window = match word / PAGES_PER_ARENA {
            0 => None,
            number => Some(*TableWindow::ALL.get(number as usize - 1)?),
        };
        (index < Arena::TABLES).then_some(Self { index, window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::high;
    use crate::layout::{IMAGE_BASE, is_above_the_layout};
    use std::collections::HashSet;

    #[test]
    fn windows_share_no_memory_with_anything_else() {
        for window in TableWindow::ALL {
            for address in [window.start(), window.start() + TableWindow::SIZE - 1] {
                assert!(!is_above_the_layout(address), "{address:#x}");
                assert!((39..=52).all(|bits| high::data_behind(address, bits).is_none()));
            }
            assert!(is_above_the_layout(window.start() - 1));
            assert!(is_above_the_layout(window.start() + TableWindow::SIZE));
        }
    }

    #[test]
    fn every_table_has_a_page_below_the_image() {
        let mut pages = HashSet::new();
        for (arena, place) in TableWindow::ALL.into_iter().flat_map(TableWindow::tables) {
            let linear = place.linear(arena);
            assert!(linear + 0x1000 <= IMAGE_BASE && pages.insert(linear), "{linear:#x}");
        }
    }

    #[test]
    fn a_place_is_the_same_as_a_word_and_by_its_address() {
        let low = (0..Arena::TABLES).map(|index| (Arena::ALL[1], TablePlace::low(index)));
        let high = TableWindow::ALL.into_iter().flat_map(TableWindow::tables);
        for (arena, place) in low.chain(high) {
            assert_eq!(TablePlace::of_word(place.word()), Some(place));
            assert_eq!(TablePlace::at(arena, place.address(arena) + 0xff8), Some(place));
            assert_eq!(place.address(arena) as u32, arena.table(place.index) as u32);
        }
        for word in [10, 15, 26, 48, u64::MAX] {
            assert_eq!(TablePlace::of_word(word), None, "{word}");
        }
    }

    #[test]
    fn every_bit_takes_both_values() {
        let [first, second] = TableWindow::ALL.map(TableWindow::distance);
        assert_eq!(first ^ second, 0xff_0000_0000);
        assert_eq!(first & second, 0);
    }
}
