//! The memory of a case as guest memory, for walkers that read a virtual machine's memory.

use crate::frames::{FRAME_SIZE, contents};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::layout::LOW_MEMORY_END;
use crosswalk_guest::tables;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// The frames above low memory that have entries of the case, by physical address.
pub(crate) fn high_frames(case: &Case) -> Vec<u64> {
    let high = contents(case).into_iter().filter(|entry| entry.at >= LOW_MEMORY_END);
    let mut frames: Vec<u64> = high.map(|entry| entry.at & !(FRAME_SIZE - 1)).collect();
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// Writes the entries of a case; `place` maps a physical address to its address in `memory`.
pub(crate) fn write<M: GuestMemoryBackend>(
    memory: &M,
    case: &Case,
    place: impl Fn(u64) -> u64,
) -> Result<(), String> {
    contents(case).iter().try_for_each(|entry| store(memory, case, entry, place(entry.at)))
}

/// Writes zeros over the entries of a case; `place` is as for [`write`].
pub(crate) fn erase<M: GuestMemoryBackend>(
    memory: &M,
    case: &Case,
    place: impl Fn(u64) -> u64,
) -> Result<(), String> {
    let zero = |entry: &TableEntry| TableEntry { value: 0, ..*entry };
    contents(case).iter().try_for_each(|entry| store(memory, case, &zero(entry), place(entry.at)))
}

/// The entries that have changed, with their new values.
pub(crate) fn changed<M: GuestMemoryBackend>(
    memory: &M,
    case: &Case,
) -> Result<Vec<TableEntry>, String> {
    let mut changed = Vec::new();
    for TableEntry { at, value } in contents(case) {
        let place = GuestAddress(at);
        let loaded = if tables::entry_bytes(case.mode()) == 4 {
            memory.read_obj::<u32>(place).map(u64::from)
        } else {
            memory.read_obj::<u64>(place)
        };

        let after = loaded.map_err(|error| error.to_string())?;
        if after != value {
            changed.push(TableEntry { at, value: after });
        }
    }
    Ok(changed)
}

fn store<M: GuestMemoryBackend>(
    memory: &M,
    case: &Case,
    entry: &TableEntry,
    place: u64,
) -> Result<(), String> {
    let word = entry.value.to_le_bytes();
    let bytes = &word[..tables::entry_bytes(case.mode()) as usize];
    memory.write_slice(bytes, GuestAddress(place)).map_err(|error| error.to_string())
}
