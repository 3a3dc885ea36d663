//! The responses of the guest's system, as words.

use super::MAX_RUNS;
use super::codec::WordWriter;
use super::history::INVALIDS;
use mmu_core::PhysAddr;
use mmu_core::space::{Invalid, ObjectId, SpaceError, SpaceId};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Maximum number of [mismatches](ScriptMismatch) listed for one request.
pub const MAX_MISMATCHES: usize = 64;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It called [`Exit`](super::program::Call::Exit).
    Exited,
    /// It made an access that is not allowed.
    Invalid(Invalid),
    /// It faulted, and the system could not serve the fault.
    Refused(SpaceError),
    /// It took an exception, by vector, that no address causes.
    Exception(u8),
    /// It faulted again and again at the same place.
    Endless,
}

/// What a successful request returns, besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Nothing.
    Done,
    /// The address space created.
    Space(SpaceId),
    /// The shared object created.
    Object(ObjectId),
    /// The frame that the clock reclaimed, if it found one.
    Taken(Option<PhysAddr>),
}

/// A load that did not find the expected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ScriptMismatch {
    /// The address space of the process, a [`SpaceId`].
    pub space: u64,
    /// The linear address of the load.
    pub address: u64,
    /// The value that it found.
    pub found: u64,
}

/// The response to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Response {
    /// The result of the request ([`Response::completion_words`]).
    pub completion: [u64; 3],
    /// How each program of [`Request::Run`](super::Request::Run) ended ([`Ending::words`]).
    pub endings: [[u64; 3]; MAX_RUNS],
    /// Number of loads that did not find the expected value. At most [`MAX_MISMATCHES`] are listed.
    pub mismatch_count: u64,
    /// The first of these loads.
    pub mismatches: [ScriptMismatch; MAX_MISMATCHES],
    /// Number of events, which are at [`HISTORY`](super::layout::HISTORY).
    pub event_count: u64,
}

impl Response {
    /// A response of zeros: no result and no events.
    pub const EMPTY: Self = Self {
        completion: [0; 3],
        endings: [[0; 3]; MAX_RUNS],
        mismatch_count: 0,
        mismatches: [ScriptMismatch { space: 0, address: 0, found: 0 }; MAX_MISMATCHES],
        event_count: 0,
    };

    /// The result of a request as words. The first is never 0.
    pub fn completion_words(result: &Result<Completion, SpaceError>) -> [u64; 3] {
        let writer = WordWriter::default();

        match result {
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

// The first word of an ending.
const NOT_RUN: u64 = 0;
const EXITED: u64 = 1;
const INVALID: u64 = 2;
const REFUSED: u64 = 3;
const EXCEPTION: u64 = 4;
const ENDLESS: u64 = 5;

impl Ending {
    /// The ending as words. The first is 0 only for a program that was not run.
    pub fn words(self) -> [u64; 3] {
        let writer = WordWriter::default();

        match self {
            Self::Exited => writer.word(EXITED),
            Self::Invalid(invalid) => writer.word(INVALID).index_of(&INVALIDS, &invalid),
            Self::Refused(error) => {
                let (number, detail) = error_words(&error);
                writer.word(REFUSED).word(number).word(detail)
            }
            Self::Exception(vector) => writer.word(EXCEPTION).word(vector.into()),
            Self::Endless => writer.word(ENDLESS),
        }
        .end()
    }

    /// The predicate of a sentence about the program that ended like this; `None` if the words are
    /// not an ending.
    ///
    /// ```
    /// use crosswalk_guest::system::Ending;
    /// assert_eq!(Ending::describe(Ending::Exited.words()), Some("ended by itself"));
    /// assert_eq!(Ending::describe([6, 0, 0]), None);
    /// ```
    pub fn describe(words: [u64; 3]) -> Option<&'static str> {
        let [kind, detail, _] = words;

        Some(match kind {
            NOT_RUN => "was not run",
            EXITED => "ended by itself",
            INVALID if detail < INVALIDS.len() as u64 => {
                "was ended for an access that is not allowed"
            }
            REFUSED => "was refused memory",
            EXCEPTION => "took an exception that no access causes",
            ENDLESS => "faulted again and again",
            _ => return None,
        })
    }
}

/// An error as two words. Host and guest compare these numbers and never decode them.
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
        SpaceError::SlotTooHigh(slot) => (16, slot.0.into()),
    }
}
