//! Random operations: processes come, fork, map, write, read and go, while the clock takes frames away.
//! Every word that a process wrote is read back, until it is unmapped; and on a machine every step is
//! compared.

mod model;
mod operation;

pub use operation::{Operation, ProcessPart, operations};

use super::driver::Driver;
use super::error::DriverError;
use super::guest_side::GuestSystem;
use super::{Comparison, Scenario, Setting};
use crosswalk_machine::{Machine, MachineError};
use model::CheckedDriver;

use mmu_core::PagingMode;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use std::fmt;

/// Few enough that the clock has work all the time; the tables of all processes alone would take
/// more.
const FRAMES: usize = 48;

const MAX_PROCESSES: usize = 5;

/// Steps of one script.
const SCRIPT: usize = 500;

/// What a run of operations came to.
#[derive(Debug)]
pub struct Played {
    /// How many operations were performed.
    pub performed: usize,
    /// Words that were written.
    pub written: u64,
    /// Words that were read and held what they should.
    pub read: u64,
    /// What a machine made of it.
    pub comparison: Option<Comparison>,
    /// What went wrong at the last operation.
    pub problem: Option<String>,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { performed, written, read, problem, .. } = self;
        write!(f, "{performed} operations, {written} words written, {read} read")?;
        match problem {
            Some(problem) => write!(f, "; then {problem}"),
            None => Ok(()),
        }
    }
}

/// Performs operations until something goes wrong, in software and on a machine if there is one.
///
/// # Errors
/// When the machine dies.
///
/// # Panics
/// When the mode has no tables of x86.
pub fn play(
    machine: Option<&mut dyn Machine>,
    setting: Setting,
    operations: &[Operation],
) -> Result<Played, MachineError> {
    let twin = machine.map(GuestSystem::new);
    match setting.mode {
        PagingMode::Bits32 => play_in::<Bits32>(twin, setting, operations),
        PagingMode::Pae => play_in::<Pae>(twin, setting, operations),
        PagingMode::FourLevel => play_in::<FourLevel>(twin, setting, operations),
        PagingMode::FiveLevel => play_in::<FiveLevel>(twin, setting, operations),
        mode => panic!("{mode} has no tables of x86"),
    }
}

/// The fewest operations that go wrong, too: those after the first that fails are dropped, then
/// pieces, ever smaller ones.
///
/// # Errors
/// When the machine dies.
pub fn shrink<E>(
    operations: &[Operation],
    mut play: impl FnMut(&[Operation]) -> Result<Played, E>,
) -> Result<Vec<Operation>, E> {
    let mut smallest = operations.to_vec();
    let first = play(&smallest)?;
    if first.problem.is_none() {
        return Ok(smallest);
    }
    smallest.truncate(first.performed);
    let mut piece = smallest.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start < smallest.len() {
            let end = (start + piece).min(smallest.len());
            let without = [&smallest[..start], &smallest[end..]].concat();
            let played = play(&without)?;
            if played.problem.is_some() {
                smallest = without;
                smallest.truncate(played.performed);
            } else {
                start = end;
            }
        }
        piece /= 2;
    }
    Ok(smallest)
}

fn play_in<F: Format>(
    twin: Option<GuestSystem<'_>>,
    setting: Setting,
    operations: &[Operation],
) -> Result<Played, MachineError> {
    let scenario = Scenario { name: "random", shows: "random operations" };
    let stage = match Driver::<F>::new(scenario, FRAMES, setting, twin) {
        Ok(stage) => stage,
        Err(DriverError::Machine(error)) => return Err(error),
        Err(error) => unreachable!("every format can address so few frames: {error}"),
    };
    let mut model =
        CheckedDriver { stage, processes: Vec::new(), shared: None, written: 0, read: 0 };
    let (mut performed, mut problem) = (0, None);
    for operation in operations {
        performed += 1;
        problem = match model.perform(*operation) {
            Ok(()) => model.stage.wrong(),
            Err(DriverError::Machine(error)) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if problem.is_some() {
            break;
        }
    }
    if problem.is_none() {
        problem = match model.read_everything() {
            Ok(()) => model.stage.wrong(),
            Err(DriverError::Machine(error)) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
    }
    let CheckedDriver { stage, written, read, .. } = model;
    let comparison = stage.end(Ok(()))?.comparison;
    Ok(Played { performed, written, read, comparison, problem })
}
