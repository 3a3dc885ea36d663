//! Reading a batch back after its run: records, tables and data frames, into observations.

use super::CR2_AT_START;
use super::encode::{Encoded, List, Table};
use crate::machine::memory::{GuestMemory, LANE_BYTES};
use crate::machine::{MachineError, Position, ProvenanceMap, ResultClass, RunLog};
use crate::observation::{EntryAfter, Observation, ObservedFault, Run};
use guest::contents;
use guest::layout::{Arena, MAX_LANES};
use guest::mailbox::Record;
use mmu_core::Ring;
use zerocopy::FromZeros;

/// #UD: an instruction of the stub itself is not available.
const INVALID_OPCODE: u8 = 6;

/// What every data frame should hold, to compare with.
#[derive(Debug)]
pub struct DataFrames {
    /// For each arena, the frames of all lanes in a row.
    pristine: [Vec<u8>; 2],
    buffer: Vec<u8>,
}

impl Default for DataFrames {
    fn default() -> Self {
        let frames_of = |arena: Arena| {
            let mut frames = vec![0; MAX_LANES * LANE_BYTES];
            for (lane, chunk) in frames.chunks_mut(LANE_BYTES).enumerate() {
                contents::fill(arena.data_frames(lane), chunk);
            }
            frames
        };
        Self { pristine: Arena::ALL.map(frames_of), buffer: vec![0; LANE_BYTES] }
    }
}

impl DataFrames {
    /// Undoes what a batch did that is to be run again.
    pub fn restore(&mut self, arena: Arena, memory: &GuestMemory) {
        let _ = self.take_changes(arena, memory);
    }

    /// Every changed byte with its lane; the frames are as before afterwards.
    fn take_changes(&mut self, arena: Arena, memory: &GuestMemory) -> Vec<(usize, u64, u8)> {
        let mut changes = Vec::new();
        let pristine = &self.pristine[arena.index()];
        for (lane, expected) in pristine.chunks(LANE_BYTES).enumerate() {
            let first = arena.data_frames(lane);
            memory.read(first, &mut self.buffer);
            if self.buffer == expected {
                continue;
            }
            let pairs = self.buffer.iter().zip(expected).zip(first..);
            changes.extend(
                pairs
                    .filter(|((found, expected), _)| found != expected)
                    .map(|((found, _), at)| (lane, at, *found)),
            );
            memory.write(first, expected);
        }
        changes
    }
}

impl Encoded {
    /// Reads back what the guest left, one result for each case.
    ///
    /// # Errors
    /// When a record holds what no guest of ours writes.
    pub fn read_back(
        &self,
        log: &RunLog,
        memory: &GuestMemory,
        frames: &mut DataFrames,
        provenance: &ProvenanceMap,
    ) -> Result<Vec<Run>, MachineError> {
        let arena = self.batch.arena;
        let mut runs: Vec<Run> = self
            .left_out
            .iter()
            .map(|why| Run::Unsupported(why.clone().unwrap_or_default()))
            .collect();
        let mut cr2 = CR2_AT_START;
        for (ring, list, at) in [
            (Ring::Three, &self.user, arena.user_records()),
            (Ring::Zero, &self.supervisor, arena.supervisor_records()),
        ] {
            read_records(ring, list, at, memory, *provenance, &mut cr2, &mut runs)
                .map_err(|error| self.blame(error))?;
        }
        self.read_tables(memory, &mut runs);
        for (lane, at, found) in frames.take_changes(arena, memory) {
            if let Some(observation) = observation_of(lane, &mut runs) {
                observation.stored.push((at, found));
            }
        }
        for (position, access) in &log.outside {
            if let Some(case) = self.case_at(*position)
                && let Run::Observed(observation) = &mut runs[case]
            {
                observation.outside.push(*access);
                observation.provenance = provenance.outside;
            }
        }
        Ok(runs)
    }

