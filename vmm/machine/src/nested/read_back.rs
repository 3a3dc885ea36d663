//! Reading a nested batch back after its run.
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

use super::NestedBatch;
use super::run::{LaneExit, LaneRun, NestedRun};
use super::vmcb::Vmcb;
use super::vmcs;
use crate::batch::take_changed_bytes;
use crate::memory::GuestMemory;
use crate::{GuestFailure, MachineError, RunLog};
use crosswalk_guest::nested::{NestedRecord, RecordEnd, Virtualizer};
use zerocopy::IntoBytes;

/// A lane that did not run.
const NOT_RUN: LaneRun = LaneRun { exit: LaneExit::NotRun, rip: 0, rax: 0, rcx: 0, cr2: 0 };

impl NestedBatch {
    /// Reads back what the guest left.
    ///
    /// # Errors
    /// If it holds what no guest of ours writes.
    pub fn read_back(&self, log: &RunLog, memory: &GuestMemory) -> Result<NestedRun, MachineError> {
        if log.skipped.is_some() {
            let lanes = vec![NOT_RUN; self.lanes.len()];
            return Ok(NestedRun { lanes, tables: self.tables.clone(), stored: Vec::new() });
        }

        let lane = |(number, record)| self.read_lane(number, record, memory);
        let lanes = self.records_of_lanes().enumerate().map(lane).collect::<Result<_, _>>()?;
        let tables = (0..self.tables.len())
            .map(|index| memory.read_value(self.arena.nested_table(index)))
            .collect();

        let mut stored = take_changed_bytes(self.arena, memory);
        let code: [u8; 0x1000] = memory.read_value(self.arena.nested_code());
        let bytes = (self.arena.nested_code()..).zip(code.iter().zip(&self.code));
        let changed = bytes.filter(|(_, (found, expected))| found != expected);
        stored.extend(changed.map(|(at, (found, _))| (at, *found)));
        stored.sort_unstable();

        Ok(NestedRun { lanes, tables, stored })
    }

    /// Reads what became of a lane, whose record was this one.
    fn read_lane(
        &self,
        number: usize,
        before: NestedRecord,
        memory: &GuestMemory,
    ) -> Result<LaneRun, MachineError> {
        let after: NestedRecord = memory.read_value(self.arena.nested_record(number));
        let bad =
            |word| MachineError::guest(GuestFailure::BadRecord { record: number, word }, None);
        let NestedRecord { rax, rcx, cr2, end, .. } = after;
        let expected = NestedRecord { rax, rcx, cr2, end, ..before };
        if after != expected {
            return Err(bad(after.block));
        }

        match (RecordEnd::of_word(end), self.virtualizer()) {
            (Some(RecordEnd::NotRun), _) => Ok(NOT_RUN),
            (Some(RecordEnd::Exited), Virtualizer::Svm) => {
                let block = memory.read_value::<Vmcb>(self.arena.control_block(number));
                let [rip, rax, cr2] = [block.rip(), block.rax(), block.cr2()];
                Ok(LaneRun { exit: block.exit(), rip, rax, rcx, cr2 })
            }
            (Some(RecordEnd::Exited), Virtualizer::Vmx) => {
                let lane = self.lanes.get(number).ok_or_else(|| bad(end))?;
                let mut fields = vmcs::fields(lane, None);
                memory.read(self.arena.control_block(number), fields.as_mut_slice().as_mut_bytes());
                let (exit, rip) = vmcs::exit(lane, &fields).ok_or_else(|| bad(end))?;
                Ok(LaneRun { exit, rip, rax, rcx, cr2 })
            }
            (Some(RecordEnd::Failed(error)), Virtualizer::Vmx) => {
                Ok(LaneRun { exit: LaneExit::VmxFailed { error }, ..NOT_RUN })
            }
            _ => Err(bad(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lane, Root};
    use super::*;
    use crate::Capabilities;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{ControlState, Profile, Ring};

    fn batch(root: Root) -> NestedBatch {
        let lane = Lane {
            state: ControlState::four_level(0x1000),
            is_64_bit: true,
            ring: Ring::Zero,
            rip: 0x8000,
            rax: 0x9000,
            back: 0x8010,
            ac: false,
            root,
        };
        NestedBatch {
            arena: Arena::ALL[1],
            host: ControlState::four_level(0),
            tables: vec![[0; 512]; 2],
            code: [0x90; 0x1000],
            lanes: vec![lane; 3],
        }
    }

    fn both() -> [NestedBatch; 2] {
        [Root::Npt { ncr3: 0 }, Root::Ept { eptp: 0, mode_based_execute: false }].map(batch)
    }

    /// The memory of a machine that has copied tables and code, and then did nothing.
    fn memory_of(batch: &NestedBatch) -> GuestMemory {
        let memory = GuestMemory::new().expect("memory can be mapped");
        batch.write(&memory, &Capabilities::of_everything(Profile::default()));
        memory.write(batch.arena.nested_code(), &batch.code);
        memory
    }

    fn read(batch: &NestedBatch, memory: &GuestMemory) -> Result<NestedRun, MachineError> {
        batch.read_back(&RunLog::default(), memory)
    }

    #[test]
    fn lanes_that_did_not_run_say_so() {
        for batch in both() {
            let run = read(&batch, &memory_of(&batch)).expect("nothing is wrong");
            assert_eq!(run.lanes.len(), 3);
            assert!(run.lanes.iter().all(|lane| lane.exit == LaneExit::NotRun));
            assert_eq!((run.tables.len(), run.stored), (2, vec![]));
        }
    }

    #[test]
    fn what_changes_in_frames_and_code_is_found_and_frames_are_restored() {
        let [batch, _] = both();
        let memory = memory_of(&batch);
        let frame = batch.arena.data_frames(2) + 0x123;
        let mut byte = [0];
        memory.read(frame, &mut byte);
        memory.write(frame, &[!byte[0]]);
        memory.write(batch.arena.nested_code() + 5, &[0xcc]);

        let stored = read(&batch, &memory).expect("nothing is wrong").stored;
        assert_eq!(stored, [(batch.arena.nested_code() + 5, 0xcc), (frame, !byte[0])]);
        let again = read(&batch, &memory).expect("nothing is wrong").stored;
        assert_eq!(again, [(batch.arena.nested_code() + 5, 0xcc)]);
    }

    /// Each word of the second record in turn. The guest writes RAX, RCX, CR2 and the end.
    #[test]
    fn a_record_that_no_guest_of_ours_leaves_is_refused() {
        for batch in both() {
            for word in 0..8 {
                let memory = memory_of(&batch);
                let at = batch.arena.nested_record(1) + 8 * word;
                memory.write_value(at, &0x0123_4567_89ab_cdef_u64);
                let is_of_guest = matches!(word, 2..=4);
                assert_eq!(read(&batch, &memory).is_ok(), is_of_guest, "word {word}");
            }
        }
    }

    #[test]
    fn garbage_is_no_panic() {
        for batch in both() {
            let memory = memory_of(&batch);
            for (lane, end) in [(0, 1), (1, 2 << 32 | 7), (2, 1)] {
                let at = batch.arena.nested_record(lane);
                let record: NestedRecord = memory.read_value(at);
                memory.write_value(at, &NestedRecord { end, ..record });
                memory.write(batch.arena.control_block(lane), &[0xff; 0x1000]);
            }
            // SVM has no failures, and the fields of VMX are others now.
            assert!(read(&batch, &memory).is_err());
        }
    }
}
