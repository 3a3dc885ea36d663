//! Reading a batch back after its run: records, tables and data frames become observations.
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

use super::CR2_AT_START;
use super::data_frames::{Change, take_changes};
use super::elsewhere::FRAME_BYTES;
use super::encode::Encoded;
use super::list::List;
use super::owner::{Owner, Part};
use super::stubs::{keeps_frames, supervisor_window};
use crate::guest_tables;
use crate::memory::GuestMemory;
use crate::{GuestFailure, MachineError, Position, ProvenanceMap, ResultClass, RunLog};
use crosswalk_case::observation::{
    Attempt, EarlierAccess, EntryAfter, Observation, ObservedFault, PrivilegedRecord, Provenance,
    Register, SavedFrame,
};
use crosswalk_case::{Moved, Operands};
use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::mailbox::{AccessRecord, FrameRecord, Header, RegisterRecord, tagged_fault};
use crosswalk_guest::stub::Code;
use mmu_core::{Ring, Vector};
use zerocopy::{FromZeros, IntoBytes};

/// Why a case could not be run in which #UD was raised.
const NO_INSTRUCTION: &str = "#UD: the machine lacks the instruction";
/// The vector of #UD: the processor lacks an instruction of the stub.
const INVALID_OPCODE: u8 = 6;

/// The part of CR2 that 32-bit code sees.
const LOW_HALF: u64 = 0xffff_ffff;

impl Encoded {
    /// Reads back what the guest left: one result for each case.
    ///
    /// # Errors
    /// If a record holds what no guest of ours writes.
    pub fn read_back(
        &self,
        log: &RunLog,
        memory: &GuestMemory,
        provenance: &ProvenanceMap,
    ) -> Result<Vec<Attempt>, MachineError> {
        let arena = self.batch.arena;
        let mut attempts = self.unsupported();
        if let Some(why) = &log.skipped {
            let skipped = || Attempt::Unsupported(why.clone());
            attempts.fill_with(skipped);
            return Ok(attempts);
        }

        let header: Header = memory.read_value(arena.base());
        if let Some((vector, error_code)) = tagged_fault(header.load_fault) {
            if vector != Vector::GeneralProtection as u8 {
                return Err(self.bad_load_fault(header.load_fault));
            }
            let fault = ObservedFault {
                vector,
                error_code,
                cr2: header.cr2 & LOW_HALF,
                cr2_before: self.cr2_at_start(),
                rip: None,
                frame: None,
            };
            self.all_faulted(fault, provenance.load, &mut attempts);
            self.read_tables(memory, &mut attempts);
            return Ok(attempts);
        } else if header.load_fault != 0 {
            return Err(self.bad_load_fault(header.load_fault));
        }

        let mut reader = RecordReader {
            memory,
            provenance,
            arena,
            code: Code::of(self.tables.table_use),
            window: supervisor_window(self.state().cr0),
            keeps_frames: self.keeps_frames(),
            compatibility: self.tables.table_use.compatibility,
            cr2: self.cr2_at_start(),
            earlier: vec![Vec::new(); attempts.len()],
            privileged: vec![Vec::new(); attempts.len()],
            attempts: &mut attempts,
        };
        for list in &self.lists {
            let at = arena.record(list.first);
            reader.read_list(list, at).map_err(|error| self.blame(error))?;
        }

        self.read_tables(memory, &mut attempts);
        for Change { lane, at, found } in take_changes(arena, memory) {
            if let Some(observation) = observation_of(self.case_of_lane(lane), &mut attempts) {
                observation.stored.push((at, found));
            }
        }
        let elsewhere = self.take_changes_elsewhere(memory);
        if let Some(observation) = observation_of(0, &mut attempts) {
            observation.stored.extend(elsewhere);
            observation.stored.sort_unstable();
        }
        self.read_log(log, provenance.outside, &mut attempts);

        Ok(attempts)
    }

    fn bad_load_fault(&self, word: u64) -> MachineError {
        self.blame(MachineError::guest(GuestFailure::BadLoadFault(word), None))
    }

