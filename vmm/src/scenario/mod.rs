//! Scenarios: a few processes on the virtual memory system of [`mmu_core::space`], each with claims
//! that are checked. They run in software, and on a machine beside it if there is one: every step is
//! compared.
//!
//! - a [`program`] is what a process accesses, and the guest's program that does so;
//! - the `simulation` is the side in software, the `twin` that on a machine; `watch` looks at the one,
//!   `compare` holds the other against it, and `cause` tells why they part;
//! - a [`stage`] gives both the same orders, and keeps a [`story`] of what happened (`telling`);
//! - `separate`, `common`, `scarce` and `linear` hold the scenarios themselves, [`random`] performs
//!   many operations without a story.

mod audit;
mod compare;
mod diagnosis;
pub mod driver;
mod error;
mod guest_side;
mod model;
mod narration;
pub mod program;
pub mod random;
mod scripts;
pub mod story;

use crosswalk_guest::system::Residence;
use crosswalk_machine::{Machine, MachineError};
use driver::{Driver, tables_of_a_process};
pub use error::DriverError;
use guest_side::GuestSystem;
pub use guest_side::{Comparison, Divergence};
use mmu_core::PagingMode;
use mmu_core::space::Safeguards;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use story::Story;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
}

/// How scenarios are played.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The paging mode.
    pub mode: PagingMode,
    /// What the system in software does not forget: with less than all, a scenario fails and says
    /// why.
    pub duties: Safeguards,
    /// The same for the system on the machine.
    pub machine_duties: Safeguards,
    /// Where the machine's kernel is while a process runs.
    pub residence: Residence,
}

impl Setting {
    /// As it should be, in a mode.
    pub const fn new(mode: PagingMode) -> Self {
        let (duties, machine_duties) = (Safeguards::all(), Safeguards::all());
        Self { mode, duties, machine_duties, residence: Residence::Separate }
    }
}

/// Defines the list, and the way from a name to the function. The numbers are frames for pages, and
/// processes, each of which has tables besides.
macro_rules! scenarios {
    ($($name:literal, $shows:literal, $pages:literal, $processes:literal, $play:path;)*) => {
        /// Every scenario, the simplest first.
        pub const SCENARIOS: &[Scenario] = &[$(Scenario { name: $name, shows: $shows }),*];

        fn play<F: Format>(
            name: &str,
            setting: Setting,
            twin: Option<GuestSystem<'_>>,
        ) -> Option<Result<Story, MachineError>> {
            match name {
                $($name => {
                    let scenario = Scenario { name: $name, shows: $shows };
                    let frames = $pages + $processes * tables_of_a_process(F::MODE);
                    Some(narrate::<F>(scenario, frames, setting, twin, $play))
                })*
                _ => None,
            }
        }
    };
}

scenarios! {
    "isolation", "the same address in two processes leads to different frames", 16, 2,
        scripts::isolation::isolation;
    "demand-paging", "a page comes when it is touched, and not before", 16, 1,
        scripts::isolation::demand_paging;
    "protection", "what a region does not allow ends the process that tries it", 32, 2,
        scripts::isolation::protection;
    "sharing", "one frame serves several processes", 16, 3, scripts::sharing::sharing;
    "copy-on-write", "after a fork nothing is copied until somebody writes", 32, 2,
        scripts::sharing::copy_on_write;
    "reallocation", "a frame that moves to another process is wiped before", 16, 1,
        scripts::sharing::reallocation;
    "reclaim", "more pages than frames: the clock takes those that are not used", 6, 1,
        scripts::reclaim::reclaim;
    "dirty", "only pages that were written go to the store", 16, 1, scripts::reclaim::dirty;
    "growth", "a stack grows when it is touched, a heap when it is asked for", 16, 2,
        scripts::reclaim::growth;
    "linear-versus-multilevel", "one flat table against tables of tables, for a sparse process", 32, 1,
        scripts::linear_table::linear_versus_multilevel;
}

/// Runs a scenario in software; `None` if there is no such name, or the mode has no tables of x86.
///
/// ```
/// use mmu_core::{PagingMode, space::Safeguards};
/// use crosswalk::scenario::{self, Setting};
/// let setting = Setting::new(PagingMode::FourLevel);
/// let story = scenario::run("copy-on-write", setting).unwrap();
/// assert!(story.passed() && story.comparison.is_none());
/// let broken = Setting { duties: Safeguards::all() - Safeguards::WRITE_PROTECT, ..setting };
/// assert!(!scenario::run("copy-on-write", broken).unwrap().passed());
/// ```
pub fn run(name: &str, setting: Setting) -> Option<Story> {
    in_mode(name, setting, None)?.ok()
}

/// Runs a scenario in software and on a machine, and compares; `None` as for [`run`].
///
/// # Errors
/// When the machine dies, or does not offer the mode.
pub fn run_on(
    machine: &mut dyn Machine,
    name: &str,
    setting: Setting,
) -> Option<Result<Story, MachineError>> {
    in_mode(name, setting, Some(GuestSystem::new(machine)))
}

fn in_mode(
    name: &str,
    setting: Setting,
    twin: Option<GuestSystem<'_>>,
) -> Option<Result<Story, MachineError>> {
    match setting.mode {
        PagingMode::Bits32 => play::<Bits32>(name, setting, twin),
        PagingMode::Pae => play::<Pae>(name, setting, twin),
        PagingMode::FourLevel => play::<FourLevel>(name, setting, twin),
        PagingMode::FiveLevel => play::<FiveLevel>(name, setting, twin),
        PagingMode::Unpaged | PagingMode::Linear => None,
    }
}

/// Lets a scenario run with so many frames, and takes down how it ended.
fn narrate<F: Format>(
    scenario: Scenario,
    frames: usize,
    setting: Setting,
    twin: Option<GuestSystem<'_>>,
    play: fn(&mut Driver<'_, F>) -> Result<(), DriverError>,
) -> Result<Story, MachineError> {
    let mut stage = match Driver::new(scenario, frames, setting, twin) {
        Ok(stage) => stage,
        Err(DriverError::Machine(error)) => return Err(error),
        Err(error) => unreachable!("every format can address so few frames: {error}"),
    };
    let ended = play(&mut stage);
    stage.end(ended)
}

#[cfg(test)]
mod tests;
