//! What a batch changed, as the log has it.

use super::log::Log;
use super::memory::{are_equal, clear, copy, read, words};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::mailbox::{AccessRecord, FrameRecord, Header, RegisterRecord};
use crosswalk_guest::tape::changes::{ARENA_WORDS, PAGE_WORDS, TABLE_WORDS};
use crosswalk_guest::tape::frames::{FaultedRecord, FrameCoder};
use crosswalk_guest::tape::words::WordWriter;

/// Memory is compared in parts of this size, of which few differ.
const PART: u64 = 512;
/// Size of all records.
const RECORDS_BYTES: u64 = (Arena::RECORDS * size_of::<AccessRecord>()) as u64;

/// Forgets the frames that earlier batches left.
pub(super) fn clear_frames_of_faults(arena: Arena) {
    clear(arena.frame(0), RECORDS_BYTES);
    clear(arena.registers(0), RECORDS_BYTES);
}

/// The changes of one batch, on their way into the log.
pub(super) struct Recording<'l> {
    log: &'l mut Log,
    words: WordWriter,
}

impl<'l> Recording<'l> {
    /// Begins with the first word.
    pub(super) fn start(log: &'l mut Log) -> Self {
        log.start_data();
        Self { log, words: WordWriter::default() }
    }

    /// The next words: those of memory that differ from what was there.
    pub(super) fn compare(&mut self, now: u64, then: u64, bytes: u64) {
        for offset in (0..bytes).step_by(PART as usize) {
            self.compare_part(now + offset, then + offset);
        }
    }

    /// The same, and makes the words as they were.
    pub(super) fn compare_and_restore(&mut self, now: u64, then: u64, bytes: u64) {
        self.log.pump();
        for offset in (0..bytes).step_by(PART as usize) {
            if self.compare_part(now + offset, then + offset) {
                copy(then + offset, now + offset, PART);
            }
        }
    }

    /// Returns whether a word differs.
    fn compare_part(&mut self, now: u64, then: u64) -> bool {
        const WORDS: usize = PART as usize / 4;

        if are_equal(now, then, PART) {
            self.words.skip(WORDS as u32);
            return false;
        }
        for (now, then) in words(now, WORDS).iter().zip(words(then, WORDS)) {
            self.words.put(now ^ then, &mut |byte| self.log.data(byte));
        }
        true
    }

    /// Header, records and tables. The images of the tables are in the copy of the arena.
    pub(super) fn arena(&mut self, arena: Arena, copy: u64) {
        self.compare(arena.base(), copy, u64::from(ARENA_WORDS) * 4);

        let header: Header = read(copy);
        let images = arena.table_image(0) - arena.base();
        let tables = (header.tables as u32).min(Arena::TABLES as u32);
        for table in 0..u64::from(tables) {
            self.compare(arena.table(table as usize), copy + images + table * 0x1000, 0x1000);
        }
        self.words.skip(TABLE_WORDS - tables * PAGE_WORDS);
    }

    /// Skips words that are not in use.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.words.skip(bytes as u32 / 4);
    }

    /// Ends the words.
    pub(super) fn end_words(&mut self) {
        self.words.end(&mut |byte| self.log.data(byte));
    }

    /// What was kept of each fault.
    pub(super) fn frames_of_faults(&mut self, arena: Arena, copy: u64) {
        let mut coder = FrameCoder::default();
        for number in 0..Arena::RECORDS {
            let after: AccessRecord = read(arena.record(number));
            if after.fault().is_none() {
                continue;
            }

            let before: AccessRecord = read(copy + arena.record(number) - arena.base());
            let record = FaultedRecord { before, end: arena.record(number + 1) };
            let frame: FrameRecord = read(arena.frame(number));
            let registers: RegisterRecord = read(arena.registers(number));
            coder.put(&record, frame, registers, &mut |byte| self.log.data(byte));
        }
    }

    /// Ends the block of a batch.
    pub(super) fn end(self, number: u32, digest: u32) {
        self.log.end_data(number, digest);
    }
}
