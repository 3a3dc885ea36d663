//! Events as words, for the way out of the guest.

use super::codec::{WordReader, WordWriter};
use mmu_core::space::{Decision, Event, Invalid, Minor, SlotNumber, SpaceId};
use mmu_core::{Fault, PhysAddr, Vector, VirtAddr};

/// Words of an event.
pub const WORDS: usize = 10;

const FAULT: u64 = 1;
const GROWN: u64 = 2;
const SECOND_CHANCE: u64 = 3;
const EVICTED: u64 = 4;

const MINOR: u64 = 1;
const MAJOR: u64 = 2;
const INVALID: u64 = 3;

const MINORS: [Minor; 5] =
    [Minor::ZeroFill, Minor::MapShared, Minor::Copy, Minor::Reuse, Minor::Spurious];
const INVALIDS: [Invalid; 7] = [
    Invalid::NoRegion,
    Invalid::Guard,
    Invalid::ReadOnly,
    Invalid::NoExecute,
    Invalid::Supervisor,
    Invalid::NotCanonical,
    Invalid::Reserved,
];

/// The words of an event.
///
/// ```
/// use crosswalk_guest::system::history::{from_words, to_words};
/// use mmu_core::{PhysAddr, space::Event};
/// let event = Event::SecondChance { frame: PhysAddr::new(0x60_3000) };
/// assert_eq!(from_words(&to_words(&event)), Some(event));
/// assert_eq!(from_words(&[7; 10]), None);
/// ```
pub fn to_words(event: &Event) -> [u64; WORDS] {
    let writer = WordWriter::default();
    let frame_word = |frame: Option<PhysAddr>| frame.map(PhysAddr::get);
    match *event {
        Event::Fault { space, fault, decision, frame } => {
            let (kind, detail) = decision_words(decision);
            writer
                .word(FAULT)
                .word(space.0.into())
                .word(fault.vector as u64)
                .word(fault.error_code.into())
                .option(fault.cr2.map(VirtAddr::get))
                .word(kind)
                .word(detail)
                .option(frame_word(frame))
        }
        Event::Grown { space, start } => writer.word(GROWN).word(space.0.into()).word(start.get()),
        Event::SecondChance { frame } => writer.word(SECOND_CHANCE).word(frame.get()),
        Event::Evicted { frame, from, written } => writer
            .word(EVICTED)
            .word(frame.get())
            .option(from.map(|(space, _)| space.0.into()))
            .option(from.map(|(_, page)| page.get()))
            .option(written.map(|slot| slot.0.into())),
    }
    .end()
}

/// The event of these words; `None` if there is no such event.
pub fn from_words(words: &[u64; WORDS]) -> Option<Event> {
    let mut reader = WordReader::new(words);
    let frame = |word: Option<u64>| word.map(PhysAddr::new);
    Some(match reader.word()? {
        FAULT => Event::Fault {
            space: SpaceId(reader.small()?),
            fault: Fault {
                vector: Vector::from_number(reader.small()?)?,
                error_code: reader.small()?,
                cr2: reader.option()?.map(VirtAddr::new),
            },
            decision: decision(reader.word()?, reader.word()?)?,
            frame: frame(reader.option()?),
        },
        GROWN => {
            Event::Grown { space: SpaceId(reader.small()?), start: VirtAddr::new(reader.word()?) }
        }
        SECOND_CHANCE => Event::SecondChance { frame: PhysAddr::new(reader.word()?) },
        EVICTED => Event::Evicted {
            frame: PhysAddr::new(reader.word()?),
            from: match (reader.option()?, reader.option()?) {
                (Some(space), Some(page)) => {
                    Some((SpaceId(space.try_into().ok()?), VirtAddr::new(page)))
                }
                _ => None,
            },
            written: match reader.option()? {
                Some(slot) => Some(SlotNumber(slot.try_into().ok()?)),
                None => None,
            },
        },
        _ => return None,
    })
}

/// A decision as two words.
pub(super) fn decision_words(decision: Decision) -> (u64, u64) {
    let place = |known: Option<usize>| known.map_or(u64::MAX, |place| place as u64);
    match decision {
        Decision::Minor(minor) => (MINOR, place(MINORS.iter().position(|known| *known == minor))),
        Decision::Major(slot) => (MAJOR, slot.0.into()),
        Decision::Invalid(invalid) => {
            (INVALID, place(INVALIDS.iter().position(|known| *known == invalid)))
        }
    }
}

/// The decision of two words.
pub(super) fn decision(kind: u64, detail: u64) -> Option<Decision> {
    let place = usize::try_from(detail).ok()?;
    match kind {
        MINOR => MINORS.get(place).copied().map(Decision::Minor),
        MAJOR => Some(Decision::Major(SlotNumber(detail.try_into().ok()?))),
        INVALID => INVALIDS.get(place).copied().map(Decision::Invalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_event_outlives_its_words() {
        let fault =
            |vector, cr2: Option<u64>| Fault { vector, error_code: 7, cr2: cr2.map(VirtAddr::new) };
        let minors = MINORS.map(Decision::Minor);
        let decisions: Vec<_> = minors.into_iter().chain(INVALIDS.map(Decision::Invalid)).collect();
        let mut events = Vec::new();
        for decision in decisions.into_iter().chain([Decision::Major(SlotNumber(3))]) {
            for fault in [
                fault(Vector::PageFault, Some(0x8060_0123)),
                fault(Vector::GeneralProtection, None),
                fault(Vector::StackFault, None),
            ] {
                for frame in [None, Some(PhysAddr::new(0x60_1000))] {
                    events.push(Event::Fault { space: SpaceId(2), fault, decision, frame });
                }
            }
        }
        events.push(Event::Grown { space: SpaceId(15), start: VirtAddr::new(0x807f_d000) });
        events.push(Event::SecondChance { frame: PhysAddr::new(0x60_1000) });
        for from in [None, Some((SpaceId(1), VirtAddr::new(0x8060_0000)))] {
            for written in [None, Some(SlotNumber(9))] {
                events.push(Event::Evicted { frame: PhysAddr::new(0x60_2000), from, written });
            }
        }
        for event in events {
            assert_eq!(from_words(&to_words(&event)), Some(event));
        }
    }
}
