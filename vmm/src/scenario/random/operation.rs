//! Random operations, drawn from a seed.

use crosswalk_guest::system::program::image_word;
use mmu_core::VirtAddr;
use mmu_core::space::{Backing, ObjectId, PAGE_BYTES, Protection, Region, RegionKind, SlotNumber};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One operation. Processes, pages and words are taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A process is started, without regions.
    Create,
    /// A process ends.
    Destroy(u8),
    /// A process forks.
    Fork(u8),
    /// A part is added to a process.
    Map(u8, ProcessPart),
    /// A part is taken away.
    Unmap(u8, ProcessPart),
    /// The heap gets another page.
    Grow(u8),
    /// A part may be written from now on, or not.
    Protect(u8, ProcessPart, bool),
    /// A word of a part is read.
    Read(u8, ProcessPart, u16),
    /// A word of a part is written.
    Write(u8, ProcessPart, u16, u64),
    /// The clock takes a frame.
    Reclaim,
}

/// A part of a process, each with a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProcessPart {
    /// Grows when asked.
    Heap,
    /// Grows when touched.
    Stack,
    /// Comes from the store.
    Image,
    /// One set of frames for all.
    Shared,
}

impl ProcessPart {
    pub(super) const ALL: [Self; 4] = [Self::Heap, Self::Stack, Self::Image, Self::Shared];

    /// Where it starts when it is as large as it can be.
    pub(super) const fn start(self) -> u64 {
        match self {
            Self::Heap => 0x8060_0000,
            Self::Stack => 0x807f_c000,
            Self::Image => 0x8050_0000,
            Self::Shared => 0x8070_0000,
        }
    }

    /// What is in it before anything is written.
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

/// The operations of a seed: the same ones for the same seed and count.
///
/// ```
/// use crosswalk::scenario::random::operations;
/// assert_eq!(operations(7, 100), operations(7, 100));
/// assert_ne!(operations(7, 100), operations(8, 100));
/// ```
pub fn operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let operation = |_| {
        let (process, word) = (rng.random(), rng.random());
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
