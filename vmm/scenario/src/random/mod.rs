//! Random operations: processes come, fork, map, write, read and end, while the clock takes frames away.
//! Every word that a process wrote is read back until it is unmapped, and on a machine every step is
//! compared.

mod model;
mod operation;

pub use operation::{Operation, ProcessPart, operations};

use super::driver::Driver;
use super::error::DriverError;
use super::guest_side::{GuestSystem, MachineSide};
use super::{Comparison, Setting};
use crosswalk_machine::MachineError;
use mmu_core::PagingMode;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use model::CheckedDriver;
use std::fmt;

/// Few enough that the clock always has work: the tables of all processes alone would take more.
const FRAMES: usize = 48;

const MAX_PROCESSES: usize = 5;

/// The maximum number of steps in one script.
const MAX_STEPS: usize = 500;

/// The result of a run of operations.
#[derive(Debug)]
pub struct Played {
    /// The number of operations that were performed.
    pub performed: usize,
    /// The number of words that were written.
    pub written: u64,
    /// The number of words that were read and held the expected value.
    pub read: u64,
    /// How the machine compares, if there was one.
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
/// When the mode has no page tables.
pub fn play<'o>(
    machine: Option<MachineSide<'_>>,
    setting: Setting,
    operations: impl IntoIterator<Item = &'o Operation>,
) -> Result<Played, MachineError> {
    let guest = machine.map(GuestSystem::new);
    match setting.mode {
        PagingMode::Bits32 => play_in::<Bits32>(guest, setting, operations),
        PagingMode::Pae => play_in::<Pae>(guest, setting, operations),
        PagingMode::FourLevel => play_in::<FourLevel>(guest, setting, operations),
        PagingMode::FiveLevel => play_in::<FiveLevel>(guest, setting, operations),
        mode @ (PagingMode::Unpaged | PagingMode::Linear) => panic!("{mode} has no page tables"),
    }
}

fn play_in<'o, F: Format>(
    guest: Option<GuestSystem<'_>>,
    setting: Setting,
    operations: impl IntoIterator<Item = &'o Operation>,
) -> Result<Played, MachineError> {
    let driver = match Driver::<F>::new("random", "random operations", FRAMES, setting, guest) {
        Ok(driver) => driver,
        Err(DriverError::Machine(error)) => return Err(error),
        Err(error) => unreachable!("every format can address this few frames: {error}"),
    };
    let mut checked = CheckedDriver::new(driver);

    let mut performed = 0;
    let mut problem = None;
    for operation in operations {
        performed += 1;
        let result = checked.perform(*operation);
        problem = checked.problem_of(result)?;
        if problem.is_some() {
            break;
        }
    }
    if problem.is_none() {
        let result = checked.read_everything();
        problem = checked.problem_of(result)?;
    }

    let CheckedDriver { driver, written, read, .. } = checked;
    let comparison = driver.end(Ok(()))?.comparison;
    Ok(Played { performed, written, read, comparison, problem })
}

/// Fewer operations that go wrong, too: those after the first failure are dropped, then ever smaller
/// pieces, as long as what is left still fails.
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
