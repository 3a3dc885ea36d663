//! What the system answers to a request, as words.

use super::MAX_RUNS;
use super::codec::WordWriter;
use super::history::{decision, decision_words};
use mmu_core::PhysAddr;
use mmu_core::space::{Decision, Invalid, ObjectId, SpaceError, SpaceId};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most loads told of one order that did not find what they should.
pub const MAX_MISMATCHES: usize = 64;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exited,
    /// By an access that is not allowed.
    Invalid(Invalid),
    /// The system could not serve a fault.
    Refused(SpaceError),
    /// An exception that is no fault of an address.
    Exception(u8),
    /// It faulted again and again at one place.
    Endless,
}

/// What came of an order, besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It was done.
    Done,
    /// It gave a space.
    Space(SpaceId),
    /// It gave a shared object.
    Object(ObjectId),
    /// The clock took this frame, or none.
    Taken(Option<PhysAddr>),
}

/// A load that did not find what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ScriptMismatch {
    /// Whose.
    pub space: u64,
    /// Where.
    pub address: u64,
    /// What it found.
    pub found: u64,
}

/// What the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Response {
    /// What came of the order ([`Response::words_of`]).
    pub carried: [u64; 3],
    /// How each program of [`Request::ProgramRun`] ended ([`Ending::words`]).
    pub endings: [[u64; 3]; MAX_RUNS],
    /// How many loads did not find what they should. The first of them follow.
    pub wrong_count: u64,
    /// Which.
    pub wrongs: [ScriptMismatch; MAX_MISMATCHES],
    /// How many events there were. They lie at their [`place`](super::layout::HISTORY).
    pub event_count: u64,
}

impl Response {
    /// An answer without events.
    pub const EMPTY: Self = Self {
        carried: [0; 3],
        endings: [[0; 3]; MAX_RUNS],
        wrong_count: 0,
        wrongs: [ScriptMismatch { space: 0, address: 0, found: 0 }; MAX_MISMATCHES],
        event_count: 0,
    };

    /// What came of an order, as words.
    pub fn words_of(carried: &Result<Completion, SpaceError>) -> [u64; 3] {
        let writer = WordWriter::default();
        match carried {
            Ok(Completion::Done) => writer.word(1),
            Ok(Completion::Space(space)) => writer.word(2).word(space.0.into()),
            Ok(Completion::Object(object)) => writer.word(3).word(object.0.into()),
            Ok(Completion::Taken(frame)) => writer.word(4).option(frame.map(PhysAddr::get)),
            Err(error) => {
                let (number, detail) = error_words(error);
                writer.word(5).word(number).word(detail)
            }
        }
        .end()
    }
}

impl Ending {
    /// As words; 0 stands for no program.
    pub fn words(self) -> [u64; 3] {
        let writer = WordWriter::default();
        match self {
            Self::Exited => writer.word(1),
            Self::Invalid(invalid) => {
                writer.word(2).word(decision_words(Decision::Invalid(invalid)).1)
            }
            Self::Refused(error) => {
                let (number, detail) = error_words(&error);
                writer.word(3).word(number).word(detail)
            }
            Self::Exception(vector) => writer.word(4).word(vector.into()),
            Self::Endless => writer.word(5),
        }
        .end()
    }

    /// In words for people; `None` if there is no such ending.
    pub fn of_words(words: [u64; 3]) -> Option<&'static str> {
        Some(match words[0] {
            0 => "was not run",
            1 => "ended by itself",
            2 => match decision(decision_words(Decision::Invalid(Invalid::Guard)).0, words[1])? {
                Decision::Invalid(_) => "was ended for an access that is not allowed",
                _ => return None,
            },
            3 => "was refused memory",
            4 => "met an exception that no access causes",
            5 => "faulted again and again",
            _ => return None,
        })
    }
}

/// An error as two words.
fn error_words(error: &SpaceError) -> (u64, u64) {
    match *error {
        SpaceError::OutOfFrames(address) => (1, address.get()),
        SpaceError::NoSuchSpace(space) => (2, space.0.into()),
        SpaceError::TooManySpaces => (3, 0),
        SpaceError::TooManyRegions(start) => (4, start.get()),
        SpaceError::Misaligned(address) => (5, address.get()),
        SpaceError::BadRange(start) => (6, start.get()),
        SpaceError::Overlap(start) => (7, start.get()),
        SpaceError::NoRegion(start) => (8, start.get()),
        SpaceError::CannotGrow(start) => (9, start.get()),
        SpaceError::BadObject(start) => (10, start.get()),
        SpaceError::TooManyObjects => (11, 0),
        SpaceError::BadSlots(start) => (12, start.get()),
        SpaceError::FrameTooHigh(frame) => (13, frame.get()),
        SpaceError::OwnFrame(frame) => (14, frame.get()),
        SpaceError::Outside(outside) => (15, outside.0.get()),
    }
}
