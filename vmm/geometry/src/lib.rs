//! The textbook's arithmetic of page tables: the number of pages, the bits of a frame number, the size
//! of a table.
//!
//! A [`Geometry`] is one choice of address width, page size and entry size. It has a *flat table*,
//! one entry for each page of the address space, and can split its page number into [`Levels`],
//! whose tables exist only where pages are in use.
//!
//! Sizes are in bytes and exact. They are `u128` because 64 address bits leave room for 2^64 pages.
//! An entry is a frame number and nothing else, as in the textbook; the entries of a real processor
//! hold rights and flags, too.

#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use thiserror::Error;

/// The parameters of a geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Bits of a virtual address: 1 to 64.
    pub address_bits: u32,
    /// Bytes of a page: a power of two, at most the whole space.
    pub page_bytes: u128,
    /// Bits of a physical address: at least those of the page offset, at most 64. By default as many as
    /// a virtual address has.
    pub physical_bits: Option<u32>,
    /// Bytes of an entry, at most [`Geometry::MAX_ENTRY_BYTES`]. By default the smallest power of two
    /// that holds a frame number.
    pub entry_bytes: Option<u32>,
}

impl Default for Parameters {
    /// Addresses of 32 bits, pages of 4 KiB.
    fn default() -> Self {
        Self { address_bits: 32, page_bytes: 4096, physical_bits: None, entry_bytes: None }
    }
}

/// Why parameters do not make a geometry, or a geometry cannot have such levels.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GeometryError {
    /// No or too many address bits.
    #[error("expected 1 to 64 bits, not {0}")]
    AddressBits(u32),
    /// A page size that is zero or between two powers of two.
    #[error("expected a power of two, not {0}")]
    PageNotPowerOfTwo(u128),
    /// A page that is larger than the address space.
    #[error("expected at most 2^{address_bits} bytes, the whole space, not {page_bytes}")]
    PageTooLarge {
        /// Bits of a virtual address.
        address_bits: u32,
        /// Bytes of the page.
        page_bytes: u128,
    },
    /// Physical memory smaller than a page, or too large.
    #[error("expected {least} to 64 bits, enough for one page, not {found}")]
    PhysicalBits {
        /// Bits of a page offset, or 1.
        least: u32,
        /// The bits asked for.
        found: u32,
    },
    /// An entry that cannot hold a frame number, or is absurdly large.
    #[error(
        "expected {least} to {} bytes for a frame number of {frame_number_bits} bits, not {found}",
        Geometry::MAX_ENTRY_BYTES
    )]
    EntryBytes {
        /// Whole bytes of a frame number.
        least: u32,
        /// Bits of a frame number.
        frame_number_bits: u32,
        /// The bytes asked for.
        found: u32,
    },
    /// No levels, or more than the page number has bits.
    #[error(
        "expected 1 to {page_number_bits} levels, at most one for each bit of the page number, not {found}"
    )]
    LevelCount {
        /// Bits of a page number.
        page_number_bits: u32,
        /// The levels asked for.
        found: usize,
    },
    /// A single page is the whole address space.
    #[error("expected a page smaller than the space: there is no page number to split")]
    OnePage,
    /// A level without index bits.
    #[error("expected at least one index bit at each level")]
    NoIndexBits,
    /// Index bits that are not as many as the page number has.
    #[error(
        "expected index bits that sum to {}, the {address_bits} bits of an address less {offset_bits} of offset, not to {found}",
        address_bits - offset_bits
    )]
    LevelSum {
        /// Bits of a virtual address.
        address_bits: u32,
        /// Bits of a page offset.
        offset_bits: u32,
        /// The sum of the index bits asked for.
        found: u64,
    },
}

