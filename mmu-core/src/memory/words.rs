//! Memory of atomic words, which several processors share.

use super::{AtomicTableMemory, OutsideMemory, TableMemory, TableMemoryMut};
use crate::address::{PhysAddr, low_bits};
use core::sync::atomic::{AtomicU64, Ordering};

/// Memory backed by consecutive atomic words of 64 bits, from a physical address on. Any number of
/// processors can use it at once, each in a thread of its own.
///
/// Loads and stores are ordered as x86 orders them at least: a load acquires, a store releases. What
/// lies inside an aligned word of 8 bytes is read or written in one piece (SDM "Guaranteed Atomic
/// Operations").
///
/// ```
/// use core::sync::atomic::AtomicU64;
/// use mmu_core::PhysAddr;
/// use mmu_core::memory::AtomicWords;
///
/// let ram = AtomicWords::new(PhysAddr::new(0x1000), [const { AtomicU64::new(0) }; 512]);
/// ram.write(PhysAddr::new(0x1006), b"word")?;
/// let mut bytes = [0; 4];
/// ram.read(PhysAddr::new(0x1006), &mut bytes)?;
/// assert_eq!(&bytes, b"word");
/// assert!(ram.read(PhysAddr::new(0x1fff), &mut [0; 2]).is_err());
/// # Ok::<(), mmu_core::memory::OutsideMemory>(())
/// ```
#[derive(Debug)]
pub struct AtomicWords<W> {
    start: PhysAddr,
    words: W,
}

/// A part of an access that lies inside one word.
struct WordPart<'w> {
    word: &'w AtomicU64,
    /// The lowest of its bits in the word.
    shift: u32,
    /// Its bits, at bit 0.
    mask: u64,
    /// Number of bytes.
    len: usize,
}

impl WordPart<'_> {
    fn load(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> self.shift & self.mask
    }

    /// The word with other contents of this part.
    const fn replaced(&self, word: u64, new: u64) -> u64 {
        word & !(self.mask << self.shift) | (new & self.mask) << self.shift
    }

    fn store(&self, new: u64) {
        if self.mask == u64::MAX {
            return self.word.store(new, Ordering::Release);
        }

        let replaced = |word| Some(self.replaced(word, new));
        // It never declines.
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, replaced);
    }

    /// Replaces the contents if they are still `current`. What happens to the rest of the word is of
    /// no account.
    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        let replaced = |word| {
            let is_unchanged = word >> self.shift & self.mask == current;
            is_unchanged.then(|| self.replaced(word, new))
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, replaced).is_ok()
    }
}

impl<W: AsRef<[AtomicU64]>> AtomicWords<W> {
    /// Memory whose first byte has the physical address `start`, a multiple of 8: an entry must lie in
    /// one word.
    pub const fn new(start: PhysAddr, words: W) -> Self {
        Self { start, words }
    }

    /// Reads the bytes from a physical address on.
    ///
    /// # Errors
    /// When some of them are outside this memory. None is read then.
    pub fn read(&self, at: PhysAddr, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let mut offset = self.offset(at, bytes.len())?;

        let mut rest = bytes;
        while !rest.is_empty() {
            let part = self.part(offset, rest.len()).ok_or(OutsideMemory(at))?;
            let (now, behind) = rest.split_at_mut(part.len);
            now.copy_from_slice(&part.load().to_le_bytes()[..part.len]);

            offset += part.len as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Writes the bytes from a physical address on. Other processors may do so at the same time.
    ///
    /// # Errors
    /// When some of them are outside this memory. None is written then.
    pub fn write(&self, at: PhysAddr, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let mut offset = self.offset(at, bytes.len())?;

        let mut rest = bytes;
        while !rest.is_empty() {
            let part = self.part(offset, rest.len()).ok_or(OutsideMemory(at))?;
            let (now, behind) = rest.split_at(part.len);
            let mut new = [0; 8];
            new[..part.len].copy_from_slice(now);
            part.store(u64::from_le_bytes(new));

            offset += part.len as u64;
            rest = behind;
        }
        Ok(())
    }

    /// The offset of the `len` bytes from a physical address on.
    fn offset(&self, at: PhysAddr, len: usize) -> Result<u64, OutsideMemory> {
        let offset = at.get().checked_sub(self.start.get());
        let end = offset.and_then(|offset| offset.checked_add(len as u64));

        let size = 8 * self.words.as_ref().len() as u64;
        let fits = end.is_some_and(|end| end <= size);
        offset.filter(|_| fits).ok_or(OutsideMemory(at))
    }

    /// The index of the word at a physical address. That of an address below the start is too large for
    /// an index, and so is that of one that is not aligned, as its low bits become the highest.
    #[inline]
    const fn word_index(&self, at: PhysAddr) -> usize {
        at.get().wrapping_sub(self.start.get()).rotate_right(3) as usize
    }

    /// The part of the next `len` bytes, at least one, that lies in the first word.
    fn part(&self, offset: u64, len: usize) -> Option<WordPart<'_>> {
        let word = self.words.as_ref().get((offset / 8) as usize)?;
        let first = (offset % 8) as u8;
        let len = len.min(usize::from(8 - first));

        Some(WordPart { word, shift: 8 * u32::from(first), mask: low_bits(8 * len as u8), len })
    }

    /// The entry at a physical address, which is in one word.
    #[inline]
    fn entry(&self, at: PhysAddr, bytes: u8) -> Result<WordPart<'_>, OutsideMemory> {
        let len = usize::from(bytes);
        let part = self.part(self.offset(at, len)?, len);
        part.filter(|part| part.len == len).ok_or(OutsideMemory(at))
    }
}

impl<W: AsRef<[AtomicU64]>> TableMemory for AtomicWords<W> {
    type Error = OutsideMemory;

    #[inline]
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        // Most formats have entries of one word.
        if bytes == 8 {
            let word = self.words.as_ref().get(self.word_index(at));
            return word.map(|word| word.load(Ordering::Acquire)).ok_or(OutsideMemory(at));
        }
        Ok(self.entry(at, bytes)?.load())
    }

    #[inline]
    fn read_entries(
        &self,
        at: PhysAddr,
        bytes: u8,
        entries: &mut [u64],
    ) -> Result<(), OutsideMemory> {
        let words = self.words.as_ref().get(self.word_index(at)..);
        if bytes == 8
            && let Some(words) = words.and_then(|words| words.get(..entries.len()))
        {
            for (entry, word) in entries.iter_mut().zip(words) {
                *entry = word.load(Ordering::Acquire);
            }
            return Ok(());
        }

        for (number, entry) in entries.iter_mut().enumerate() {
            *entry = self.read_entry(at + number as u64 * u64::from(bytes), bytes)?;
        }
        Ok(())
    }
}

impl<W: AsRef<[AtomicU64]>> TableMemoryMut for AtomicWords<W> {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        self.entry(at, bytes)?.store(entry);
        Ok(())
    }
}

/// A mapper can change tables that other processors walk.
impl<W: AsRef<[AtomicU64]>> TableMemoryMut for &AtomicWords<W> {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        self.entry(at, bytes)?.store(entry);
        Ok(())
    }
}

impl<W: AsRef<[AtomicU64]>> AtomicTableMemory for AtomicWords<W> {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        Ok(self.entry(at, bytes)?.compare_exchange(current, new))
    }
}
