//! Page maps: where every page is, and what every frame and slot is used for, at one step of the story.
//!
//! Most maps are read from the system and its tables. The system serves a fault in one piece, so between the clock's
//! steps on the way to a frame nothing can be read: there a map follows from the one before and the event.

use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::space::{
    Frame, FrameUse, ObjectId, PAGE_BYTES, PageState, Region, RegionKind, SlotNumber, SpaceError,
    SpaceId, System,
};
use mmu_core::x86::format::{EntryBits, Format};
use mmu_core::{PhysAddr, VirtAddr};

/// All processes, frames in use and slots in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageMap {
    /// The processes, in the order in which they were started.
    pub processes: Vec<ProcessMap>,
    /// The frames that are in use, lowest first. All others are free.
    pub frames: Vec<MappedFrame>,
    /// The slots of the store that something refers to, lowest first.
    pub slots: Vec<MappedSlot>,
    /// The frame at the clock's hand: the first that it looks at when it has to take one.
    pub hand: PhysAddr,
    /// The first frame of the system, and their number.
    range: (PhysAddr, usize),
}

/// The regions and pages of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMap {
    /// Its letter.
    pub name: char,
    /// Its regions, in the order in which they were added; not those of the supervisor.
    pub regions: Vec<Region>,
    /// Its pages that are somewhere, lowest first. All other pages of its regions are untouched.
    pub pages: Vec<MappedPage>,
}

/// A page that is somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedPage {
    /// The page.
    pub page: VirtAddr,
    /// Where it is.
    pub place: PagePlace,
}

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePlace {
    /// In a frame, with this entry.
    Frame(PhysAddr, u64),
    /// In the store.
    Slot(SlotNumber),
}

/// A frame in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFrame {
    /// Its address.
    pub frame: PhysAddr,
    /// What is in it.
    pub content: FrameContent,
    /// The letter of the process that it was given to, or that kept it. `None` if that has ended and no other has it.
    pub owner: Option<char>,
    /// The letters of the processes that map it as a page, the first started first.
    pub mapped_by: Vec<char>,
    /// Whether its next writer gets a copy, since others have it too.
    pub is_copy_on_write: bool,
    /// Whether it may differ from its slot, or without a slot from zeros: the clock has to write it to the store.
    pub is_dirty: bool,
    /// Whether A is set in an entry that maps it: the clock gives it a second chance.
    pub is_accessed: bool,
    /// The slot that has the same contents, unless it is dirty.
    pub slot: Option<SlotNumber>,
}

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameContent {
    /// A table of this level, 1 for the last. `None` if it is not linked to a root.
    Table(Option<u8>),
    /// The page at this address of the processes that have it.
    Page(VirtAddr),
    /// A page of a shared object, by its number.
    Shared(ObjectId, u16),
}

/// A slot that something refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedSlot {
    /// Its number.
    pub slot: SlotNumber,
    /// Whether a program is loaded from it. Such a slot is never written.
    pub is_image: bool,
    /// The references to it: by pages, by frames with the same contents, and by shared objects.
    pub references: u16,
}

/// Reading a map.
impl PageMap {
    /// The map of a system at this moment. `names` has the letter of each process.
    pub(super) fn of<F: Format, const FRAMES: usize, const SLOTS: usize>(
        system: &System<F, FRAMES, SLOTS>,
        memory: &impl TableMemory<Error = OutsideMemory>,
        names: &[(SpaceId, char)],
    ) -> Result<Self, SpaceError> {
        let mut processes = Vec::new();
        let mut tables = Vec::new();
        for (space, name) in names {
            processes.push(ProcessMap::of(system, memory, *space, *name)?);
            system.for_each_table(memory, *space, |level, table| {
                tables.push((table, level.number));
            })?;
        }

        let in_use = system.frames().iter();
        let frames = in_use.map(|(at, frame)| {
            let level = tables.iter().find(|(table, _)| *table == at).map(|(_, level)| *level);
            MappedFrame::of(at, frame, level, names, &processes)
        });
        let slots = system.slots().iter().map(|(slot, references)| MappedSlot {
            slot,
            is_image: system.slots().is_image(slot),
            references,
        });

        Ok(Self {
            frames: frames.collect(),
            slots: slots.collect(),
            hand: system.clock_hand(),
            range: (system.frames().first(), system.frames().count()),
            processes,
        })
    }

    /// The number of rows, by which maps are limited.
    pub(super) fn rows(&self) -> usize {
        let of_processes = self.processes.iter().map(|one| 1 + one.regions.len() + one.pages.len());
        of_processes.sum::<usize>() + self.frames.len() + self.slots.len()
    }

    /// The first frame of the system.
    pub const fn first_frame(&self) -> PhysAddr {
        self.range.0
    }

    /// The number of frames that are free.
    pub const fn free_frames(&self) -> usize {
        self.range.1.saturating_sub(self.frames.len())
    }

    /// A frame, if it is in use.
    pub fn frame(&self, frame: PhysAddr) -> Option<&MappedFrame> {
        self.frames.iter().find(|known| known.frame == frame)
    }
}

impl ProcessMap {
    fn of<F: Format, const FRAMES: usize, const SLOTS: usize>(
        system: &System<F, FRAMES, SLOTS>,
        memory: &impl TableMemory<Error = OutsideMemory>,
        space: SpaceId,
        name: char,
    ) -> Result<Self, SpaceError> {
        let is_own = |region: &&Region| region.kind != RegionKind::Kernel;
        let regions: Vec<_> = system.regions(space)?.iter().filter(is_own).copied().collect();

        let mut pages = Vec::new();
        for region in &regions {
            let mut from = region.start;
            while let Some((leaf, state)) = system.next_page(memory, space, from, region.end())? {
                from = leaf.page.wrapping_add(PAGE_BYTES);
                let place = match state {
                    PageState::Untouched => continue,
                    PageState::InFrame(frame) => PagePlace::Frame(frame, leaf.entry),
                    PageState::Swapped(slot) => PagePlace::Slot(slot),
                };
                pages.push(MappedPage { page: leaf.page, place });
            }
        }
        pages.sort_by_key(|page| page.page);
        Ok(Self { name, regions, pages })
    }

