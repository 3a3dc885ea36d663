//! Small things of a file that follow each other closely, read many at a time.

use super::ImageBytes;
use crate::error::ReadError;
use std::io;

/// Number of bytes that are read at once: what a page of the host's cache has. Headers that are further apart than
/// that cost one reading each, as without a window.
const WINDOW: u64 = 0x1000;

/// The bytes of an image, of which the last ones that were read are kept.
#[derive(Debug)]
pub(crate) struct Window<'b> {
    bytes: &'b ImageBytes,
    /// The offset of the first one that is kept.
    start: u64,
    kept: Vec<u8>,
}

impl<'b> Window<'b> {
    pub(crate) const fn new(bytes: &'b ImageBytes) -> Self {
        Self { bytes, start: 0, kept: Vec::new() }
    }

    /// Whether there are `len` bytes at an offset.
    pub(crate) fn has(&self, offset: u64, len: u64) -> bool {
        self.bytes.has(offset, len)
    }

    /// Fills a small buffer with the bytes from an offset on.
    pub(crate) fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<(), ReadError> {
        if self.kept(offset, to.len()).is_none() {
            let there = self.bytes.len().saturating_sub(offset).min(WINDOW);
            self.start = offset;
            self.kept.clear();
            self.kept.resize(usize::try_from(there).unwrap_or(0), 0);
            if let Err(error) = self.bytes.read(offset, &mut self.kept) {
                self.kept.clear();
                return Err(error);
            }
        }

        let ended = ReadError::Host { offset, kind: io::ErrorKind::UnexpectedEof };
        to.copy_from_slice(self.kept(offset, to.len()).ok_or(ended)?);
        Ok(())
    }

    /// The next `N` bytes at an offset.
    pub(crate) fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn kept(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let before = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.kept.get(before..before.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, ReadAt};
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const LEN: u64 = 10_000;

    /// Bytes that are their offsets, and how often they are read.
    #[derive(Debug)]
    struct Counted(Arc<AtomicU64>);

    impl ReadAt for Counted {
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
            assert!(offset + bytes.len() as u64 <= LEN);
            self.0.fetch_add(1, Ordering::Relaxed);
            for (offset, byte) in (offset..).zip(bytes) {
                *byte = offset as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn headers_close_to_each_other_are_read_together() {
        let count = Arc::new(AtomicU64::new(0));
        let bytes =
            ImageBytes { place: Place::Elsewhere(Box::new(Counted(count.clone()))), len: LEN };
        let mut window = Window::new(&bytes);
        for offset in (0..LEN).step_by(4) {
            let expected = [0, 1, 2, 3].map(|byte| (offset + byte) as u8);
            assert_eq!(window.array(offset), Ok(expected));
        }
        // 10,000 bytes, 4096 at a time.
        assert_eq!(count.load(Ordering::Relaxed), 3);

        assert_eq!(window.array(0), Ok([0_u8, 1]));
        assert_eq!(window.array(LEN - 1), Ok([(LEN - 1) as u8]));
        let ended = ReadError::Host { offset: LEN - 1, kind: io::ErrorKind::UnexpectedEof };
        assert_eq!(window.array::<2>(LEN - 1), Err(ended));
    }
}