/// An address width, a page size and an entry size that go together.
///
/// ```
/// use crosswalk_geometry::{Geometry, Parameters};
///
/// // The textbook's first example: 32-bit addresses, pages of 4 KiB.
/// let geometry = Geometry::new(&Parameters::default())?;
/// assert_eq!(geometry.pages(), 1 << 20);
/// assert_eq!(geometry.frame_number_bits(), 20); // 2.5 bytes
/// assert_eq!(geometry.entry_bytes(), 4);
/// assert_eq!(geometry.flat_table_bytes(), 4 << 20); // 4 MiB
/// assert_eq!(geometry.per_byte().flat_table_bytes(), 16 << 30); // 16 GiB
/// # Ok::<(), crosswalk_geometry::GeometryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    address_bits: u32,
    offset_bits: u32,
    physical_bits: u32,
    entry_bytes: u32,
}

impl Geometry {
    /// The textbook's first example: 32-bit addresses and pages of 4 KiB.
    pub const TEXTBOOK_32: Self =
        Self { address_bits: 32, offset_bits: 12, physical_bits: 32, entry_bytes: 4 };
    /// The textbook's second example: 64-bit addresses and pages of 4 KiB.
    pub const TEXTBOOK_64: Self =
        Self { address_bits: 64, offset_bits: 12, physical_bits: 64, entry_bytes: 8 };
    /// Maximum bytes of an entry. Up to this size, every table size fits into a `u128`.
    pub const MAX_ENTRY_BYTES: u32 = 4096;

    /// Checks parameters, and chooses defaults for those that are not given.
    ///
    /// # Errors
    /// The first parameter that is out of range: see [`Parameters`].
    ///
    /// ```
    /// use crosswalk_geometry::{Geometry, GeometryError, Parameters};
    ///
    /// let parameters = Parameters { page_bytes: 3000, ..Parameters::default() };
    /// assert_eq!(Geometry::new(&parameters), Err(GeometryError::PageNotPowerOfTwo(3000)));
    /// ```
    pub fn new(parameters: &Parameters) -> Result<Self, GeometryError> {
        let Parameters { address_bits, page_bytes, .. } = *parameters;
        if !(1..=64).contains(&address_bits) {
            return Err(GeometryError::AddressBits(address_bits));
        }
        if !page_bytes.is_power_of_two() {
            return Err(GeometryError::PageNotPowerOfTwo(page_bytes));
        }
        let offset_bits = page_bytes.ilog2();
        if offset_bits > address_bits {
            return Err(GeometryError::PageTooLarge { address_bits, page_bytes });
        }

        let physical_bits = parameters.physical_bits.unwrap_or(address_bits);
        let least_bits = offset_bits.max(1);
        if !(least_bits..=64).contains(&physical_bits) {
            return Err(GeometryError::PhysicalBits { least: least_bits, found: physical_bits });
        }

        let frame_number_bits = physical_bits - offset_bits;
        let entry_bytes = parameters.entry_bytes.unwrap_or(rounded_bytes(frame_number_bits));
        let least_bytes = frame_number_bits.div_ceil(8).max(1);
        if !(least_bytes..=Self::MAX_ENTRY_BYTES).contains(&entry_bytes) {
            return Err(GeometryError::EntryBytes {
                least: least_bytes,
                frame_number_bits,
                found: entry_bytes,
            });
        }

        Ok(Self { address_bits, offset_bits, physical_bits, entry_bytes })
    }

    /// The same addresses with one entry for each byte: pages of one byte, and entries large enough for
    /// a whole physical address.
    #[must_use]
    pub fn per_byte(&self) -> Self {
        let entry_bytes = self.entry_bytes.max(rounded_bytes(self.physical_bits));
        Self { offset_bits: 0, entry_bytes, ..*self }
    }

    /// Bits of a virtual address.
    pub fn address_bits(&self) -> u32 {
        self.address_bits
    }

