//! A computer in software for the exercises about processes: 32-bit paging, a few frames, and a store.

use mmu_core::memory::TableMemoryMut;
use mmu_core::space::{
    Event, EventSink, LeafEntry, Region, Safeguards, Settings, Software, SpaceId, System,
};
use mmu_core::x86::format::{Bits32, EntryBits, Format};
use mmu_core::{Access, AccessKind, Outcome, PhysAddr, Profile, Ring, VirtAddr};

/// The most frames of a computer.
const MAX_FRAMES: usize = 64;
/// The most slots of its store.
const MAX_SLOTS: usize = 64;

/// Where the pages of a process begin.
const FIRST_PAGE: u64 = 0x40_0000;

/// Keeps what happens.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<Event>);

impl EventSink for Events {
    fn record(&mut self, event: Event) {
        self.0.push(event);
    }
}

/// A computer with processes.
pub(super) struct Computer {
    pub(super) system: Box<System<Bits32, MAX_FRAMES, MAX_SLOTS>>,
    pub(super) software: Software<Bits32, Vec<u8>, Events>,
}

impl Computer {
    /// A computer with this number of frames, the first at address 0.
    pub(super) fn new(frames: usize) -> Self {
        let settings = Settings {
            first_frame: PhysAddr::new(0),
            frames,
            slots: MAX_SLOTS as u32,
            images: 0,
            execute_disable: false,
            safeguards: Safeguards::all(),
        };
        let bytes = vec![0; (frames + MAX_SLOTS) << 12];
        let store = PhysAddr::new((frames as u64) << 12);
        Self {
            system: Box::new(System::new(settings).expect("so few frames and slots fit")),
            software: Software::new(bytes, store, Profile::default(), Events::default()),
        }
    }

    /// A process with pages of its own, none of them touched.
    pub(super) fn process(&mut self, pages: u64) -> SpaceId {
        let space = self.system.create(&mut self.software).expect("there is a frame");
        self.map(space, Region::heap(VirtAddr::new(FIRST_PAGE), pages, pages));
        space
    }

    /// Adds a region to a process.
    pub(super) fn map(&mut self, space: SpaceId, region: Region) {
        self.system.map(&mut self.software, space, region).expect("the region has a place");
    }

    /// An access to a page, with the faults on its way. Returns what happened.
    pub(super) fn access(&mut self, space: SpaceId, page: u64, kind: AccessKind) -> Vec<Event> {
        let access = Access::new(kind, address(page), 1, Ring::Three);
        self.software.run(&self.system, space).expect("the process exists");
        while let Outcome::Fault(fault) =
            self.software.access(&access).expect("tables are in memory")
        {
            self.system.fault(&mut self.software, space, &fault).expect("there is a frame");
        }
        self.events()
    }

    /// What has happened since the last time.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.software.history.0)
    }

    /// The entry of a page.
    pub(super) fn leaf(&self, space: SpaceId, page: u64) -> Option<LeafEntry> {
        self.system.look(&self.software, space, address(page)).expect("tables are in memory")
    }

    /// Sets or clears A of a page that is in memory.
    pub(super) fn set_accessed(&mut self, space: SpaceId, page: u64, is_accessed: bool) {
        let Some(leaf) = self.leaf(space, page) else { return };
        let cleared = leaf.entry & !EntryBits::A.bits();
        let entry = if is_accessed { cleared | EntryBits::A.bits() } else { cleared };
        self.software.write_entry(leaf.at, Bits32::ENTRY_BYTES, entry).expect("it was read there");
    }
}

/// The address of a page by its number.
pub(super) const fn address(page: u64) -> VirtAddr {
    VirtAddr::new(FIRST_PAGE + (page << 12))
}

/// The number of a frame.
pub(super) const fn number(frame: PhysAddr) -> u64 {
    frame.get() >> 12
}
