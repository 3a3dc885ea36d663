//! The guest image, as the host loads it.
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

use crate::elf::{self, ImageError, LoadSegment};
use crate::memory::GuestMemory;
use crosswalk_guest::layout::{IMAGE_BASE, IMAGE_END};
use crosswalk_guest::stub::{Code, IMAGE_MAGIC, ImageHeader, Stub};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zerocopy::FromBytes;

/// A guest image, laid out as in memory.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    header: ImageHeader,
}

/// The longest file that is read. An image with all its symbols takes a few hundred kilobytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The directory in which the build left all images; with the feature `test-images` those of the tests,
/// too.
#[doc(hidden)]
pub const BUILD_DIRECTORY: &str = env!("GUEST_IMAGES");

/// The image that was built with this program.
static BUILT_IN: &[u8] = include_bytes!(env!("GUEST_ELF"));

impl Image {
    /// The image that was built with this program.
    ///
    /// # Errors
    /// Only if this program was not built properly.
    pub fn built_in() -> Result<Self, ImageError> {
        Self::from_elf("the built-in image", BUILT_IN)
    }

    /// Reads an image from a file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a guest image.
    pub fn from_file(path: &Path) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| ImageError::new(&name, error.to_string());

        let mut elf = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut elf).map_err(unreadable)?;
        if elf.len() as u64 > MAX_FILE_BYTES {
            let problem = format!("expected at most {MAX_FILE_BYTES} bytes");
            return Err(ImageError::new(&name, problem));
        }

        Self::from_elf(&name, &elf)
    }

    /// Reads an image from the contents of a file; errors call it `name`.
    ///
    /// # Errors
    /// If it is not a guest image.
    pub fn from_elf(name: &str, elf: &[u8]) -> Result<Self, ImageError> {
        let mut bytes = Vec::new();
        for segment in elf::segments(name, elf, &(IMAGE_BASE..IMAGE_END))? {
            let LoadSegment { offset, data, size } = segment;
            bytes.resize(bytes.len().max(offset.saturating_add(size)), 0);
            for (byte, initial) in bytes.iter_mut().skip(offset).zip(data) {
                *byte = *initial;
            }
        }

        let (header, _) = ImageHeader::read_from_prefix(&bytes)
            .map_err(|_| ImageError::new(name, "it is too short for a header"))?;
        if header.magic != IMAGE_MAGIC {
            let found = header.magic;
            let problem = format!("expected {IMAGE_MAGIC:#x} in its first word, found {found:#x}");
            return Err(ImageError::new(name, problem));
        }

        Ok(Self { bytes, header })
    }

    /// The user address of the first instruction.
    pub fn entry(&self) -> u64 {
        self.header.entry
    }

    /// The user address of a stub; `None` if this kind of code has no such stub.
    pub fn stub(&self, stub: Stub, code: Code) -> Option<u64> {
        stub.index(code).and_then(|index| self.header.stubs.get(index).copied())
    }

    /// The user address of the instruction that makes a stub's access; `None` if this kind of code has no
    /// such stub, or it makes no access.
    pub(crate) fn access_of(&self, stub: Stub, code: Code) -> Option<u64> {
        let index = stub.index(code)?;
        self.header.accesses.get(index).copied().filter(|address| *address != 0)
    }

    /// Copies the image to its place in memory.
    pub fn load(&self, memory: &GuestMemory) {
        memory.write(IMAGE_BASE, &self.bytes);
    }
}