    /// Notes every entry of every case, and each slot of no case that is not what it was.
    fn read_tables(&self, memory: &GuestMemory, runs: &mut [Run]) {
        let arena = self.batch.arena;
        let mut after: Vec<Table> = vec![[0; 512]; Arena::TABLES];
        for (index, table) in after.iter_mut().enumerate() {
            *table = memory.read_value(arena.table(index));
        }
        for (case, run) in self.batch.cases.iter().zip(&mut *runs) {
            let Run::Observed(observation) = run else { continue };
            for entry in &case.entries {
                let Some(table) = arena.table_at(entry.at) else { continue };
                let slot = (entry.at & 0xfff) as usize / 8;
                observation.entries.push(EntryAfter {
                    at: entry.at,
                    before: entry.value,
                    after: after[table][slot],
                });
            }
        }
        for (index, table) in after.iter().enumerate() {
            for (slot, after) in table.iter().enumerate() {
                let before = self.tables[index][slot];
                let in_use = self.owners[index][slot].is_some();
                let is_own_mapping = (index, slot) == (0, 0);
                if *after == before || in_use || is_own_mapping {
                    continue;
                }
                let neighbours = [slot.checked_sub(1), Some(slot + 1).filter(|slot| *slot < 512)];
                let owner = neighbours
                    .into_iter()
                    .flatten()
                    .find_map(|slot| self.owners[index][slot])
                    .unwrap_or(0);
                if let Some(observation) = observation_of(owner.into(), runs) {
                    let at = arena.table(index) + slot as u64 * 8;
                    observation.entries.push(EntryAfter { at, before, after: *after });
                }
            }
        }
    }
}

/// The observation that answers for a lane's frames: the lane's own; the only one, when the batch
/// has one case; any, when the lane is nobody's.
fn observation_of(lane: usize, runs: &mut [Run]) -> Option<&mut Observation> {
    let is_observed = |run: &Run| matches!(run, Run::Observed(_));
    let owner = if runs.get(lane).is_some_and(is_observed) {
        lane
    } else {
        runs.iter().position(is_observed)?
    };
    match &mut runs[owner] {
        Run::Observed(observation) => Some(observation),
        Run::Unsupported(_) => None,
    }
}

/// Reads one list of records; `cr2` is the last value CR2 was seen with.
fn read_records(
    ring: Ring,
    list: &List,
    at: u64,
    memory: &GuestMemory,
    provenance: ProvenanceMap,
    cr2: &mut u64,
    runs: &mut [Run],
) -> Result<(), MachineError> {
    let mut bytes = vec![Record::new_zeroed(); list.records.len()];
    memory.read(at, zerocopy::IntoBytes::as_mut_bytes(bytes.as_mut_slice()));
    for (number, (before, after)) in list.records.iter().zip(&bytes).enumerate() {
        let fault = after.fault();
        let known = match fault {
            Some((vector, _)) => matches!(vector, INVALID_OPCODE | 12..=14),
            None => after.stub == before.stub,
        };
        let case = list.cases[number];
        if !known || (fault.is_some() && case.is_none()) {
            let what = format!(
                "wrote nonsense into the mailbox: record {number} starts with {:#x}",
                after.stub
            );
            let at = Some(Position { ring, record: number });
            return Err(MachineError::guest(what, at));
        }
        let Some(case) = case else { continue };
        let class = match fault {
            None => ResultClass::Translation,
            Some((14, _)) => ResultClass::PageFault,
            Some(_) => ResultClass::AddressFault,
        };
        let fault = fault.map(|(vector, error_code)| {
            let cr2_before = std::mem::replace(cr2, after.address);
            ObservedFault { vector, error_code, cr2: after.address, cr2_before }
        });
        if fault.is_some_and(|fault| fault.vector == INVALID_OPCODE) {
            runs[case] = Run::Unsupported("#UD: the machine lacks the instruction".into());
            continue;
        }
        runs[case] = Run::Observed(Observation {
            fault,
            value: after.value,
            stored: Vec::new(),
            entries: Vec::new(),
            outside: Vec::new(),
            provenance: provenance.of(ring, class),
        });
    }
    Ok(())
}
