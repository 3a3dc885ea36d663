//! What the player plays: the maps of a history, as lists without names, which are short. What happened at each step
//! is in the table on the page.

use super::super::map::rights;
use super::subject;
use crate::scenario::page_map::{FrameContent, MappedFrame, PageMap, PagePlace, ProcessMap};
use crate::scenario::story::Story;
use mmu_core::space::PAGE_BYTES;
use serde::Serialize;

/// The history in one paging mode.
#[derive(Serialize)]
pub(super) struct StoryData {
    mode: &'static str,
    /// The number of the first frame, and how many there are.
    frames: (u64, usize),
    /// The number of levels of the tables.
    levels: usize,
    steps: Vec<StepData>,
}

/// A step.
#[derive(Serialize)]
struct StepData {
    /// The number of the frame that it is about.
    frame: Option<u64>,
    /// The page that it is about, in hexadecimal.
    page: Option<String>,
    map: MapData,
}

/// A map. Frames are numbers, and addresses hexadecimal without `0x`.
#[derive(Serialize)]
struct MapData {
    processes: Vec<ProcessData>,
    frames: Vec<FrameData>,
    /// The number of each slot, whether it is an image, and the references to it.
    slots: Vec<(u32, bool, u16)>,
    hand: u64,
}

#[derive(Serialize)]
struct ProcessData(char, Vec<RegionData>, Vec<PageData>);

/// Kind, start, pages, limit, rights.
#[derive(Serialize)]
struct RegionData(&'static str, String, u64, u64, String);

/// The page, its frame and entry, or its slot.
#[derive(Serialize)]
struct PageData(String, Option<u64>, Option<String>, Option<u32>);

/// The number, what is in it (`t`, `p` or `s`), its level or page, the owner, who maps it, its bits (1 copy-on-write,
/// 2 dirty, 4 accessed), and the slot with the same contents.
#[derive(Serialize)]
struct FrameData(u64, char, Option<String>, Option<char>, String, u8, Option<u32>);

impl StoryData {
    /// The first steps: at most so many, and as many as have maps within so many bytes.
    pub(super) fn of(story: &Story, most: usize, mut bytes: usize) -> Self {
        let mut steps = Vec::new();
        for entry in story.timeline.iter().take(most) {
            let Some(map) = entry.map.as_deref().map(MapData::of) else { break };
            let size = serde_json::to_string(&map).map_or(usize::MAX, |text| text.len());
            let Some(left) = bytes.checked_sub(size) else { break };
            bytes = left;

            let (frame, page) = subject(entry);
            steps.push(StepData { frame: frame.map(number), page: page.map(hexadecimal), map });
        }

        let first = story.timeline.iter().find_map(|entry| entry.map.as_deref());
        Self {
            mode: story.mode.name(),
            frames: (first.map_or(0, |map| number(map.first_frame().get())), story.frames),
            levels: mmu_core::x86::format::levels(story.mode).len(),
            steps,
        }
    }

    /// The number of steps.
    pub(super) fn steps(&self) -> usize {
        self.steps.len()
    }
}

impl MapData {
    fn of(map: &PageMap) -> Self {
        Self {
            processes: map.processes.iter().map(process).collect(),
            frames: map.frames.iter().map(frame).collect(),
            slots: map
                .slots
                .iter()
                .map(|slot| (slot.slot.0, slot.is_image, slot.references))
                .collect(),
            hand: number(map.hand.get()),
        }
    }
}

fn process(process: &ProcessMap) -> ProcessData {
    let regions = process.regions.iter().map(|region| {
        let start = hexadecimal(region.start.get());
        RegionData(region.kind.name(), start, region.pages, region.limit, rights(region.protection))
    });
    let pages = process.pages.iter().map(|page| {
        let address = hexadecimal(page.page.get());
        match page.place {
            PagePlace::Frame(frame, entry) => {
                PageData(address, Some(number(frame.get())), Some(hexadecimal(entry)), None)
            }
            PagePlace::Slot(slot) => PageData(address, None, None, Some(slot.0)),
        }
    });
    ProcessData(process.name, regions.collect(), pages.collect())
}

fn frame(frame: &MappedFrame) -> FrameData {
    let (letter, detail) = match frame.content {
        FrameContent::Table(level) => ('t', level.map(|level| level.to_string())),
        FrameContent::Page(page) => ('p', Some(hexadecimal(page.get()))),
        FrameContent::Shared(_, page) => ('s', Some(page.to_string())),
    };
    let bits = [frame.is_copy_on_write, frame.is_dirty, frame.is_accessed];
    let bits = (0..).zip(bits).map(|(bit, is_set)| u8::from(is_set) << bit).sum();
    let mapped_by = frame.mapped_by.iter().collect();
    let slot = frame.slot.map(|slot| slot.0);
    FrameData(number(frame.frame.get()), letter, detail, frame.owner, mapped_by, bits, slot)
}

const fn number(frame: u64) -> u64 {
    frame / PAGE_BYTES
}

fn hexadecimal(value: u64) -> String {
    format!("{value:x}")
}
