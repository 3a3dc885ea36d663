//! Telling: events become moments of the story, tables become rows of its map.

use super::driver::{Driver, Process};
use super::story::{Happened, PagePlace, PageRow, TimelineEntry};
use mmu_core::space::{Event, PAGE_BYTES, PageState, RegionKind};
use mmu_core::x86::format::Format;

impl<F: Format> Driver<'_, F> {
    /// Tells the events of the last order, and hands them over.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let events = std::mem::take(&mut self.simulation.computer.history.0);
        self.simulation.looked_at = 0;
        let mut chances = 0;
        for event in &events {
            if let Event::SecondChance { .. } = event {
                chances += 1;
                continue;
            }
            self.tell_chances(std::mem::take(&mut chances));
            let (space, what) = match *event {
                Event::Fault { space, fault, decision, frame } => {
                    (Some(space), Happened::Fault { fault, decision, frame })
                }
                Event::Grown { space, start } => (Some(space), Happened::Grown(start)),
                Event::Evicted { frame, from, written } => {
                    let page = from.map(|(_, page)| page);
                    (from.map(|(space, _)| space), Happened::Evicted { frame, page, written })
                }
                Event::SecondChance { .. } => continue,
            };
            let process = space.and_then(|space| self.simulation.name_of(space));
            self.story.timeline.push(TimelineEntry { process, what });
        }
        self.tell_chances(chances);
        events
    }

    fn tell_chances(&mut self, chances: usize) {
        if chances > 0 {
            let what = Happened::SecondChances(chances);
            self.story.timeline.push(TimelineEntry { process: None, what });
        }
    }

    /// Where the pages of all processes are, as the state before or after. The supervisor's are the
    /// same everywhere, and left out.
    pub(super) fn page_rows(&self, before: bool) -> Vec<PageRow> {
        let mut rows = Vec::new();
        for (space, name) in &self.simulation.names {
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
                    let (before, after) = if before { (place, None) } else { (None, place) };
                    let (process, page, region) = (*name, leaf.page, region.kind.name());
                    rows.push(PageRow { process, region, page, before, after });
                }
            }
        }
        rows
    }

    pub(super) fn did(&mut self, process: Option<Process>, what: String) {
        let process = process.map(|process| process.name);
        self.story.timeline.push(TimelineEntry { process, what: Happened::Did(what) });
    }
}