    /// Restores every data frame that the batch may have changed, before it runs again.
    pub fn restore(&self, memory: &GuestMemory) {
        let _ = take_changes(self.batch.arena, memory);
        let _ = self.take_changes_elsewhere(memory);
    }

    /// Returns every byte that changed in a data frame outside the lanes, and restores these frames.
    fn take_changes_elsewhere(&self, memory: &GuestMemory) -> Vec<(u64, u8)> {
        let mut changes = Vec::new();

        for frame in &self.elsewhere {
            let mut bytes = vec![0; FRAME_BYTES as usize];
            memory.read(*frame, &mut bytes);
            let found = (*frame..).zip(bytes);
            changes.extend(found.filter(|(at, found)| contents::byte(*at) != *found));
            memory.restore_frame(*frame);
        }

        changes
    }

    /// CR2 before the first case, as the handlers see it: in long mode they are 64-bit code.
    fn cr2_at_start(&self) -> u64 {
        let is_long_mode = self.tables.table_use.mode.is_long_mode();
        if is_long_mode { CR2_AT_START } else { CR2_AT_START & LOW_HALF }
    }

    /// The results before anything is read: no case ran, for its reason if it was left out.
    fn unsupported(&self) -> Vec<Attempt> {
        let reasons = self.left_out.iter().map(|why| why.clone().unwrap_or_default());
        reasons.map(Attempt::Unsupported).collect()
    }

    /// The control state could not be loaded, so no access was made: every case ends in this fault.
    fn all_faulted(&self, fault: ObservedFault, decider: Provenance, attempts: &mut [Attempt]) {
        for (attempt, left_out) in attempts.iter_mut().zip(&self.left_out) {
            if left_out.is_none() {
                *attempt = Attempt::Observed(Observation::new(Some(fault), 0, decider));
            }
        }
    }

    /// Adds every entry of every case, and every other slot that changed.
    fn read_tables(&self, memory: &GuestMemory, attempts: &mut [Attempt]) {
        let arena = self.batch.arena;
        let contents = self.tables.addresses().map(|table| memory.read_value(table)).collect();
        let tables_after = self.tables.with_contents(contents);
        let own = guest_tables::first_entry(self.tables.table_use, arena);

        for (index, (case, attempt)) in self.batch.cases.iter().zip(&mut *attempts).enumerate() {
            let Attempt::Observed(observation) = attempt else { continue };

            observation.entries.reserve(case.entries.len());
            for entry in &case.entries {
                let value = if arena.is_read_only(entry.at) {
                    Some(memory.read_value(entry.at))
                } else if Some(entry.at) == own {
                    // The guest goes through it, too.
                    None
                } else {
                    // A slot that several lanes share is reported for its owner only.
                    let slot = self.tables.slot_at(entry.at);
                    let own = slot.filter(|slot| self.tables.owner(*slot) == Some(index));
                    own.map(|slot| tables_after.get(slot))
                };
                if let Some(after) = value {
                    let before = entry.value;
                    observation.entries.push(EntryAfter { at: entry.at, before, after });
                }
            }
        }

        for stray in tables_after.strays(&self.tables) {
            if let Some(observation) = observation_of(stray.neighbour.unwrap_or(0), attempts) {
                observation.entries.push(EntryAfter {
                    at: stray.at,
                    before: stray.before,
                    after: stray.after,
                });
            }
        }
    }

    /// Adds the accesses that left the machine to the cases that made them.
    fn read_log(&self, log: &RunLog, decider: Provenance, attempts: &mut [Attempt]) {
        for attempt in &mut *attempts {
            if let Attempt::Observed(observation) = attempt {
                observation.sees_outside = self.sees_outside;
            }
        }

        for (position, access) in &log.outside {
            if let Some(case) = self.case_at(*position)
                && let Some(Attempt::Observed(observation)) = attempts.get_mut(case)
            {
                observation.outside.push(*access);
                observation.provenance = decider;
            }
        }
    }
}

