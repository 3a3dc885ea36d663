//! Events of the virtual memory system as words, in which form the guest reports them.

use super::codec::{WordReader, WordWriter};
use mmu_core::space::{Decision, Event, Invalid, Minor, SlotNumber, SpaceId};
use mmu_core::{Fault, PhysAddr, Vector, VirtAddr};

/// Number of words of an event.
pub const WORDS: usize = 10;

// The first word: the kind of event.
const FAULT: u64 = 1;
const GROWN: u64 = 2;
const SECOND_CHANCE: u64 = 3;
const EVICTED: u64 = 4;

// The first word of a decision: its kind.
const MINOR: u64 = 1;
const MAJOR: u64 = 2;
const INVALID: u64 = 3;

const MINORS: [Minor; 5] =
    [Minor::ZeroFill, Minor::MapShared, Minor::Copy, Minor::Reuse, Minor::Spurious];
pub(super) const INVALIDS: [Invalid; 11] = [
    Invalid::NoRegion,
    Invalid::Guard,
    Invalid::ReadOnly,
    Invalid::NoExecute,
    Invalid::Supervisor,
    Invalid::NotCanonical,
    Invalid::Reserved,
    Invalid::ProtectionKey,
    Invalid::ShadowStack,
    Invalid::Processor,
    Invalid::Misaligned,
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

    match *event {
        Event::Fault { space, fault, decision, frame } => {
            let writer = writer
                .word(FAULT)
                .word(space.0.into())
                .word(fault.vector as u64)
                .word(fault.error_code.into())
                .option(fault.cr2.map(VirtAddr::get));

            write_decision(writer, decision).option(frame.map(PhysAddr::get))
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

/// The event that these words describe; `None` if they describe none.
pub fn from_words(words: &[u64; WORDS]) -> Option<Event> {
    let mut reader = WordReader::new(words);

    Some(match reader.word()? {
        FAULT => Event::Fault {
            space: SpaceId(reader.small()?),
            fault: Fault {
                vector: Vector::from_number(reader.small()?)?,
                error_code: reader.small()?,
                cr2: reader.option()?.map(VirtAddr::new),
            },
            decision: read_decision(&mut reader)?,
            frame: reader.option()?.map(PhysAddr::new),
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

/// Appends a decision as two words: its kind, and a detail.
fn write_decision<const N: usize>(writer: WordWriter<N>, decision: Decision) -> WordWriter<N> {
    match decision {
        Decision::Minor(minor) => writer.word(MINOR).index_of(&MINORS, &minor),
        Decision::Major(slot) => writer.word(MAJOR).word(slot.0.into()),
        Decision::Invalid(invalid) => writer.word(INVALID).index_of(&INVALIDS, &invalid),
    }
}

/// Reads the two words of a decision.
fn read_decision(reader: &mut WordReader<'_>) -> Option<Decision> {
    match reader.word()? {
        MINOR => reader.value_of(&MINORS).map(Decision::Minor),
        MAJOR => Some(Decision::Major(SlotNumber(reader.small()?))),
        INVALID => reader.value_of(&INVALIDS).map(Decision::Invalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_event_survives_encoding() {
        let fault =
            |vector, cr2: Option<u64>| Fault { vector, error_code: 7, cr2: cr2.map(VirtAddr::new) };
        let minor = MINORS.map(Decision::Minor);
        let invalid = INVALIDS.map(Decision::Invalid);
        let major = [Decision::Major(SlotNumber(3))];
        let mut events = Vec::new();

        for decision in minor.into_iter().chain(invalid).chain(major) {
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
