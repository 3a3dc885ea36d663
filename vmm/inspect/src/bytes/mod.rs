//! The bytes of an image file. They are read where they are asked for, and the file is never mapped: one that
//! another program cuts short would end this one, and the pages of a mapping count as memory of this process.
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

pub(crate) use flattened::SIGNATURE as FLATTENED_SIGNATURE;

use crate::error::{AboutFile, MemoryImageError, ReadError};
use flattened::Flattened;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The bytes of a file, or of the file that a flattened one stands for.
#[derive(Debug)]
pub(crate) struct ImageBytes {
    file: File,
    /// Number of bytes.
    len: u64,
    flattened: Option<Flattened>,
}

impl ImageBytes {
    /// The bytes of a file as they are.
    pub(crate) const fn new(file: File, len: u64) -> Self {
        Self { file, len, flattened: None }
    }

    /// Reads the records of a flattened file. What follows is about the file that they stand for.
    pub(crate) fn flattened(
        file: File,
        len: u64,
        about: &AboutFile,
    ) -> Result<Self, MemoryImageError> {
        let flattened = Flattened::read(&file, len, about)?;
        Ok(Self { file, len: flattened.len(), flattened: Some(flattened) })
    }

    /// The file itself.
    pub(crate) const fn file(&self) -> &File {
        &self.file
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
        match &self.flattened {
            None => read_exact(&self.file, offset, bytes),
            Some(_) if !self.has(offset, bytes.len() as u64) => {
                Err(ReadError::Host { offset, kind: io::ErrorKind::UnexpectedEof })
            }
            Some(flattened) => flattened.read_bytes(&self.file, offset, bytes),
        }
    }

    /// The first offset at or behind one that is not in a hole of the file. Behind the last one, the highest
    /// number.
    pub(crate) fn next_data(&self, offset: u64) -> Result<u64, ReadError> {
        if self.flattened.is_some() {
            return Ok(offset);
        }
        match seek(&self.file, SeekFrom::Data(offset)) {
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
