//! Scenarios: a few processes on the virtual memory system of [`mmu_core::space`], each with claims
//! that are checked. A scenario runs in software and, where there is a machine, on the machine too;
//! the two are compared after every step.
//!
//! - [`program`]: what a process accesses, and which of the guest's programs does so;
//! - `model`: the software side; `audit` checks it after every fault;
//! - `guest_side`: the same system in the guest, on the machine's MMU;
//! - [`page_map`]: where every page is, and what every frame is used for, at one step;
//! - `compare` compares the two, and `diagnosis` says why they differ;
//! - [`driver`] sends the same requests to both sides and keeps the [`story`], which `narration` writes;
//! - `scripts`: the scenarios themselves; [`random`] performs many operations without a story.
#![forbid(unsafe_code)]

mod audit;
mod compare;
mod diagnosis;
pub mod driver;
mod error;
mod guest_side;
mod model;
mod narration;
pub mod page_map;
pub mod program;
pub mod random;
mod scripts;
pub mod story;

pub use error::DriverError;
pub use guest_side::{Comparison, Divergence, MachineSide};

use crosswalk_guest::system::Residence;
use crosswalk_machine::MachineError;
use driver::{Driver, tables_of_a_process};
use guest_side::GuestSystem;
use mmu_core::PagingMode;
use mmu_core::space::Safeguards;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use story::Story;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// What it shows, as a sentence without a full stop.
    pub shows: &'static str,
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The paging mode.
    pub mode: PagingMode,
    /// What the system in software takes care of. Without one of its safeguards a scenario fails and
    /// reports which.
    pub safeguards: Safeguards,
    /// The same for the system in the guest.
    pub machine_safeguards: Safeguards,
    /// Where the guest's kernel is while a process runs.
    pub residence: Residence,
}

impl Setting {
    /// A correct system, in a paging mode.
    pub const fn new(mode: PagingMode) -> Self {
        Self {
            mode,
            safeguards: Safeguards::all(),
            machine_safeguards: Safeguards::all(),
            residence: Residence::Separate,
        }
    }
}

/// Defines the list of scenarios, and the function behind each name. The numbers are the frames for
/// pages and the maximum number of processes; the tables of each process take frames of their own.
macro_rules! scenarios {
    ($($name:literal, $shows:literal, $pages:literal, $processes:literal, $play:path;)*) => {
        /// Every scenario, the simplest first.
        pub const SCENARIOS: &[Scenario] = &[$(Scenario { name: $name, shows: $shows }),*];

        fn play<F: Format>(
            name: &str,
            setting: Setting,
            guest: Option<GuestSystem<'_>>,
        ) -> Option<Result<Story, MachineError>> {
            match name {
                $($name => {
                    let scenario = Scenario { name: $name, shows: $shows };
                    let frames = $pages + $processes * tables_of_a_process(F::MODE);
                    Some(narrate::<F>(scenario, frames, setting, guest, $play))
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
    "copy-on-write", "after a fork nothing is copied until a process writes", 32, 2,
        scripts::sharing::copy_on_write;
    "reallocation", "a frame is wiped before another process gets it", 16, 1,
        scripts::sharing::reallocation;
    "reclaim", "with more pages than frames, the clock takes those that are not used", 6, 1,
        scripts::reclaim::reclaim;
    "dirty", "only dirty pages go to the store", 16, 1, scripts::reclaim::dirty;
    "growth", "a stack grows when it is touched, a heap on request", 16, 2,
        scripts::reclaim::growth;
    "linear-versus-multilevel", "one flat table compared with multi-level tables, for a sparse process", 32, 1,
        scripts::linear_table::linear_versus_multilevel;
}

/// Runs a scenario in software. `None` if no scenario has this name, or the mode has no page tables.
///
/// ```
/// use mmu_core::{PagingMode, space::Safeguards};
/// use crosswalk_scenario::{self as scenario, Setting};
/// let setting = Setting::new(PagingMode::FourLevel);
/// let story = scenario::run("copy-on-write", setting).unwrap();
/// assert!(story.passed() && story.comparison.is_none());
/// let broken = Setting { safeguards: Safeguards::all() - Safeguards::WRITE_PROTECT, ..setting };
/// assert!(!scenario::run("copy-on-write", broken).unwrap().passed());
/// ```
pub fn run(name: &str, setting: Setting) -> Option<Story> {
    in_mode(name, setting, None)?.ok()
}

/// Runs a scenario in software and on a machine, and compares them. `None` as for [`run`].
///
/// # Errors
/// When the machine dies or does not offer the mode.
pub fn run_on(
    machine: MachineSide<'_>,
    name: &str,
    setting: Setting,
) -> Option<Result<Story, MachineError>> {
    in_mode(name, setting, Some(GuestSystem::new(machine)))
}

fn in_mode(
    name: &str,
    setting: Setting,
    guest: Option<GuestSystem<'_>>,
) -> Option<Result<Story, MachineError>> {
    match setting.mode {
        PagingMode::Bits32 => play::<Bits32>(name, setting, guest),
        PagingMode::Pae => play::<Pae>(name, setting, guest),
        PagingMode::FourLevel => play::<FourLevel>(name, setting, guest),
        PagingMode::FiveLevel => play::<FiveLevel>(name, setting, guest),
        PagingMode::Unpaged | PagingMode::Linear => None,
    }
}

/// The maximum number of rows of all page maps of a story: of processes, regions, pages, frames and slots. The
/// longest shipped scenario takes a tenth.
const MAX_MAP_ROWS: usize = 60_000;

/// Runs a scenario with this number of frames, and records how it ended.
fn narrate<F: Format>(
    scenario: Scenario,
    frames: usize,
    setting: Setting,
    guest: Option<GuestSystem<'_>>,
    play: fn(&mut Driver<'_, F>) -> Result<(), DriverError>,
) -> Result<Story, MachineError> {
    let mut driver = match Driver::new(scenario, frames, setting, guest) {
        Ok(driver) => driver,
        Err(DriverError::Machine(error)) => return Err(error),
        Err(error) => unreachable!("every format can address this few frames: {error}"),
    };

    driver.keep_maps(MAX_MAP_ROWS);
    let ended = play(&mut driver);
    driver.end(ended)
}

#[cfg(test)]
mod tests;