    /// Bits of the offset in a page.
    pub fn offset_bits(&self) -> u32 {
        self.offset_bits
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u128 {
        1 << self.offset_bits
    }

    /// Bits of a page number: the bits of an address above the offset.
    pub fn page_number_bits(&self) -> u32 {
        self.address_bits - self.offset_bits
    }

    /// Pages of the address space.
    pub fn pages(&self) -> u128 {
        1 << self.page_number_bits()
    }

    /// Bits of a physical address.
    pub fn physical_bits(&self) -> u32 {
        self.physical_bits
    }

    /// Bits of a frame number. An eighth of it is the exact size of an entry in bytes.
    pub fn frame_number_bits(&self) -> u32 {
        self.physical_bits - self.offset_bits
    }

    /// Frames of physical memory.
    pub fn frames(&self) -> u128 {
        1 << self.frame_number_bits()
    }

    /// Bytes of an entry.
    pub fn entry_bytes(&self) -> u32 {
        self.entry_bytes
    }

    /// Bytes of the flat table: one entry for each page.
    pub fn flat_table_bytes(&self) -> u128 {
        self.pages() * u128::from(self.entry_bytes)
    }

    /// Splits the page number into indices, root first.
    ///
    /// # Errors
    /// If a level has no bits, or their sum is not the number of bits of the page number.
    ///
    /// ```
    /// use crosswalk_geometry::{Geometry, Placement};
    ///
    /// // 1 MiB are 256 pages: the root and one table of 1024 entries of 4 bytes.
    /// let levels = Geometry::TEXTBOOK_32.levels(&[10, 10])?;
    /// let cost = levels.cost(256, Placement::Aligned).expect("256 pages fit");
    /// assert_eq!(cost.tables, [1, 1]);
    /// assert_eq!(cost.bytes, 8192);
    /// # Ok::<(), crosswalk_geometry::GeometryError>(())
    /// ```
    pub fn levels(&self, index_bits: &[u32]) -> Result<Levels, GeometryError> {
        if self.page_number_bits() == 0 {
            return Err(GeometryError::OnePage);
        }
        if index_bits.contains(&0) {
            return Err(GeometryError::NoIndexBits);
        }

        let found = index_bits.iter().map(|bits| u64::from(*bits)).sum();
        if found != u64::from(self.page_number_bits()) {
            let Self { address_bits, offset_bits, .. } = *self;
            return Err(GeometryError::LevelSum { address_bits, offset_bits, found });
        }
        Ok(Levels { geometry: *self, index_bits: index_bits.to_vec() })
    }

    /// Splits the page number as evenly as possible. If the bits cannot be split evenly, the levels
    /// next to the root have one bit less.
    ///
    /// # Errors
    /// If there are no levels, or more than the page number has bits.
    ///
    /// ```
    /// # use crosswalk_geometry::Geometry;
    /// let levels = Geometry::TEXTBOOK_64.even_levels(5)?;
    /// assert_eq!(levels.index_bits(), [10, 10, 10, 11, 11]);
    /// # Ok::<(), crosswalk_geometry::GeometryError>(())
    /// ```
    pub fn even_levels(&self, count: u32) -> Result<Levels, GeometryError> {
        let page_number_bits = self.page_number_bits();
        if page_number_bits == 0 {
            return Err(GeometryError::OnePage);
        }
        if !(1..=page_number_bits).contains(&count) {
            return Err(GeometryError::LevelCount { page_number_bits, found: count as usize });
        }

        let smaller_levels = count - page_number_bits % count;
        let bits = |level| page_number_bits / count + u32::from(level >= smaller_levels);
        self.levels(&(0..count).map(bits).collect::<Vec<_>>())
    }
}

/// The smallest power of two of bytes that holds this number of bits; one byte for none.
fn rounded_bytes(bits: u32) -> u32 {
    bits.div_ceil(8).next_power_of_two()
}

/// A page number split into one index for each level.
///
/// The tables of a level all have the same size. Every table but the root exists only if a page below
/// it is in use. A table counts with its own size, whether or not that is the size of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    geometry: Geometry,
    index_bits: Vec<u32>,
}

/// Where the pages in use are in the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Contiguous, starting at the first page of a table at every level: the fewest tables possible.
    Aligned,
    /// Contiguous, starting at the last page of a table at every level: the most tables that contiguous
    /// pages can need.
    Across,
    /// As far from each other as possible, so that they share as few tables as possible: the most
    /// tables that this number of pages can need.
    Scattered,
}

impl Placement {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aligned => "aligned",
            Self::Across => "across",
            Self::Scattered => "scattered",
        }
    }
}

