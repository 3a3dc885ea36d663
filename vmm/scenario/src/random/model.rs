//! A driver that knows what its processes must find in their memory, and checks it.

use super::operation::{Operation, ProcessPart};
use super::{MAX_PROCESSES, MAX_STEPS};
use crate::driver::{Driver, Process};
use crate::error::DriverError;
use crate::program::{Program, ProgramStep};
use crosswalk_guest::system::Ending;
use crosswalk_machine::MachineError;
use mmu_core::VirtAddr;
use mmu_core::space::{Backing, ObjectId, PAGE_BYTES, Protection, Region, SpaceError};
use mmu_core::x86::format::Format;
use std::collections::BTreeMap;

/// The words that were written, by address.
type WrittenWords = BTreeMap<u64, u64>;

/// What a process must find in its memory.
#[derive(Clone)]
struct ProcessModel {
    process: Process,
    parts: BTreeMap<ProcessPart, (Region, WrittenWords)>,
}

/// A driver, and what its processes wrote.
pub(super) struct CheckedDriver<'m, F: Format> {
    pub(super) driver: Driver<'m, F>,
    processes: Vec<ProcessModel>,
    shared: Option<(ObjectId, WrittenWords)>,
    pub(super) written: u64,
    pub(super) read: u64,
}

impl<'m, F: Format> CheckedDriver<'m, F> {
    /// No processes yet.
    pub(super) const fn new(driver: Driver<'m, F>) -> Self {
        Self { driver, processes: Vec::new(), shared: None, written: 0, read: 0 }
    }

    /// Performs an operation. Where memory is too small for it nothing happens, and nothing may be
    /// lost.
    pub(super) fn perform(&mut self, operation: Operation) -> Result<(), DriverError> {
        match self.try_to(operation) {
            Err(DriverError::Space(SpaceError::OutOfFrames(_))) => Ok(()),
            other => other,
        }
    }

