//! Tests of the system: single operations by hand, and properties over random operations.

mod breakages;
mod denials;
mod faults;
mod properties;
mod reclaiming;
mod shadow_stacks;
mod spaces;

use super::*;
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{TableMemory, TableMemoryMut};
use crate::outcome::Outcome;
use crate::x86::format::{Bits32, FiveLevel, Format, FourLevel, Linear, Pae};
use crate::x86::profile::Profile;
use std::boxed::Box;
use std::vec::Vec;

/// A flat table as in textbooks, with addresses narrow enough that it fits in four frames.
type SmallFlatTable = Linear<24, 12, 4>;

const MAX_FRAMES: usize = 64;
const MAX_SLOTS: usize = 64;
/// Number of slots with programs. Every word of slot n is `0xc0de_0000` + n.
const IMAGES: u32 = 4;

impl EventSink for Vec<Event> {
    fn record(&mut self, event: Event) {
        self.push(event);
    }
}

const HEAP: u64 = 0x60_0000;

/// A system on a software computer.
struct SpaceBench<F: Format> {
    system: Box<System<F, MAX_FRAMES, MAX_SLOTS>>,
    computer: Software<F, Vec<u8>, Vec<Event>>,
}

impl<F: Format> SpaceBench<F> {
    fn new(frames: usize) -> Self {
        Self::with_safeguards(frames, Safeguards::all())
    }

    /// A system with this number of frames, from 0x1000 up. The backing store follows them.
    fn with_safeguards(frames: usize, safeguards: Safeguards) -> Self {
        let store = 0x1000 * (MAX_FRAMES as u64 + 1);
        let bytes = vec![0xa5; store as usize + 0x1000 * MAX_SLOTS];
        let mut computer =
            Software::new(bytes, PhysAddr::new(store), Profile::default(), Vec::new());

        for slot in 0..IMAGES {
            for offset in (0..PAGE_BYTES).step_by(8) {
                let at = computer.place(SlotNumber(slot)) + offset;
                computer.write_entry(at, 8, 0xc0de_0000 + u64::from(slot)).unwrap();
            }
        }

        let settings = Settings {
            first_frame: PhysAddr::new(0x1000),
            frames,
            slots: MAX_SLOTS as u32,
            images: IMAGES,
            execute_disable: true,
            safeguards,
        };
        Self { system: Box::new(System::new(settings).unwrap()), computer }
    }

    fn create(&mut self) -> SpaceId {
        self.system.create(&mut self.computer).unwrap()
    }

    #[track_caller]
    fn map(&mut self, space: SpaceId, region: Region) {
        self.system.map(&mut self.computer, space, region).unwrap();
    }

    fn fork(&mut self, parent: SpaceId) -> SpaceId {
        self.system.fork(&mut self.computer, parent).unwrap()
    }

    /// A space with a heap of `pages` pages at [`HEAP`].
    fn with_heap(&mut self, pages: u64) -> SpaceId {
        let space = self.create();
        self.map(space, Region::heap(VirtAddr::new(HEAP), pages, pages));
        space
    }

    /// The physical address that a user access reaches, and the decisions on its faults. The
    /// address is 0 if the access is not allowed.
    fn touch(
        &mut self,
        space: SpaceId,
        kind: AccessKind,
        address: u64,
    ) -> Result<(PhysAddr, Vec<Decision>), SpaceError> {
        self.computer.run(&self.system, space)?;

        let size = if F::ENTRY_BYTES == 8 { 8 } else { 4 };
        let access = Access::new(kind, VirtAddr::new(address), size, Ring::Three);
        let mut decisions = Vec::new();

        for _ in 0..4 {
            match self.computer.access(&access).unwrap() {
                Outcome::Translated(spans) => return Ok((spans[0].address, decisions)),
                Outcome::Fault(fault) => {
                    decisions.push(self.system.fault(&mut self.computer, space, &fault)?);
                    if let Some(Decision::Invalid(_)) = decisions.last() {
                        return Ok((PhysAddr::new(0), decisions));
                    }
                }
            }
        }

        panic!("{address:#x} faults indefinitely: {decisions:?}");
    }

    #[track_caller]
    fn decisions(&mut self, space: SpaceId, kind: AccessKind, address: u64) -> Vec<Decision> {
        self.touch(space, kind, address).unwrap().1
    }

    #[track_caller]
    fn read(&mut self, space: SpaceId, address: u64) -> u64 {
        let (at, _) = self.touch(space, AccessKind::Read, address).unwrap();
        assert_ne!(at.get(), 0, "a read of {address:#x} is not allowed");
        self.computer.read_entry(at, 8).unwrap()
    }

    #[track_caller]
    fn write(&mut self, space: SpaceId, address: u64, value: u64) {
        let (at, _) = self.touch(space, AccessKind::Write, address).unwrap();
        assert_ne!(at.get(), 0, "a write to {address:#x} is not allowed");
        self.computer.write_entry(at, 8, value).unwrap();
    }

    /// The frame of a page, if the page is in memory.
    fn frame(&self, space: SpaceId, page: u64) -> Option<PhysAddr> {
        let start = VirtAddr::new(page);
        let end = VirtAddr::new(page + 0x1000);

        match self.system.next_page(&self.computer, space, start, end).unwrap()?.1 {
            PageState::InFrame(frame) => Some(frame),
            _ => None,
        }
    }

    #[track_caller]
    fn audit(&self) {
        self.system.audit(&self.computer).unwrap();
        assert_eq!(self.computer.stale(&self.system).unwrap(), None);
    }
}

/// Declares a test for each format.
macro_rules! for_each_format {
    ($($test:ident)*) => {
        for_each_format!(@ four_level FourLevel: $($test)*);
        for_each_format!(@ five_level FiveLevel: $($test)*);
        for_each_format!(@ bits32 Bits32: $($test)*);
        for_each_format!(@ pae Pae: $($test)*);
        for_each_format!(@ textbook SmallFlatTable: $($test)*);
    };
    (@ $module:ident $format:ident: $($test:ident)*) => {
        mod $module {
            $(#[test] fn $test() { super::$test::<super::$format>(); })*
        }
    };
}
use for_each_format;
