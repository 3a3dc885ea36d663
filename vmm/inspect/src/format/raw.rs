//! Raw memory, with the ranges that the user states.

use super::Contents;
use crate::bytes::is_inside;
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::{Extent, Extents};
use crate::layout::Layout;
use std::fmt;
use std::str::FromStr;

/// A range of physical memory in a raw file: `START:LENGTH@OFFSET`.
///
/// ```
/// use crosswalk_inspect::RamRange;
///
/// let range: RamRange = "0x100000000:0x40000000@0xc0000000".parse().unwrap();
/// assert_eq!((range.start, range.len, range.offset), (1 << 32, 1 << 30, 3 << 30));
/// let error = "1G".parse::<RamRange>().unwrap_err();
/// assert_eq!(error.to_string(), "expected START:LENGTH@OFFSET, such as 0x0:0x80000000@0x0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRange {
    /// The first physical address.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
    /// The offset of the first byte in the file.
    pub offset: u64,
}

/// The error for a range that is written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected START:LENGTH@OFFSET, such as 0x0:0x80000000@0x0")]
pub struct RamRangeError;

impl FromStr for RamRange {
    type Err = RamRangeError;

    fn from_str(text: &str) -> Result<Self, RamRangeError> {
        let (start, rest) = text.split_once(':').ok_or(RamRangeError)?;
        let (len, offset) = rest.split_once('@').ok_or(RamRangeError)?;
        Ok(Self { start: number(start)?, len: number(len)?, offset: number(offset)? })
    }
}

impl fmt::Display for RamRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}:{:#x}@{:#x}", self.start, self.len, self.offset)
    }
}

/// A number, hexadecimal after `0x`.
fn number(text: &str) -> Result<u64, RamRangeError> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| RamRangeError)
}

/// The contents of a raw file. Without ranges all of it is the memory from address 0 on.
pub(super) fn read(
    len: u64,
    ram: &[RamRange],
    about: &AboutFile,
) -> Result<Contents, MemoryImageError> {
    let whole = [RamRange { start: 0, len, offset: 0 }];
    let ranges = if ram.is_empty() { &whole } else { ram };

    check_apart(ranges, about)?;
    let mut extents = Vec::new();
    for range in ranges {
        let place = format!("the range {range}");
        if !is_inside(range.offset, range.len, len) {
            return Err(
                about.malformed(place, format!("it ends beyond the {len:#x} bytes of the file"))
            );
        }
        let extent = Extent::new(range.start, range.len, range.offset);
        extents.push(extent.ok_or_else(|| {
            about.malformed(place, "it is empty, or ends beyond the last address of 64 bits")
        })?);
    }
    let layout = Layout::Extents(Extents::new(&extents));
    Ok(Contents { layout, ..Contents::default() })
}

/// Checks that no address is said to be in two places of the file.
fn check_apart(ranges: &[RamRange], about: &AboutFile) -> Result<(), MemoryImageError> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);

    for pair in sorted.windows(2) {
        let [before, range] = pair else { continue };
        if before.start.saturating_add(before.len) > range.start {
            let problem = format!("it has addresses that the range {before} has, too");
            return Err(about.malformed(format!("the range {range}"), problem));
        }
    }
    Ok(())
}
