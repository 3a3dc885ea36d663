//! Guest images: ELF files that start with the header that `guest` defines.

use super::memory::GuestMemory;
use crosswalk_guest::layout::{IMAGE_BASE, IMAGE_END};
use crosswalk_guest::stub::{Code, IMAGE_MAGIC, ImageHeader, Stub};
use object::{Object, ObjectSegment};
use std::path::Path;
use zerocopy::FromBytes;

/// Why a file is not a guest image.
#[derive(Debug, thiserror::Error)]
#[error("{name} is not a guest image: {problem}")]
pub struct ImageError {
    name: String,
    problem: String,
}

impl ImageError {
    pub(super) fn new(name: &str, problem: String) -> Self {
        Self { name: name.to_owned(), problem }
    }
}

/// A guest image, laid out as it is loaded.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    header: ImageHeader,
}

/// Where the build left the images: the one of the program, and those that misbehave, for tests.
#[doc(hidden)]
pub const BUILD_DIRECTORY: &str = env!("GUEST_IMAGES");

/// The image that was built with this program.
static BUILT_IN: &[u8] = include_bytes!(env!("GUEST_ELF"));

impl Image {
    /// The image built with this program.
    ///
    /// # Errors
    /// None in a program that was built as it should be.
    pub fn built_in() -> Result<Self, ImageError> {
        Self::from_elf("the built-in image", BUILT_IN)
    }

    /// An image from a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a guest image.
    pub fn from_file(path: &Path) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let elf = std::fs::read(path).map_err(|error| ImageError::new(&name, error.to_string()))?;
        Self::from_elf(&name, &elf)
    }

    fn from_elf(name: &str, elf: &[u8]) -> Result<Self, ImageError> {
        let error = |problem: String| ImageError::new(name, problem);
        let file = object::File::parse(elf).map_err(|e| error(e.to_string()))?;
        let mut bytes = Vec::new();
        for segment in file.segments() {
            let data = segment.data().map_err(|e| error(e.to_string()))?;
            let end = segment.address().checked_add(segment.size().max(data.len() as u64));
            let end = end.filter(|end| *end <= IMAGE_END && segment.address() >= IMAGE_BASE);
            let end = end.ok_or_else(|| {
                let (from, size) = (segment.address(), segment.size());
                error(format!(
                    "its segment at {from:#x} of {size:#x} bytes lies outside {IMAGE_BASE:#x} to \
                     {IMAGE_END:#x}"
                ))
            })?;
            let (from, end) =
                ((segment.address() - IMAGE_BASE) as usize, (end - IMAGE_BASE) as usize);
            bytes.resize(bytes.len().max(end), 0);
            bytes[from..from + data.len()].copy_from_slice(data);
        }
        let (header, _) = ImageHeader::read_from_prefix(&bytes)
            .map_err(|_| error("it is too short for a header".into()))?;
        if header.magic != IMAGE_MAGIC {
            let found = header.magic;
            return Err(error(format!(
                "expected {IMAGE_MAGIC:#x} in its first word, found {found:#x}"
            )));
        }
        Ok(Self { bytes, header })
    }

    /// The first instruction, a user address.
    pub fn entry(&self) -> u64 {
        self.header.entry
    }

    /// The address of a stub, a user address; `None` where that code has no such stub.
    pub fn stub(&self, stub: Stub, code: Code) -> Option<u64> {
        stub.index(code).map(|index| self.header.stubs[index])
    }

    /// Copies the image to its place.
    pub fn load(&self, memory: &GuestMemory) {
        memory.write(IMAGE_BASE, &self.bytes);
    }
}
