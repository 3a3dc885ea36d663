//! What a scenario says of its processes, and asks of the system.

use super::driver::{Driver, Process};
use super::error::DriverError;
use super::model::{MAX_FRAMES, MAX_SLOTS};
use super::page_map::PagePlace;
use super::story::Claim;
use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::space::{AccessCounts, PAGE_BYTES, PageState, System};
use mmu_core::x86::format::Format;
use mmu_core::{Features, PhysAddr, VirtAddr};

/// What a scenario says and asks.
impl<F: Format> Driver<'_, F> {
    /// Records a claim, and whether it holds.
    pub fn claim(&mut self, holds: bool, claim: impl Into<String>) {
        self.story.claims.push(Claim { claim: claim.into(), holds });
    }

    /// Marks the middle of the story: the map of pages shows where they are now and at the end.
    pub fn halfway(&mut self) {
        self.capture();
        self.did(None, "(the map below calls this \"before\")".into());
        self.story.pages = self.page_rows(true);
    }

    /// Records a problem.
    pub fn problem(&mut self, problem: String) {
        self.model.problem(problem);
    }

    /// Whether entries can forbid fetches. Entries of 4 bytes cannot, and a processor may lack the
    /// feature.
    pub fn has_execute_disable(&self) -> bool {
        let features = self.mmu().regime().profile.features;
        F::ENTRY_BYTES == 8 && features.contains(Features::NX)
    }

    /// The system in software.
    pub fn system(&self) -> &System<F, MAX_FRAMES, MAX_SLOTS> {
        &self.model.system
    }

    /// The memory of the software.
    pub fn memory(&self) -> &impl TableMemory<Error = OutsideMemory> {
        &self.model.computer
    }

    /// The MMU beneath the caches.
    pub fn mmu(&self) -> &mmu_core::Mmu<F> {
        self.model.computer.mmu().mmu()
    }

    /// What the accesses so far have cost.
    pub fn accesses(&self) -> &AccessCounts {
        self.model.computer.counts()
    }

    /// Bytes of the tables of all processes.
    pub fn table_bytes(&self) -> u64 {
        self.model.table_bytes()
    }

    /// The frame of a page, if the page is in memory.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn frame(&self, process: Process, page: u64) -> Result<Option<PhysAddr>, DriverError> {
        let start = VirtAddr::new(page);
        let end = VirtAddr::new(page + PAGE_BYTES);
        let found = self.system().next_page(self.memory(), process.space, start, end)?;

        Ok(match found {
            Some((_, PageState::InFrame(frame))) => Some(frame),
            _ => None,
        })
    }

    /// The number of frames that hold pages of a process.
    pub fn frames_of(&self, process: Process) -> usize {
        let rows = self.page_rows(false);
        let mine = rows.iter().filter(|row| row.process == process.name);
        mine.filter(|row| matches!(row.after, Some(PagePlace::Frame(..)))).count()
    }
}
