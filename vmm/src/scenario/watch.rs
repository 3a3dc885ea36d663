//! Watching the stage: after every fault the books are compared with the tables, frames that should be
//! empty are looked at, and so is every translation that the TLB holds. What is wrong is written down
//! with its cause, where it happens and not where it shows.

use super::stage::{Process, Stage};
use super::story::{Happened, Moment, PagePlace, PageRow};
use mmu_core::format::Format;
use mmu_core::memory::TableMemory;
use mmu_core::space::{Decision, Event, Minor, PAGE_BYTES, PageState, SpaceId};
use mmu_core::{PhysAddr, VirtAddr};

impl<F: Format> Stage<F> {
    /// Moves the history into the timeline; frames that were filled with zeros are looked at.
    pub(super) fn tell_events(&mut self) {
        let mut chances = 0;
        for event in std::mem::take(&mut self.computer.history.0) {
            if let Event::SecondChance { .. } = event {
                chances += 1;
                continue;
            }
            if chances > 0 {
                let what = Happened::SecondChances(std::mem::take(&mut chances));
                self.story.timeline.push(Moment { process: None, what });
            }
            let (space, what) = match event {
                Event::Fault { space, fault, decision, frame } => {
                    if decision == Decision::Minor(Minor::ZeroFill) {
                        self.look_at_zeros(space, fault.cr2, frame);
                    }
                    (Some(space), Happened::Fault { fault, decision, frame })
                }
                Event::Grown { space, start } => (Some(space), Happened::Grown(start)),
                Event::Evicted { frame, from, written } => {
                    let page = from.map(|(_, page)| page);
                    (from.map(|(space, _)| space), Happened::Evicted { frame, page, written })
                }
                Event::SecondChance { .. } => continue,
            };
            let process = space.and_then(|space| self.name_of(space));
            self.story.timeline.push(Moment { process, what });
        }
        if chances > 0 {
            let what = Happened::SecondChances(chances);
            self.story.timeline.push(Moment { process: None, what });
        }
    }

    /// A frame of zeros holds zeros.
    fn look_at_zeros(&mut self, space: SpaceId, at: Option<VirtAddr>, frame: Option<PhysAddr>) {
        let (Some(frame), Some(page)) = (frame, at) else { return };
        let mut offsets = (0..PAGE_BYTES).step_by(8);
        let left = offsets.find(|offset| self.computer.read_entry(frame + *offset, 8) != Ok(0));
        if let Some(offset) = left {
            let name = self.name_of(space).unwrap_or('?');
            self.problem(format!(
                "frame {frame}, given to {name} for {page}, still holds at offset {offset:#x} what \
                 somebody else left: the wipe is missing"
            ));
        }
    }

    /// Compares books, tables and TLB.
    pub(super) fn watch(&mut self) {
        self.story.table_bytes = self.story.table_bytes.max(self.table_bytes());
        if let Err(flaw) = self.system.audit(&self.computer) {
            self.problem(flaw.to_string());
        }
        // An error means that the space that ran has ended.
        if let Ok(Some(stale)) = self.computer.stale(&self.system) {
            self.problem(stale.to_string());
        }
    }

    /// Where the pages of all processes are, as the state before or after.
    pub(super) fn page_rows(&self, before: bool) -> Vec<PageRow> {
        let mut rows = Vec::new();
        for Process { name, space } in &self.processes {
            for region in self.system.regions(*space).unwrap_or_default() {
                let mut from = region.start;
                while let Ok(Some((leaf, state))) =
                    self.system.next_page(&self.computer, *space, from, region.end())
                {
                    from = leaf.page.wrapping_add(PAGE_BYTES);
                    let place = match state {
                        PageState::Never => None,
                        PageState::InFrame(frame) => Some(PagePlace::Frame(frame, leaf.entry)),
                        PageState::InStore(slot) => Some(PagePlace::Slot(slot)),
                    };
                    let (before, after) = if before { (place, None) } else { (None, place) };
                    let (process, page, region) = (*name, leaf.page, region.kind.name());
                    rows.push(PageRow { process, region, page, before, after });
                }
            }
        }
        rows
    }
}
