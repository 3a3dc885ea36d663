//! A system's accounting of its frames and slots, as words: what each frame is used for, and by
//! whom.

use super::layout::{MAX_FRAMES, MAX_SLOTS};
use mmu_core::PhysAddr;
use mmu_core::space::{Frame, FrameUse, SlotNumber, Statistics, System};
use mmu_core::x86::format::Format;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The state of all frames and slots after a request.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Accounting {
    /// For each frame the page, table or object that it holds, and a word that packs its use,
    /// dirtiness, owner, references and slot. Both are 0 for a free frame.
    pub frames: [[u64; 2]; MAX_FRAMES],
    /// Number of references to each slot.
    pub slots: [u64; MAX_SLOTS],
    /// Counts of minor, major and invalid faults, zero-fills, copies, evictions, second chances,
    /// slots written, and slots read.
    pub counts: [u64; 9],
}

// The use of a frame, in the low bits of its second word.
const TABLE: u64 = 1;
const PAGE: u64 = 2;
const SHARED: u64 = 3;

/// The accounting of a system whose frames start at `first_frame`.
pub fn of<F: Format, const FRAMES: usize, const SLOTS: usize>(
    system: &System<F, FRAMES, SLOTS>,
    first_frame: PhysAddr,
) -> Accounting {
    let mut frames = [[0; 2]; MAX_FRAMES];
    for (address, frame) in system.frames().iter() {
        let number = ((address.get() - first_frame.get()) >> 12) as usize;
        if let Some(entry) = frames.get_mut(number) {
            *entry = frame_words(frame);
        }
    }

    let mut slots = [0; MAX_SLOTS];
    for (slot, references) in (0..).zip(&mut slots) {
        *references = system.slots().references(SlotNumber(slot)).into();
    }

    Accounting { frames, slots, counts: counts(system.statistics()) }
}

/// The counts that both sides must agree on. TLB shootdowns are not among them, since nothing in
/// the history depends on their number.
fn counts(statistics: &Statistics) -> [u64; 9] {
    let Statistics {
        minor,
        major,
        invalid,
        zero_fills,
        copies,
        evicted,
        second_chances,
        written,
        read,
        ..
    } = *statistics;

    [minor, major, invalid, zero_fills, copies, evicted, second_chances, written, read]
}

/// The two words of a frame in use.
fn frame_words(frame: &Frame) -> [u64; 2] {
    let (kind, what) = match frame.usage {
        FrameUse::Table(space) => (TABLE, space.0.into()),
        FrameUse::Page(page) => (PAGE, page.get()),
        FrameUse::Shared(object, number) => (SHARED, u64::from(object.0) << 16 | u64::from(number)),
    };

    let dirty = u64::from(frame.dirty) << 2;
    let owner = u64::from(frame.owner.0) << 4;
    let references = u64::from(frame.references) << 12;
    let slot = frame.slot.map_or(0, |slot| u64::from(slot.0) + 1) << 32;

    [what, kind | dirty | owner | references | slot]
}
