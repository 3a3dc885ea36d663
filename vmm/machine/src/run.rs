//! The run of a batch: what a machine is given, and what it reports.

use crate::Capabilities;
use crosswalk_case::observation::OutsideAccess;
use crosswalk_guest::layout::Arena;
use mmu_core::ControlState;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A batch that has been encoded into an arena and is ready to run.
#[derive(Clone, Debug)]
pub struct BatchCommand {
    /// The arena that holds the batch.
    pub arena: Arena,
    /// The control state for the machine to set itself, if the guest may not.
    pub control: Option<ControlState>,
    /// Whether the host has filled the arena's read-only table.
    pub fills_read_only: bool,
    /// The records of each list, by their numbers.
    pub lists: Vec<Range<usize>>,
    /// The addresses of data frames outside the lanes, which the host has filled.
    pub elsewhere: Vec<u64>,
}

impl BatchCommand {
    /// Number of records in all lists.
    pub fn records(&self) -> usize {
        self.lists.iter().map(Range::len).sum()
    }
}

/// A record in a list of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of the record, as [`Arena::record`] counts.
    pub record: usize,
}

/// What a machine reports of a batch besides what the guest left in memory.
#[derive(Clone, Debug, Default)]
pub struct RunLog {
    /// Accesses that left the machine, each with the record that made it.
    pub outside: Vec<(Position, OutsideAccess)>,
    /// The record at which the machine had to give up, and why. The batch must run again without
    /// that case; the machine is ready for it.
    pub gave_up: Option<(Position, String)>,
    /// Why no case of the batch was run, if none was.
    pub skipped: Option<String>,
    /// What the machine that ran the batch offers, where the batch was made for another one. Its cases are meant
    /// for that machine then.
    pub ran_on: Option<Arc<Capabilities>>,
    /// What it cost.
    pub time: RunTime,
}

/// The processor time that a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTime {
    /// In the guest, and in the kernel or the emulator that runs it.
    pub guest: Duration,
    /// In this program: on the way to the guest and back, and for accesses that leave the machine.
    pub exit: Duration,
}

/// Ends the run of a machine from another thread, whatever the guest does, within a fraction of a
/// second: it fails with [`MachineError::Interrupted`](crate::MachineError::Interrupted), and so does
/// every later one, since nobody knows what the guest was doing.
#[derive(Clone, Debug, Default)]
pub struct Interrupter(Arc<AtomicBool>);

impl Interrupter {
    /// Ends the run in progress.
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the machine was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
