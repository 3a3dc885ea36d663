//! The page map of a step, for scripts.

use crate::report::style::count::Count;
use crate::scenario::page_map::{
    FrameContent, MappedFrame, MappedPage, MappedSlot, PageMap, PagePlace, ProcessMap,
};
use crosswalk_case::Hex;
use mmu_core::space::{Protection, Region};
use serde::Serialize;

/// Where every page is, and what every frame and slot is used for.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct PageMapJson {
    /// The processes, in the order in which they were started.
    processes: Vec<ProcessJson>,
    /// The frames in use, lowest first; all others are free.
    frames: Vec<FrameJson>,
    /// The number of frames that are free.
    free_frames: Count,
    /// The slots of the store that something refers to.
    store: Vec<SlotJson>,
    /// The number of frames that tables take, of all processes.
    table_frames: Count,
    /// The frame that the clock looks at first when it has to take one.
    hand: String,
}

/// A process.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ProcessJson {
    /// Its letter.
    process: char,
    /// Its regions, in the order in which they were added.
    regions: Vec<RegionJson>,
    /// Its pages that are somewhere, lowest first; all others are untouched.
    pages: Vec<MappedPageJson>,
}

/// A region.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RegionJson {
    /// What it is for.
    kind: &'static str,
    /// Its first address.
    start: String,
    /// The number of its pages.
    pages: Count,
    /// The number of pages to which it may grow.
    limit: Count,
    /// What is allowed: `rwx`, with `-` for what is not.
    rights: String,
}

/// A page that is somewhere.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MappedPageJson {
    /// The linear address of the page.
    page: String,
    #[serde(flatten)]
    place: PagePlaceJson,
}

/// Where a page is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(super) enum PagePlaceJson {
    /// In memory.
    Frame {
        /// The physical address of the frame.
        frame: String,
        /// The entry that maps it.
        entry: Hex,
    },
    /// In the store.
    Slot {
        /// The number of the slot.
        slot: u32,
    },
}

/// A frame in use.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FrameJson {
    /// Its physical address.
    frame: String,
    /// `table`, `page`, or `shared`, a page of a shared object.
    r#use: &'static str,
    /// Of a table: its level, 1 for the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    /// Of a page: its linear address.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    /// The process that it was given to, or that kept it; null if no process has it.
    owner: Option<char>,
    /// The processes that map it as a page.
    mapped_by: Vec<char>,
    /// Whether its next writer gets a copy.
    copy_on_write: bool,
    /// Whether the clock would have to write it to the store.
    dirty: bool,
    /// Whether A is set in an entry that maps it, which is a second chance.
    accessed: bool,
    /// The slot with the same contents, unless the frame is dirty.
    slot: Option<u32>,
}

/// A slot of the store.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SlotJson {
    /// Its number.
    slot: u32,
    /// Whether a program is loaded from it. Such a slot is never written.
    image: bool,
    /// The references to it, by pages, frames and shared objects.
    references: Count,
}

pub(super) fn map_json(map: &PageMap) -> PageMapJson {
    let is_table = |frame: &&MappedFrame| matches!(frame.content, FrameContent::Table(_));
    PageMapJson {
        processes: map.processes.iter().map(process_json).collect(),
        frames: map.frames.iter().map(frame_json).collect(),
        free_frames: map.free_frames().into(),
        store: map.slots.iter().copied().map(slot_json).collect(),
        table_frames: map.frames.iter().filter(is_table).count().into(),
        hand: map.hand.to_string(),
    }
}

fn process_json(process: &ProcessMap) -> ProcessJson {
    let page = |MappedPage { page, place }: &MappedPage| MappedPageJson {
        page: page.to_string(),
        place: place_json(*place),
    };
    ProcessJson {
        process: process.name,
        regions: process.regions.iter().map(region_json).collect(),
        pages: process.pages.iter().map(page).collect(),
    }
}

fn region_json(region: &Region) -> RegionJson {
    RegionJson {
        kind: region.kind.name(),
        start: region.start.to_string(),
        pages: region.pages.into(),
        limit: region.limit.into(),
        rights: rights(region.protection),
    }
}

/// `rw-`.
pub(super) fn rights(protection: Protection) -> String {
    let letters = [(Protection::READ, 'r'), (Protection::WRITE, 'w'), (Protection::EXECUTE, 'x')];
    letters
        .map(|(right, letter)| if protection.contains(right) { letter } else { '-' })
        .iter()
        .collect()
}

pub(super) fn place_json(place: PagePlace) -> PagePlaceJson {
    match place {
        PagePlace::Slot(slot) => PagePlaceJson::Slot { slot: slot.0 },
        PagePlace::Frame(frame, entry) => {
            PagePlaceJson::Frame { frame: frame.to_string(), entry: Hex(entry) }
        }
    }
}

fn frame_json(frame: &MappedFrame) -> FrameJson {
    let (usage, level, page) = match frame.content {
        FrameContent::Table(level) => ("table", level, None),
        FrameContent::Page(page) => ("page", None, Some(page.to_string())),
        FrameContent::Shared(..) => ("shared", None, None),
    };
    FrameJson {
        frame: frame.frame.to_string(),
        r#use: usage,
        level,
        page,
        owner: frame.owner,
        mapped_by: frame.mapped_by.clone(),
        copy_on_write: frame.is_copy_on_write,
        dirty: frame.is_dirty,
        accessed: frame.is_accessed,
        slot: frame.slot.map(|slot| slot.0),
    }
}

fn slot_json(slot: MappedSlot) -> SlotJson {
    SlotJson {
        slot: slot.slot.0,
        image: slot.is_image,
        references: u64::from(slot.references).into(),
    }
}
