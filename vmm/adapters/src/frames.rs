//! The table memory of a case, as frames that a library can be given pointers to.
//!
//! A case defines its memory: the entries that it lists, zeros in the rest of their frames and in
//! low memory, and nothing anywhere else. Only frames with entries are stored; all the others are
//! one shared frame of zeros.

use crate::registers::root_table;
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::layout::LOW_MEMORY_END;
use crosswalk_guest::tables;
use mmu_core::{PagingMode, PhysAddr};
use std::cell::Cell;

/// The reason for no answer when the tables of a case lead to where there is no memory (OUT-1).
pub(crate) const OUTSIDE: &str = "a table is outside memory";

/// Bytes in a frame.
pub(crate) const FRAME_SIZE: u64 = 0x1000;

/// Table entries of 64 bits in a frame.
const WORDS: usize = FRAME_SIZE as usize / 8;

/// A frame of table entries. It consists of cells, because some libraries ask for a pointer that
/// they could write through.
#[repr(C, align(4096))]
#[derive(Debug)]
pub(crate) struct EntryFrame([Cell<u64>; WORDS]);

impl EntryFrame {
    fn zeros() -> Box<Self> {
        Box::new(Self([const { Cell::new(0) }; WORDS]))
    }

    /// Its words, which are entries of 64 bits.
    pub(crate) fn words(&self) -> &[Cell<u64>; WORDS] {
        &self.0
    }

    fn clear(&self) {
        for word in &self.0 {
            word.set(0);
        }
    }

    /// The word at an address.
    fn word(&self, at: u64) -> &Cell<u64> {
        &self.0[at as usize / 8 % WORDS]
    }

    fn store(&self, entry: TableEntry, bytes: u64) {
        let word = self.word(entry.at);
        if bytes == 8 {
            word.set(entry.value);
        } else {
            let shift = 8 * (entry.at & 4);
            let mask = u64::from(u32::MAX) << shift;
            word.set(word.get() & !mask | entry.value << shift & mask);
        }
    }
}

/// The frames of one case at a time.
#[derive(Debug)]
pub(crate) struct EntryFrames {
    /// The frames with entries, by physical address.
    stored: Vec<(PhysAddr, Box<EntryFrame>)>,
    /// Frames of earlier cases, to be used again.
    spare: Vec<Box<EntryFrame>>,
    zeros: Box<EntryFrame>,
    led_outside: Cell<bool>,
}

impl Default for EntryFrames {
    fn default() -> Self {
        Self {
            stored: Vec::new(),
            spare: Vec::new(),
            zeros: EntryFrame::zeros(),
            led_outside: Cell::new(false),
        }
    }
}

impl EntryFrames {
    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        self.spare.extend(self.stored.drain(..).map(|(_, frame)| frame));
        self.zeros.clear();
        self.led_outside.set(false);
    }

    /// Takes over the memory of a case.
    pub(crate) fn load(&mut self, case: &Case) {
        self.clear();

        let bytes = tables::entry_bytes(case.mode());
        for entry in contents(case) {
            self.frame_for_entry(entry.at).store(entry, bytes);
        }
    }

    /// The frame that contains an address, stored from now on.
    fn frame_for_entry(&mut self, address: u64) -> &EntryFrame {
        let wanted = PhysAddr::new(address).frame();
        let known = self.stored.iter().position(|(start, _)| *start == wanted);

        let index = known.unwrap_or_else(|| {
            let frame = self.spare.pop().unwrap_or_else(EntryFrame::zeros);
            frame.clear();
            self.stored.push((wanted, frame));
            self.stored.len() - 1
        });
        &self.stored[index].1
    }

    /// The frame that contains an address. Where there is no memory it reads as zeros, and
    /// [`Self::led_outside`] is true from then on.
    pub(crate) fn get(&self, address: u64) -> &EntryFrame {
        let wanted = PhysAddr::new(address).frame();
        if let Some((_, frame)) = self.stored.iter().find(|(start, _)| *start == wanted) {
            return frame;
        }

        if address >= LOW_MEMORY_END {
            self.led_outside.set(true);
        }
        &self.zeros
    }

    /// Reads the bytes at an address; they must not cross a word.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) {
        let word = self.get(address).word(address).get().to_le_bytes();
        let start = address as usize % 8;
        bytes.copy_from_slice(&word[start..start + bytes.len()]);
    }

    /// Whether a frame was asked for where there is no memory, since the case was loaded.
    pub(crate) fn led_outside(&self) -> bool {
        self.led_outside.get()
    }
}

/// The entries in the case's memory: those that it lists, and PAE's PDPTEs where it lists none.
pub(crate) fn contents(case: &Case) -> Vec<TableEntry> {
    let mut entries = case.entries.clone();
    if case.mode() == PagingMode::Pae {
        let pdpt = root_table(&case.state);
        for (at, value) in (pdpt..).step_by(8).zip(case.state.pdptes) {
            if case.entries.iter().all(|entry| entry.at != at) {
                entries.push(TableEntry { at, value });
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plain;

    fn word(frames: &EntryFrames, at: u64) -> u64 {
        let mut bytes = [0; 8];
        frames.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn unlisted_words_are_zero_near_entries_and_in_low_memory_only() {
        let mut frames = EntryFrames::default();
        let mut case = plain(PagingMode::FourLevel);
        case.entries = vec![TableEntry { at: 0x12_3456_7000, value: 0x1234_5678_9abc_def7 }];
        frames.load(&case);
        assert_eq!(word(&frames, 0x12_3456_7000), 0x1234_5678_9abc_def7);
        assert_eq!(word(&frames, 0x12_3456_7008), 0);
        assert_eq!(word(&frames, 0x7f_fff8), 0);
        assert!(!frames.led_outside());

        assert_eq!(word(&frames, 0x80_0000), 0);
        assert!(frames.led_outside());

        case.entries.clear();
        frames.load(&case);
        assert!(!frames.led_outside());
        assert_eq!(word(&frames, 0x12_3456_7000), 0);
        assert!(frames.led_outside());
    }

    #[test]
    fn two_32_bit_entries_share_a_word() {
        let mut frames = EntryFrames::default();
        let mut case = plain(PagingMode::Bits32);
        case.entries = vec![
            TableEntry { at: 0x1000, value: 0x1111_1111 },
            TableEntry { at: 0x1004, value: 0x2222_2222 },
        ];
        frames.load(&case);
        assert_eq!(word(&frames, 0x1000), 0x2222_2222_1111_1111);

        let mut upper = [0; 4];
        frames.read(0x1004, &mut upper);
        assert_eq!(upper, [0x22; 4]);
    }

    #[test]
    fn unlisted_pdptes_equal_the_registers() {
        let mut frames = EntryFrames::default();
        let mut case = plain(PagingMode::Pae);
        case.state.cr3 = 0x1020;
        case.state.pdptes = [0x2001, 0, 0x3001, 0x4001];
        case.entries = vec![TableEntry { at: 0x1038, value: 0x5001 }];
        frames.load(&case);

        let pdptes = [0x1020, 0x1028, 0x1030, 0x1038].map(|at| word(&frames, at));
        assert_eq!(pdptes, [0x2001, 0, 0x3001, 0x5001]);
    }
}
