//! Narration: events become entries of the timeline, tables become rows of the map of pages.

use super::driver::{Driver, Process};
use super::story::{Happened, PagePlace, PageRow, TimelineEntry};
use mmu_core::space::{Event, PAGE_BYTES, PageState, RegionKind};
use mmu_core::x86::format::Format;

impl<F: Format> Driver<'_, F> {
    /// Adds the events of the last request to the timeline, and returns them.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let events = std::mem::take(&mut self.model.computer.history.0);
        self.model.audited = 0;

        let mut second_chances = 0;
        for event in &events {
            let (space, what) = match *event {
                Event::SecondChance { .. } => {
                    second_chances += 1;
                    continue;
                }
                Event::Fault { space, fault, decision, frame } => {
                    (Some(space), Happened::Fault { fault, decision, frame })
                }
                Event::Grown { space, start } => (Some(space), Happened::Grown(start)),
                Event::Evicted { frame, from, written } => {
                    let page = from.map(|(_, page)| page);
                    (from.map(|(space, _)| space), Happened::Evicted { frame, page, written })
                }
            };

            self.narrate_second_chances(std::mem::take(&mut second_chances));
            let process = space.and_then(|space| self.model.name_of(space));
            self.story.timeline.push(TimelineEntry { process, what });
        }
        self.narrate_second_chances(second_chances);
        events
    }

    /// Second chances in a row make one entry.
    fn narrate_second_chances(&mut self, count: usize) {
        if count > 0 {
            let what = Happened::SecondChances(count);
            self.story.timeline.push(TimelineEntry { process: None, what });
        }
    }

    /// Where the pages of all processes are, as the state before or after. The supervisor's pages are
    /// the same everywhere and are left out.
    pub(super) fn page_rows(&self, before: bool) -> Vec<PageRow> {
        let mut rows = Vec::new();
        for (space, name) in &self.model.names {
            let regions = self.system().regions(*space).unwrap_or_default().iter();
            for region in regions.filter(|region| region.kind != RegionKind::Kernel) {
                let mut from = region.start;
                while let Ok(Some((leaf, state))) =
                    self.system().next_page(self.memory(), *space, from, region.end())
                {
                    from = leaf.page.wrapping_add(PAGE_BYTES);
                    let place = match state {
                        PageState::Untouched => None,
                        PageState::InFrame(frame) => Some(PagePlace::Frame(frame, leaf.entry)),
                        PageState::Swapped(slot) => Some(PagePlace::Slot(slot)),
                    };

                    rows.push(PageRow {
                        process: *name,
                        region: region.kind.name(),
                        page: leaf.page,
                        before: place.filter(|_| before),
                        after: place.filter(|_| !before),
                    });
                }
            }
        }
        rows
    }

    /// Adds what a process did to the timeline.
    pub(super) fn did(&mut self, process: Option<Process>, what: String) {
        let process = process.map(|process| process.name);
        self.story.timeline.push(TimelineEntry { process, what: Happened::Did(what) });
    }
}
