//! The table memory of a case, as frames that a library can be pointed at.
//!
//! A case says what its memory holds: the entries that it lists, zeros around them and low down, and
//! nothing anywhere else. Only frames with entries are kept; all the others are one frame of zeros.

use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::layout::LOW_MEMORY_END;
use mmu_core::PagingMode;
use std::cell::Cell;

/// Why there is no answer to a case whose tables lead to where there is no memory (OUT-1).
pub(crate) const OUTSIDE: &str = "a table lies outside memory";

const FRAME_SHIFT: u32 = 12;

/// A frame of table entries. Cells, since some libraries want a pointer through which they could
/// write.
#[repr(C, align(4096))]
#[derive(Debug)]
pub(crate) struct EntryFrame([Cell<u64>; 512]);

impl EntryFrame {
    fn zeros() -> Box<Self> {
        Box::new(Self([const { Cell::new(0) }; 512]))
    }

    /// Its 512 words, which are entries of 64 bits.
    pub(crate) fn words(&self) -> &[Cell<u64>; 512] {
        &self.0
    }

    fn clear(&self) {
        for word in &self.0 {
            word.set(0);
        }
    }

    /// The word at an address.
    fn word(&self, at: u64) -> &Cell<u64> {
        &self.0[at as usize % 4096 / 8]
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

/// The frames of one case after another.
#[derive(Debug)]
pub(crate) struct EntryFrames {
    held: Vec<(u64, Box<EntryFrame>)>,
    spare: Vec<Box<EntryFrame>>,
    zeros: Box<EntryFrame>,
    led_outside: Cell<bool>,
}

impl Default for EntryFrames {
    fn default() -> Self {
        let (held, spare) = (Vec::new(), Vec::new());
        Self { held, spare, zeros: EntryFrame::zeros(), led_outside: Cell::new(false) }
    }
}

impl EntryFrames {
    /// Forgets all that they hold.
    pub(crate) fn clear(&mut self) {
        self.spare.extend(self.held.drain(..).map(|(_, frame)| frame));
        self.zeros.clear();
        self.led_outside.set(false);
    }

    /// Holds what the memory of a case holds.
    pub(crate) fn load(&mut self, case: &Case) {
        self.clear();
        let bytes = entry_bytes(case);
        for entry in contents(case) {
            let number = entry.at >> FRAME_SHIFT;
            if !self.held.iter().any(|(held, _)| *held == number) {
                let frame = self.spare.pop().unwrap_or_else(EntryFrame::zeros);
                frame.clear();
                self.held.push((number, frame));
            }
            let frame = self.held.iter().find(|(held, _)| *held == number);
            frame.expect("it was put there").1.store(entry, bytes);
        }
    }

    /// The frame that holds an address. Where there is no memory it reads as zeros, and
    /// [`Self::led_outside`] tells.
    pub(crate) fn get(&self, address: u64) -> &EntryFrame {
        let number = address >> FRAME_SHIFT;
        if let Some((_, frame)) = self.held.iter().find(|(held, _)| *held == number) {
            return frame;
        }
        if address >= LOW_MEMORY_END {
            self.led_outside.set(true);
        }
        &self.zeros
    }

    /// The bytes from an address on, which do not cross a word.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) {
        let word = self.get(address).word(address).get().to_le_bytes();
        let start = address as usize % 8;
        bytes.copy_from_slice(&word[start..start + bytes.len()]);
    }

    /// Whether anything asked for a frame where there is no memory since a case was loaded.
    pub(crate) fn led_outside(&self) -> bool {
        self.led_outside.get()
    }
}

/// How many bytes an entry of this case has.
pub(crate) fn entry_bytes(case: &Case) -> u64 {
    if case.mode() == PagingMode::Bits32 { 4 } else { 8 }
}

/// The entries in the case's memory: those that it lists, and PAE's PDPTEs where it does not list
/// them.
pub(crate) fn contents(case: &Case) -> Vec<TableEntry> {
    let mut entries = case.entries.clone();
    if case.mode() == PagingMode::Pae {
        let pdpt = case.state.cr3 & 0xffff_ffe0;
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
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    fn plain(mode: PagingMode) -> Case {
        Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default())
    }

    fn word(frames: &EntryFrames, at: u64) -> u64 {
        let mut bytes = [0; 8];
        frames.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn what_a_case_does_not_list_is_zero_in_low_memory_and_nothing_above() {
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
    fn entries_of_32_bits_share_a_word() {
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
    fn pdptes_that_are_not_listed_are_those_of_the_registers() {
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
