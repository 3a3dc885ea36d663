//! Reading a batch back after its run: records, tables and data frames, into observations.

use super::CR2_AT_START;
use super::encode::{Encoded, List, Owner};
use crate::memory::{GuestMemory, LANE_BYTES};
use crate::{MachineError, Position, ProvenanceMap, ResultClass, RunLog};
use crosswalk_case::observation::{
    Attempt, EarlierAccess, EntryAfter, Observation, ObservedFault, Provenance,
};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_guest::mailbox::{AccessRecord, Header, tagged_fault};
use crosswalk_guest::stub::Code;
use mmu_core::Ring;
use std::sync::LazyLock;
use zerocopy::FromZeros;

/// #UD: an instruction of the stub itself is not available.
const INVALID_OPCODE: u8 = 6;

/// What every data frame should hold: for each arena, the frames of all lanes in a row.
static PRISTINE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    Arena::ALL.map(|arena| {
        let mut frames = vec![0; MAX_LANES * LANE_BYTES];
        for (lane, chunk) in frames.chunks_mut(LANE_BYTES).enumerate() {
            contents::fill(arena.data_frames(lane), chunk);
        }
        frames
    })
});

/// The data frames, compared with what they should hold.
#[derive(Debug)]
pub struct DataFrames {
    buffer: Vec<u8>,
}

impl Default for DataFrames {
    fn default() -> Self {
        Self { buffer: vec![0; LANE_BYTES] }
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
        let pristine = &PRISTINE[arena.index()];
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
    ) -> Result<Vec<Attempt>, MachineError> {
        let arena = self.batch.arena;
        let mut runs: Vec<Attempt> = self
            .left_out
            .iter()
            .map(|why| Attempt::Unsupported(why.clone().unwrap_or_default()))
            .collect();
        // 32-bit code sees the lower half of CR2.
        let is_wide = Code::of(self.tables.mode) == Code::Bits64;
        let cr2 = if is_wide { CR2_AT_START } else { CR2_AT_START & 0xffff_ffff };
        let header: Header = memory.read_value(arena.base());
        if let Some((vector, error_code)) = tagged_fault(header.load_fault) {
            let cr2_then = header.cr2 & 0xffff_ffff;
            let fault = ObservedFault { vector, error_code, cr2: cr2_then, cr2_before: cr2 };
            self.all_faulted(fault, memory, provenance.load, &mut runs);
            return Ok(runs);
        }
        let earlier = vec![Vec::new(); runs.len()];
        let mut reading = Reading { memory, provenance, cr2, earlier, runs: &mut runs };
        for (ring, list, at) in [
            (Ring::Three, &self.user, arena.user_records()),
            (Ring::Zero, &self.supervisor, arena.supervisor_records()),
        ] {
            reading.records(ring, list, at).map_err(|error| self.blame(error))?;
        }
        self.read_tables(memory, &mut runs);
        for (lane, at, found) in frames.take_changes(arena, memory) {
            if let Some(observation) = observation_of(lane, &mut runs) {
                observation.stored.push((at, found));
            }
        }
        for run in &mut runs {
            if let Attempt::Observed(observation) = run {
                observation.sees_outside = self.sees_outside;
            }
        }
        for (position, access) in &log.outside {
            if let Some(case) = self.case_at(*position)
                && let Attempt::Observed(observation) = &mut runs[case]
            {
                observation.outside.push(*access);
                observation.provenance = provenance.outside;
            }
        }
        Ok(runs)
    }

    /// The control state could not be loaded, so no access was made: every case ends in this fault.
    fn all_faulted(
        &self,
        fault: ObservedFault,
        memory: &GuestMemory,
        who: Provenance,
        runs: &mut [Attempt],
    ) {
        for (run, left_out) in runs.iter_mut().zip(&self.left_out) {
            if left_out.is_none() {
                *run = Attempt::Observed(Observation::new(Some(fault), 0, who));
            }
        }
        self.read_tables(memory, runs);
    }

