//! What the system knows of its frames and slots, as words: who has which frame, and for what.

use super::layout::{MAX_FRAMES, MAX_SLOTS};
use mmu_core::PhysAddr;
use mmu_core::space::{Frame, FrameUse, SlotNumber, Statistics, System};
use mmu_core::x86::format::Format;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The books after an order.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Accounting {
    /// Of each frame what it is in use for, and how; 0 if it is free.
    pub frames: [[u64; 2]; MAX_FRAMES],
    /// How often each slot is in use.
    pub slots: [u64; MAX_SLOTS],
    /// Faults: minor, major, invalid; zero-fills, copies; evicted, second chances; written, read.
    pub counts: [u64; 9],
}

const TABLE: u64 = 1;
const PAGE: u64 = 2;
const SHARED: u64 = 3;

/// The books of a system.
pub fn of<F: Format, const FRAMES: usize, const SLOTS: usize>(
    system: &System<F, FRAMES, SLOTS>,
    first_frame: PhysAddr,
) -> Accounting {
    let mut frames = [[0; 2]; MAX_FRAMES];
    for (address, frame) in system.frames().iter() {
        let number = ((address.get() - first_frame.get()) >> 12) as usize;
        if let Some(page) = frames.get_mut(number) {
            *page = words(frame);
        }
    }
    let mut slots = [0; MAX_SLOTS];
    for (slot, references) in (0..).zip(&mut slots) {
        *references = system.slots().references(SlotNumber(slot)).into();
    }
    // How often translations are shot down is no part of the history: nothing depends on it.
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
    } = *system.statistics();
    let counts =
        [minor, major, invalid, zero_fills, copies, evicted, second_chances, written, read];
    Accounting { frames, slots, counts }
}

/// What is known of a frame: its page or number; use, owner, references, slot and dirtiness.
fn words(frame: &Frame) -> [u64; 2] {
    let (kind, what) = match frame.usage {
        FrameUse::Table(space) => (TABLE, space.0.into()),
        FrameUse::Page(page) => (PAGE, page.get()),
        FrameUse::Shared(object, number) => (SHARED, u64::from(object.0) << 16 | u64::from(number)),
    };
    let slot = frame.slot.map_or(0, |slot| u64::from(slot.0) + 1);
    let owner = u64::from(frame.owner.0) << 4;
    let references = u64::from(frame.references) << 12;
    [what, kind | u64::from(frame.dirty) << 2 | owner | references | slot << 32]
}