/// The memory that the tables for some pages take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The number of tables at each level, root first.
    pub tables: Vec<u128>,
    /// The bytes of all tables.
    pub bytes: u128,
}

impl Levels {
    /// Bits of the index at each level, root first.
    pub fn index_bits(&self) -> &[u32] {
        &self.index_bits
    }

    /// Bytes of one table at each level, root first.
    pub fn table_bytes(&self) -> impl Iterator<Item = u128> {
        let entry_bytes = u128::from(self.geometry.entry_bytes);
        self.index_bits.iter().map(move |bits| entry_bytes << bits)
    }

    /// The memory that the tables take if this number of pages is in use; `None` if the address space
    /// has fewer pages.
    ///
    /// ```
    /// use crosswalk_geometry::{Geometry, Placement};
    ///
    /// let levels = Geometry::TEXTBOOK_32.levels(&[10, 10])?;
    /// assert_eq!(levels.cost(100, Placement::Scattered).map(|cost| cost.tables), Some(vec![1, 100]));
    /// assert_eq!(levels.cost(100, Placement::Aligned).map(|cost| cost.tables), Some(vec![1, 1]));
    /// assert_eq!(levels.cost(1 << 21, Placement::Aligned), None);
    /// # Ok::<(), crosswalk_geometry::GeometryError>(())
    /// ```
    pub fn cost(&self, pages: u128, placement: Placement) -> Option<Cost> {
        if pages > self.geometry.pages() {
            return None;
        }

        let mut tables = Vec::with_capacity(self.index_bits.len());
        let mut bits_above = 0;
        for (depth, bits) in self.index_bits.iter().enumerate() {
            let count = if depth == 0 { 1 } else { self.tables(pages, placement, bits_above) };
            tables.push(count);
            bits_above += bits;
        }

        let bytes = tables.iter().zip(self.table_bytes()).map(|(count, bytes)| count * bytes).sum();
        Some(Cost { tables, bytes })
    }

    /// The tables needed at a level below the root, with this number of index bits above it.
    ///
    /// Each placement reaches its extreme at all levels at once. The start of the space is the start of
    /// a table at every level, and the end of what a root entry maps is the end of one at every level.
    /// Pages at equal distances use all tables of a level, or each its own.
    fn tables(&self, pages: u128, placement: Placement, bits_above: u32) -> u128 {
        let all_tables = 1_u128 << bits_above;
        let pages_of_one = self.geometry.pages() >> bits_above;
        let needed = match placement {
            Placement::Aligned => pages.div_ceil(pages_of_one),
            Placement::Across => 1 + pages.saturating_sub(1).div_ceil(pages_of_one),
            Placement::Scattered => pages,
        };
        needed.min(all_tables).min(pages)
    }
}

/// How much of an address space is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes, a power of two and at least 1 MiB.
    Bytes(u64),
    /// Pages of any size.
    Pages(u64),
    /// The whole space.
    Everything,
}

impl Amount {
    /// The number of pages that hold it; at least one for bytes.
    pub fn pages(self, geometry: &Geometry) -> u128 {
        match self {
            Self::Bytes(bytes) => u128::from(bytes).div_ceil(geometry.page_bytes()),
            Self::Pages(pages) => pages.into(),
            Self::Everything => geometry.pages(),
        }
    }
}

impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) if bytes.is_multiple_of(1 << 30) => write!(f, "{} GiB", bytes >> 30),
            Self::Bytes(bytes) => write!(f, "{} MiB", bytes >> 20),
            Self::Pages(pages) => write!(f, "{pages} pages"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// The uses for which reports count the tables.
pub const USES: [(Amount, Placement); 7] = [
    (Amount::Bytes(1 << 20), Placement::Aligned),
    (Amount::Bytes(1 << 20), Placement::Across),
    (Amount::Bytes(1 << 30), Placement::Aligned),
    (Amount::Bytes(1 << 30), Placement::Across),
    (Amount::Pages(100), Placement::Scattered),
    (Amount::Pages(100), Placement::Aligned),
    (Amount::Everything, Placement::Aligned),
];

#[cfg(test)]
mod tests;
