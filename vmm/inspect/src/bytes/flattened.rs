//! Flattened files: what makedumpfile and QEMU write where they cannot seek, as records of bytes with their
//! offsets in the file that they stand for (makedumpfile(8), option -F). Numbers are big-endian.
//!
//! A record may replace a part of an earlier one. Records have about 16 KiB each, so that there are millions
//! of them in a large file. What is kept is which offsets are in which row of records that follow each other,
//! and places to start from in a row: at most 36 MiB, whatever the file's size.

use super::{is_inside, read_exact};
use crate::checkpoints::Checkpoints;
use crate::error::{AboutFile, MemoryImageError, ReadError};
use crate::extents::{Extent, Extents};
use std::fs::File;

/// How a flattened file begins. Type and version follow at 16, both 1.
pub(crate) const SIGNATURE: &[u8] = b"makedumpfile";

/// Where the first record is.
const HEADER_BYTES: u64 = 0x1000;
/// Two words before the bytes of a record: their offset, and their number.
const RECORD_BYTES: u64 = 16;

/// The most rows of records. QEMU begins one for 1364 KiB of memory or more.
const MAX_ROWS: usize = 1 << 18;
/// The most records whose places are kept.
const MAX_PLACES: usize = 1 << 20;

/// Where the bytes of a flattened file are.
#[derive(Debug)]
pub(super) struct Flattened {
    /// For each offset its position: the number of bytes that records before it in the file have.
    rows: Extents,
    /// Where in the file the record with a position is.
    records: Checkpoints<u64>,
    len: u64,
}

/// The two words before the bytes of a record. At the end both are -1.
struct RecordHeader {
    offset: i64,
    len: i64,
}

impl RecordHeader {
    fn read(file: &File, at: u64) -> Result<Self, ReadError> {
        let mut bytes = [0; RECORD_BYTES as usize];
        read_exact(file, at, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        let [offset, len] = *words else { return Err(ReadError::damaged(at, "no record")) };
        Ok(Self { offset: i64::from_be_bytes(offset), len: i64::from_be_bytes(len) })
    }
}

impl Flattened {
    /// Looks at all records.
    pub(super) fn read(file: &File, len: u64, about: &AboutFile) -> Result<Self, MemoryImageError> {
        let mut header = [0; 32];
        let read = read_exact(file, 0, &mut header);
        read.map_err(|error| about.unreadable("the header of the flattened file", error))?;
        if !header.ends_with(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]) {
            let problem = "expected a flattened file of type 1 and version 1";
            return Err(about.malformed("its header", problem));
        }

        let mut rows: Vec<Extent> = Vec::new();
        let mut records = Checkpoints::new(MAX_PLACES);
        let mut at = HEADER_BYTES;
        let mut position: u64 = 0;
        loop {
            let place = || format!("the record at {at:#x}");
            let header = RecordHeader::read(file, at);
            let header = header.map_err(|error| about.unreadable(place(), error))?;
            if (header.offset, header.len) == (-1, -1) {
                break;
            }

            let data = at.saturating_add(RECORD_BYTES);
            let RecordHeader { offset, len: count } = header;
            let (Ok(offset), Ok(count @ 1..)) = (u64::try_from(offset), u64::try_from(count))
            else {
                let problem = format!("expected some bytes at an offset, not {count} at {offset}");
                return Err(about.malformed(place(), problem));
            };
            if !is_inside(data, count, len) {
                let problem = format!("the file ends before its {count:#x} bytes do");
                return Err(about.malformed(place(), problem));
            }

            match rows.last_mut() {
                Some(row) if row.start.checked_add(row.len) == Some(offset) => {
                    row.len = row.len.saturating_add(count);
                }
                _ => rows.extend(Extent::new(offset, count, position)),
            }
            if rows.len() > MAX_ROWS {
                let problem = format!(
                    "expected at most {MAX_ROWS} rows of records: rearrange it with `makedumpfile -R`"
                );
                return Err(about.malformed(place(), problem));
            }
            records.add(position, at);
            position = position.saturating_add(count);
            at = data.saturating_add(count);
        }

        // The last record with an offset counts.
        let end = rows.iter().map(|row| row.start.saturating_add(row.len)).max();
        rows.reverse();
        Ok(Self { rows: Extents::new(&rows), records, len: end.unwrap_or(0) })
    }

    /// The size of the file that the records stand for.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Fills a buffer from an offset on. What is in no record is zero.
    pub(super) fn read_bytes(
        &self,
        file: &File,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), ReadError> {
        let mut offset = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let found = self.rows.find(offset);
            let until_next = || self.rows.next_start(offset)?.checked_sub(offset);
            let count = found.map_or_else(|| until_next().unwrap_or(u64::MAX), |(_, count)| count);
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(rest.len());
            let (now, behind) = rest.split_at_mut(count);
            match found {
                Some((position, _)) => self.read_row(file, position, now)?,
                None => now.fill(0),
            }
            offset = offset.saturating_add(count as u64);
            rest = behind;
        }
        Ok(())
    }

    /// Fills a buffer with what follows a position.
    fn read_row(&self, file: &File, position: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let changed = |at| ReadError::damaged(at, "a record has changed meanwhile");
        let (mut first, mut at) = self.records.before(position).ok_or_else(|| changed(0))?;
        let mut position = position;
        let mut rest = bytes;
        while !rest.is_empty() {
            let header = RecordHeader::read(file, at)?;
            let len = u64::try_from(header.len).ok().filter(|len| *len > 0);
            let len = len.ok_or_else(|| changed(at))?;
            let data = at.saturating_add(RECORD_BYTES);

            let before = position.saturating_sub(first);
            if let Some(here) = len.checked_sub(before).filter(|here| *here > 0) {
                let count = usize::try_from(here).unwrap_or(usize::MAX).min(rest.len());
                let (now, behind) = rest.split_at_mut(count);
                read_exact(file, data.saturating_add(before), now)?;
                position = position.saturating_add(count as u64);
                rest = behind;
            }
            first = first.saturating_add(len);
            at = data.saturating_add(len);
        }
        Ok(())
    }
}