    /// What is wrong after an operation with this result.
    ///
    /// # Errors
    /// When the machine died.
    pub(super) fn problem_of(
        &self,
        result: Result<(), DriverError>,
    ) -> Result<Option<String>, MachineError> {
        match result {
            Ok(()) => Ok(self.driver.wrong()),
            Err(DriverError::Machine(error)) => Err(error),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    fn try_to(&mut self, operation: Operation) -> Result<(), DriverError> {
        let count = self.processes.len();
        let place = |process: u8| (count > 0).then(|| usize::from(process) % count);

        match operation {
            Operation::Reclaim => self.driver.reclaim(1).map(drop),
            Operation::Create => {
                if count < MAX_PROCESSES {
                    let process = self.driver.start(&[])?;
                    self.processes.push(ProcessModel { process, parts: BTreeMap::new() });
                }
                Ok(())
            }
            Operation::Destroy(process)
            | Operation::Fork(process)
            | Operation::Map(process, _)
            | Operation::Unmap(process, _)
            | Operation::Grow(process)
            | Operation::Protect(process, ..)
            | Operation::Read(process, ..)
            | Operation::Write(process, ..) => match place(process) {
                Some(place) => self.try_for(place, operation),
                None => Ok(()),
            },
        }
    }

    fn try_for(&mut self, place: usize, operation: Operation) -> Result<(), DriverError> {
        let process = self.processes[place].process;

        match operation {
            Operation::Destroy(_) => {
                for part in ProcessPart::ALL {
                    self.read_back(place, part)?;
                }
                self.remove(place)
            }
            Operation::Fork(_) if self.processes.len() < MAX_PROCESSES => {
                let child = self.driver.fork(process)?;
                let parts = self.processes[place].parts.clone();
                self.processes.push(ProcessModel { process: child, parts });
                Ok(())
            }
            Operation::Map(_, part) if !self.processes[place].parts.contains_key(&part) => {
                if part == ProcessPart::Shared && self.shared.is_none() {
                    self.shared =
                        Some((self.driver.object(2, Backing::Zero)?, WrittenWords::new()));
                }
                let region = part.region(self.shared.as_ref().map(|(object, _)| *object));
                self.driver.map(process, region)?;
                self.processes[place].parts.insert(part, (region, WrittenWords::new()));
                Ok(())
            }
            Operation::Unmap(_, part) => {
                self.read_back(place, part)?;
                if let Some((region, _)) = self.processes[place].parts.remove(&part) {
                    self.driver.unmap(process, region.end().get() - 1)?;
                    self.forget_shared();
                }
                Ok(())
            }
            Operation::Grow(_) => {
                let heap = self.processes[place].parts.get_mut(&ProcessPart::Heap);
                if let Some((region, _)) = heap.filter(|(region, _)| region.pages < region.limit) {
                    self.driver.grow(process, ProcessPart::Heap.start(), 1)?;
                    region.pages += 1;
                }
                Ok(())
            }
            Operation::Protect(_, part, writable) => {
                if let Some((region, _)) = self.processes[place].parts.get_mut(&part) {
                    let new = if writable { Protection::DATA } else { Protection::CONSTANTS };
                    self.driver.protect(process, region.end().get() - 1, new)?;
                    region.protection = new;
                }
                Ok(())
            }
            Operation::Read(_, part, word) => self.access(place, part, word, None),
            Operation::Write(_, part, word, value) => self.access(place, part, word, Some(value)),
            _ => Ok(()),
        }
    }

    /// A load or store of a word. Of the stores that are not allowed one in sixteen is tried, which ends
    /// the process.
    fn access(
        &mut self,
        place: usize,
        part: ProcessPart,
        word: u16,
        value: Option<u64>,
    ) -> Result<(), DriverError> {
        let Some((region, _)) = self.processes[place].parts.get(&part) else { return Ok(()) };
        let (start, pages) = match part {
            // A stack grows to its limit when it is touched.
            ProcessPart::Stack => (part.start(), region.limit),
            _ => (region.start.get(), region.pages),
        };
        let address = start + u64::from(word) % (pages * PAGE_BYTES / 8) * 8;

        let denied = !region.protection.contains(Protection::WRITE);
        let stored = value.filter(|value| !denied || value % 16 == 0);
        let step = match stored {
            Some(value) => ProgramStep::Write(VirtAddr::new(address), value),
            None => ProgramStep::Read(VirtAddr::new(address), self.expected(place, part, address)),
        };

        match self.run(place, &vec![step].into())? {
            Ending::Exited => {}
            Ending::Invalid(_) if denied && stored.is_some() => return self.remove(place),
            Ending::Refused(SpaceError::OutOfFrames(_)) => return Ok(()),
            other => return Err(DriverError::Ended(self.processes[place].process.name, other)),
        }
        if let Some(value) = stored {
            self.written += 1;
            self.words(place, part).insert(address, value);
        } else {
            self.read += 1;
        }
        Ok(())
    }

    /// Reads every word of a part that was written.
    fn read_back(&mut self, place: usize, part: ProcessPart) -> Result<(), DriverError> {
        if !self.processes[place].parts.contains_key(&part) {
            return Ok(());
        }

        let words: Vec<_> =
            self.words(place, part).iter().map(|(at, value)| (*at, *value)).collect();
        for chunk in words.chunks(MAX_STEPS) {
            let read = |&(at, value): &(u64, u64)| ProgramStep::Read(VirtAddr::new(at), value);
            match self.run(place, &chunk.iter().map(read).collect())? {
                Ending::Exited => self.read += chunk.len() as u64,
                Ending::Refused(SpaceError::OutOfFrames(_)) => {}
                other => return Err(DriverError::Ended(self.processes[place].process.name, other)),
            }
        }
        Ok(())
    }

    /// Reads every word that any process wrote.
    pub(super) fn read_everything(&mut self) -> Result<(), DriverError> {
        for place in 0..self.processes.len() {
            for part in ProcessPart::ALL {
                self.read_back(place, part)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, place: usize, program: &Program) -> Result<Ending, DriverError> {
        let process = self.processes[place].process;
        Ok(self.driver.run_programs(&[(process, program)])?.endings[0])
    }

    fn words(&mut self, place: usize, part: ProcessPart) -> &mut WrittenWords {
        if let (Some((_, words)), ProcessPart::Shared) = (&mut self.shared, part) {
            return words;
        }
        let parts = &mut self.processes[place].parts;
        &mut parts.get_mut(&part).expect("the process has the part").1
    }

    fn expected(&mut self, place: usize, part: ProcessPart, address: u64) -> u64 {
        let known = self.words(place, part).get(&address).copied();
        known.unwrap_or_else(|| part.first_word(address))
    }

    fn remove(&mut self, place: usize) -> Result<(), DriverError> {
        let known = self.processes.remove(place);
        self.driver.finish(known.process)?;
        self.forget_shared();
        Ok(())
    }

    /// A shared object ends with the last process that has it.
    fn forget_shared(&mut self) {
        if !self.processes.iter().any(|known| known.parts.contains_key(&ProcessPart::Shared)) {
            self.shared = None;
        }
    }
}
