//! The guest image, as the host loads it.

use crate::elf::{self, ImageError};
use crate::memory::GuestMemory;
use crosswalk_guest::layout::{IMAGE_BASE, IMAGE_END};
use crosswalk_guest::stub::{Code, IMAGE_MAGIC, ImageHeader, Stub};
use std::path::Path;
use zerocopy::FromBytes;

/// A guest image, laid out as in memory.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    header: ImageHeader,
}

/// The directory in which the build left all images, including those that misbehave, for tests.
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
        let elf = std::fs::read(path).map_err(|error| ImageError::new(&name, error.to_string()))?;

        Self::from_elf(&name, &elf)
    }

    /// Reads an image from the contents of a file; errors call it `name`.
    ///
    /// # Errors
    /// If it is not a guest image.
    pub fn from_elf(name: &str, elf: &[u8]) -> Result<Self, ImageError> {
        let mut bytes = Vec::new();
        for segment in elf::segments(name, elf, &(IMAGE_BASE..IMAGE_END))? {
            let end = segment.offset + segment.size;
            bytes.resize(bytes.len().max(end), 0);
            bytes[segment.offset..][..segment.data.len()].copy_from_slice(segment.data);
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
        stub.index(code).map(|index| self.header.stubs[index])
    }

    /// Copies the image to its place in memory.
    pub fn load(&self, memory: &GuestMemory) {
        memory.write(IMAGE_BASE, &self.bytes);
    }
}
