//! Performing the steps of a file.

use super::ScenarioFile;
use super::expression::{Condition, Sum, Term};
use super::region::FileRegion;
use super::step::{Action, FileRun, Piece, Step};
use super::words::{Count, NOWHERE, ending};
use crate::driver::{Driver, Process};
use crate::error::DriverError;
use crate::program::Program;
use mmu_core::PhysAddr;
use mmu_core::space::{Backing, ObjectId, PAGE_BYTES, Region};
use mmu_core::x86::format::Format;

/// Performs every step. An error names the line of the step.
pub(crate) fn play<F: Format>(
    file: &ScenarioFile,
    driver: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let mut player = Player {
        driver,
        processes: Vec::new(),
        objects: Vec::new(),
        variables: vec![0; file.variables],
    };
    for step in &file.steps {
        player.perform(step).map_err(|error| match error {
            machine @ DriverError::Machine(_) => machine,
            other => DriverError::AtLine(step.line, Box::new(other)),
        })?;
    }
    Ok(())
}

/// The state between two steps.
struct Player<'p, 'm, F: Format> {
    driver: &'p mut Driver<'m, F>,
    /// The processes that are alive.
    processes: Vec<Process>,
    objects: Vec<ObjectId>,
    variables: Vec<i64>,
}

impl<F: Format> Player<'_, '_, F> {
    fn perform(&mut self, step: &Step) -> Result<(), DriverError> {
        if !self.all_hold(&step.when)? {
            return Ok(());
        }

        match &step.action {
            Action::Start(regions) => {
                let regions: Vec<_> = regions.iter().map(|region| self.region(region)).collect();
                let process = self.driver.start(&regions)?;
                self.processes.push(process);
            }
            Action::Fork(parent) => {
                let parent = self.process(*parent)?;
                let child = self.driver.fork(parent)?;
                self.processes.push(child);
            }
            Action::End(letter) => {
                let process = self.process(*letter)?;
                self.driver.finish(process)?;
                self.forget(*letter);
            }
            Action::Map(letter, region) => {
                let process = self.process(*letter)?;
                self.driver.map(process, self.region(region))?;
            }
            Action::Unmap(letter, at) => {
                let process = self.process(*letter)?;
                self.driver.unmap(process, at.get())?;
            }
            Action::Protect(letter, at, rights) => {
                let process = self.process(*letter)?;
                self.driver.protect(process, at.get(), *rights)?;
            }
            Action::Grow { process, heap, pages, result } => {
                let process = self.process(*process)?;
                self.grow(process, heap.get(), *pages, *result)?;
            }
            Action::Object { pages, backing } => {
                let object = self.driver.object(*pages, *backing)?;
                self.objects.push(object);
            }
            Action::Reclaim { frames, result } => {
                let taken = self.driver.reclaim(*frames)?;
                self.set(*result, taken as i64);
            }
            Action::Run { programs, result } => {
                let found = self.run(programs)?;
                self.set(*result, found.into());
            }
            Action::Try { process, kind, address, result } => {
                let letter = *process;
                let process = self.process(letter)?;
                let invalid = self.driver.attempt(process, *kind, *address)?;
                if invalid.is_some() {
                    self.forget(letter);
                }
                self.set(*result, ending(invalid));
            }
            Action::Halfway => self.driver.halfway(),
            Action::Remember(values) => {
                for (variable, sum) in values {
                    let value = self.value(sum)?;
                    self.set(Some(*variable), value);
                }
            }
            Action::Claim { sentence, that } => {
                let holds = self.all_hold(that)?;
                let sentence = self.sentence(sentence)?;
                self.driver.claim(holds, sentence);
            }
        }
        Ok(())
    }

    /// A heap that may not grow is an error, unless the file asks whether it does.
    fn grow(
        &mut self,
        process: Process,
        heap: u64,
        pages: u64,
        result: Option<usize>,
    ) -> Result<(), DriverError> {
        match self.driver.grow(process, heap, pages) {
            Err(DriverError::Space(_)) if result.is_some() => self.set(result, 0),
            Err(error) => return Err(error),
            Ok(()) => self.set(result, 1),
        }
        Ok(())
    }

    /// Whether every load found what it had to.
    fn run(&mut self, runs: &[FileRun]) -> Result<bool, DriverError> {
        let runs = runs.iter().map(|run| {
            let process = self.process(run.process)?;
            Ok((process, run.does.as_str(), &run.program))
        });
        let runs: Vec<(Process, &str, &Program)> = runs.collect::<Result<_, DriverError>>()?;
        self.driver.run_in_turn(&runs)
    }

