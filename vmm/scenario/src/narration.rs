//! Narration: events become entries of the timeline, tables become rows of the map of pages.

use super::driver::{Driver, Process};
use super::page_map::{PageMap, PagePlace};
use super::story::{Happened, PageRow, TimelineEntry};
use mmu_core::space::{Event, PAGE_BYTES, PageState, RegionKind};
use mmu_core::x86::format::Format;

impl<F: Format> Driver<'_, F> {
    /// Adds the events of the last request to the timeline, and returns them.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let events = std::mem::take(&mut self.model.computer.history.0);
        self.model.audited = 0;
        self.events_from = self.story.timeline.len();

        let mut before_faults =
            std::mem::take(&mut self.model.before_faults).into_iter().peekable();
        let mut map = self.story.timeline.last().and_then(|entry| entry.map.clone());
        for (number, event) in events.iter().enumerate() {
            if let Some((_, known)) = before_faults.next_if(|(at, _)| *at == number) {
                self.attach(Box::new(known.clone()));
                map = Some(Box::new(known));
            }

            let mut entry = self.entry_of(event);
            if let Some(map) = &mut map {
                follow(map, &entry, event);
            }
            // What a fault leads to is read before the next step.
            entry.map = map.clone().filter(|_| !matches!(event, Event::Fault { .. }));
            let from = self.events_from;
            add(&mut self.story.timeline, from, entry);
        }
        events
    }

    /// The entries of events that no story has.
    pub(super) fn entries_of(&self, events: &[Event]) -> Vec<TimelineEntry> {
        let mut entries = Vec::new();
        for event in events {
            add(&mut entries, 0, self.entry_of(event));
        }
        entries
    }

    /// The entry of one event.
    fn entry_of(&self, event: &Event) -> TimelineEntry {
        let (space, what) = match *event {
            Event::SecondChance { .. } => (None, Happened::SecondChances(1)),
            Event::Fault { space, fault, decision, frame } => {
                (Some(space), Happened::Fault { fault, decision, frame })
            }
            Event::Grown { space, start } => (Some(space), Happened::Grown(start)),
            Event::Evicted { frame, from, written } => {
                let page = from.map(|(_, page)| page);
                (from.map(|(space, _)| space), Happened::Evicted { frame, page, written })
            }
        };
        let process = space.and_then(|space| self.model.name_of(space));
        TimelineEntry { process, what, map: None }
    }

    /// Reads the map, which shows what the last entry has led to.
    pub(super) fn capture(&mut self) {
        if let Some(map) = self.model.map() {
            self.attach(Box::new(map));
        }
    }

    fn attach(&mut self, map: Box<PageMap>) {
        if let Some(last) = self.story.timeline.last_mut() {
            last.map = Some(map);
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
        let what = Happened::Did(what);
        self.story.timeline.push(TimelineEntry { process, what, map: None });
    }
}

/// Adds an entry. Second chances in a row make one, if they are of one request, whose entries begin at `from`.
fn add(timeline: &mut Vec<TimelineEntry>, from: usize, entry: TimelineEntry) {
    if let Happened::SecondChances(more) = entry.what
        && let Some(TimelineEntry { what: Happened::SecondChances(count), map, .. }) =
            timeline.get_mut(from..).and_then(<[_]>::last_mut)
    {
        *count += more;
        *map = entry.map;
        return;
    }
    timeline.push(entry);
}

/// Changes a map as an event does on the way to a frame.
fn follow(map: &mut PageMap, entry: &TimelineEntry, event: &Event) {
    match *event {
        Event::SecondChance { frame } => map.give_second_chance(frame),
        Event::Evicted { frame, written, .. } => map.evict(frame, written),
        Event::Grown { start, .. } => {
            if let Some(process) = entry.process {
                map.grow(process, start);
            }
        }
        Event::Fault { .. } => {}
    }
}