/// The observation to which changes in the frames or entries of a case are attributed: its own or, if it
/// did not run, the first of the batch.
fn observation_of(case: usize, attempts: &mut [Attempt]) -> Option<&mut Observation> {
    let is_observed = |attempt: &Attempt| matches!(attempt, Attempt::Observed(_));
    let index = if attempts.get(case).is_some_and(is_observed) {
        case
    } else {
        attempts.iter().position(is_observed)?
    };

    match attempts.get_mut(index)? {
        Attempt::Observed(observation) => Some(observation),
        Attempt::Unsupported(_) => None,
    }
}

/// Reads the records of a batch in the order in which the guest ran them.
struct RecordReader<'r> {
    memory: &'r GuestMemory,
    provenance: &'r ProvenanceMap,
    arena: Arena,
    code: Code,
    /// The distance from user addresses to those of ring 0.
    window: u64,
    /// Whether ring 0 keeps frames.
    keeps_frames: bool,
    /// Whether the lists ran in compatibility mode.
    compatibility: bool,
    /// CR2 after the records so far.
    cr2: u64,
    /// For each case, the accesses so far that are not its last.
    earlier: Vec<Vec<EarlierAccess>>,
    /// For each case, the privileged instructions so far.
    privileged: Vec<Vec<PrivilegedRecord>>,
    attempts: &'r mut [Attempt],
}