    /// A region, with its object.
    fn region(&self, FileRegion { region, object }: &FileRegion) -> Region {
        match object.and_then(|object| self.objects.get(object)) {
            Some(object) => region.from_backing(Backing::Object(*object)),
            None => *region,
        }
    }

    /// A process that is alive.
    fn process(&self, letter: char) -> Result<Process, DriverError> {
        let known = self.processes.iter().find(|process| process.name == letter);
        known.copied().ok_or(DriverError::HasEnded(letter))
    }

    fn forget(&mut self, letter: char) {
        self.processes.retain(|process| process.name != letter);
    }

    fn set(&mut self, variable: Option<usize>, value: i64) {
        if let Some(place) = variable.and_then(|variable| self.variables.get_mut(variable)) {
            *place = value;
        }
    }
}

/// What claims compare.
impl<F: Format> Player<'_, '_, F> {
    fn all_hold(&self, conditions: &[Condition]) -> Result<bool, DriverError> {
        for Condition { left, relation, right } in conditions {
            if !relation.holds(self.value(left)?, self.value(right)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn sentence(&self, pieces: &[Piece]) -> Result<String, DriverError> {
        let mut sentence = String::new();
        for piece in pieces {
            match piece {
                Piece::Words(words) => sentence.push_str(words),
                Piece::Value(sum) => sentence.push_str(&self.value(sum)?.to_string()),
            }
        }
        Ok(sentence)
    }

    fn value(&self, sum: &Sum) -> Result<i64, DriverError> {
        let mut value = 0_i64;
        for (is_negative, term) in &sum.terms {
            let term = self.term(term)?;
            value =
                if *is_negative { value.saturating_sub(term) } else { value.saturating_add(term) };
        }
        Ok(value)
    }

    fn term(&self, term: &Term) -> Result<i64, DriverError> {
        let system = self.driver.system();
        Ok(match term {
            Term::Constant(value) => *value,
            Term::Variable(variable) => self.variables.get(*variable).copied().unwrap_or_default(),
            Term::Count(count) => self.count(*count),
            Term::Frame(letter, page) => {
                let frame = self.frame(*letter, page)?;
                frame.map_or(NOWHERE, |frame| frame.get() as i64)
            }
            Term::Sharers(letter, page) => match self.frame(*letter, page)? {
                Some(frame) => system.sharers(self.driver.memory(), frame)?.len() as i64,
                None => 0,
            },
            Term::Has(letter, frame) => {
                let process = self.process(*letter)?;
                let frame = PhysAddr::new(self.value(frame)? as u64);
                let sharers = system.sharers(self.driver.memory(), frame)?;
                sharers.iter().any(|(space, _)| *space == process.space).into()
            }
            Term::Frames(letter) => self.driver.frames_of(self.process(*letter)?) as i64,
            Term::Tables(letter) => system.table_frames(self.process(*letter)?.space) as i64,
            Term::Pages(letter, kind) => {
                let regions = system.regions(self.process(*letter)?.space)?.iter();
                let pages =
                    regions.filter(|region| region.kind == *kind).map(|region| region.pages);
                pages.fold(0, u64::saturating_add) as i64
            }
        })
    }

    /// The frame of the page that holds an address.
    fn frame(&self, letter: char, address: &Sum) -> Result<Option<PhysAddr>, DriverError> {
        let process = self.process(letter)?;
        let page = self.value(address)? as u64 & !(PAGE_BYTES - 1) & 0xffff_ffff;
        self.driver.frame(process, page)
    }

    fn count(&self, count: Count) -> i64 {
        let counts = self.driver.system().statistics();
        let number = match count {
            Count::Minor => counts.minor,
            Count::Major => counts.major,
            Count::Invalid => counts.invalid,
            Count::ZeroFills => counts.zero_fills,
            Count::Copies => counts.copies,
            Count::Evicted => counts.evicted,
            Count::SecondChances => counts.second_chances,
            Count::Written => counts.written,
            Count::Read => counts.read,
            Count::TotalFrames => self.driver.system().frames().count() as u64,
            Count::ExecuteDisable => self.driver.has_execute_disable().into(),
        };
        number as i64
    }
}
