//! Scenarios: a few processes on the virtual memory system of [`mmu_core::space`], each with claims
//! that are checked. They run on the software MMU.
//!
//! - a [`program`] is the trace of what a process accesses;
//! - a [`stage`] runs programs, watches (`watch`), and keeps a [`story`] of what happened;
//! - `separate`, `common`, `scarce` and `linear` hold the scenarios themselves.

mod common;
mod linear;
pub mod program;
mod scarce;
mod separate;
pub mod stage;
pub mod story;
mod watch;

use mmu_core::PagingMode;
use mmu_core::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use mmu_core::space::Duties;
use stage::{Stage, StageError};
use story::Story;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
}

/// Defines the list, and the way from a name to the function.
macro_rules! scenarios {
    ($($name:literal, $shows:literal, $frames:literal, $play:path;)*) => {
        /// Every scenario, the simplest first.
        pub const SCENARIOS: &[Scenario] = &[$(Scenario { name: $name, shows: $shows }),*];

        fn play<F: Format>(name: &str, duties: Duties) -> Option<Story> {
            match name {
                $($name => Some(told::<F>(Scenario { name: $name, shows: $shows }, $frames, duties, $play)),)*
                _ => None,
            }
        }
    };
}

scenarios! {
    "isolation", "the same address in two processes leads to different frames", 32,
        separate::isolation;
    "demand-paging", "a page comes when it is touched, and not before", 32,
        separate::demand_paging;
    "protection", "what a region does not allow ends the process that tries it", 64,
        separate::protection;
    "sharing", "one frame serves several processes", 48, common::sharing;
    "copy-on-write", "after a fork nothing is copied until somebody writes", 48,
        common::copy_on_write;
    "reallocation", "a frame that moves to another process is wiped before", 32,
        common::reallocation;
    "reclaim", "more pages than frames: the clock takes those that are not used", 11,
        scarce::reclaim;
    "dirty", "only pages that were written go to the store", 32, scarce::dirty;
    "growth", "a stack grows when it is touched, a heap when it is asked for", 32,
        scarce::growth;
    "linear-versus-multilevel", "one flat table against tables of tables, for a sparse process", 32,
        linear::linear_versus_multilevel;
}

/// Runs a scenario in a paging mode; `None` if there is no such name, or the mode has no tables of
/// x86.
///
/// `duties` is what the system does not forget: with less than all, a scenario fails and says why.
///
/// ```
/// use mmu_core::{PagingMode, space::Duties};
/// use vmm::scenario;
/// let story = scenario::run("copy-on-write", PagingMode::FourLevel, Duties::all()).unwrap();
/// assert!(story.passed());
/// let broken = Duties::all() - Duties::WRITE_PROTECT;
/// let story = scenario::run("copy-on-write", PagingMode::FourLevel, broken).unwrap();
/// assert!(!story.passed());
/// ```
pub fn run(name: &str, mode: PagingMode, duties: Duties) -> Option<Story> {
    match mode {
        PagingMode::Bits32 => play::<Bits32>(name, duties),
        PagingMode::Pae => play::<Pae>(name, duties),
        PagingMode::FourLevel => play::<FourLevel>(name, duties),
        PagingMode::FiveLevel => play::<FiveLevel>(name, duties),
        PagingMode::Unpaged | PagingMode::Linear => None,
    }
}

/// Lets a scenario run with so many frames, and takes down how it ended.
fn told<F: Format>(
    scenario: Scenario,
    frames: usize,
    duties: Duties,
    play: fn(&mut Stage<F>) -> Result<(), StageError>,
) -> Story {
    let mut stage = Stage::new(scenario, frames, duties);
    let ended = play(&mut stage);
    stage.end(ended)
}

#[cfg(test)]
mod tests;