impl RecordReader<'_> {
    /// Reads a list.
    fn read_list(&mut self, list: &List, at: u64) -> Result<(), MachineError> {
        let mut records = vec![AccessRecord::new_zeroed(); list.records.len()];
        self.memory.read(at, records.as_mut_slice().as_mut_bytes());

        let lists = list.records.iter().zip(&records).zip(&list.owners);
        for (index, ((before, after), owner)) in lists.enumerate() {
            if !is_possible(before, after, *owner) {
                let failure = GuestFailure::BadRecord { record: index, word: after.stub };
                let record = list.first.saturating_add(index);
                return Err(MachineError::guest(failure, Some(Position { record })));
            }

            if let Some(owner) = owner {
                let number = list.first.saturating_add(index);
                let frame = match after.fault() {
                    Some(_) if !owner.part.is_about_operands() => {
                        self.read_frame(number, before, owner)?
                    }
                    _ => None,
                };
                self.read_record(after, frame, *owner);
            }
        }

        Ok(())
    }

    /// Reads what the guest kept of the fault of record `number`; nothing if it keeps no frames here.
    fn read_frame(
        &self,
        number: usize,
        before: &AccessRecord,
        owner: &Owner,
    ) -> Result<Option<SavedFrame>, MachineError> {
        if owner.form.is_none() || !keeps_frames(self.code, owner.ring, self.keeps_frames) {
            return Ok(None);
        }

        let kept: FrameRecord = self.memory.read_value(self.arena.frame(number));
        let registers: RegisterRecord = self.memory.read_value(self.arena.registers(number));
        let Ok(cs) = u16::try_from(kept.cs) else {
            let failure = GuestFailure::BadFrame { record: number, cs: kept.cs };
            return Err(MachineError::guest(failure, Some(Position { record: number })));
        };

        let window = if owner.ring == Ring::Zero { self.window } else { 0 };
        let behind = self.arena.record(number.saturating_add(1)).wrapping_add(window);
        let rsp = owner.stack_operand().unwrap_or(behind);
        let found = |register: Register| match register {
            Register::Rax => kept.rax,
            Register::Rbx => registers.rbx,
            Register::Rsi => registers.rsi,
            Register::Rbp => registers.rbp,
        };
        let mut loaded = owner.loaded(before).into_iter();
        Ok(Some(SavedFrame {
            cs,
            rflags: kept.rflags & !SavedFrame::STATUS_FLAGS,
            rsp: kept.rsp.wrapping_sub(rsp) as i64,
            changed: loaded
                .find(|(register, value)| found(*register) != *value)
                .map(|(register, _)| register),
        }))
    }

    /// Reads a record that shows something of a case.
    fn read_record(&mut self, record: &AccessRecord, frame: Option<SavedFrame>, owner: Owner) {
        let Owner { case, part, ring, .. } = owner;
        if let Part::Operands { of_last } = part {
            return self.read_operands(record, owner, of_last);
        }
        let fault = record.fault().map(|(vector, error_code)| {
            let cr2 = record.address;
            let cr2_before = std::mem::replace(&mut self.cr2, cr2);
            let rip = Some(owner.saved_rip(record.value));
            ObservedFault { vector, error_code, cr2, cr2_before, rip, frame }
        });
        // An access that faulted left no value.
        let value = if fault.is_none() { record.value } else { 0 };

        let attempt = self.attempts.get_mut(case);
        let (Some(attempt), Some(earlier), Some(privileged)) =
            (attempt, self.earlier.get_mut(case), self.privileged.get_mut(case))
        else {
            return;
        };

        let is_unknown = fault.is_some_and(|fault| fault.vector == INVALID_OPCODE);
        if is_unknown {
            *attempt = Attempt::Unsupported(NO_INSTRUCTION.into());
        }
        // The rest of a sequence does not count then.
        if matches!(attempt, Attempt::Unsupported(why) if why == NO_INSTRUCTION) {
            return;
        }
        match part {
            Part::Last => {
                let decider = self.provenance.of(ring, self.compatibility, class_of(fault));
                let mut observation = Observation::new(fault, value, decider);
                observation.earlier = std::mem::take(earlier);
                observation.privileged = std::mem::take(privileged);
                *attempt = Attempt::Observed(observation);
            }
            Part::Earlier => earlier.push(EarlierAccess { fault, value, moved: None }),
            Part::Privileged { has_register } => {
                let register = has_register.then_some(0);
                privileged.push(PrivilegedRecord { fault, register });
            }
            Part::Register => {
                let record = privileged.last_mut().and_then(|record| record.register.as_mut());
                if let Some(register) = record {
                    *register = value;
                }
            }
            Part::Operands { .. } => {}
        }
    }

    /// Reads what has become of the operands of the access before.
    fn read_operands(&mut self, record: &AccessRecord, owner: Owner, of_last: bool) {
        let AccessRecord { stub: rcx, address: rsi, value: rdi } = *record;
        let moved = owner.operands.map(|before| before.moved_to(Operands { rsi, rdi, rcx }));
        let moved = if self.code == Code::Bits32 { moved.map(Moved::in_32_bits) } else { moved };

        let earlier = self.earlier.get_mut(owner.case).and_then(|earlier| earlier.last_mut());
        match (self.attempts.get_mut(owner.case), earlier) {
            (Some(Attempt::Observed(last)), _) if of_last => last.moved = moved,
            (_, Some(earlier)) if !of_last => earlier.moved = moved,
            _ => {}
        }
    }
}

/// Whether a guest of ours can have turned one record into the other. Only an access or a privileged
/// instruction of a case can fault.
fn is_possible(before: &AccessRecord, after: &AccessRecord, owner: Option<Owner>) -> bool {
    if owner.is_some_and(|owner| owner.part.is_about_operands()) {
        return true;
    }
    match after.fault() {
        None => after.stub == before.stub,
        Some((vector, _)) => {
            let is_recorded = vector == INVALID_OPCODE || Vector::from_number(vector).is_some();
            is_recorded && owner.is_some_and(|owner| owner.part != Part::Register)
        }
    }
}

fn class_of(fault: Option<ObservedFault>) -> ResultClass {
    match fault.map(|fault| fault.vector) {
        None => ResultClass::Translation,
        Some(vector) if vector == Vector::PageFault as u8 => ResultClass::PageFault,
        Some(vector) if vector == Vector::AlignmentCheck as u8 => ResultClass::AlignmentFault,
        Some(_) => ResultClass::AddressFault,
    }
}