    /// The entry that maps a frame, if one does.
    fn entry_of(&self, frame: PhysAddr) -> Option<u64> {
        self.pages.iter().find_map(|page| match page.place {
            PagePlace::Frame(at, entry) if at == frame => Some(entry),
            _ => None,
        })
    }
}

impl MappedFrame {
    fn of(
        at: PhysAddr,
        frame: &Frame,
        level: Option<u8>,
        names: &[(SpaceId, char)],
        processes: &[ProcessMap],
    ) -> Self {
        let mappings =
            processes.iter().filter_map(|process| Some((process.name, process.entry_of(at)?)));
        let (mapped_by, entries): (Vec<_>, Vec<_>) = mappings.unzip();
        let has = |bit: EntryBits| entries.iter().any(|entry| entry & bit.bits() != 0);

        let content = match frame.usage {
            FrameUse::Table(_) => FrameContent::Table(level),
            FrameUse::Page(page) => FrameContent::Page(page),
            FrameUse::Shared(object, number) => FrameContent::Shared(object, number),
        };
        let is_page = matches!(content, FrameContent::Page(_));

        // The number of a space that has ended may be that of another process by now.
        let given_to = names.iter().find(|(space, _)| *space == frame.owner);
        let given_to = given_to.map(|(_, name)| *name);
        let is_table = matches!(content, FrameContent::Table(_));
        let owner = given_to.filter(|name| is_table || mapped_by.contains(name));

        Self {
            frame: at,
            content,
            owner: owner.or_else(|| mapped_by.first().copied()),
            is_copy_on_write: is_page && frame.references > 1,
            is_dirty: frame.dirty || has(EntryBits::D),
            is_accessed: has(EntryBits::A),
            slot: frame.slot,
            mapped_by,
        }
    }
}

/// What the clock and a growing stack change.
impl PageMap {
    /// The clock has cleared A of a frame, and goes on.
    pub(super) fn give_second_chance(&mut self, frame: PhysAddr) {
        self.change_pages(frame, |place| match place {
            PagePlace::Frame(at, entry) => Some(PagePlace::Frame(at, entry & !EntryBits::A.bits())),
            PagePlace::Slot(_) => Some(place),
        });

        let known = self.frames.iter_mut().find(|known| known.frame == frame);
        if let Some(known) = known {
            known.is_accessed = false;
        }
        self.advance_hand(frame);
    }

    /// The clock has taken a frame, whose page was written to a slot if it was dirty.
    pub(super) fn evict(&mut self, frame: PhysAddr, written: Option<SlotNumber>) {
        self.advance_hand(frame);
        let Some(number) = self.frames.iter().position(|known| known.frame == frame) else {
            return;
        };
        let taken = self.frames.remove(number);

        // The frame's reference to the slot goes to the entries, or to the object that a process shares.
        let slot = written.or(taken.slot);
        let is_object = matches!(taken.content, FrameContent::Shared(..));
        let references = if is_object { 1 } else { taken.mapped_by.len() as u16 };
        if let Some(old) = taken.slot {
            self.refer(old, -1);
        }
        if let Some(new) = slot {
            self.refer(new, references.into());
        }

        let place = slot.filter(|_| !is_object).map(PagePlace::Slot);
        self.change_pages(frame, |_| place);
    }

    /// A stack reaches down to this address.
    pub(super) fn grow(&mut self, process: char, start: VirtAddr) {
        let mut processes = self.processes.iter_mut();
        let Some(process) = processes.find(|known| known.name == process) else { return };

        let stacks = process.regions.iter_mut().filter(|region| region.kind == RegionKind::Stack);
        for stack in stacks {
            let more = stack.start.get().wrapping_sub(start.get()) / PAGE_BYTES;
            if stack.start > start && stack.pages + more <= stack.limit {
                stack.pages += more;
                stack.start = start;
            }
        }
    }

    /// Changes the place of every page that is in a frame; `None` makes it untouched.
    fn change_pages(&mut self, frame: PhysAddr, new: impl Fn(PagePlace) -> Option<PagePlace>) {
        for process in &mut self.processes {
            process.pages.retain_mut(|page| match page.place {
                PagePlace::Frame(at, _) if at == frame => {
                    let place = new(page.place);
                    page.place = place.unwrap_or(page.place);
                    place.is_some()
                }
                _ => true,
            });
        }
    }

    /// Adds to the references of a slot. Without one it is free.
    fn refer(&mut self, slot: SlotNumber, change: i32) {
        let place = match self.slots.binary_search_by_key(&slot.0, |known| known.slot.0) {
            Ok(place) => place,
            Err(place) => {
                self.slots.insert(place, MappedSlot { slot, is_image: false, references: 0 });
                place
            }
        };

        let references = i32::from(self.slots[place].references) + change;
        self.slots[place].references = references.max(0) as u16;
        if references <= 0 {
            self.slots.remove(place);
        }
    }

    /// The hand stands behind the frame that it looked at last.
    fn advance_hand(&mut self, frame: PhysAddr) {
        let (first, count) = self.range;
        let next = frame.get().wrapping_sub(first.get()) / PAGE_BYTES + 1;
        self.hand = first + next % count.max(1) as u64 * PAGE_BYTES;
    }
}
