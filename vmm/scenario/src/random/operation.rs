//! Random operations, drawn from a seed.

use crosswalk_guest::system::program::image_word;
use mmu_core::VirtAddr;
use mmu_core::space::{Backing, ObjectId, PAGE_BYTES, Protection, Region, RegionKind, SlotNumber};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One operation. Numbers of processes and words are taken modulo the number there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Starts a process without regions.
    Create,
    /// Ends a process.
    Destroy(u8),
    /// Forks a process.
    Fork(u8),
    /// Adds a part to a process.
    Map(u8, ProcessPart),
    /// Removes a part.
    Unmap(u8, ProcessPart),
    /// Adds a page to the heap.
    Grow(u8),
    /// Allows or forbids writes to a part.
    Protect(u8, ProcessPart, bool),
    /// Reads a word of a part.
    Read(u8, ProcessPart, u16),
    /// Writes a word of a part.
    Write(u8, ProcessPart, u16, u64),
    /// Lets the clock take a frame.
    Reclaim,
}

/// A part of a process. Each has addresses of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProcessPart {
    /// Grows on request.
    Heap,
    /// Grows when touched.
    Stack,
    /// Is loaded from the store.
    Image,
    /// Has the same frames in all processes.
    Shared,
}

impl ProcessPart {
    pub(super) const ALL: [Self; 4] = [Self::Heap, Self::Stack, Self::Image, Self::Shared];

    /// Its first address when it is as large as it can be.
    pub(super) const fn start(self) -> u64 {
        match self {
            Self::Heap => 0x8060_0000,
            Self::Stack => 0x807f_c000,
            Self::Image => 0x8050_0000,
            Self::Shared => 0x8070_0000,
        }
    }

    /// The word at an address before anything is written.
    pub(super) fn first_word(self, address: u64) -> u64 {
        let offset = address - self.start();
        match self {
            Self::Image => image_word(1 + (offset / PAGE_BYTES) as u32, offset % PAGE_BYTES),
            _ => 0,
        }
    }

    pub(super) fn region(self, object: Option<ObjectId>) -> Region {
        let start = VirtAddr::new(self.start());
        match self {
            Self::Heap => Region::heap(start, 1, 6),
            Self::Stack => Region::stack(start.wrapping_add(4 * PAGE_BYTES), 1, 4),
            Self::Image => Region::new(RegionKind::Data, start, 2, Protection::DATA)
                .from_backing(Backing::Image(SlotNumber(1))),
            Self::Shared => {
                let region = Region::new(RegionKind::Shared, start, 2, Protection::DATA);
                object.map_or(region, |object| region.from_backing(Backing::Object(object)))
            }
        }
    }
}

/// The operations of a seed: the same for the same seed and count.
///
/// ```
/// use crosswalk_scenario::random::operations;
/// assert_eq!(operations(7, 100), operations(7, 100));
/// assert_ne!(operations(7, 100), operations(8, 100));
/// ```
pub fn operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let operation = |_| {
        let process = rng.random();
        let word = rng.random();
        let part = ProcessPart::ALL[rng.random_range(0..4)];

        match rng.random_range(0..60) {
            0..24 => Operation::Write(process, part, word, rng.random()),
            24..44 => Operation::Read(process, part, word),
            44..46 => Operation::Reclaim,
            46..48 => Operation::Grow(process),
            48 => Operation::Protect(process, part, rng.random()),
            49..54 => Operation::Map(process, part),
            54 => Operation::Unmap(process, part),
            55..57 => Operation::Fork(process),
            57..59 => Operation::Create,
            _ => Operation::Destroy(process),
        }
    };
    (0..count).map(operation).collect()
}
