//! Scenarios: a few processes on the virtual memory system of [`mmu_core::space`], each with claims
//! that are checked. A scenario runs in software and, where there is a machine, on the machine too;
//! the two are compared after every step.
//!
//! - [`program`]: what a process accesses, and which of the guest's programs does so;
//! - `model`: the software side; `audit` checks it after every fault;
//! - `guest_side`: the same system in the guest, on the machine's MMU;
//! - [`page_map`]: where every page is, and what every frame is used for, at one step;
//! - `compare` compares the two, and `diagnosis` says why they differ;
//! - [`driver`] sends the same requests to both sides and keeps the [`story`], which `narration` writes; `inspect` is what
//!   scenarios ask it;
//! - `file` reads scenarios from TOML and performs them; `catalogue` has those of this crate, of which `linear_table`
//!   says what no file can; [`random`] performs many operations without a story.
#![forbid(unsafe_code)]

mod audit;
mod catalogue;
mod compare;
mod diagnosis;
pub mod driver;
mod error;
mod file;
mod guest_side;
mod inspect;
mod linear_table;
mod model;
mod narration;
pub mod page_map;
pub mod program;
pub mod random;
pub mod story;

pub use catalogue::{SCENARIOS, Scenario};
pub use error::DriverError;
pub use file::{MAX_BYTES, ScenarioFileError};
pub use guest_side::{Comparison, Divergence, MachineSide};

use crosswalk_guest::system::Residence;
use crosswalk_machine::MachineError;
use driver::Driver;
use guest_side::GuestSystem;
use mmu_core::PagingMode;
use mmu_core::space::Safeguards;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use story::Story;

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
    Scenario::named(name)?.run(setting)
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
    Scenario::named(name)?.run_on(machine, setting)
}

/// Running one.
impl Scenario {
    /// Runs it in software. `None` if the mode has no page tables.
    pub fn run(&self, setting: Setting) -> Option<Story> {
        self.in_mode(setting, None)?.ok()
    }

    /// Runs it in software and on a machine, and compares them. `None` if the mode has no page tables.
    ///
    /// # Errors
    /// When the machine dies or does not offer the mode.
    pub fn run_on(
        &self,
        machine: MachineSide<'_>,
        setting: Setting,
    ) -> Option<Result<Story, MachineError>> {
        self.in_mode(setting, Some(GuestSystem::new(machine)))
    }

    fn in_mode(
        &self,
        setting: Setting,
        guest: Option<GuestSystem<'_>>,
    ) -> Option<Result<Story, MachineError>> {
        match setting.mode {
            PagingMode::Bits32 => Some(self.narrate::<Bits32>(setting, guest)),
            PagingMode::Pae => Some(self.narrate::<Pae>(setting, guest)),
            PagingMode::FourLevel => Some(self.narrate::<FourLevel>(setting, guest)),
            PagingMode::FiveLevel => Some(self.narrate::<FiveLevel>(setting, guest)),
            PagingMode::Unpaged | PagingMode::Linear => None,
        }
    }

    /// Runs it and records how it ended.
    fn narrate<F: Format>(
        &self,
        setting: Setting,
        guest: Option<GuestSystem<'_>>,
    ) -> Result<Story, MachineError> {
        let frames = self.frames(F::MODE);
        let mut driver = match Driver::<F>::new(&self.name, &self.shows, frames, setting, guest) {
            Ok(driver) => driver,
            Err(DriverError::Machine(error)) => return Err(error),
            Err(error) => unreachable!("every format can address this few frames: {error}"),
        };

        driver.keep_maps(MAX_MAP_ROWS);
        let ended = self.play(&mut driver);
        driver.end(ended)
    }
}

/// The maximum number of rows of all page maps of a story: of processes, regions, pages, frames and slots. The
/// longest shipped scenario takes a tenth.
const MAX_MAP_ROWS: usize = 60_000;

#[cfg(test)]
mod tests;
