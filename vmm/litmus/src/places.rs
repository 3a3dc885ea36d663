//! Where the pages, tables and frames of a test are, and what its names mean.

use crosswalk_machine::litmus::{code_word, number_of};
use mmu_core::x86::format::EntryBits;
use mmu_core::{PhysAddr, VirtAddr};

/// The names of pages, in the order of their addresses.
const PAGES: &str = "xyzw";
/// The name of another address of the page x, by the next PDE, which leads to the first table, too.
const OTHER_ADDRESS: &str = "v";
/// The names of frames. A frame contains its own name in small letters.
const FRAMES: &str = "ABCDEFGH";
/// The names of tables besides the first one, which has none.
const TABLES: &str = "TU";
/// The names of flags.
const FLAGS: &str = "fghk";

/// The root table of the first tree.
pub(crate) const ROOT: u64 = 0x1_0000;
const PDPT: u64 = 0x1_1000;
const PD: u64 = 0x1_2000;
const FIRST_TABLE: u64 = 0x1_3000;
const FIRST_FRAME: u64 = 0x18_0000;
/// Frames of 2 MiB have the same names.
const FIRST_LARGE_FRAME: u64 = 0x100_0000;
const FIRST_FLAG: u64 = 0x17_0000;
/// Roots of further trees, each with tables of its own above a table of [`TABLES`].
const FIRST_ROOT: u64 = 0x2_0000;

/// A page: its linear address, and the index of its PTE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page(usize);

/// A page table: the first one, or one that the test names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table(usize);

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame(usize);

/// A flag in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(usize);

/// The position of a name among others.
fn position(names: &str, name: &str) -> Option<usize> {
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none())?;
    names.chars().position(|known| known == letter)
}

impl Page {
    /// Every page.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..PAGES.len()).map(Self)
    }

    /// The page of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        position(PAGES, name).map(Self)
    }

    /// Its name.
    pub(crate) fn name(self) -> char {
        char::from(PAGES.as_bytes()[self.0])
    }

    /// The linear address of a name: of a page, or the other one of x.
    pub(crate) fn address_named(name: &str) -> Option<VirtAddr> {
        if name == OTHER_ADDRESS {
            return Some(VirtAddr::new(0x20_0000));
        }
        Self::named(name).map(Self::address)
    }

    /// Its linear address.
    pub(crate) const fn address(self) -> VirtAddr {
        VirtAddr::new(0x1000 * self.0 as u64)
    }

    /// Where its PTE is in a table.
    pub(crate) const fn pte(self, table: Table) -> PhysAddr {
        PhysAddr::new(table.address() + 8 * self.0 as u64)
    }
}

impl Table {
    /// The table that the first PDE points to.
    pub(crate) const FIRST: Self = Self(0);

    /// Every table.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..=TABLES.len()).map(Self)
    }

    /// The table of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        position(TABLES, name).map(|number| Self(number + 1))
    }

    /// Its name; the first one has none.
    pub(crate) fn name(self) -> Option<char> {
        self.0.checked_sub(1).map(|number| char::from(TABLES.as_bytes()[number]))
    }

    /// Its physical address.
    pub(crate) const fn address(self) -> u64 {
        FIRST_TABLE + 0x1000 * self.0 as u64
    }

    /// The PDE that points to it.
    pub(crate) const fn pde(self) -> u64 {
        self.address() | 0x27
    }

    /// The root of the tree of which it is a part, with the entries of its own that lead to it. The first PDE
    /// is at [`Table::place_of_pde`].
    pub(crate) const fn tree(self) -> [(u64, u64); 3] {
        let above = if self.0 == 0 {
            [ROOT, PDPT, PD]
        } else {
            let first = FIRST_ROOT + 0x3000 * (self.0 as u64 - 1);
            [first, first + 0x1000, first + 0x2000]
        };
        [(above[0], above[1] | 0x27), (above[1], above[2] | 0x27), (above[2], self.pde())]
    }

    /// The second PDE of the first tree, and what is in it: it leads to the first table, too.
    pub(crate) const fn second_pde() -> (u64, u64) {
        (Self::FIRST.tree()[2].0 + 8, Self::FIRST.pde())
    }

    /// The PDPTE of the first tree, and what is in it.
    pub(crate) const fn first_pdpte() -> (u64, u64) {
        Self::FIRST.tree()[1]
    }

    /// Where the PDE of its tree is.
    pub(crate) const fn place_of_pde(self) -> PhysAddr {
        PhysAddr::new(self.tree()[2].0)
    }
}

impl Frame {
    /// Every frame.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..FRAMES.len()).map(Self)
    }

    /// The frame of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        position(FRAMES, name).map(Self)
    }

    /// Its name.
    pub(crate) fn name(self) -> char {
        char::from(FRAMES.as_bytes()[self.0])
    }

    /// The physical address of the frame of 4 KiB.
    pub(crate) const fn address(self) -> u64 {
        FIRST_FRAME + 0x1_0000 * self.0 as u64
    }

    /// That of the frame of 2 MiB.
    pub(crate) const fn large_address(self) -> u64 {
        FIRST_LARGE_FRAME + 0x20_0000 * self.0 as u64
    }

    /// The frame in an entry.
    pub(crate) fn of_entry(entry: u64) -> Option<Self> {
        let address = entry & EntryBits::ADDRESS;
        Self::all().find(|frame| [frame.address(), frame.large_address()].contains(&address))
    }

    /// What it contains at the beginning.
    pub(crate) fn content(self) -> u64 {
        content(self.name().to_ascii_lowercase())
    }
}

impl Flag {
    /// Every flag.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..FLAGS.len()).map(Self)
    }

    /// The flag of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        position(FLAGS, name).map(Self)
    }

    /// Its name.
    pub(crate) fn name(self) -> char {
        char::from(FLAGS.as_bytes()[self.0])
    }

    /// Where it is.
    pub(crate) const fn at(self) -> PhysAddr {
        PhysAddr::new(FIRST_FLAG + 8 * self.0 as u64)
    }
}

/// The word for a small letter: as code it returns the letter's number.
pub(crate) fn content(letter: char) -> u64 {
    code_word(u32::from(letter) - u32::from('a'))
}

/// The small letter for a word.
pub(crate) fn letter(content: u64) -> Option<char> {
    let number = u8::try_from(number_of(content)?).ok().filter(|number| *number < 26)?;
    Some(char::from(b'a' + number))
}