    /// Notes every entry of every case, and each slot of no case that is not what it was.
    fn read_tables(&self, memory: &GuestMemory, runs: &mut [Attempt]) {
        let arena = self.batch.arena;
        let tables = (0..self.tables.contents().len()).map(|i| memory.read_value(arena.table(i)));
        let after = self.tables.with_contents(tables.collect());
        for (index, (case, run)) in self.batch.cases.iter().zip(&mut *runs).enumerate() {
            let Attempt::Observed(observation) = run else { continue };
            for entry in &case.entries {
                if arena.is_read_only(entry.at) {
                    let (at, before, after) = (entry.at, entry.value, memory.read_value(entry.at));
                    observation.entries.push(EntryAfter { at, before, after });
                }
                let Some(slot) = self.tables.slot_at(entry.at) else { continue };
                // What lanes share is looked at once.
                if self.tables.owner(slot) == Some(index) {
                    let (before, after) = (entry.value, after.get(slot));
                    observation.entries.push(EntryAfter { at: entry.at, before, after });
                }
            }
        }
        for (at, before, after, owner) in after.strays(&self.tables) {
            if let Some(observation) = observation_of(owner.unwrap_or(0), runs) {
                observation.entries.push(EntryAfter { at, before, after });
            }
        }
    }
}

/// The observation that answers for a lane's frames: the lane's own; the only one, when the batch
/// has one case; any, when the lane is nobody's.
fn observation_of(lane: usize, runs: &mut [Attempt]) -> Option<&mut Observation> {
    let is_observed = |run: &Attempt| matches!(run, Attempt::Observed(_));
    let owner = if runs.get(lane).is_some_and(is_observed) {
        lane
    } else {
        runs.iter().position(is_observed)?
    };
    match &mut runs[owner] {
        Attempt::Observed(observation) => Some(observation),
        Attempt::Unsupported(_) => None,
    }
}

/// The results of a batch, as its records are read.
struct Reading<'r> {
    memory: &'r GuestMemory,
    provenance: &'r ProvenanceMap,
    /// The last value CR2 was seen with.
    cr2: u64,
    /// What the accesses before the last of each case came to.
    earlier: Vec<Vec<EarlierAccess>>,
    runs: &'r mut [Attempt],
}

impl Reading<'_> {
    /// Reads one list of records.
    fn records(&mut self, ring: Ring, list: &List, at: u64) -> Result<(), MachineError> {
        let mut bytes = vec![AccessRecord::new_zeroed(); list.records.len()];
        self.memory.read(at, zerocopy::IntoBytes::as_mut_bytes(bytes.as_mut_slice()));
        for (number, (before, after)) in list.records.iter().zip(&bytes).enumerate() {
            let fault = after.fault();
            let known = match fault {
                Some((vector, _)) => matches!(vector, INVALID_OPCODE | 12..=14),
                None => after.stub == before.stub,
            };
            let owner = list.owners[number];
            if !known || (fault.is_some() && owner.is_none()) {
                let what = format!(
                    "wrote nonsense into the mailbox: record {number} starts with {:#x}",
                    after.stub
                );
                let at = Some(Position { ring, record: number });
                return Err(MachineError::guest(what, at));
            }
            let Some(Owner { case, is_last }) = owner else { continue };
            let class = match fault {
                None => ResultClass::Translation,
                Some((14, _)) => ResultClass::PageFault,
                Some(_) => ResultClass::AddressFault,
            };
            let fault = fault.map(|(vector, error_code)| {
                let cr2_before = std::mem::replace(&mut self.cr2, after.address);
                ObservedFault { vector, error_code, cr2: after.address, cr2_before }
            });
            if fault.is_some_and(|fault| fault.vector == INVALID_OPCODE) {
                self.runs[case] =
                    Attempt::Unsupported("#UD: the machine lacks the instruction".into());
                continue;
            }
            let who = self.provenance.of(ring, class);
            if !is_last {
                self.earlier[case].push(EarlierAccess { fault, value: after.value });
                continue;
            }
            let mut observation = Observation::new(fault, after.value, who);
            observation.earlier = std::mem::take(&mut self.earlier[case]);
            self.runs[case] = Attempt::Observed(observation);
        }
        Ok(())
    }
}
