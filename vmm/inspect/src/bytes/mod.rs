//! The bytes of an image file, or of what is read like one. They are read where they are asked for, and a file is
//! never mapped: one that another program cuts short would end this one, `/proc/PID/mem` cannot be mapped, and the
//! pages of a mapping count as memory of this process.
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

mod flattened;
mod window;

pub(crate) use flattened::SIGNATURE as FLATTENED_SIGNATURE;
pub(crate) use window::Window;

use crate::error::{AboutFile, MemoryImageError, ReadError};
use flattened::Flattened;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What is not a file, and is read like one.
pub(crate) trait ReadAt: fmt::Debug + Send + Sync {
    /// Fills a buffer with the bytes from an offset on.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError>;
}

/// Where bytes are.
#[derive(Debug)]
enum Place {
    /// In a file, as they are.
    File(File),
    /// In the file that a flattened one stands for.
    Flattened(File, Flattened),
    Elsewhere(Box<dyn ReadAt>),
}

/// Bytes that have offsets.
#[derive(Debug)]
pub(crate) struct ImageBytes {
    place: Place,
    /// Number of bytes.
    len: u64,
}

impl ImageBytes {
    /// The bytes of a file as they are.
    pub(crate) const fn new(file: File, len: u64) -> Self {
        Self { place: Place::File(file), len }
    }

    /// Those of something else, which may have them at any offset.
    pub(crate) const fn elsewhere(bytes: Box<dyn ReadAt>) -> Self {
        Self { place: Place::Elsewhere(bytes), len: u64::MAX }
    }

    /// Reads the records of a flattened file. What follows is about the file that they stand for.
    pub(crate) fn flattened(
        file: File,
        len: u64,
        about: &AboutFile,
    ) -> Result<Self, MemoryImageError> {
        let flattened = Flattened::read(&file, len, about)?;
        Ok(Self { len: flattened.len(), place: Place::Flattened(file, flattened) })
    }

    /// Number of bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are `len` bytes at an offset.
    pub(crate) fn has(&self, offset: u64, len: u64) -> bool {
        is_inside(offset, len, self.len)
    }

    /// Fills a buffer with the bytes from an offset on.
    #[inline]
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        match &self.place {
            Place::File(file) => read_exact(file, offset, bytes),
            Place::Flattened(..) if !self.has(offset, bytes.len() as u64) => {
                Err(ReadError::Host { offset, kind: io::ErrorKind::UnexpectedEof })
            }
            Place::Flattened(file, flattened) => flattened.read_bytes(file, offset, bytes),
            Place::Elsewhere(elsewhere) => elsewhere.read_at(offset, bytes),
        }
    }

    /// The first offset at or behind one that is not in a hole of the file. Behind the last one, the highest
    /// number.
    pub(crate) fn next_data(&self, offset: u64) -> Result<u64, ReadError> {
        let Place::File(file) = &self.place else { return Ok(offset) };
        match seek(file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data.max(offset)),
            Err(Errno::NXIO) => Ok(u64::MAX),
            // A file system that knows no holes, or a device.
            Err(Errno::INVAL) => Ok(offset),
            Err(error) => Err(ReadError::Host { offset, kind: error.kind() }),
        }
    }

    /// The next `N` bytes at an offset.
    pub(crate) fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Whether `len` bytes at `offset` are in a file of this size.
pub(crate) fn is_inside(offset: u64, len: u64, file_len: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= file_len)
}

#[inline]
fn read_exact(file: &File, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
    let read = file.read_exact_at(bytes, offset);
    read.map_err(|error| ReadError::Host { offset, kind: error.kind() })
}

/// The little-endian word of 64 bits at an offset, which is inside.
pub(crate) fn word(bytes: &[u8], offset: usize) -> u64 {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The little-endian word of 32 bits at an offset, which is inside.
pub(crate) fn half(bytes: &[u8], offset: usize) -> u32 {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
