//! The memory of a guest at one moment, in a file without a name that nobody can change any more.

use crate::extents::Extent;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Number of bytes that are copied at once.
const BLOCK: u64 = 1 << 20;

/// A file that no process can write to, cut or extend.
#[derive(Debug)]
pub struct SealedMemory {
    file: File,
    len: u64,
}

impl SealedMemory {
    /// Copies memory into a new file of this length. Each piece has the addresses for which `read` is asked, and its
    /// place in the file; all else is zero, and takes no room.
    ///
    /// ```
    /// use crosswalk_inspect::{Extent, SealedMemory};
    ///
    /// let piece = Extent { start: 0x1000, len: 0x2000, offset: 0x4000 };
    /// let memory = SealedMemory::copy(0x10_0000, &[piece], |_, bytes| bytes.fill(7))?;
    /// assert_eq!(memory.len(), 0x10_0000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the host has no room for it.
    pub fn copy(
        len: u64,
        pieces: &[Extent],
        mut read: impl FnMut(u64, &mut [u8]),
    ) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("guest memory", flags)?);
        file.set_len(len)?;

        let mut block = vec![0; BLOCK as usize];
        for piece in pieces {
            let mut done = 0;
            while done < piece.len {
                let count = BLOCK.min(piece.len.saturating_sub(done));
                let bytes = block.get_mut(..count as usize).unwrap_or_default();
                read(piece.start.wrapping_add(done), bytes);
                file.write_all_at(bytes, piece.offset.wrapping_add(done))?;
                done = done.saturating_add(count);
            }
        }

        fcntl_add_seals(&file, ALL_SEALS | SealFlags::SEAL)?;
        Ok(Self { file, len })
    }

    /// Takes a file of another process. The error says in words why it is not one that stays as it is.
    pub(super) fn receive(file: OwnedFd) -> Result<Self, String> {
        let seals = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        if !seals.contains(ALL_SEALS) {
            return Err("expected memory that nobody can change any more: a file with seals".into());
        }
        let file = File::from(file);
        let len = file.metadata().map_err(|error| error.to_string())?.len();
        Ok(Self { file, len })
    }

    /// Number of bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}

impl AsFd for SealedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

const ALL_SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);
