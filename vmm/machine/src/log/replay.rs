//! Changing the guest's memory as a log says that a batch did.
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

use crate::BatchCommand;
use crate::memory::GuestMemory;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::mailbox::{AccessRecord, Header};
use crosswalk_guest::tape::changes::address_of;
use crosswalk_guest::tape::frames::{FaultedRecord, FrameCoder};
use crosswalk_guest::tape::nested;
use crosswalk_guest::tape::words::take_word;
use zerocopy::{FromZeros, IntoBytes};

/// Applies what a batch changed.
pub(super) fn apply(
    mut bytes: &[u8],
    command: &BatchCommand,
    frames: &[u32],
    memory: &GuestMemory,
) -> Result<(), String> {
    let arena = command.arena;
    let header: Header = memory.read_value(arena.base());
    write_tables(arena, &header, memory);
    clear_other_records(command, memory);
    let before = records(arena, memory);

    let mut index = 0;
    loop {
        let word = take_word(&mut bytes, &mut index);
        let word = word.map_err(|_| "the changes of the batch are damaged".to_owned())?;
        let Some((place, change)) = word else { break };

        let Some(address) = address_of(place, arena, frames, nested::is_nested(&header)) else {
            return Err(format!("the batch changes word {place}, which it does not have"));
        };
        let old: u32 = memory.read_value(address);
        memory.write_value(address, &(old ^ change));
    }

    apply_frames(bytes, &before, arena, memory)
}

/// Writes the tables, as the guest does.
fn write_tables(arena: Arena, header: &Header, memory: &GuestMemory) {
    for table in 0..(header.tables as usize).min(Arena::TABLES) {
        let words: [u64; 512] = memory.read_value(arena.table_image(table));
        memory.write_value(arena.table(table), &words);
    }

    if nested::is_nested(header) {
        for part in nested::parts(arena, header) {
            let mut bytes = vec![0; part.bytes as usize];
            memory.read(part.written, &mut bytes);
            memory.write(part.used, &bytes);
        }
    }
}

/// Clears what earlier batches left outside the lists. The guest's memory has nothing there.
fn clear_other_records(command: &BatchCommand, memory: &GuestMemory) {
    let cleared = vec![AccessRecord::new_zeroed(); Arena::RECORDS];
    let mut start = 0;
    let end = Arena::RECORDS..Arena::RECORDS;

    for list in command.lists.iter().chain([&end]) {
        let gap = list.start.saturating_sub(start);
        let zeros = cleared.get(..gap).unwrap_or_default();
        memory.write_value(command.arena.record(start), zeros);
        start = list.end;
    }
}

fn records(arena: Arena, memory: &GuestMemory) -> Vec<AccessRecord> {
    let mut records = vec![AccessRecord::new_zeroed(); Arena::RECORDS];
    memory.read(arena.record(0), records.as_mut_slice().as_mut_bytes());
    records
}

/// Writes what was kept of each fault.
fn apply_frames(
    mut bytes: &[u8],
    before: &[AccessRecord],
    arena: Arena,
    memory: &GuestMemory,
) -> Result<(), String> {
    // A player in 32-bit code keeps no frames.
    if bytes.is_empty() {
        return Ok(());
    }

    let mut coder = FrameCoder::default();
    let after = records(arena, memory);
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        if after.fault().is_none() {
            continue;
        }

        let record = FaultedRecord { before: *before, end: arena.record(number.saturating_add(1)) };
        let kept = coder.take(&record, &mut bytes);
        let (frame, registers) = kept
            .ok_or_else(|| format!("what was kept of the fault of record {number} is damaged"))?;
        memory.write_value(arena.frame(number), &frame);
        memory.write_value(arena.registers(number), &registers);
    }

    if bytes.is_empty() { Ok(()) } else { Err("expected the end of the batch".into()) }
}
