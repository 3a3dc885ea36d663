//! A small memory that appears again and again in all of the physical address space, so that every
//! address that an entry holds leads to a table.

use mmu_core::PhysAddr;
use mmu_core::memory::{AtomicTableMemory, OutsideMemory, TableMemory};
use std::cell::RefCell;

/// Number of frames. Each has [`FRAME_BYTES`] bytes of its own, which fill it again and again.
const FRAMES: u64 = 8;
const FRAME_BYTES: u64 = 64;

/// Number of bytes of the memory.
pub(super) const RAM_BYTES: usize = (FRAMES * FRAME_BYTES) as usize;

/// The memory, as the oracle uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ram {
    pub(super) bytes: [u8; RAM_BYTES],
    /// There is no memory from here on.
    pub(super) end: u64,
    /// What is read there instead; `None` if a read fails.
    pub(super) outside: Option<u64>,
}

impl Ram {
    pub(super) fn read(&self, at: u64, bytes: u8) -> Option<u64> {
        assert!(at.is_multiple_of(bytes.into()), "{at:#x} is not a multiple of {bytes}");
        let all_ones = u64::MAX >> (64 - 8 * u32::from(bytes));
        if at >= self.end {
            return self.outside.map(|value| value & all_ones);
        }

        let mut word = [0; 8];
        word[..bytes.into()].copy_from_slice(&self.bytes[place(at)..][..bytes.into()]);
        Some(u64::from_le_bytes(word))
    }

    /// Sets bits. Where there is no memory nothing happens.
    pub(super) fn set(&mut self, at: u64, bytes: u8, bits: u64) {
        if at < self.end {
            for (byte, bits) in
                self.bytes[place(at)..].iter_mut().zip(bits.to_le_bytes()).take(bytes.into())
            {
                *byte |= bits;
            }
        }
    }

    /// Stores a word.
    pub(super) fn store(&mut self, number: usize, word: u64) {
        self.bytes[number * 8 % RAM_BYTES..][..8].copy_from_slice(&word.to_le_bytes());
    }
}

/// Where the bytes of an address are.
fn place(at: u64) -> usize {
    ((at >> 12) % FRAMES * FRAME_BYTES + at % FRAME_BYTES) as usize
}

/// The memory, as the walks use it.
pub(super) struct SharedRam(pub(super) RefCell<Ram>);

impl SharedRam {
    pub(super) fn new(ram: &Ram) -> Self {
        Self(RefCell::new(ram.clone()))
    }
}

impl TableMemory for SharedRam {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.0.borrow().read(at.get(), bytes).ok_or(OutsideMemory(at))
    }
}

impl AtomicTableMemory for SharedRam {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        let found = self.read_entry(at, bytes)?;
        assert_eq!(new & !(1 << 5 | 1 << 6), current & !(1 << 5 | 1 << 6), "only A and D change");
        assert_eq!(new & current, current, "A and D are only set");
        if found == current {
            self.0.borrow_mut().set(at.get(), bytes, new);
        }
        Ok(found == current)
    }
}
