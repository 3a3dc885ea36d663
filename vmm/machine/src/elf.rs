//! Reading the ELF files of guest images.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use object::{Object, ObjectSegment};
use std::ops::Range;

/// Why a file is not a guest image.
#[derive(Debug, thiserror::Error)]
#[error("{name} is not a guest image: {problem}")]
pub struct ImageError {
    name: String,
    problem: String,
}

impl ImageError {
    pub(crate) fn new(name: &str, problem: impl Into<String>) -> Self {
        Self { name: name.to_owned(), problem: problem.into() }
    }
}

/// The most segments that are loaded. An image of ours has fewer than ten; an ELF file may list 65,535
/// that all name the same bytes.
const MAX_SEGMENTS: usize = 64;

/// A segment of an ELF file.
pub(crate) struct LoadSegment<'e> {
    /// Its offset in the address range of the image, in bytes.
    pub(crate) offset: usize,
    /// Its initial contents.
    pub(crate) data: &'e [u8],
    /// Its size in memory in bytes, at least that of its data.
    pub(crate) size: usize,
}

/// The segments of an ELF file, all of which lie within an address range.
///
/// # Errors
/// If the file is not an ELF file, or a segment lies outside the range. The error refers to the
/// file by `name`.
pub(crate) fn segments<'e>(
    name: &str,
    elf: &'e [u8],
    range: &Range<u64>,
) -> Result<Vec<LoadSegment<'e>>, ImageError> {
    let unreadable = |error: object::Error| ImageError::new(name, error.to_string());
    let file: object::File<'e> = object::File::parse(elf).map_err(unreadable)?;

    let mut segments = Vec::new();
    for segment in file.segments() {
        if segments.len() == MAX_SEGMENTS {
            let problem = format!("expected at most {MAX_SEGMENTS} segments");
            return Err(ImageError::new(name, problem));
        }

        let start = segment.address();
        let data = segment.data().map_err(unreadable)?;
        let size = segment.size().max(data.len() as u64);

        let is_inside =
            start >= range.start && start.checked_add(size).is_some_and(|end| end <= range.end);
        if !is_inside {
            let Range { start: from, end: to } = range;
            return Err(ImageError::new(
                name,
                format!(
                    "its segment at {start:#x} of {size:#x} bytes lies outside {from:#x} to {to:#x}"
                ),
            ));
        }

        segments.push(LoadSegment {
            offset: start.saturating_sub(range.start) as usize,
            data,
            size: size as usize,
        });
    }

    Ok(segments)
}
